"""Files of a Keras that is newer than what is known or installed here."""

import importlib.metadata
import io
import json
import zipfile

import pytest

from formats_helpers import MemoryFiles
from ovms_converter import formats
from ovms_converter.errors import UnsupportedModelError
from ovms_converter.formats.describe import describe
from ovms_converter.formats.keras_config import newer_note, release

CONFIG = {"class_name": "Sequential", "config": {"name": "m", "layers": []}}


def archive(version: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as written:
        written.writestr("metadata.json", json.dumps({"keras_version": version}))
        written.writestr("config.json", json.dumps(CONFIG))
        written.writestr("model.weights.h5", b"")
    return buffer.getvalue()


def hdf5(version: str) -> bytes:
    attributes = b"keras_version\0" + version.encode() + b"\0model_config\0" + json.dumps(CONFIG).encode()
    return b"\x89HDF\r\n\x1a\n" + bytes(64) + attributes + b"\0"


FILES = {"m.keras": archive, "m.h5": hdf5}


@pytest.mark.parametrize("path", FILES)
def test_a_major_release_that_nobody_knows_is_refused(path: str) -> None:
    with pytest.raises(UnsupportedModelError) as caught:
        formats.recognise(MemoryFiles({path: FILES[path]("4.0.1")}))
    assert (
        f"`{path}` was written by Keras 4.0.1, and only releases up to 3 are known here"
        in caught.value.message
    )
    assert "saved_model" in (caught.value.hint or "")


@pytest.mark.parametrize("path", FILES)
@pytest.mark.parametrize(("version", "noted"), [("3.16.0", True), ("3.15.9", False), ("2.15.0", False)])
def test_a_newer_release_than_the_installed_one_is_noted(
    path: str, version: str, noted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "3.15.1")
    files = MemoryFiles({path: FILES[path](version)})
    found = describe(files, formats.identify(formats.open_tree(files)))
    assert found.producer == f"Keras {version}"
    assert any(f"written by Keras {version} and read by 3.15.1" in note for note in found.notes) == noted


@pytest.mark.parametrize("path", FILES)
def test_without_keras_nothing_is_noted(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    files = MemoryFiles({path: FILES[path]("3.99.0")})
    found = describe(files, formats.identify(formats.open_tree(files)))
    assert not any("written by Keras" in note for note in found.notes)


@pytest.mark.parametrize(
    ("version", "number"),
    [
        ("3.15.1", (3, 15)),
        ("2.4.0-tf", (2, 4)),
        ("3.16.0.dev2", (3, 16)),
        ("", None),
        ("x.1", None),
        ("3", None),
    ],
)
def test_releases_are_read(version: str, number: tuple[int, int] | None) -> None:
    assert release(version) == number
    assert newer_note(version, "") is None
