"""A result is on the disk before a rename shows it to a server."""

import errno
import os
from pathlib import Path

import pytest

import ovms_converter
from engine_rig import dense
from ovms_converter.errors import ResourceError
from ovms_converter.pipeline import result
from ovms_converter.storage import renaming


def test_a_disk_that_does_not_take_the_weights_is_told_and_nothing_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(result, "flush", full)
    model = dense(tmp_path / "m.onnx")
    with pytest.raises(ResourceError, match="no space left"):
        ovms_converter.convert(str(model), str(tmp_path / "out"), environ={})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.onnx"]


def test_every_file_is_flushed_before_it_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, bool]] = []
    flush = renaming.flush

    def watch(path: Path) -> None:
        seen.append((path.name, (tmp_path / "out" / "1").exists()))
        flush(path)

    for module in (result, renaming):
        monkeypatch.setattr(module, "flush", watch)
    ovms_converter.convert(str(dense(tmp_path / "m.onnx")), str(tmp_path / "out"), environ={})
    shown = {name for name, published in seen if not published}
    assert shown >= {"m.bin", "m.xml", "conversion.json"}
    assert ("out", True) in seen
