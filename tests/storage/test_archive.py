"""Archives: what is unpacked, what is left alone, what is refused by name with nothing written outside."""

import errno
import gzip
import hashlib
import io
import os
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ovms_converter.errors import ConverterError, CorruptModelError, ModelError, ResourceError
from ovms_converter.storage.archive import ArchiveLimits, may_be_archive, unpacked
from ovms_converter.storage.base import FetchedFile, FetchedTree

TREE = {
    "MLmodel": b"flavors: {}",
    "data/model/saved_model.pb": b"graph" * 1000,
    "data/model/variables/variables.index": b"",
    "data/mödel.onnx": bytes(range(256)) * 500,
}


def zipped(files: dict[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(files: dict[str, bytes], *, format: int = tarfile.PAX_FORMAT) -> bytes:
    return tarred_members([(tarfile.TarInfo(name), data) for name, data in files.items()], format=format)


def tarred_members(
    members: list[tuple[tarfile.TarInfo, bytes]], *, format: int = tarfile.PAX_FORMAT
) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for info, data in members:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def unpack(
    tmp_path: Path, data: bytes, name: str = "model.bin", limits: ArchiveLimits | None = None
) -> dict[str, bytes] | None:
    """The paths and bytes that `unpacked` makes of a file; digests are right, nothing else is there."""
    root, directory = tmp_path / "fetched", tmp_path / "unpacked"
    root.mkdir()
    directory.mkdir()
    (root / name).write_bytes(data)
    tree = unpacked(FetchedTree(root, (FetchedFile(name, len(data)),)), directory, limits)
    if tree is None:
        assert list(directory.iterdir()) == []
        return None
    found = {file.path: (tree.root / file.path).read_bytes() for file in tree.files}
    assert {file.path: file.sha256 for file in tree.files} == {
        path: hashlib.sha256(data).hexdigest() for path, data in found.items()
    }
    assert [file.path for file in tree.files] == sorted(found)
    assert sum(path.is_file() for path in directory.rglob("*")) == len(found)
    return found


ARCHIVES: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "zip": zipped,
    "zip-stored": lambda files: zipped(files, method=zipfile.ZIP_STORED),
    "zip-lzma": lambda files: zipped(files, method=zipfile.ZIP_LZMA),
    "tar": tarred,
    "tar-gnu": lambda files: tarred(files, format=tarfile.GNU_FORMAT),
    "tar-ustar": lambda files: tarred(files, format=tarfile.USTAR_FORMAT),
    "tar.gz": lambda files: gzip.compress(tarred(files)),
}


@pytest.fixture(params=ARCHIVES)
def make(request: pytest.FixtureRequest) -> Callable[[dict[str, bytes]], bytes]:
    return ARCHIVES[request.param]


@pytest.fixture(params=["zip", "tar", "tar.gz"])
def make_any(request: pytest.FixtureRequest) -> Callable[[dict[str, bytes]], bytes]:
    return ARCHIVES[request.param]


def test_an_archive_becomes_its_files(tmp_path: Path, make: Callable[[dict[str, bytes]], bytes]) -> None:
    assert may_be_archive(make(TREE)[:512])
    assert unpack(tmp_path, make(TREE)) == TREE


def test_directories_around_the_model_are_left_out(
    tmp_path: Path, make_any: Callable[[dict[str, bytes]], bytes]
) -> None:
    assert (
        unpack(tmp_path, make_any({f"./run/artifacts/{path}": data for path, data in TREE.items()})) == TREE
    )


def test_one_file_alone_is_found(tmp_path: Path, make_any: Callable[[dict[str, bytes]], bytes]) -> None:
    assert unpack(tmp_path, make_any({"a/b/m.onnx": b"model"})) == {"m.onnx": b"model"}


def test_what_a_mac_leaves_behind_is_no_file(
    tmp_path: Path, make_any: Callable[[dict[str, bytes]], bytes]
) -> None:
    litter = {"__MACOSX/m/._m.onnx": b"x", "m/._m.onnx": b"x", "m/.DS_Store": b"x"}
    assert unpack(tmp_path, make_any({"m/m.onnx": b"model", **litter})) == {"m.onnx": b"model"}


def test_directories_of_their_own_are_no_files(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in (".", "./model", "./model/assets"):
            info = tarfile.TarInfo(name)
            info.type = tarfile.DIRTYPE
            archive.addfile(info)
        info = tarfile.TarInfo("./model/saved_model.pb")
        info.size = 5
        archive.addfile(info, io.BytesIO(b"graph"))
    assert unpack(tmp_path, buffer.getvalue()) == {"saved_model.pb": b"graph"}


@pytest.mark.parametrize(
    ("name", "members"),
    [
        ("m.keras", {"metadata.json": b"", "config.json": b"", "model.weights.h5": b""}),
        ("m.zip", {"metadata.json": b"", "config.json": b"", "model.weights.h5": b""}),
        ("m.pth", {"archive/data.pkl": b"", "archive/version": b"3", "archive/data/0": b""}),
        ("m.pt", {"net/constants.pkl": b"", "net/code/x.onnx": b"", "net/version": b"3"}),
        ("m.pt2", {"m/archive_format": b"pt2", "m/.data/version": b"0", "m/models/model.onnx": b""}),
        ("m.npz", {"weights.npy": b""}),
        ("m.jar", {"META-INF/MANIFEST.MF": b"", "A.class": b""}),
    ],
)
def test_a_model_that_is_a_zip_itself_is_left_alone(
    tmp_path: Path, name: str, members: dict[str, bytes]
) -> None:
    assert unpack(tmp_path, zipped(members), name) is None


def test_one_file_as_gzip_is_that_file(tmp_path: Path) -> None:
    assert unpack(tmp_path, gzip.compress(b"model" * 900), "net.onnx.GZ") == {"net.onnx": b"model" * 900}


@pytest.mark.parametrize("kept", [30, -4])
def test_one_file_that_is_cut_is_damaged(tmp_path: Path, kept: int) -> None:
    with pytest.raises(CorruptModelError, match=r"the archive `m\.onnx\.gz` is damaged"):
        unpack(tmp_path, gzip.compress(os.urandom(900))[:kept], "m.onnx.gz")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x08\x07onnx",
        b"\x89HDF\r\n\x1a\n" + bytes(600),
        gzip.compress(b"not a tar" * 100, mtime=0),
        b"PK\x03\x04rubbish",
    ],
)
def test_what_is_no_archive_is_left_alone(tmp_path: Path, data: bytes) -> None:
    assert unpack(tmp_path, data) is None


def test_several_files_are_no_archive(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped(TREE))
    tree = FetchedTree(tmp_path, (FetchedFile("a.zip", 1), FetchedFile("b", 1)))
    assert unpacked(tree, tmp_path / "nowhere") is None


def test_a_zip_of_something_else_is_unpacked_so_that_it_can_be_named(tmp_path: Path) -> None:
    assert unpack(tmp_path, zipped({"model.pkl": b"x"}), "model.ZIP") == {"model.pkl": b"x"}


@pytest.mark.parametrize(
    "name",
    ["../evil.onnx", "a/../../evil.onnx", "/evil.onnx", "a//b.onnx", "a/./b.onnx", "C:/x.onnx",
     "a\\..\\b.onnx", "a\nb.onnx", "x" * 256 + ".onnx"],
)  # fmt: skip
def test_a_member_that_leads_elsewhere_is_refused(
    tmp_path: Path, make_any: Callable[[dict[str, bytes]], bytes], name: str
) -> None:
    with pytest.raises(ModelError, match="has a member that is not unpacked") as caught:
        unpack(tmp_path, make_any({"MLmodel": b"", name: b"evil"}))
    assert caught.value.exit_code == 5
    assert [path for path in tmp_path.rglob("*") if path.is_file() and b"evil" in path.read_bytes()[:4]] == []


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (tarfile.SYMTYPE, "is a link"),
        (tarfile.LNKTYPE, "is a link"),
        (tarfile.CHRTYPE, "is neither a file nor a directory"),
        (tarfile.BLKTYPE, "is neither a file nor a directory"),
        (tarfile.FIFOTYPE, "is neither a file nor a directory"),
    ],
)
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes, reason: str) -> None:
    info = tarfile.TarInfo("variables")
    info.type, info.linkname = kind, "/etc"
    with pytest.raises(ModelError, match=f"`variables` {reason}"):
        unpack(tmp_path, tarred_members([(info, b""), (tarfile.TarInfo("variables/x"), b"x")]))
    assert list((tmp_path / "unpacked").iterdir()) == []


@pytest.mark.parametrize(("mode", "reason"), [(stat.S_IFLNK, "a link"), (stat.S_IFIFO, "neither a file")])
def test_links_in_a_zip_are_refused(tmp_path: Path, mode: int, reason: str) -> None:
    info = zipfile.ZipInfo("m.onnx")
    info.external_attr = (mode | 0o777) << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(ModelError, match=rf"`m\.onnx` is {reason}"):
        unpack(tmp_path, buffer.getvalue())


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Model.onnx", "model.onnx"),
        ("A/x.onnx", "a/y.onnx"),
        ("m\u00f6.onnx", "mo\u0308.onnx"),
        ("stra\u00dfe.onnx", "STRASSE.onnx"),
        ("a", "a/b.onnx"),
        ("a/b.onnx", "a"),
    ],
)
def test_names_that_collide_somewhere_are_refused(
    tmp_path: Path, make_any: Callable[[dict[str, bytes]], bytes], first: str, second: str
) -> None:
    with pytest.raises(ModelError, match="has two members of one name"):
        unpack(tmp_path, make_any({first: b"1", second: b"2"}), "m.zip")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_comes_twice_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("m.onnx", b"1")
        archive.writestr("m.onnx", b"2")
    with pytest.raises(ModelError, match=r"two members of one name: `m\.onnx` and `m\.onnx`"):
        unpack(tmp_path, buffer.getvalue())


LOW = ArchiveLimits(total_bytes=10_000_000, ratio=10, ratio_from=100_000, members=100)


def test_a_bomb_is_refused_by_its_ratio(
    tmp_path: Path, make_any: Callable[[dict[str, bytes]], bytes]
) -> None:
    data = make_any({"m.onnx": bytes(5_000_000)})
    if len(data) > 500_000:
        assert unpack(tmp_path, data, limits=LOW) is not None  # a plain tar does not grow
        return
    with pytest.raises(ModelError, match=r"unpacks to more than .* attack"):
        unpack(tmp_path, data, limits=LOW)


def test_a_bomb_is_refused_by_its_total(
    tmp_path: Path, make_any: Callable[[dict[str, bytes]], bytes]
) -> None:
    limits = ArchiveLimits(total_bytes=1_000_000, ratio=10**9)
    with pytest.raises(ModelError, match="unpacks to more than 0 MiB"):
        unpack(tmp_path, make_any({f"{number}.onnx": bytes(300_000) for number in range(4)}), limits=limits)


def test_one_file_that_grows_without_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="attack"):
        unpack(tmp_path, gzip.compress(bytes(5_000_000)), "m.onnx.gz", LOW)


def test_an_archive_of_torchserve_is_unpacked(tmp_path: Path) -> None:
    members = {"MAR-INF/MANIFEST.json": b"{}", "model.pt": b"model", "handler.py": b""}
    assert unpack(tmp_path, zipped(members), "m.mar") == members


def test_litter_counts_too(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="attack"):
        unpack(tmp_path, gzip.compress(tarred({"__MACOSX/x": bytes(5_000_000), "m.onnx": b""})), limits=LOW)


def test_a_zip_that_lies_about_its_sizes_is_refused(tmp_path: Path) -> None:
    data = bytearray(zipped({"m.onnx": bytes(5_000_000)}))
    directory = data.rindex(b"PK\x01\x02")
    struct.pack_into("<L", data, directory + 24, 10)
    with pytest.raises(CorruptModelError, match="is damaged"):
        unpack(tmp_path, bytes(data), limits=LOW)


def test_too_many_members_are_refused(tmp_path: Path, make_any: Callable[[dict[str, bytes]], bytes]) -> None:
    with pytest.raises(ModelError, match="more than 100 members"):
        unpack(tmp_path, make_any({f"{number}.onnx": b"" for number in range(101)}), limits=LOW)


def test_a_header_that_fills_the_memory_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("m.onnx")
    info.pax_headers = {"comment": "x" * 20_000_000}
    with pytest.raises(CorruptModelError, match="a header in it is too large"):
        unpack(tmp_path, gzip.compress(tarred_members([(info, b"")])))


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    data = bytearray(zipped({"m.onnx": b"model"}))
    data[6] |= 1
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(ModelError, match=r"`m\.onnx` is encrypted"):
        unpack(tmp_path, bytes(data))


def test_an_unknown_compression_is_refused(tmp_path: Path) -> None:
    data = bytearray(zipped({"m.onnx": b"model"}))
    for place in (8, data.rindex(b"PK\x01\x02") + 10):
        struct.pack_into("<H", data, place, 99)
    with pytest.raises(ModelError, match="cannot be unpacked"):
        unpack(tmp_path, bytes(data))


@pytest.mark.parametrize("name", ["zip", "tar", "tar.gz"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
def test_a_truncated_archive_is_damaged(tmp_path: Path, name: str, share: float) -> None:
    data = ARCHIVES[name]({f"{number}.onnx": bytes([number]) * 3000 for number in range(200)})
    data = data.rstrip(b"\0") if name == "tar" else data
    with pytest.raises(CorruptModelError, match=f"the archive `m.{name}` is damaged") as caught:
        unpack(tmp_path, data[: int(len(data) * share)], f"m.{name}")
    assert "again" in str(caught.value.hint)


def test_a_tar_cut_between_two_members_is_damaged(tmp_path: Path) -> None:
    data = tarred({"a.onnx": bytes(512), "b.onnx": bytes(512)}, format=tarfile.USTAR_FORMAT)
    with pytest.raises(CorruptModelError, match="its end is missing"):
        unpack(tmp_path, data[:1024])


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    data = bytearray(zipped({"m.onnx": b"model" * 100}, method=zipfile.ZIP_STORED))
    data[data.index(b"model")] ^= 1
    with pytest.raises(CorruptModelError, match="CRC"):
        unpack(tmp_path, bytes(data))


def test_an_archive_of_nothing_is_told(tmp_path: Path) -> None:
    with pytest.raises(CorruptModelError, match="holds no file"):
        unpack(tmp_path, zipped({}), "m.zip")


def test_a_full_disk_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def full(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_EXCL:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(ResourceError, match="no space left"):
        unpack(tmp_path, zipped(TREE))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    make=st.sampled_from([zipped, tarred, lambda files: gzip.compress(tarred(files))]),
    name=st.text(min_size=1, max_size=40),
    place=st.integers(0, 10_000),
    bits=st.integers(0, 255),
)
def test_no_bytes_write_elsewhere_or_fail_without_a_word(
    tmp_path_factory: pytest.TempPathFactory,
    make: Callable[[dict[str, bytes]], bytes],
    name: str,
    place: int,
    bits: int,
) -> None:
    tmp_path = tmp_path_factory.mktemp("archive")
    try:
        data = bytearray(make({"m.onnx": b"x" * 600, name: b"y"}))
    except (ValueError, UnicodeError):
        return  # such a name cannot even be written
    data[place % len(data)] ^= bits
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "m.zip").write_bytes(data)
    (tmp_path / "out").mkdir()
    tree = FetchedTree(tmp_path / "in", (FetchedFile("m.zip", len(data)),))
    try:
        unpacked(tree, tmp_path / "out", LOW)
    except ConverterError as refusal:
        assert refusal.exit_code == 5
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["m.zip"]
