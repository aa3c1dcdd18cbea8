"""`inspect` looks into archives: the same facts, the same refusals as `convert`, and little that is read."""

import gzip
import io
import stat
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azurite import AzureBucket
from command_line import CommandLine
from http_servers import FaultyServer, Page, run_faulty
from inspection_models import DATA, external_weight, inline_weight, onnx_model, saved_model
from ovms_converter import formats
from ovms_converter.acquisition import Acquisition, SourceFiles
from ovms_converter.errors import ConverterError, ModelError
from ovms_converter.inspection import archives, inspect, reading
from ovms_converter.inspection.report import Archive, Inspection
from ovms_converter.request import Given, build_request
from ovms_converter.storage import open_source
from ovms_converter.storage.archive import unpacked
from ovms_converter.storage.archive_view import view
from ovms_converter.storage.base import FetchedFile, FetchedTree
from ovms_converter.storage.location import Location
from ovms_converter.units import size
from servers import GcsBucket, S3Bucket

ROWS = 2048
TREE = {
    "net/README.md": b"# about\n" * 300,
    "net/weights.bin": bytes(range(256)) * 16 * ROWS,
    "net/model.onnx": onnx_model(weight=external_weight("weights.bin", ROWS), shape=("batch", ROWS)),
}


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(files: dict[str, bytes], kind: bytes = tarfile.REGTYPE) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, "/etc", len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def deflated(files: dict[str, bytes]) -> bytes:
    return zipped(files, zipfile.ZIP_DEFLATED)


def tar_gz(files: dict[str, bytes]) -> bytes:
    return gzip.compress(tarred(files), 1)


KINDS: dict[str, tuple[str, Callable[[dict[str, bytes]], bytes]]] = {
    "zip": ("net.zip", zipped),
    "zip-deflated": ("net.zip", deflated),
    "tar": ("net.tar", tarred),
    "tar.gz": ("net.tar.gz", tar_gz),
}
PACKED = {kind: (name, make(TREE)) for kind, (name, make) in KINDS.items()}


@pytest.fixture
def site() -> Iterator[FaultyServer]:
    with run_faulty() as server:
        yield server


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Inspection:
    """What is told of the same files where nobody packed them."""
    directory = tmp_path_factory.mktemp("plain") / "net"
    directory.mkdir()
    for name, data in TREE.items():
        (directory.parent / name).write_bytes(data)
    return inspect(str(directory), environ={})


def assert_same(found: Inspection, plain: Inspection, kind: str) -> None:
    """All that is told of the model is what was told of it where it was not packed."""
    assert found.refusal is None
    assert found.convertible
    assert found.archive == Archive(kind.partition("-")[0], 3, sum(map(len, TREE.values())))
    assert found.forecast is not None
    here = replace(
        found,
        location=plain.location,
        archive=None,
        files=plain.files,
        total_bytes=plain.total_bytes,
        bytes_read=plain.bytes_read,
        requests=plain.requests,
        forecast=plain.forecast,
        command=plain.command,
    )
    assert here == plain


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_on_disk_is_told_like_its_files(tmp_path: Path, plain: Inspection, kind: str) -> None:
    name, data = PACKED[kind]
    (tmp_path / name).write_bytes(data)
    found = inspect(str(tmp_path / name), environ={})
    assert_same(found, plain, kind)
    assert found.command == (
        "ovms-converter", "convert", str(tmp_path / name), str(tmp_path / "net-ovms"),
    )  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_behind_http(site: FaultyServer, plain: Inspection, kind: str, ranges: bool) -> None:
    name, data = PACKED[kind]
    site.pages[f"/{name}"] = Page(data, ranges=ranges)
    found = inspect(site.url(f"/{name}"), environ={})
    assert_same(found, plain, kind)
    assert found.forecast is not None
    assert found.forecast.download == len(data)
    assert found.forecast.disk == len(data) + sum(map(len, TREE.values()))
    if ranges and kind != "tar.gz":
        assert found.bytes_read < 60_000
        assert site.sent < 200_000
    else:
        assert site.sent < 2.2 * len(data)


def test_a_server_that_does_not_tell_a_size_sends_the_archive_once(
    site: FaultyServer, plain: Inspection
) -> None:
    site.pages["/net.zip"] = Page(PACKED["zip"][1], ranges=False, chunked=True)
    assert_same(inspect(site.url("/net.zip"), environ={}), plain, "zip")


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_in_a_store(s3: S3Bucket, plain: Inspection, kind: str) -> None:
    name, data = PACKED[kind]
    s3.put(name, data)
    found = inspect(s3.url(name), environ=s3.environ())
    assert_same(found, plain, kind)
    if kind != "tar.gz":
        assert found.bytes_read < 60_000
        assert found.requests < 8


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_in_another_store(gcs: GcsBucket, plain: Inspection, kind: str) -> None:
    name, data = PACKED[kind]
    gcs.put(name, data)
    assert_same(inspect(gcs.url(name), environ=gcs.environ()), plain, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_in_azure(azure: AzureBucket, plain: Inspection, kind: str) -> None:
    name, data = PACKED[kind]
    azure.put(name, data)
    assert_same(inspect(azure.url(name), environ=azure.environ()), plain, kind)


def test_weights_inside_a_deflated_graph_are_inflated_and_not_kept(tmp_path: Path) -> None:
    model = onnx_model(weight=inline_weight(4000), shape=("batch", 4000))
    for name, make in KINDS.values():
        (tmp_path / name).write_bytes(make({"model.onnx": model}))
        found = inspect(str(tmp_path / name), environ={})
        assert [(kind.type, kind.elements) for kind in found.weights] == [("float32", 4000 * 1024)]
        assert found.description is not None
        assert found.description.outputs[0].name == "y"


def test_a_saved_model_in_an_archive(tmp_path: Path) -> None:
    (tmp_path / "m.zip").write_bytes(deflated({"run/model/saved_model.pb": saved_model("a", "b")}))
    found = inspect(str(tmp_path / "m.zip"), environ={})
    assert found.description is not None
    assert (found.description.format, found.path) == ("tensorflow.saved_model", "")
    assert found.advice[0].startswith("there is no `serving_default` among the signatures `a`, `b`")


def test_several_models_cannot_be_given_by_a_path_into_an_archive(tmp_path: Path) -> None:
    (tmp_path / "m.zip").write_bytes(zipped({"a.onnx": onnx_model(), "b.onnx": onnx_model()}))
    found = inspect(str(tmp_path / "m.zip"), environ={})
    assert found.refusal is not None
    assert found.refusal.hint == "unpack it, and give one of them by its path"
    assert converting(tmp_path / "m.zip", tmp_path / "work").hint == found.refusal.hint


def test_the_report_and_the_document_tell_of_the_archive(command: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "m.tar").write_bytes(tarred({"m.onnx": onnx_model()}))
    done = command("inspect", str(tmp_path / "m.tar"))
    assert "archive     tar of 1 file, 130 B unpacked\n" in done.out
    document = command("inspect", str(tmp_path / "m.tar"), "--json").document
    assert document["archive"] == {"kind": "tar", "files": 1, "bytes": 130}
    assert document["files"] == 1
    assert document["bytes"] == 10240


@contextmanager
def quiet(*_: object, **__: object) -> Iterator[Callable[[int], None]]:
    yield lambda _: None


def converting(path: Path, work: Path) -> ConverterError:
    """What a conversion of an archive ends with before anything is converted."""
    request = build_request({"input_model": Given(str(path), "argument")})
    acquisition = Acquisition(request, {})
    acquisition.look()
    with pytest.raises(ConverterError) as caught:
        acquisition.fetch(work, quiet)  # type: ignore[arg-type]  # nobody counts
    return caught.value


def lying(data: bytes, offset: int, value: int) -> bytes:
    """A zip whose list tells something else at an offset."""
    changed = bytearray(data)
    struct.pack_into("<L", changed, data.rindex(b"PK\x01\x02") + offset, value)
    return bytes(changed)


def link() -> bytes:
    info = zipfile.ZipInfo("m.onnx")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    return buffer.getvalue()


def zip64(size: int) -> bytes:
    """A zip of one member that tells such a size in the fields of zip64."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, archive.open("m.onnx", "w", force_zip64=True) as member:
        member.write(onnx_model())
    data = buffer.getvalue()
    at = data.rindex(b"PK\x01\x02")
    name, extra = struct.unpack_from("<HH", data, at + 28)
    assert extra == 0
    grown = bytearray(
        data[: at + 46 + name] + struct.pack("<HHQQ", 1, 16, size, size) + data[at + 46 + name :]
    )
    struct.pack_into("<LL", grown, at + 20, 0xFFFFFFFF, 0xFFFFFFFF)
    struct.pack_into("<H", grown, at + 30, 20)
    end = grown.rindex(b"PK\x05\x06")
    struct.pack_into("<L", grown, end + 12, struct.unpack_from("<L", grown, end + 12)[0] + 20)
    return bytes(grown)


HOSTILE = {
    "escape.zip": zipped({"MLmodel": b"", "../m.onnx": b"evil"}),
    "escape.tar": tarred({"MLmodel": b"", "../m.onnx": b"evil"}),
    "escape.tar.gz": tar_gz({"MLmodel": b"", "../m.onnx": b"evil"}),
    "absolute.tar": tarred({"/m.onnx": b"evil"}),
    "windows.zip": zipped({"C:/m.onnx": b"evil"}),
    "link.zip": link(),
    "link.tar": tarred({"m.onnx": b""}, tarfile.SYMTYPE),
    "link.tar.gz": gzip.compress(tarred({"m.onnx": b""}, tarfile.LNKTYPE)),
    "device.tar": tarred({"m.onnx": b""}, tarfile.CHRTYPE),
    "case.zip": zipped({"Model.onnx": b"1", "model.onnx": b"2"}),
    "case.tar": tarred({"Model.onnx": b"1", "model.onnx": b"2"}),
    "nothing.zip": zipped({}),
    "nothing.tar": tarred({"__MACOSX/._m.onnx": b"x"}),
    "cut.zip": deflated(TREE)[:-60],
    "cut-list.zip": deflated(TREE)[:-22],
    "cut.tar": tarred(TREE)[:300_000],
    "cut.tar.gz": tar_gz(TREE)[:3_000],
    "cut-head.tar.gz": tar_gz(TREE)[:40],
    "larger.zip": lying(zipped({"m.onnx": onnx_model()}), 24, 1000),
    "larger-stored.zip": lying(lying(zipped({"m.onnx": onnx_model()}), 24, 90_000), 20, 90_000),
    "smaller.zip": lying(deflated({"m.onnx": onnx_model()}), 24, 100),
    "wrong-sum.zip": lying(zipped({"m.onnx": onnx_model()}), 16, 1),
    "bomb.zip": lying(zipped({"m.onnx": onnx_model()}), 24, 0xFFFFFFF0),
    "bomb64.zip": zip64(1 << 45),
    "longer64.zip": zip64(100_000),
    "encrypted.zip": zipped({"m.onnx": b"x"}).replace(
        b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_hostile_is_refused_with_the_words_of_a_conversion(
    tmp_path: Path, site: FaultyServer, name: str
) -> None:
    (tmp_path / name).write_bytes(HOSTILE[name])
    site.pages[f"/{name}"] = Page(HOSTILE[name])
    expected = converting(tmp_path / name, tmp_path / "work")
    assert expected.exit_code == 5
    for place in (str(tmp_path / name), site.url(f"/{name}")):
        found = inspect(place, environ={})
        assert found.refusal is not None
        assert (type(found.refusal), found.refusal.message) == (type(expected), expected.message)
        assert (found.refusal.hint, found.convertible, found.command) == (expected.hint, False, ())


def test_a_bomb_in_a_tar_gz_is_refused_with_the_words_of_a_conversion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tarfile.TarInfo("m.onnx")
    info.size = 5 << 30
    (tmp_path / "m.tar.gz").write_bytes(gzip.compress(info.tobuf() + bytes(4096)))
    expected = converting(tmp_path / "m.tar.gz", tmp_path / "work")
    assert "taken for an attack" in expected.message
    found = inspect(str(tmp_path / "m.tar.gz"), environ={})
    assert found.refusal is not None
    assert found.refusal.message == expected.message
    assert found.description is not None
    assert found.description.title == "a gzip file"


LIMITS = archives.Limits


@pytest.mark.parametrize(
    ("kind", "limits", "words"),
    [
        ("tar.gz", {"fetched": 20_000}, "more than 20.0 kB of its {size} would have to be fetched"),
        ("tar.gz", {"unpacked": 1_000_000}, "more than 1.00 MB of it would have to be unpacked"),
        ("zip-deflated", {"unpacked": 100}, "more than 100 B of it would have to be unpacked"),
        ("tar", {"requests": 0}, "its members are not all found after 0 requests"),
    ],
)
def test_what_would_cost_too_much_is_left_to_convert(
    site: FaultyServer,
    command: CommandLine,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    limits: dict[str, int],
    words: str,
) -> None:
    if "fetched" in limits:
        monkeypatch.setattr(reading, "FETCHED", limits["fetched"])
    else:
        monkeypatch.setattr(archives, "Limits", lambda: LIMITS(**limits))
    name, data = PACKED[kind]
    site.pages[f"/{name}"] = Page(data)
    found = inspect(site.url(f"/{name}"), environ={})
    assert found.refusal is None
    assert found.description is not None
    assert found.description.format.startswith("archive.")
    assert found.advice[0].startswith(words.format(size=size(len(data))))
    assert found.advice[0].endswith("`convert` takes all of it")
    assert found.command == ("ovms-converter", "convert", site.url(f"/{name}"), "./net-ovms")
    assert site.sent < len(data) + 100_000


@pytest.mark.parametrize("chunked", [True, False])
def test_a_model_that_a_server_sends_only_whole_is_fetched_once(
    site: FaultyServer, chunked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = onnx_model(weight=inline_weight(500), shape=("batch", 500))
    site.pages["/m.onnx"] = Page(model, ranges=False, chunked=chunked)
    found = inspect(site.url("/m.onnx"), environ={})
    assert found.refusal is None
    assert found.archive is None
    assert [kind.elements for kind in found.weights] == [500 * 1024]
    assert site.sent < 2.2 * len(model)
    monkeypatch.setattr(reading, "FETCHED", 100_000)
    found = inspect(site.url("/m.onnx"), environ={})
    assert found.refusal is None
    assert found.description is not None
    assert found.description.format == "onnx"
    assert found.advice[0].startswith("more than 100 kB")
    assert found.command[:2] == ("ovms-converter", "convert")


def test_weights_beside_a_model_that_comes_whole_are_looked_for_where_they_are(site: FaultyServer) -> None:
    site.pages["/net/model.onnx"] = Page(TREE["net/model.onnx"], ranges=False, chunked=True)
    site.pages["/net/weights.bin"] = Page(TREE["net/weights.bin"], ranges=False)
    assert inspect(site.url("/net/model.onnx"), environ={}).refusal is None
    del site.pages["/net/weights.bin"]
    missing = inspect(site.url("/net/model.onnx"), environ={}).refusal
    assert missing is not None
    assert "`weights.bin`" in missing.message


def index(*names: str) -> bytes:
    """A server's page of a directory."""
    links = "".join(f'<a href="{name}">{name}</a>' for name in names)
    return f"<!DOCTYPE html><html><title>Index of /</title>{links}</html>".encode()


@pytest.mark.parametrize("ranges", [True, False])
def test_a_directory_of_a_web_server_tells_no_sizes_and_nothing_is_called_damaged(
    site: FaultyServer, ranges: bool
) -> None:
    model = onnx_model(weight=inline_weight(50), shape=("batch", 50))
    site.pages["/net/"] = Page(index("model.onnx", "notes.txt"))
    site.pages["/net/model.onnx"] = Page(model, ranges=ranges)
    site.pages["/net/notes.txt"] = Page(b"about")
    found = inspect(site.url("/net/"), environ={})
    assert found.refusal is None
    assert [kind.elements for kind in found.weights] == [50 * 1024]
    assert site.sent < 2.5 * len(model)
    keras = DATA / "keras" / "keras-3.15-image.keras"
    site.pages["/k/"] = Page(index("m.keras"))
    site.pages["/k/m.keras"] = Page(keras.read_bytes(), ranges=ranges)
    source = open_source(Location.parse(site.url("/k/")), {})
    tree = formats.open_tree(SourceFiles(source, source.list()))
    assert formats.identify(tree).format == "keras.keras"


def test_a_zip_in_a_zip_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.zip").write_bytes(zipped({"inner.zip": zipped({"m.onnx": onnx_model()})}))
    found = inspect(str(tmp_path / "m.zip"), environ={})
    expected = converting(tmp_path / "m.zip", tmp_path / "work")
    assert found.refusal is not None
    assert found.refusal.message == expected.message
    assert "`inner.zip` is a ZIP archive" in expected.message


def outcome(read: Callable[[], dict[str, bytes] | None]) -> dict[str, bytes] | str | None:
    try:
        return read()
    except ModelError:
        return "refused"


def through_view(path: Path) -> dict[str, bytes] | None:
    data = path.read_bytes()
    with path.open("rb") as file:
        found = view(file, path.name, len(data), data[:512], 1 << 30)
        if found is None:
            return None
        try:
            return {name: found.read(name) for name in found.sizes()}
        finally:
            found.close()


def through_unpacking(path: Path, directory: Path) -> dict[str, bytes] | None:
    size = path.stat().st_size
    tree = unpacked(FetchedTree(path.parent, (FetchedFile(path.name, size),)), directory)
    return None if tree is None else {f.path: (tree.root / f.path).read_bytes() for f in tree.files}


@settings(max_examples=300, deadline=None)
@given(
    make=st.sampled_from([zipped, deflated, tarred]),
    name=st.text(min_size=1, max_size=30),
    place=st.integers(0, 10_000),
    bits=st.integers(0, 255),
    kept=st.floats(0.5, 1.0),
)
def test_any_archive_is_looked_into_as_it_is_unpacked(
    make: Callable[[dict[str, bytes]], bytes], name: str, place: int, bits: int, kept: float
) -> None:
    try:
        data = bytearray(make({"m.onnx": b"x" * 600, name: b"y" * 90}))
    except (ValueError, UnicodeError, IndexError):
        return  # such a name cannot even be written
    data[place % len(data)] ^= bits
    if kept < 0.9:
        del data[int(len(data) * kept) :]
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "m.zip")
        path.write_bytes(data)
        contents = Path(scratch, "contents")
        contents.mkdir()
        expected = outcome(lambda: through_unpacking(path, contents))
        assert outcome(lambda: through_view(path)) == expected


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 500_000), st.integers(1, 100_000), st.sampled_from([zipped, deflated, tarred]))
def test_any_part_of_a_member_is_that_part(
    start: int, length: int, make: Callable[[dict[str, bytes]], bytes]
) -> None:
    content = b"".join(number.to_bytes(4, "big") for number in range(100_000))
    data = make({"d/weights": content, "d/m.onnx": b"m"})
    found = view(io.BytesIO(data), "m.zip", len(data), data[:512], 1 << 30)
    assert found is not None
    assert found.read("weights", start, length) == content[start : start + length]
    assert found.read("weights", start // 2, length) == content[start // 2 : start // 2 + length]
    found.close()
