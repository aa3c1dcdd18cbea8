"""Publishing into object stores: claimed first, completed last, never half done for a server."""

import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from azurite import AzureBucket
from ovms_converter.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    LocationError,
    NotFoundError,
    UnavailableError,
)
from ovms_converter.storage import open_destination, open_source
from ovms_converter.storage.az_bucket import AzureContainer
from ovms_converter.storage.base import Destination, Entry, Source
from ovms_converter.storage.gcs_json import JsonBucket
from ovms_converter.storage.location import Location
from ovms_converter.storage.obstore_bucket import ObstoreBucket
from servers import GcsBucket, S3Bucket

Bucket: TypeAlias = S3Bucket | GcsBucket | AzureBucket


def destination(url: str, environ: dict[str, str]) -> Destination:
    return open_destination(Location.parse(url), environ)


def nothing(count: int) -> None:
    """Progress that nobody reads."""


@pytest.fixture(params=["s3", "s3_unconditional", "gcs", "azure"])
def bucket(request: pytest.FixtureRequest) -> Bucket:
    """Each of the servers in turn."""
    found: Bucket = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    contents = {"conversion.json": b"{}", "m.bin": os.urandom(20 << 20), "m.xml": b"<net/>"}
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    return {name: tmp_path / name for name in contents}


def test_a_version_is_published_whole(bucket: Bucket, files: dict[str, Path]) -> None:
    found = destination(bucket.url("model/ovms/"), bucket.environ())
    found.check_writable()
    assert bucket.keys() == []
    assert found.list() == ()
    assert found.scratch() is None
    moved: list[int] = []
    found.publish("1", files, moved.append)
    assert bucket.keys() == ["model/ovms/1/conversion.json", "model/ovms/1/m.bin", "model/ovms/1/m.xml"]
    for name, path in files.items():
        assert bucket.get(f"model/ovms/1/{name}") == path.read_bytes()
    assert sum(moved) == sum(path.stat().st_size for path in files.values())
    assert [(entry.path, entry.size) for entry in found.list()] == [
        ("1/conversion.json", 2),
        ("1/m.bin", 20 << 20),
        ("1/m.xml", 6),
    ]
    assert found.read("1/m.xml") == b"<net/>"


@pytest.fixture
def many(tmp_path: Path) -> dict[str, Path]:
    """A version of so many files that a listing tells of them."""
    (tmp_path / "many").mkdir()
    files = {f"f{number:02}": tmp_path / "many" / f"f{number:02}" for number in range(40)}
    for number, path in enumerate(files.values()):
        path.write_bytes(os.urandom(1 + number))
    return files


def asked_by_name(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of objects that are asked for by name from now on."""
    asked: list[str] = []
    for kind in (ObstoreBucket, JsonBucket, AzureContainer):
        original = kind.head

        async def head(self: Any, key: str, original: Any = original) -> Any:
            asked.append(key)
            return await original(self, key)

        monkeypatch.setattr(kind, "head", head)
    return asked


def test_many_files_are_seen_there_by_one_listing(
    bucket: Bucket, many: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asked_by_name(monkeypatch)
    destination(bucket.url("ovms"), bucket.environ()).publish("1", many, nothing)
    assert set(asked) == {"ovms/1/f00", "ovms/1/f39"}
    for name, path in many.items():
        assert bucket.get(f"ovms/1/{name}") == path.read_bytes()


def test_what_a_listing_does_not_tell_yet_is_asked_for(
    s3: S3Bucket, many: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listing may be late: then a file is not there, or as it was before."""
    asked = asked_by_name(monkeypatch)
    original = ObstoreBucket.list

    async def late(self: ObstoreBucket, prefix: str) -> list[Entry]:
        entries = await original(self, prefix)
        return [
            replace(each, size=0) if each.path.endswith("f03") else each
            for each in entries
            if "f07" not in each.path
        ]

    monkeypatch.setattr(ObstoreBucket, "list", late)
    destination(s3.url("ovms"), s3.environ()).publish("1", many, nothing)
    assert set(asked) == {f"ovms/1/f{number}" for number in ("00", "03", "07", "39")}
    assert len(s3.keys()) == 40


def test_one_of_many_that_is_removed_meanwhile_is_no_version(
    s3: S3Bucket, many: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = ObstoreBucket.list

    async def later(self: ObstoreBucket, prefix: str) -> list[Entry]:
        s3.delete("ovms/1/f07")
        return await original(self, prefix)

    monkeypatch.setattr(ObstoreBucket, "list", later)
    with pytest.raises(AlreadyExistsError, match="f07` was removed as soon as it was stored"):
        destination(s3.url("ovms"), s3.environ()).publish("1", many, nothing)
    assert s3.keys() == []


def test_a_version_that_exists_is_never_touched(bucket: Bucket, files: dict[str, Path]) -> None:
    bucket.put("ovms/1/model.xml", b"old")
    found = destination(bucket.url("ovms"), bucket.environ())
    with pytest.raises(AlreadyExistsError, match="/ovms/1` exists already"):
        found.publish("1", files, nothing)
    assert bucket.keys() == ["ovms/1/model.xml"]
    found.publish("2", files, nothing)
    found.publish("11", files, nothing)
    assert len(bucket.keys()) == 7


def test_of_runs_at_the_same_moment_one_wins(s3: S3Bucket, tmp_path: Path) -> None:
    """A store with conditional writes gives a directory to exactly one, and it holds that one's files."""
    won: list[int] = []

    def run(number: int) -> None:
        own = tmp_path / str(number)
        own.mkdir()
        contents = {"conversion.json": f"{number}", "m.bin": f"weights {number}", "m.xml": f"<net {number}/>"}
        for name, text in contents.items():
            (own / name).write_text(text)
        try:
            destination(s3.url("ovms"), s3.environ()).publish(
                "1", {name: own / name for name in contents}, nothing
            )
        except AlreadyExistsError:
            return
        won.append(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert s3.get("ovms/1/conversion.json") == str(won[0]).encode()
    assert s3.get("ovms/1/m.bin") == f"weights {won[0]}".encode()
    assert s3.get("ovms/1/m.xml") == f"<net {won[0]}/>".encode()


def test_the_last_file_is_written_last(
    s3: S3Bucket, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every moment, the file that completes a version is there only if the others are."""
    from ovms_converter.storage.obstore_bucket import ObstoreBucket

    seen: list[list[str]] = []
    put = ObstoreBucket.put

    async def spy(self: ObstoreBucket, key: str, data: bytes, *, only_if_absent: bool = False) -> None:
        seen.append([*s3.keys(), f"+{key}"])
        await put(self, key, data, only_if_absent=only_if_absent)

    monkeypatch.setattr(ObstoreBucket, "put", spy)
    destination(s3.url("o"), s3.environ()).publish("1", files, nothing)
    assert seen[0] == ["+o/1/conversion.json"]
    assert seen[-1] == ["o/1/conversion.json", "o/1/m.bin", "+o/1/m.xml"]


def test_a_failed_publication_is_taken_back(s3: S3Bucket, files: dict[str, Path]) -> None:
    files["m.bin"].unlink()
    with pytest.raises(NotFoundError, match=r"m\.bin"):
        destination(s3.url("ovms"), s3.environ()).publish("1", files, nothing)
    assert s3.keys() == []
    assert s3.unfinished_uploads() == 0


def test_the_output_side_has_settings_of_its_own(
    s3: S3Bucket, s3_other: S3Bucket, files: dict[str, Path]
) -> None:
    environ = s3.environ() | s3_other.environ("OUTPUT_")
    destination(s3_other.url("ovms"), environ).publish("1", files, nothing)
    assert s3.keys() == []
    assert len(s3_other.keys("ovms/1/")) == 3


def test_half_of_the_output_side_falls_back_to_the_inputs(s3: S3Bucket, s3_other: S3Bucket) -> None:
    only_keys = s3_other.environ() | {"AWS_ACCESS_KEY_ID": "AKIAWRONG", "AWS_SECRET_ACCESS_KEY": "wrong"}
    keys = {name: value for name, value in s3_other.environ("OUTPUT_").items() if "AWS" in name}
    destination(s3_other.url("a"), only_keys | keys).check_writable()
    only_endpoint = s3_other.environ() | {"S3_ENDPOINT": s3.endpoint, "OUTPUT_S3_ENDPOINT": s3_other.endpoint}
    destination(s3_other.url("a"), only_endpoint).check_writable()


@pytest.mark.parametrize("method", ["check_writable", "publish"])
def test_what_a_destination_refuses(s3: S3Bucket, files: dict[str, Path], method: str) -> None:
    def act(url: str, environ: dict[str, str]) -> None:
        found = destination(url, environ)
        if method == "publish":
            found.publish("1", files, nothing)
        else:
            found.check_writable()

    with pytest.raises(NotFoundError, match=r"no bucket `s3://absent-bucket`"):
        act("s3://absent-bucket/ovms", s3.environ())
    with pytest.raises(AccessDeniedError, match="the secret does not fit"):
        act(s3.url("ovms"), s3.environ() | {"AWS_SECRET_ACCESS_KEY": "wrong"})
    with pytest.raises(UnavailableError):
        act(s3.url("ovms"), s3.environ() | {"S3_ENDPOINT": "http://127.0.0.1:1"})
    assert s3.keys() == []


def test_the_whole_bucket_is_a_destination(s3: S3Bucket, files: dict[str, Path]) -> None:
    found = destination(s3.url(), s3.environ())
    found.check_writable()
    found.publish("1", files, nothing)
    assert s3.keys() == ["1/conversion.json", "1/m.bin", "1/m.xml"]


def test_removing_and_reading(s3: S3Bucket) -> None:
    s3.put("o/1/a", b"1")
    found = destination(s3.url("o"), s3.environ())
    assert found.read("1/a") == b"1"
    with pytest.raises(NotFoundError):
        found.read("1/b")
    with pytest.raises(LocationError):
        found.read("../x")
    found.remove(["1/a", "1/absent"])
    assert s3.keys() == []


def test_one_file_alone_is_claim_and_completion(s3: S3Bucket, files: dict[str, Path]) -> None:
    destination(s3.url("o"), s3.environ()).publish("1", {"m.xml": files["m.xml"]}, nothing)
    assert s3.keys() == ["o/1/m.xml"]


@pytest.fixture
def fetched(bucket: Bucket, tmp_path: Path) -> tuple[Source, dict[str, Path]]:
    """A large model that was fetched from the bucket, and the files of a version that has it unchanged."""
    bucket.put("in/model.onnx", os.urandom(40 << 20))
    bucket.put("in/weights", os.urandom(20 << 20))
    bucket.put("in/small", b"1")
    source = open_source(Location.parse(bucket.url("in")), bucket.environ())
    (tmp_path / "fetched").mkdir()
    tree = source.fetch(["weights", "small", "model.onnx"], tmp_path / "fetched", nothing)
    (tmp_path / "conversion.json").write_bytes(b"{}")
    paths = {file.path: tree.root / file.path for file in tree.files}
    return source, {"conversion.json": tmp_path / "conversion.json"} | paths


def sent_in_parts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of what is sent to a store as a large file from now on."""
    sent: list[str] = []
    for kind in (ObstoreBucket, JsonBucket, AzureContainer):
        original = kind.put_file

        async def put_file(self: Any, key: str, *rest: Any, original: Any = original) -> str | None:
            sent.append(key)
            digest: str | None = await original(self, key, *rest)
            return digest

        monkeypatch.setattr(kind, "put_file", put_file)
    return sent


def test_what_is_in_the_store_already_is_copied_there(
    bucket: Bucket, fetched: tuple[Source, dict[str, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, files = fetched
    sent = sent_in_parts(monkeypatch)
    found = destination(bucket.url("ovms"), bucket.environ())
    found.copy_from(source)
    moved: list[int] = []
    found.publish("1", files, moved.append)
    assert sent == []
    for name, path in files.items():
        assert bucket.get(f"ovms/1/{name}") == path.read_bytes()
    assert sum(moved) == sum(path.stat().st_size for path in files.values())
    with pytest.raises(AlreadyExistsError):
        found.publish("1", files, nothing)


def test_an_object_that_changed_since_it_was_fetched_is_not_copied(
    bucket: Bucket, fetched: tuple[Source, dict[str, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, files = fetched
    bucket.put("in/weights", os.urandom(20 << 20))
    sent = sent_in_parts(monkeypatch)
    found = destination(bucket.url("ovms"), bucket.environ())
    found.copy_from(source)
    found.publish("1", files, nothing)
    assert sent == ["ovms/1/weights"]
    for name, path in files.items():
        assert bucket.get(f"ovms/1/{name}") == path.read_bytes()


def test_another_store_gets_the_bytes(
    s3: S3Bucket, s3_other: S3Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.put("in/model.onnx", os.urandom(20 << 20))
    source = open_source(Location.parse(s3.url("in")), s3.environ())
    tree = source.fetch(["model.onnx"], tmp_path, nothing)
    (tmp_path / "conversion.json").write_bytes(b"{}")
    sent = sent_in_parts(monkeypatch)
    found = destination(s3_other.url("ovms"), s3.environ() | s3_other.environ("OUTPUT_"))
    found.copy_from(source)
    files = {"conversion.json": tmp_path / "conversion.json", "weights": tree.root / "model.onnx"}
    found.publish("1", files | {"x.xml": files["conversion.json"]}, nothing)
    assert sent == ["ovms/1/weights"]
    assert s3_other.get("ovms/1/weights") == (tree.root / "model.onnx").read_bytes()
