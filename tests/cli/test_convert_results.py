"""What a finished or failed conversion leaves: stdout, stderr, result files, exit codes."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from command_line import CommandLine, FakePipeline
from ovms_converter import errors

RUN = ("convert", "s3://b/m", "s3://b/o")
SECRET = "wJalrXUtnFEMI-K7MDENG-bPxRfiCYEXAMPLEKEY"

CODES = [
    (errors.RequestError("m", hint="h", parameter="batch"), 2, "request"),
    (errors.LocationError("m", hint="h"), 3, "location"),
    (errors.NotFoundError("m", hint="h"), 3, "not-found"),
    (errors.AccessDeniedError("m", hint="h"), 3, "access-denied"),
    (errors.AlreadyExistsError("m", hint="h"), 3, "already-exists"),
    (errors.UnavailableError("m", hint="h"), 4, "unavailable"),
    (errors.ModelError("m", hint="h"), 5, "model"),
    (errors.CorruptModelError("m", hint="h"), 5, "corrupt-model"),
    (errors.UnsupportedModelError("m", hint="h"), 5, "unsupported-model"),
    (errors.AmbiguousModelError("m", hint="h"), 5, "ambiguous-model"),
    (errors.VerificationError("m", hint="h"), 6, "verification"),
    (errors.ResourceError("m", hint="h"), 7, "resources"),
]


def test_stdout_is_the_url_and_nothing_else(command: CommandLine, fake: FakePipeline) -> None:
    fake.notes = ("careful",)
    assert command(*RUN).out == "s3://b/o\n"


def test_stderr_tells_the_stages_and_a_summary(command: CommandLine, fake: FakePipeline) -> None:
    fake.notes = ("the model has a scalar input",)
    finished = command(*RUN)
    assert finished.code == 0
    lines = finished.err.splitlines()
    assert lines[0].split() == ["fetch", "0.50", "s", "2.00", "MB", "(4.00", "MB/s)", "s3://b/m"]
    assert lines[1:3] == ["a fact", "warning: the model has a scalar input"]
    assert [line.rstrip() for line in lines[4:]] == [
        "format    onnx",
        "          `model.onnx` is an ONNX graph",
        "inputs    image  f32 [?,3,224,224]",
        "          mask   i64 [?]",
        "outputs   scores  f32 [?,10]",
        "size      2.00 MB -> 1.00 MB",
        "verified  loaded and run on CPU",
        lines[11],
        "result    version 3 (new)",
        "url       s3://b/o",
    ]
    assert lines[11].startswith("time      0.")
    assert lines[11].endswith("(fetch 0.50, convert 1.25)")
    assert "\033" not in finished.err


def test_an_unchanged_version_is_told(command: CommandLine, fake: FakePipeline) -> None:
    fake.published = False
    finished = command(*RUN)
    assert finished.out == "s3://b/o\n"
    assert "result    version 3 is there already" in finished.err


def test_a_dry_run_hands_nothing_over(command: CommandLine, fake: FakePipeline) -> None:
    fake.published, fake.dry_run = False, True
    finished = command(*RUN, TASK_RESULT="url")
    assert finished.out == "s3://b/o\n"
    assert "result    version 3 would be published" in finished.err
    assert list(command.results.iterdir()) == []


def test_quiet_leaves_only_the_url(command: CommandLine, fake: FakePipeline) -> None:
    fake.notes = ("careful",)
    for option in ("-q", "--quiet"):
        finished = command(*RUN, option, FUSEML_NOTHING="1")
        assert (finished.out, finished.err) == ("s3://b/o\n", "")


def test_quiet_shows_errors(command: CommandLine, fake: FakePipeline) -> None:
    fake.error = errors.NotFoundError("there is nothing at `s3://b/m`")
    assert command(*RUN, "-q").err == "error: there is nothing at `s3://b/m`\n"


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--verbose"], {"a detail", "a fact", "warning: w"}),
        (["--log-level", "DEBUG"], {"a detail", "a fact", "warning: w"}),
        (["--extra-args", "--log_level DEBUG"], {"a detail", "a fact", "warning: w"}),
        (["--log-level", "INFO"], {"a fact", "warning: w"}),
        (["--log-level", "WARNING"], {"warning: w"}),
        (["--log-level", "ERROR"], set()),
    ],
)
def test_the_log_level_decides(
    words: list[str], shown: set[str], command: CommandLine, fake: FakePipeline
) -> None:
    fake.notes = ("w",)
    lines = set(command(*RUN, *words).err.splitlines())
    assert lines & {"a detail", "a fact", "warning: w"} == shown


def test_json_is_one_document(command: CommandLine, fake: FakePipeline) -> None:
    fake.notes = ("careful",)
    document = command(*RUN, "--json").document
    assert document.pop("ovms_converter")
    assert document == {
        "url": "s3://b/o",
        "version": 3,
        "published": True,
        "dry_run": False,
        "checked_again": False,
        "source_format": "onnx",
        "evidence": "`model.onnx` is an ONNX graph",
        "inputs": [
            {"name": "image", "type": "f32", "shape": "[?,3,224,224]"},
            {"name": "mask", "type": "i64", "shape": "[?]"},
        ],
        "outputs": [{"name": "scores", "type": "f32", "shape": "[?,10]"}],
        "source_bytes": 2_000_000,
        "result_bytes": 1_000_400,
        "seconds": {"fetch": 0.5, "convert": 1.25},
        "verified": "loaded and run on CPU",
        "timings": [],
        "notes": ["careful"],
        "files": ["3/model.bin", "3/model.xml"],
    }


@pytest.mark.parametrize(
    ("error", "code", "kind"), CODES, ids=lambda value: str(getattr(value, "kind", value))
)
def test_every_error_has_its_code_and_two_lines(
    error: errors.ConverterError, code: int, kind: str, command: CommandLine, fake: FakePipeline
) -> None:
    fake.error = error
    finished = command(*RUN, TASK_RESULT="url")
    assert finished.code == code
    assert finished.out == ""
    assert finished.err.splitlines()[-2:] == ["error: m", "hint: h"]
    assert "Traceback" not in finished.err
    assert not list(command.results.iterdir())
    assert command(*RUN, "--json").document == {
        "error": {
            "kind": kind,
            "message": "m",
            "hint": "h",
            "exit_code": code,
            "parameter": "batch" if kind == "request" else None,
        }
    }


def test_a_wrong_command_line_is_a_document_as_well(command: CommandLine) -> None:
    finished = command("convert", "--json", "--bacth", "2")
    assert finished.code == 2
    assert finished.document["error"]["message"] == "there is no option `--bacth`"


@pytest.mark.parametrize(
    "error", [MemoryError(), OSError(errno.ENOSPC, "full", "/tmp/x"), OSError(errno.EDQUOT, "full")]
)
def test_no_memory_and_no_space_are_told_as_that(
    error: BaseException, command: CommandLine, fake: FakePipeline
) -> None:
    fake.error = error
    finished = command(*RUN)
    assert finished.code == 7
    assert "Traceback" not in finished.err


def test_a_bug_shows_its_traceback_without_secrets(command: CommandLine, fake: FakePipeline) -> None:
    fake.error = ValueError(f"cannot sign with {SECRET}")
    finished = command(*RUN, AWS_SECRET_ACCESS_KEY=SECRET, AWS_ACCESS_KEY_ID="AKIDEXAMPLEEXAMPLE")
    assert finished.code == 70
    assert "Traceback (most recent call last)" in finished.err
    assert "error: ValueError: cannot sign with" in finished.err
    assert "please report it" in finished.err.splitlines()[-1]
    assert SECRET not in finished.err


@pytest.mark.parametrize("words", [[], ["--json"], ["--log-format", "json"], ["--verbose"]])
def test_no_secret_is_ever_printed(words: list[str], command: CommandLine, fake: FakePipeline) -> None:
    leaking = f"asked https://user:{SECRET}@host/x?X-Amz-Signature={SECRET} for it"
    fake.notes = (leaking,)
    for error in (None, errors.LocationError(leaking, hint=leaking)):
        fake.error = error
        finished = command(*RUN, *words, AWS_SECRET_ACCESS_KEY=SECRET, AWS_ACCESS_KEY_ID="AKIDEXAMPLEEXAMPLE")
        assert SECRET not in finished.out + finished.err


def test_interrupts_have_the_codes_of_a_shell(command: CommandLine, fake: FakePipeline) -> None:
    fake.error = KeyboardInterrupt()
    assert command(*RUN).code == 130
    fake.error = errors.InterruptedRunError(15)
    finished = command(*RUN)
    assert (finished.code, finished.out) == (143, "")
    assert finished.err == "error: stopped by a signal\n"


class TestResultFiles:
    def test_tekton_gets_the_url_without_a_newline(self, command: CommandLine, fake: FakePipeline) -> None:
        command(*RUN, TASK_RESULT="ovms-model-url")
        (path,) = command.results.iterdir()
        assert (path.name, path.read_bytes()) == ("ovms-model-url", b"s3://b/o")

    def test_a_file_of_ones_own(self, command: CommandLine, fake: FakePipeline, tmp_path: Path) -> None:
        path = tmp_path / "new" / "directory" / "url"
        command(*RUN, "--result-file", str(path), TASK_RESULT="url")
        assert path.read_bytes() == (command.results / "url").read_bytes() == b"s3://b/o"

    def test_the_url_is_as_it_was_given(self, command: CommandLine, fake: FakePipeline) -> None:
        finished = command("convert", "s3://b/m", "s3://b/o/", TASK_RESULT="url")
        assert (command.results / "url").read_text() == "s3://b/o/"
        assert finished.out == "s3://b/o/\n"

    def test_it_is_checked_before_the_work(self, command: CommandLine, fake: FakePipeline) -> None:
        finished = command(*RUN, "--result-file", str(command.results))
        assert finished.code == 3
        assert "is a directory" in finished.err
        assert not fake.requests

    @pytest.mark.parametrize("words", [[], ["--json"]])
    def test_a_failure_after_publishing_still_gives_the_url(
        self, words: list[str], command: CommandLine, fake: FakePipeline
    ) -> None:
        fake.before = command.results.rmdir
        finished = command(*RUN, *words, TASK_RESULT="url")
        assert finished.code == 3
        assert "cannot be written: no such file or directory" in finished.err
        assert "result    version 3 (new)" in finished.err
        if words:
            assert finished.document["url"] == "s3://b/o"
            assert finished.document["error"]["exit_code"] == 3
        else:
            assert finished.out == "s3://b/o\n"


class TestJsonLog:
    def test_every_line_is_json(self, command: CommandLine, fake: FakePipeline) -> None:
        fake.notes = ("careful",)
        records = command(*RUN, "--log-format", "json", FUSEML_BACTH="1").records
        assert [(record["level"], record["event"]) for record in records] == [
            ("warning", "note"),
            ("info", "stage-finished"),
            ("info", "note"),
            ("warning", "note"),
            ("info", "stage-finished"),
            ("info", "finished"),
        ]
        assert records[1] | {"detail": ""} == {
            "level": "info",
            "message": "fetch finished",
            "event": "stage-finished",
            "stage": "fetch",
            "seconds": 0.5,
            "bytes": 2_000_000,
            "in_place": False,
            "detail": "",
        }
        assert records[-1]["url"] == "s3://b/o"

    def test_so_is_an_error(self, command: CommandLine, fake: FakePipeline) -> None:
        fake.error = errors.AccessDeniedError("no", hint="ask")
        (*_, record) = command(*RUN, "--log-format=json").records
        assert record == {
            "level": "error",
            "message": "no",
            "kind": "access-denied",
            "hint": "ask",
            "exit_code": 3,
            "parameter": None,
        }
        (record,) = command("convert", "--log-format", "json", "--nothing").records
        assert record["exit_code"] == 2


def start(*argv: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "ovms_converter", *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_reader_that_went_away_is_no_error() -> None:
    with start("convert", "--help") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_a_full_disk_behind_stdout_is_told() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    with full.open("w") as stdout:
        finished = subprocess.run(
            [sys.executable, "-m", "ovms_converter", "--version"],
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert finished.returncode == 7
    assert finished.stderr.startswith("error: stdout cannot be written: no space left")


@pytest.mark.parametrize("streams", ["2>/dev/full", "--json >/dev/full 2>/dev/full"])
def test_a_full_disk_below_the_log_changes_no_exit_code(streams: str) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    command = f'"$0" -m ovms_converter convert --bacth {streams}'
    assert subprocess.run(["sh", "-c", command, sys.executable], check=False).returncode == 2


def test_a_closed_stdout_is_no_error() -> None:
    finished = subprocess.run(
        ["sh", "-c", '"$0" -m ovms_converter --version >&-', sys.executable],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "", "")


@pytest.mark.parametrize("name", ["modèle".encode(), b"mod\xe8le"], ids=["utf-8", "latin-1"])
@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_a_path_that_the_locale_cannot_write_comes_out_as_it_went_in(
    name: bytes, encoding: str, tmp_path: Path
) -> None:
    """A result must not get lost after the work is done."""
    program = (
        "import sys; from pathlib import Path; url = sys.argv[1];"
        "from ovms_converter.workflow.results import write_result; write_result(Path('url'), url);"
        "from ovms_converter.cli.output import Output; Output({}).result(url)"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program, name],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        cwd=tmp_path,
        check=False,
    )
    assert (finished.stdout, finished.stderr) == (name + b"\n", b"")
    assert (tmp_path / "url").read_bytes() == name


def test_the_version_names_the_converter_too() -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "ovms_converter", "--version"], capture_output=True, text=True, check=True
    )
    assert finished.stdout.startswith("ovms-converter 0.")
    assert "(openvino 20" in finished.stdout
    assert json.dumps(finished.stderr) == '""'


def test_a_terminal_shows_the_url_once(command: CommandLine, fake: FakePipeline) -> None:
    command.terminal = True
    finished = command(*RUN, TERM="dumb")
    assert finished.out == "s3://b/o\n"
    assert "url " not in finished.err
    assert os.linesep == "\n"
