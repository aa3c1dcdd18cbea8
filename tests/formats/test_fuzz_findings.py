"""What `tools/fuzz.py` has found, and that it runs: damaged files that once ended in a traceback."""

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ovms_converter.errors import CorruptModelError
from ovms_converter.formats.npz import read_npz
from ovms_converter.storage.archive import unpacked
from ovms_converter.storage.base import FetchedFile, FetchedTree

ROOT = Path(__file__).parents[2]


def packed(names: list[str]) -> bytearray:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name in names:
            archive.writestr(name, b"content of it")
    return bytearray(target.getvalue())


def test_a_zip_member_without_a_name(tmp_path: Path) -> None:
    data = packed(["model.onnx", "x"])
    entry = data.rindex(b"PK\1\2")
    end = data.index(b"PK\5\6")
    data[entry + 28 : entry + 30] = b"\0\0"
    del data[entry + 46]
    size = int.from_bytes(data[end - 1 + 12 : end - 1 + 16], "little") - 1
    data[end - 1 + 12 : end - 1 + 16] = size.to_bytes(4, "little")
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "model.zip").write_bytes(data)
    tree = FetchedTree(tmp_path / "source", (FetchedFile("model.zip", len(data), None),))
    found = unpacked(tree, tmp_path / "unpacked")
    assert found is not None
    assert [file.path for file in found.files] == ["model.onnx"]


def test_an_npz_whose_member_lies_before_its_file(tmp_path: Path) -> None:
    data = packed(["x.npy"])
    end = data.index(b"PK\5\6")
    place = int.from_bytes(data[end + 16 : end + 20], "little")
    data[end + 16 : end + 20] = (place + 60).to_bytes(4, "little")
    (tmp_path / "d.npz").write_bytes(data)
    with pytest.raises(CorruptModelError, match="damaged"):
        read_npz(tmp_path / "d.npz")


def test_the_tool_runs_every_reader(tmp_path: Path) -> None:
    tool, findings = str(ROOT / "tools" / "fuzz.py"), str(tmp_path / "findings")
    command = [sys.executable, tool, "--seconds", "0", "--findings", findings]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1].endswith("files, 0 findings")
    assert not (tmp_path / "findings").exists()
