"""Local files: read where they lie, published by one rename."""

import errno
import os
import socket
from pathlib import Path

import pytest

from ovms_converter.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    ConverterError,
    LocationError,
    NotFoundError,
    ResourceError,
)
from ovms_converter.storage import open_destination, open_source
from ovms_converter.storage.base import Destination, Source
from ovms_converter.storage.disk import disk_error
from ovms_converter.storage.location import Location


def source(path: Path | str) -> Source:
    return open_source(Location.parse(str(path)), {})


def destination(path: Path | str) -> Destination:
    return open_destination(Location.parse(str(path)), {})


def nothing(count: int) -> None:
    """Progress that nobody reads."""


def tree(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    (path / "variables").mkdir(parents=True)
    (path / "saved_model.pb").write_bytes(b"graph")
    (path / "variables" / "variables.index").write_bytes(b"0123456789")
    (tmp_path / "model-old").mkdir()
    (tmp_path / "model-old" / "x").write_bytes(b"1")
    return path


@pytest.mark.parametrize("spelling", ["{}", "{}/", "file://{}", "file:{}"])
def test_a_directory_is_read_where_it_lies(model: Path, spelling: str, tmp_path: Path) -> None:
    found = source(spelling.format(model))
    listing = found.list()
    assert not listing.is_file
    assert [(entry.path, entry.size) for entry in listing.entries] == [
        ("saved_model.pb", 5),
        ("variables/variables.index", 10),
    ]
    moved: list[int] = []
    fetched = found.fetch(["saved_model.pb"], tmp_path / "unused", moved.append)
    assert fetched.root == model
    assert [(file.path, file.size) for file in fetched.files] == [("saved_model.pb", 5)]
    assert moved == [5]
    assert not (tmp_path / "unused").exists()
    assert found.read("variables/variables.index", 2, 3) == b"234"


def test_a_file_reaches_its_neighbours_and_nothing_above(model: Path) -> None:
    found = source(model / "saved_model.pb")
    listing = found.list()
    assert listing.is_file
    assert [entry.path for entry in listing.entries] == ["saved_model.pb"]
    assert found.read("variables/variables.index") == b"0123456789"
    assert found.fetch(["saved_model.pb"], model, nothing).root == model
    for path in ("../model-old/x", "/etc/hostname", ""):
        with pytest.raises(LocationError, match="is not below"):
            found.read(path)
        with pytest.raises(LocationError, match="is not below"):
            found.fetch([path], model, nothing)


def test_what_is_missing_is_named(model: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no `.*/absent`"):
        source(model / "absent").list()
    with pytest.raises(NotFoundError, match=r"no `.*/model/absent`"):
        source(model).read("absent")
    with pytest.raises(NotFoundError, match=r"no `.*/model/absent`"):
        source(model).fetch(["absent"], model, nothing)


def test_links_are_followed_and_odd_files_skipped(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (model / "link").symlink_to(tmp_path / "model-old" / "x")
    (model / "dir").symlink_to(tmp_path / "model-old")
    (model / "broken").symlink_to(tmp_path / "nowhere")
    os.mkfifo(model / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(model)
        server.bind("socket")
        paths = [entry.path for entry in source(model).list().entries]
    assert paths == ["dir/x", "link", "saved_model.pb", "variables/variables.index"]


def test_a_link_to_itself_does_not_end_in_a_loop(model: Path) -> None:
    (model / "variables" / "again").symlink_to(model)
    with pytest.raises(LocationError, match="link to a directory that holds it"):
        source(model).list()


def test_a_device_is_no_model() -> None:
    with pytest.raises(LocationError, match="neither a file nor a directory"):
        source("/dev/null").list()


def test_publishing_shows_everything_at_once(model: Path, tmp_path: Path) -> None:
    where = tmp_path / "out" / "ovms"
    found = destination(where)
    assert found.list() == ()
    found.check_writable()
    assert not (tmp_path / "out").exists()
    scratch = found.scratch()
    assert scratch is not None
    assert scratch.name.startswith(".ovms-")
    (scratch / "m.bin").write_bytes(b"weights")
    moved: list[int] = []
    files = {
        "conversion.json": model / "saved_model.pb",
        "m.bin": scratch / "m.bin",
        "a/b": model / "saved_model.pb",
    }
    found.publish("1", files, moved.append)
    assert tree(where) == {"1/conversion.json": b"graph", "1/m.bin": b"weights", "1/a/b": b"graph"}
    assert sum(moved) == 17
    assert [entry.path for entry in found.list()] == ["1/a/b", "1/conversion.json", "1/m.bin"]
    assert found.read("1/m.bin") == b"weights"
    assert [path.name for path in where.iterdir()] == ["1"]


def test_anybody_may_read_what_was_published(model: Path, tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        destination(tmp_path / "out").publish("1", {"m": model / "saved_model.pb"}, nothing)
    finally:
        os.umask(old)
    assert (tmp_path / "out" / "1").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "out" / "1" / "m").stat().st_mode & 0o777 == 0o644


def test_the_users_own_file_is_copied_not_linked(model: Path, tmp_path: Path) -> None:
    destination(tmp_path / "out").publish("1", {"m": model / "saved_model.pb"}, nothing)
    assert (tmp_path / "out" / "1" / "m").stat().st_ino != (model / "saved_model.pb").stat().st_ino


@pytest.mark.parametrize("existing", ["directory", "empty directory", "file", "broken link"])
def test_a_directory_that_exists_is_never_touched(model: Path, tmp_path: Path, existing: str) -> None:
    where = tmp_path / "out"
    where.mkdir()
    if existing == "file":
        (where / "1").write_bytes(b"old")
    elif existing == "broken link":
        (where / "1").symlink_to(tmp_path / "nowhere")
    else:
        (where / "1").mkdir()
        if existing == "directory":
            (where / "1" / "old").write_bytes(b"old")
    before = tree(where)
    with pytest.raises(AlreadyExistsError, match=r"out/1` exists already"):
        destination(where).publish("1", {"m": model / "saved_model.pb"}, nothing)
    assert tree(where) == before
    assert [path.name for path in where.iterdir()] == ["1"]


def test_a_run_that_was_overtaken_keeps_its_files_for_the_next_number(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = destination(tmp_path / "out")
    scratch = found.scratch()
    assert scratch is not None
    (scratch / "m").write_bytes(b"mine")
    rename = Path.rename

    def overtaken(self: Path, target: Path) -> Path:
        target.mkdir()
        (target / "theirs").write_bytes(b"1")
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", overtaken)
        with pytest.raises(AlreadyExistsError):
            found.publish("1", {"m": scratch / "m"}, nothing)
    found.publish("2", {"m": scratch / "m"}, nothing)
    assert tree(tmp_path / "out") == {"1/theirs": b"1", "2/m": b"mine"}


def test_a_failed_publication_leaves_nothing(model: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        destination(tmp_path / "a" / "b").publish(
            "1", {"m": model / "saved_model.pb", "gone": model / "gone"}, nothing
        )
    assert not (tmp_path / "a").exists()


def test_removing(model: Path, tmp_path: Path) -> None:
    found = destination(tmp_path / "out")
    found.publish("1", {"m": model / "saved_model.pb", "a/b": model / "saved_model.pb"}, nothing)
    found.remove(["1/a/b", "1/absent"])
    assert tree(tmp_path / "out") == {"1/m": b"graph"}
    found.remove(["1/m"])
    assert list((tmp_path / "out").iterdir()) == []


def test_a_file_is_no_destination(model: Path) -> None:
    for path in (model / "saved_model.pb", model / "saved_model.pb" / "below"):
        with pytest.raises(LocationError, match="is a file"):
            destination(path).check_writable()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_without_permission_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(AccessDeniedError):
            destination(tmp_path / "out").check_writable()
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.skipif(not os.path.ismount("/sys"), reason="needs a file system that refuses everybody")
def test_a_file_system_that_cannot_be_written_is_told() -> None:
    with pytest.raises(LocationError):
        destination("/sys/ovms").check_writable()


@pytest.mark.parametrize(
    ("number", "kind", "exit_code"),
    [
        (errno.ENOSPC, ResourceError, 7),
        (errno.EDQUOT, ResourceError, 7),
        (errno.EROFS, LocationError, 3),
        (errno.EACCES, AccessDeniedError, 3),
        (errno.ENOENT, NotFoundError, 3),
        (errno.ENAMETOOLONG, LocationError, 3),
        (errno.EIO, ConverterError, 4),
    ],
)
def test_what_the_system_says_is_told_apart(number: int, kind: type[ConverterError], exit_code: int) -> None:
    error = disk_error(OSError(number, os.strerror(number)), "/some/where")
    assert isinstance(error, kind)
    assert error.exit_code == exit_code
    assert "`/some/where`" in error.message


def test_scratch_directories_are_not_listed(model: Path) -> None:
    found = destination(model)
    scratch = found.scratch()
    assert scratch is not None
    (scratch / "half").write_bytes(b"1")
    assert [entry.path for entry in source(model).list().entries] == [
        "saved_model.pb",
        "variables/variables.index",
    ]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc here")
def test_a_file_system_that_takes_no_directories_is_told() -> None:
    found = open_destination(Location.parse("/proc/models"), {})
    for ask in (found.check_writable, found.scratch):
        with pytest.raises(LocationError, match="`/proc/models` cannot be created"):
            ask()


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"\xff.onnx", "`\ufffd.onnx` has bytes in it that are no UTF-8"),
        (b"a\nb", "`a\ufffdb` has a control"),
    ],
    ids=["no text", "two lines"],
)
def test_names_that_cannot_be_told_are_refused_in_a_source_and_skipped_in_a_destination(
    tmp_path: Path, name: bytes, shown: str
) -> None:
    (tmp_path / "model.onnx").write_bytes(b"model")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(b"odd")
    location = Location.parse(str(tmp_path))
    with pytest.raises(LocationError, match="holds a file whose name cannot be used") as caught:
        open_source(location, {}).list()
    assert shown in caught.value.message
    assert [entry.path for entry in open_destination(location, {}).list()] == ["model.onnx"]
