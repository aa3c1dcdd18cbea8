"""`--keep` and `--dry-run` as a user sees them."""

from pathlib import Path

import pytest

from killing import convert_command, run_to_its_end
from servers import S3Bucket

MODEL = Path(__file__).parent.parent / "data" / "mlflow" / "1.30.1-onnx" / "model" / "model.onnx"


def versions(s3: S3Bucket) -> list[str]:
    return sorted({key.split("/")[1] for key in s3.keys("served/")})


def test_older_versions_go_once_a_new_one_is_there(s3: S3Bucket) -> None:
    url = s3.url("served")
    for name in ("a", "b", "c"):
        command = convert_command(str(MODEL), url, "--model-name", name, "--keep", "2")
        done = run_to_its_end(command, s3.environ())
        assert (done.returncode, done.stdout) == (0, f"{url}\n"), done.stderr
    assert "removed version 1: `keep` is 2" in done.stderr.splitlines()
    assert versions(s3) == ["2", "3"]

    again = run_to_its_end([*command[:-1], "1"], s3.environ())
    assert again.returncode == 0, again.stderr
    assert versions(s3) == ["2", "3"], "nothing was published, so nothing is removed"


@pytest.mark.parametrize("keep", ["0", "-1", "two", "1.5"])
def test_a_number_that_is_none_is_refused(tmp_path: Path, keep: str) -> None:
    done = run_to_its_end(convert_command(str(MODEL), str(tmp_path / "out"), f"--keep={keep}"))
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: `keep` is `{keep}`; it is a whole number above 0")


def test_a_dry_run_tells_what_would_be_published_and_writes_nothing(s3: S3Bucket) -> None:
    url = s3.url("served")
    assert run_to_its_end(convert_command(str(MODEL), url), s3.environ()).returncode == 0
    before = s3.keys()

    dry = run_to_its_end(
        convert_command(str(MODEL), url, "--batch", "2", "--keep", "1", "--dry-run"), s3.environ()
    )

    assert dry.returncode == 0, dry.stderr
    assert s3.keys() == before
    assert "version 2" in dry.stderr
    assert "dry run" in dry.stderr


def test_a_dry_run_to_a_directory_leaves_nothing(tmp_path: Path) -> None:
    dry = run_to_its_end(convert_command(str(MODEL), str(tmp_path / "a" / "served"), "--dry-run"))
    assert dry.returncode == 0, dry.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_of_a_version_that_is_there_fails(tmp_path: Path) -> None:
    url = str(tmp_path / "served")
    assert run_to_its_end(convert_command(str(MODEL), url)).returncode == 0
    dry = run_to_its_end(convert_command(str(MODEL), url, "--model-version", "1", "--dry-run"))
    assert dry.returncode == 3
    assert "version 1 exists already" in dry.stderr
    assert "fetch" not in dry.stderr


def test_a_directory_for_temporary_files_that_is_not_there_is_told(tmp_path: Path) -> None:
    """Python takes another one without a word, and that may be on a small disk."""
    wanted = tmp_path / "nothere"
    command = convert_command(str(MODEL), str(tmp_path / "served"), "--dry-run")
    dry = run_to_its_end(command, {"TMPDIR": str(wanted)})
    assert dry.returncode == 0, dry.stderr
    assert f"`TMPDIR` is `{wanted}`, where no file can be written" in dry.stderr


def test_parameters_of_a_conversion_that_is_none_are_told(tmp_path: Path) -> None:
    parameters = ("--output-format", "onnx", "--batch", "1", "--scale", "255", "--log-level", "INFO")
    dry = run_to_its_end(convert_command(str(MODEL), str(tmp_path / "served"), "--dry-run", *parameters))
    assert dry.returncode == 0, dry.stderr
    assert "published as it is, without what was asked for: batch, scale\n" in dry.stderr
