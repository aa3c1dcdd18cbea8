"""The same source and parameters give the same bytes, whatever the directory and the process."""

import shutil
from pathlib import Path

import pytest

from killing import convert_command, run_to_its_end

MLFLOW = Path(__file__).parent.parent / "data" / "mlflow"


@pytest.mark.parametrize(
    ("artifact", "options"),
    [
        ("1.30.1-onnx", []),
        ("3.18.0-onnx-external", ["--data-type", "FP16"]),
        ("2.22.1-keras-exported", ["--batch", "2"]),
        ("2.22.1-tensorflow-module-signature", ["--reverse-input-channels=false"]),
    ],
)
def test_two_processes_in_two_directories_write_the_same_bytes(
    tmp_path: Path, artifact: str, options: list[str]
) -> None:
    versions = []
    for name, seed in (("one", "1"), ("a longer/path", "2")):
        source = tmp_path / name / "source"
        shutil.copytree(MLFLOW / artifact / "model", source)
        command = convert_command(str(source), str(tmp_path / name / "out"), *options)
        done = run_to_its_end(command, {"PYTHONHASHSEED": seed, "TMPDIR": str(source.parent)})
        assert done.returncode == 0, done.stderr
        versions.append(tmp_path / name / "out" / "1")

    one, other = versions
    for path in one.iterdir():
        assert path.read_bytes() == (other / path.name).read_bytes(), path.name
    assert {path.name for path in one.iterdir()} == {path.name for path in other.iterdir()}
    assert str(tmp_path) not in (one / "conversion.json").read_text()
