"""The tree that formats look at: what is left out, what is read, how paths are judged, ZIP directories."""

import io
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from formats_helpers import MemoryFiles, onnx_bytes
from ovms_converter import formats
from ovms_converter.errors import (
    AccessDeniedError,
    CorruptModelError,
    NotFoundError,
    RequestError,
    UnsupportedModelError,
)
from ovms_converter.formats.tree import Window, inside
from ovms_converter.formats.zipdir import zip_names

IR = b"<?xml version='1.0'?><net name='m' version='11'></net>"


def test_local_files_of_a_directory_a_file_and_a_choice(tmp_path: Path) -> None:
    MemoryFiles({"a/b.onnx": b"12345", "c": b""}).write_to(tmp_path)
    assert formats.LocalFiles(tmp_path).sizes() == {"a/b.onnx": 5, "c": 0}
    assert formats.LocalFiles(tmp_path / "a/b.onnx").sizes() == {"b.onnx": 5}
    assert formats.LocalFiles(tmp_path, ["c"]).sizes() == {"c": 0}
    assert formats.LocalFiles(tmp_path).read("a/b.onnx", 1, 3) == b"234"
    assert formats.LocalFiles(tmp_path).read("a/b.onnx", 4) == b"5"
    with pytest.raises(NotFoundError):
        formats.LocalFiles(tmp_path / "nothing")
    with pytest.raises(NotFoundError):
        formats.LocalFiles(tmp_path).read("a")


def test_a_file_that_may_not_be_read_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    MemoryFiles({"m.onnx": onnx_bytes()}).write_to(tmp_path)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(AccessDeniedError, match=r"`m\.onnx`"):
        formats.recognise(formats.LocalFiles(tmp_path))


def test_hidden_files_and_published_versions_are_no_sources() -> None:
    files = MemoryFiles(
        {
            "model.onnx": onnx_bytes(),
            ".cache/huggingface/model.onnx": onnx_bytes(),
            "__MACOSX/._model.onnx": onnx_bytes(),
            "3/model.xml": IR,
            "3/model.bin": b"\0",
            "3/conversion.json": b"{}",
            "ovms/1/saved_model.xml": IR,
            "ovms/1/saved_model.bin": b"\0",
            "ovms/1/saved_model.mapping": b"",
        }
    )
    assert formats.recognise(files).path == "model.onnx"


def test_a_numbered_directory_with_a_source_is_one() -> None:
    assert formats.recognise(MemoryFiles({"1/model.onnx": onnx_bytes()})).path == "1/model.onnx"


def test_a_tree_of_nothing_but_a_published_version_is_ir() -> None:
    found = formats.recognise(MemoryFiles({"1/m.xml": IR, "1/m.bin": b"\0"}))
    assert (found.format, found.path) == ("openvino.ir", "1/m.xml")
    assert found.needs == ("1/m.bin", "1/m.xml")


def test_an_empty_tree_says_so() -> None:
    with pytest.raises(UnsupportedModelError, match="no files"):
        formats.recognise(MemoryFiles({}))


def test_recognising_loads_no_framework(tmp_path: Path) -> None:
    MemoryFiles({"m.onnx": onnx_bytes()}).write_to(tmp_path)
    program = (
        "import sys; from pathlib import Path; from ovms_converter import formats;"
        f"root = Path({str(tmp_path)!r}); files = formats.LocalFiles(root); model = formats.recognise(files);"
        "formats.companions(root, model, files);"
        "print([name for name in ('numpy', 'openvino', 'onnx', 'obstore') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_an_unknown_input_format_is_a_wrong_request() -> None:
    with pytest.raises(RequestError, match="`caffe2`") as caught:
        formats.recognise(MemoryFiles({"m.onnx": onnx_bytes()}), "caffe2")
    assert caught.value.parameter == "input_format"


def test_no_more_than_a_few_of_many_unknown_files_are_opened() -> None:
    files = MemoryFiles({f"part-{number:04}": b"\xf7" * 10_000 for number in range(300)})
    with pytest.raises(UnsupportedModelError, match="no model among 300 files"):
        formats.recognise(files)
    assert len({path for path, _, _ in files.reads}) <= 20


@pytest.mark.parametrize(
    ("base", "path", "whole"),
    [("", "a", "a"), ("d", "a/b", "d/a/b"), ("d", "./a//b", "d/a/b"), ("", r"a\b", "a/b"), ("d", ".", "d/")],
)
def test_paths_inside(base: str, path: str, whole: str) -> None:
    assert inside(base, path, "a file") == whole.rstrip("/")


@pytest.mark.parametrize(
    "path", ["", "  ", "/a", r"\a", "..", "a/..", r"a\..\b", "C:a", "s3://b/k", "~/x", "a\0b", "a\nb"]
)
def test_paths_outside(path: str) -> None:
    with pytest.raises(CorruptModelError, match=r"^a file names the file"):
        inside("d", path, "a file")


def zipped(names: list[str], comment: bytes = b"") -> bytes:
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as written:
            for name in names:
                written.writestr(name, b"x" * 50)
            written.comment = comment
        return file.getvalue()


def window(data: bytes) -> Window:
    return Window(lambda start, length: data[start : start + length], len(data))


def test_the_names_in_an_archive_come_from_its_end() -> None:
    names = [f"model/data/{number}" for number in range(2000)]
    reads: list[int] = []
    data = zipped(names, b"a comment" * 1000)

    def read(start: int, length: int) -> bytes:
        reads.append(length)
        return data[start : start + length]

    assert zip_names(Window(read, len(data))) == tuple(names)
    assert sum(reads) < len(data)


def test_a_zip64_directory_is_found() -> None:
    data = zipped(["a/data.pkl"])
    directory = data.index(b"PK\x01\x02")
    size = data.index(b"PK\x05\x06") - directory
    record = b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 1, 1, size, directory)
    locator = b"PK\x06\x07" + struct.pack("<IQI", 0, directory + size, 1)
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    assert zip_names(window(data[: directory + size] + record + locator + end)) == ("a/data.pkl",)


def test_an_archive_without_an_end_has_no_names() -> None:
    assert zip_names(window(zipped(["a"])[:-30])) == ()


def test_a_window_reads_ahead_and_never_past_the_end() -> None:
    data = bytes(range(256)) * 400
    reads: list[tuple[int, int]] = []

    def read(start: int, length: int) -> bytes:
        reads.append((start, length))
        return data[start : start + length]

    file = Window(read, len(data))
    assert b"".join(file.bytes(at, 10) for at in range(0, len(data), 10)) == data
    assert len(reads) < 20
    assert all(start + length <= len(data) for start, length in reads)
    assert file.bytes(len(data), 5) == b""
