"""Reading object stores: what belongs to a location, and that it arrives whole, on every kind of server."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import pytest

from links import set_outrun
from ovms_converter.errors import AccessDeniedError, LocationError, NotFoundError, UnavailableError
from ovms_converter.record import hashed
from ovms_converter.storage import open_destination, open_source
from ovms_converter.storage.base import Listing, Progress, Source
from ovms_converter.storage.large_file import LargeFile
from ovms_converter.storage.location import Location
from servers import S3Bucket, S3Server


@pytest.fixture(autouse=True)
def digests_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However fast this machine is, the digest is taken while the bytes pass, and compared in these tests."""
    set_outrun(monkeypatch, outrun=False)


class Bucket(Protocol):
    def environ(self) -> dict[str, str]: ...
    def url(self, key: str = "") -> str: ...
    def put(self, key: str, data: bytes) -> None: ...
    def get(self, key: str) -> bytes: ...
    def keys(self, prefix: str = "") -> list[str]: ...


@pytest.fixture(params=["s3", "s3_unconditional", "gcs", "azure"])
def bucket(request: pytest.FixtureRequest) -> Bucket:
    """Each of the servers in turn."""
    found: Bucket = request.getfixturevalue(request.param)
    return found


def opened(url: str, environ: Mapping[str, str]) -> Source:
    return open_source(Location.parse(url), environ)


def listed(url: str, environ: Mapping[str, str]) -> Listing:
    return opened(url, environ).list()


def names(listing: Listing) -> list[str]:
    return [entry.path for entry in listing.entries]


class Counter:
    """Progress as a number."""

    def __init__(self) -> None:
        self.total = 0

    def __call__(self, count: int) -> None:
        self.total += count


def nothing(count: int) -> None:
    """Progress that nobody reads."""


def fetched(
    source: Source, paths: list[str], directory: Path, progress: Progress = nothing
) -> dict[str, bytes]:
    tree = source.fetch(paths, directory, progress)
    found = {file.path: (tree.root / file.path).read_bytes() for file in tree.files}
    for file in tree.files:
        assert file.size == len(found[file.path])
        assert file.sha256 == hashlib.sha256(found[file.path]).hexdigest()
    return found


def test_a_prefix_is_everything_below_it_and_no_sibling(bucket: Bucket) -> None:
    for key in ("m/MLmodel", "m/data/model.onnx", "m/data/model.onnx.data", "m-old/MLmodel", "m2", "mm/x"):
        bucket.put(key, key.encode())
    for url in (bucket.url("m"), bucket.url("m/")):
        listing = listed(url, bucket.environ())
        assert not listing.is_file
        assert names(listing) == ["MLmodel", "data/model.onnx", "data/model.onnx.data"]
        assert [entry.size for entry in listing.entries] == [9, 17, 22]
        assert all(entry.etag for entry in listing.entries)


def test_an_object_is_one_file_whose_neighbours_are_reached_by_name(bucket: Bucket, tmp_path: Path) -> None:
    for key in ("m/model.onnx", "m/model.onnx.data", "m/model.onnx-old", "secret"):
        bucket.put(key, key.encode())
    for url in (bucket.url("m/model.onnx"), bucket.url("m/model.onnx/")):
        listing = listed(url, bucket.environ())
        assert listing.is_file
        assert names(listing) == ["model.onnx"]
    source = opened(bucket.url("m/model.onnx"), bucket.environ())
    assert source.read("model.onnx.data") == b"m/model.onnx.data"
    assert fetched(source, ["model.onnx"], tmp_path) == {"model.onnx": b"m/model.onnx"}
    assert fetched(source, ["model.onnx.data"], tmp_path) == {"model.onnx.data": b"m/model.onnx.data"}
    for path in ("../secret", "/secret", "a/../../secret"):
        with pytest.raises(LocationError, match="is not below"):
            source.read(path)
        with pytest.raises(LocationError, match="is not below"):
            source.fetch([path], tmp_path, nothing)
    with pytest.raises(NotFoundError, match=r"`missing\.data`"):
        source.fetch(["missing.data"], tmp_path, nothing)


def test_parts_of_a_file_are_read(bucket: Bucket) -> None:
    data = bytes(range(256)) * 4
    bucket.put("m/f", data)
    source = opened(bucket.url("m"), bucket.environ())
    assert source.read("f") == data
    assert source.read("f", 10, 5) == data[10:15]
    assert source.read("f", 1000) == data[1000:]
    assert source.read("f", 1000, 500) == data[1000:]
    assert source.read("f", 5000, 10) == b""
    assert source.read("f", 0, 0) == b""


@pytest.mark.parametrize("size", [0, 1, (8 << 20) - 1, 8 << 20, (8 << 20) + 1, (33 << 20) + 7])
def test_files_of_any_size_arrive(s3: S3Bucket, tmp_path: Path, size: int) -> None:
    data = os.urandom(1 << 16) * (size // (1 << 16) + 1)
    s3.put("m/f", data[:size])
    s3.put("m/other", b"1")
    moved = Counter()
    assert fetched(opened(s3.url("m"), s3.environ()), ["f"], tmp_path, moved) == {"f": data[:size]}
    assert moved.total == size


def test_a_large_file_arrives_from_every_server(bucket: Bucket, tmp_path: Path) -> None:
    data = os.urandom(1 << 20) * 40
    bucket.put("m/large", data)
    bucket.put("m/small", b"1")
    moved = Counter()
    found = fetched(opened(bucket.url("m"), bucket.environ()), ["small", "large"], tmp_path, moved)
    assert found == {"small": b"1", "large": data}
    assert moved.total == len(data) + 1


def test_an_object_of_several_parts_arrives(s3: S3Bucket, tmp_path: Path) -> None:
    data = os.urandom(1 << 20) * 17
    s3.put_in_parts("m/f", data, 5 << 20)
    assert fetched(opened(s3.url("m"), s3.environ()), ["f"], tmp_path) == {"f": data}


def test_many_files_arrive(s3: S3Bucket, tmp_path: Path) -> None:
    expected = {f"variables/part-{number:04}": str(number).encode() * 100 for number in range(120)}
    for path, data in expected.items():
        s3.put(f"m/{path}", data)
    assert fetched(opened(s3.url("m"), s3.environ()), list(expected), tmp_path) == expected


def test_a_digest_that_would_hold_up_a_fast_link_is_taken_later(
    s3: S3Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a large file or a small one; not where the store has a digest to compare with."""
    data = os.urandom(1 << 20) * 20
    s3.put_in_parts("m/parts", data, 5 << 20)
    s3.put("m/one-part", data)
    s3.put_in_parts("m/small-parts", b"12", 5 << 20)
    s3.put("m/small", b"1")
    set_outrun(monkeypatch, outrun=True)
    tree = opened(s3.url("m"), s3.environ()).fetch(
        ["parts", "one-part", "small-parts", "small"], tmp_path, nothing
    )
    digests = [hashlib.sha256(each).hexdigest() for each in (data, data, b"12", b"1")]
    assert [file.sha256 for file in tree.files] == [None, digests[1], None, digests[3]]
    assert [file.sha256 for file in hashed(tree)] == digests
    assert (tmp_path / "parts").read_bytes() == data


@pytest.mark.parametrize(("looks", "is_taken"), [(1, False), (1000, True)], ids=["fast", "slow"])
def test_a_link_whose_first_bytes_were_held_up(
    s3: S3Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looks: int, *, is_taken: bool
) -> None:
    """It is looked at again, until half of the digest is taken."""
    data = os.urandom(1 << 20) * 40
    s3.put_in_parts("m", data, 5 << 20)
    rates = iter([False] * looks)
    monkeypatch.setattr(LargeFile, "_outruns_digests", lambda _: next(rates, True))
    tree = opened(s3.url("m"), s3.environ()).fetch(["m"], tmp_path, nothing)
    whole = hashlib.sha256(data).hexdigest()
    assert [file.sha256 for file in tree.files] == [whole if is_taken else None]
    assert hashed(tree)[0].sha256 == whole


@pytest.mark.slow
def test_a_listing_of_several_pages_is_whole(s3: S3Bucket) -> None:
    for number in range(1005):
        s3.put(f"m/{number:04}", b"x")
    assert len(listed(s3.url("m"), s3.environ()).entries) == 1005


def test_directory_markers_are_no_files(s3: S3Bucket, tmp_path: Path) -> None:
    for key in ("m/", "m/sub/", "m/sub/deep/"):
        s3.put(key, b"")
    s3.put("m/sub/deep/f", b"1")
    s3.put("m/empty", b"")
    listing = listed(s3.url("m"), s3.environ())
    assert names(listing) == ["empty", "sub/deep/f"]
    assert fetched(opened(s3.url("m"), s3.environ()), names(listing), tmp_path) == {
        "empty": b"",
        "sub/deep/f": b"1",
    }


def test_an_object_beats_a_prefix_of_its_name_unless_it_is_empty(s3: S3Bucket) -> None:
    s3.put("m", b"model")
    s3.put("m/ovms/1/model.xml", b"x")
    assert names(listed(s3.url("m"), s3.environ())) == ["m"]
    s3.put("m", b"")
    assert names(listed(s3.url("m"), s3.environ())) == ["ovms/1/model.xml"]


@pytest.mark.parametrize("key", ["m/../../evil", "m//etc/x", "m/a\tb"])
def test_keys_that_lead_elsewhere_are_refused_by_name(s3: S3Bucket, key: str) -> None:
    s3.put("m/good", b"1")
    s3.put(key, b"1")
    with pytest.raises(LocationError) as caught:
        listed(s3.url("m"), s3.environ())
    assert key.removeprefix("m/").replace("\t", "?") in caught.value.message
    assert "\t" not in caught.value.message


def test_a_file_that_is_a_directory_too_is_refused(s3: S3Bucket) -> None:
    s3.put("m/a", b"1")
    s3.put("m/a/b", b"1")
    with pytest.raises(LocationError, match="`a` is a file and a directory at once"):
        listed(s3.url("m"), s3.environ())


def test_names_that_collide_on_some_disks_are_refused(s3: S3Bucket, tmp_path: Path) -> None:
    s3.put("m/Model.onnx", b"1")
    s3.put("m/model.onnx", b"2")
    source = opened(s3.url("m"), s3.environ())
    with pytest.raises(LocationError, match=r"`Model\.onnx` and `model\.onnx`"):
        source.fetch(["Model.onnx", "model.onnx"], tmp_path, nothing)
    assert list(tmp_path.iterdir()) == []


def test_odd_names_arrive(bucket: Bucket, tmp_path: Path) -> None:
    odd = ["a b", "ü", "日本/x", "plus+and&", "percent%20", "q?x=1", "#", "a'b\"c", "~", "=,;:@$!*()"]
    for name in odd:
        bucket.put(f"m/{name}", name.encode())
    source = opened(bucket.url("m"), bucket.environ())
    assert sorted(names(source.list())) == sorted(odd)
    assert fetched(source, odd, tmp_path) == {name: name.encode() for name in odd}


ODD = (
    "p+q", "50%", "%20", "a#b", "a&b=c", "x;y", "[1]", "(1)", "{1}", "ends.", "a..b", ".hidden", "a'b\"c",
    "日本", "<>", "a:b@c,d|e^f`g", "$!",
)  # fmt: skip


def odd_prefixes_work(bucket: Bucket, prefixes: Sequence[str], directory: Path) -> None:
    """What is below such a prefix is listed, read and published."""
    (directory / "file").write_bytes(b"1")
    for prefix in prefixes:
        bucket.put(f"{prefix}/f", b"1")
        bucket.put(f"{prefix}x/f", b"1")
        source = opened(bucket.url(prefix), bucket.environ())
        assert names(source.list()) == ["f"]
        assert source.read("f") == b"1"
        found = open_destination(Location.parse(bucket.url(f"{prefix}/out")), bucket.environ())
        found.publish("1", {"a": directory / "file", "b": directory / "file"}, nothing)
        assert bucket.keys(f"{prefix}/out/") == [f"{prefix}/out/1/a", f"{prefix}/out/1/b"]


def test_odd_prefixes(bucket: Bucket, tmp_path: Path) -> None:
    odd_prefixes_work(bucket, ODD, tmp_path)


def test_prefixes_whose_query_has_two_spellings(bucket: Bucket, tmp_path: Path) -> None:
    """The client signs one (`%20`, `%2A`, `~`) and sends the other (`+`, `*`, `%7E`), which moto does not
    take for the same; other servers do.
    """
    prefixes = ("a b", "50% off", "ü~", "x*y", "deep/er/~/x")
    odd_prefixes_work(bucket, prefixes, tmp_path)
    for prefix in prefixes:
        destination = open_destination(Location.parse(bucket.url(prefix)), bucket.environ())
        assert destination.siblings() == (f"{prefix.rpartition('/')[2]}x",)


def test_a_missing_location_is_not_found(bucket: Bucket) -> None:
    bucket.put("m-old/x", b"1")
    with pytest.raises(NotFoundError, match=r"nothing at `\w+://test-\w+/m`"):
        listed(bucket.url("m"), bucket.environ())


@pytest.mark.parametrize("scheme", ["s3", "gcs"])
def test_a_missing_bucket_is_told(scheme: str, request: pytest.FixtureRequest) -> None:
    bucket: Bucket = request.getfixturevalue(scheme)
    url = bucket.url().replace("test-", "absent-")
    with pytest.raises(NotFoundError, match=r"no (bucket )?`\w+://absent-"):
        listed(url + "m", bucket.environ())


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("AWS_SECRET_ACCESS_KEY", "wrong-secret", "the secret does not fit"),
        ("AWS_ACCESS_KEY_ID", "AKIAUNKNOWN", "does not know this access key"),
    ],
)
@pytest.mark.parametrize("kind", ["s3", "s3_unconditional"])
def test_wrong_keys_are_denied(
    request: pytest.FixtureRequest, kind: str, variable: str, value: str, words: str
) -> None:
    s3: S3Bucket = request.getfixturevalue(kind)
    s3.put("m/f", b"1")
    for key in ("m", "m/f"):
        with pytest.raises(AccessDeniedError) as caught:
            listed(s3.url(key), s3.environ() | {variable: value})
        assert words in caught.value.message
        assert "from `AWS_ACCESS_KEY_ID`" in caught.value.message
        assert value not in caught.value.message + str(caught.value.hint)


def test_no_keys_where_some_are_needed(s3_unconditional: S3Bucket) -> None:
    with pytest.raises(AccessDeniedError, match="without credentials") as caught:
        listed(s3_unconditional.url("m"), {"S3_ENDPOINT": s3_unconditional.endpoint})
    assert "AWS_ACCESS_KEY_ID" in str(caught.value.hint)


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:1", "http://no-such-host.invalid"])
def test_a_server_that_is_not_there_is_unavailable(s3_server: S3Server, endpoint: str) -> None:
    with pytest.raises(UnavailableError) as caught:
        listed("s3://bucket/m", s3_server.environ() | {"S3_ENDPOINT": endpoint})
    assert endpoint in caught.value.message
    assert caught.value.exit_code == 4


def test_googles_hmac_keys_go_to_the_s3_endpoint(s3: S3Bucket, tmp_path: Path) -> None:
    s3.put("m/f", b"1")
    source = opened(f"gs://{s3.name}/m", s3.environ())
    assert fetched(source, ["f"], tmp_path) == {"f": b"1"}
    with pytest.raises(NotFoundError, match=f"`gs://{s3.name}/x`"):
        listed(f"gs://{s3.name}/x", s3.environ())


def test_google_by_its_xml_interface(google: S3Bucket, tmp_path: Path) -> None:
    environ = google.environ()
    data = os.urandom(1 << 20) * 9
    google.put("m/f", data)
    google.put("m-old/g", b"1")
    source = opened(f"gs://{google.name}/m/", environ)
    assert names(source.list()) == ["f"]
    assert fetched(source, ["f"], tmp_path) == {"f": data}
    destination = open_destination(Location.parse(f"gs://{google.name}/out"), environ)
    destination.check_writable()
    destination.publish("1", {"a": tmp_path / "f", "b": tmp_path / "f"}, nothing)
    assert google.keys("out/") == ["out/1/a", "out/1/b"]
    assert google.get("out/1/b") == data


def test_a_changed_source_is_noticed(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("m/f", b"first")
    bucket.put("m/g", os.urandom(20 << 20))
    source = opened(bucket.url("m"), bucket.environ())
    source.list()
    bucket.put("m/f", b"other")
    bucket.put("m/g", os.urandom(20 << 20))
    for path in ("f", "g"):
        with pytest.raises(UnavailableError, match=f"m/{path}` changed while it was read"):
            source.fetch([path], tmp_path, nothing)


def test_a_full_disk_is_told_before_anything_is_fetched(
    s3: S3Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    from ovms_converter.errors import ResourceError

    s3.put("m/f", b"12345")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=4))
    with pytest.raises(ResourceError, match="needs 5 bytes"):
        opened(s3.url("m"), s3.environ()).fetch(["f"], tmp_path, nothing)
    assert list(tmp_path.iterdir()) == []
