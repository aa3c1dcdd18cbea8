"""The JSON Schema of `--json` describes what every command writes, if it succeeds and if it fails."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from command_line import CommandLine, FakePipeline
from ovms_converter import errors

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "docs" / "reference" / "output.schema.json").read_text())
MODEL = ROOT / "tests" / "data" / "mlflow" / "1.30.1-onnx" / "model" / "model.onnx"
KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type)
    and issubclass(kind, errors.ConverterError)
    and kind is not errors.ConverterError
]


def faults(document: object, name: str) -> list[str]:
    """What is wrong with a document of a command, or with a `failure`."""
    schema = {"$ref": f"#/$defs/{name}", "$defs": SCHEMA["$defs"]}
    found = jsonschema.Draft202012Validator(schema).iter_errors(document)
    return [f"{error.json_path}: {error.message}" for error in found]


@pytest.fixture
def repository(tmp_path: Path, command: CommandLine) -> str:
    """A published model."""
    url = str(tmp_path / "served")
    assert command("convert", str(MODEL), url, "--quiet").code == 0
    return url


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    documents = {each["$ref"].rpartition("/")[2] for each in SCHEMA["anyOf"]}
    assert documents == {"convert", "inspect", "doctor", "lint", "verify", "failure"}


@pytest.mark.parametrize("argv", [(), ("--dry-run",), ("--benchmark",)])
def test_convert(command: CommandLine, tmp_path: Path, argv: tuple[str, ...]) -> None:
    done = command("convert", str(MODEL), str(tmp_path / "served"), "--json", *argv)
    assert (done.code, faults(done.document, "convert")) == (0, [])


def test_convert_that_finds_its_result(command: CommandLine, repository: str) -> None:
    done = command("convert", str(MODEL), repository, "--json")
    assert not done.document["published"]
    assert faults(done.document, "convert") == []


def test_convert_whose_result_file_cannot_be_written(
    command: CommandLine, fake: FakePipeline, tmp_path: Path
) -> None:
    fake.before = lambda: (tmp_path / "result").mkdir()
    done = command("convert", "s3://b/m", "s3://b/o", "--json", "--result-file", str(tmp_path / "result"))
    assert done.code == 3
    assert done.document["error"]["exit_code"] == 3
    assert faults(done.document, "convert") == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_failure(
    command: CommandLine, fake: FakePipeline, kind: type[errors.ConverterError]
) -> None:
    fake.error = (
        errors.InterruptedRunError(15) if kind is errors.InterruptedRunError else kind("what happened")
    )
    done = command("convert", "s3://b/m", "s3://b/o", "--json")
    assert faults(done.document, "failure") == []
    assert done.document["error"]["kind"] == kind.kind
    assert done.document["error"]["exit_code"] == done.code


def test_a_bug_and_a_wrong_command_line(command: CommandLine, fake: FakePipeline) -> None:
    fake.error = ZeroDivisionError("oops")
    assert faults(command("convert", "s3://b/m", "s3://b/o", "--json").document, "failure") == []
    assert faults(command("convert", "--bacth", "--json").document, "failure") == []
    assert faults(command("lint", "nothere", "--json").document, "failure") == []


@pytest.mark.parametrize("name", ["model.onnx", "notes.txt"])
def test_inspect(command: CommandLine, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(MODEL.read_bytes() if name == "model.onnx" else b"these are notes")
    done = command("inspect", str(path), "--json")
    assert done.code == (0 if name == "model.onnx" else 5)
    assert (done.document["error"] is None) == (done.code == 0)
    assert faults(done.document, "inspect") == []


def test_doctor(command: CommandLine, tmp_path: Path) -> None:
    assert faults(command("doctor", str(MODEL), str(tmp_path), "--json").document, "doctor") == []
    lost = command("doctor", str(tmp_path / "nothere"), str(tmp_path), "--json")
    assert lost.document["locations"][0]["error"]["exit_code"] == lost.code == 3
    assert faults(lost.document, "doctor") == []


def test_lint(command: CommandLine, repository: str) -> None:
    good = command("lint", repository, "--json")
    assert (good.code, good.document["error"], faults(good.document, "lint")) == (0, None, [])
    bad = command("lint", f"{repository}/1", "--json")
    assert bad.document["error"]["exit_code"] == bad.code == 6
    assert faults(bad.document, "lint") == []


def test_verify(command: CommandLine, repository: str) -> None:
    good = command("verify", repository, "--source", str(MODEL), "--json", "--quiet")
    assert (good.code, good.document["error"], faults(good.document, "verify")) == (0, None, [])
    Path(repository, "1", "model.bin").write_bytes(b"other")
    bad = command("verify", repository, "--json", "--quiet")
    assert bad.document["error"]["exit_code"] == bad.code == 6
    assert faults(bad.document, "verify") == []


def test_other_documents_do_not_pass(command: CommandLine, fake: FakePipeline) -> None:
    document: dict[str, Any] = command("convert", "s3://b/m", "s3://b/o", "--json").document
    assert faults(document, "convert") == []
    for name in document:
        assert faults({key: value for key, value in document.items() if key != name}, "convert"), name
        changed = copy.deepcopy(document)
        changed[name] = {"of another": ["type"]}
        assert faults(changed, "convert"), name
