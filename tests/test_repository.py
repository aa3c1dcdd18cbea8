"""Versions as OpenVINO Model Server reads them, on a file system and in an object store."""

import json
import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovms_converter.errors import AccessDeniedError, AlreadyExistsError, UnavailableError
from ovms_converter.repository import ModelRepository, publishing, version_number
from ovms_converter.storage import open_destination
from ovms_converter.storage.location import Location
from servers import GcsBucket, S3Bucket


@pytest.mark.parametrize(
    ("directory", "number"),
    [("1", 1), ("01", 1), ("2.partial", 2), ("2023-01-05", 2023), ("1e3", 1), ("+3", 3), (" 4", 4)]
    + [(name, None) for name in ("0", "-1", "latest", ".ovms-x", "v1", "", "_1")],
)
def test_version_number_is_what_stoll_makes_of_it(directory: str, number: int | None) -> None:
    assert version_number(directory) == number


@given(st.text(max_size=8))
def test_version_number_is_never_zero_or_less(directory: str) -> None:
    number = version_number(directory)
    assert number is None or number > 0


@pytest.fixture(params=["file", "s3"])
def repository(request: pytest.FixtureRequest, tmp_path: Path) -> ModelRepository:
    if request.param == "file":
        return ModelRepository(open_destination(Location.parse(str(tmp_path / "served")), {}))
    bucket: S3Bucket = request.getfixturevalue("s3")
    return ModelRepository(open_destination(Location.parse(bucket.url("served")), bucket.environ()))


def files(directory: Path, fingerprint: str, weights: bytes = b"weights") -> Mapping[str, Path]:
    """The files of a version as the pipeline hands them over."""
    directory.mkdir(exist_ok=True)
    contents = {"model.bin": weights, "model.xml": b"<net/>"}
    record = {
        "fingerprint": fingerprint,
        "files": {name: {"size": len(data)} for name, data in contents.items()},
    }
    paths = {}
    for name, data in ({"conversion.json": json.dumps(record).encode()} | contents).items():
        paths[name] = directory / name
        paths[name].write_bytes(data)
    return paths


def publish(repository: ModelRepository, directory: Path, fingerprint: str, wanted: str = "next") -> int:
    return repository.publish(files(directory, fingerprint), wanted, lambda count: None).number


def test_versions_count_up_from_one(repository: ModelRepository, tmp_path: Path) -> None:
    assert repository.versions() == ()
    assert [publish(repository, tmp_path / "work", "a") for _ in range(3)] == [1, 2, 3]
    assert [version.number for version in repository.versions()] == [1, 2, 3]
    assert sorted(repository.versions()[0].files) == ["conversion.json", "model.bin", "model.xml"]


def test_a_number_that_was_asked_for_is_taken_once(repository: ModelRepository, tmp_path: Path) -> None:
    assert publish(repository, tmp_path / "work", "a", "7") == 7
    with pytest.raises(AlreadyExistsError, match="version 7 exists already"):
        publish(repository, tmp_path / "work", "b", "7")
    assert publish(repository, tmp_path / "work", "b") == 8
    assert publish(repository, tmp_path / "work", "c", "3") == 3


def test_a_directory_that_a_server_would_take_for_a_version_is_stepped_over(
    repository: ModelRepository, tmp_path: Path
) -> None:
    repository.destination.publish("4.partial", files(tmp_path / "work", "a"), lambda count: None)
    assert publish(repository, tmp_path / "work", "a") == 5


def test_the_newest_finished_version_is_found_by_its_fingerprint(
    repository: ModelRepository, tmp_path: Path
) -> None:
    publish(repository, tmp_path / "work", "a")
    publish(repository, tmp_path / "work", "b")

    found = repository.find("b")
    assert found is not None
    assert found[0].number == 2
    assert repository.find("a") is None, "an older version is not what a server serves"


def test_a_version_without_its_graph_is_not_taken_for_finished(
    repository: ModelRepository, tmp_path: Path
) -> None:
    publish(repository, tmp_path / "work", "a")
    publish(repository, tmp_path / "work", "b")
    repository.destination.remove(["2/model.xml"])

    found = repository.find("a")
    assert found is not None
    assert found[0].number == 1
    assert repository.find("b") is None
    assert publish(repository, tmp_path / "work", "b") == 3


def test_a_damaged_record_is_no_record(repository: ModelRepository, tmp_path: Path) -> None:
    paths = files(tmp_path / "work", "a")
    paths["conversion.json"].write_text("not json")
    repository.publish(paths, "next", lambda count: None)
    assert repository.find("a") is None


def test_an_empty_directory_of_the_next_number_is_stepped_over(tmp_path: Path) -> None:
    repository = ModelRepository(open_destination(Location.parse(str(tmp_path / "served")), {}))
    (tmp_path / "served" / "1").mkdir(parents=True)
    assert publish(repository, tmp_path / "work", "a") == 2


def test_the_same_result_published_by_another_run_meanwhile_is_reported(
    repository: ModelRepository, tmp_path: Path
) -> None:
    publish(repository, tmp_path / "work", "a")
    again = repository.publish(files(tmp_path / "work", "a"), "auto", lambda count: None)
    assert (again.number, again.written) == (1, False)
    assert publish(repository, tmp_path / "work", "b", "auto") == 2


def test_a_leftover_of_the_same_result_is_removed_at_once(
    repository: ModelRepository, tmp_path: Path
) -> None:
    leave_half(repository, tmp_path / "work", "a")
    assert publish(repository, tmp_path / "work", "a") == 2
    assert repository.clean(2) == ("1/model.bin", "1/conversion.json")
    assert [version.number for version in repository.versions()] == [2]


def test_a_leftover_of_another_result_may_be_a_run_at_work(
    repository: ModelRepository, tmp_path: Path
) -> None:
    leave_half(repository, tmp_path / "work", "a")
    publish(repository, tmp_path / "work", "b")
    assert repository.clean(2) == ()
    assert sorted(repository.versions()[0].files) == ["conversion.json", "model.bin"]


def test_a_leftover_in_which_nothing_was_written_for_a_day_is_removed(tmp_path: Path) -> None:
    repository = ModelRepository(open_destination(Location.parse(str(tmp_path / "served")), {}))
    for fingerprint in ("a", "b"):
        leave_half(repository, tmp_path / "work", fingerprint)
    for path in (tmp_path / "served" / "1").iterdir():
        os.utime(path, (path.stat().st_mtime - 25 * 3600,) * 2)
    publish(repository, tmp_path / "work", "c")
    repository.clean(3)
    assert [version.number for version in repository.versions()] == [2, 3]


@pytest.mark.parametrize("kind", ["file", "s3", "gcs"])
def test_every_store_tells_when_a_version_was_written(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    """By its own clock, with a time zone: ages are differences of such times."""
    url, environ = str(tmp_path / "out"), {}
    if kind != "file":
        bucket: S3Bucket | GcsBucket = request.getfixturevalue(kind)
        url, environ = bucket.url("out"), bucket.environ()
    repository = ModelRepository(open_destination(Location.parse(url), environ))
    publish(repository, tmp_path / "work", "a")
    (version,) = repository.versions()
    assert version.modified is not None
    assert version.modified.utcoffset() is not None


def test_age_is_told_by_the_store(
    repository: ModelRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_half(repository, tmp_path / "work", "a")
    publish(repository, tmp_path / "work", "b")
    monkeypatch.setattr(publishing, "_ABANDONED_AFTER", timedelta(hours=1))
    assert repository.clean(2) == ()
    monkeypatch.setattr(publishing, "_ABANDONED_AFTER", timedelta(hours=-1))
    assert repository.clean(2) == ("1/model.bin", "1/conversion.json")


def test_a_leftover_above_every_finished_version_keeps_its_number_taken(
    repository: ModelRepository, tmp_path: Path
) -> None:
    publish(repository, tmp_path / "work", "a", "7")
    repository.destination.remove(["7/model.xml"])
    publish(repository, tmp_path / "work", "a", "3")
    assert repository.clean(3) == ()
    assert publish(repository, tmp_path / "work", "b") == 8


def test_directories_without_a_record_are_never_touched(repository: ModelRepository, tmp_path: Path) -> None:
    paths = files(tmp_path / "work", "a")
    stranger = {"model.bin": paths["model.bin"], "notes.txt": paths["conversion.json"]}
    repository.destination.publish("1", stranger, lambda count: None)
    publish(repository, tmp_path / "work", "a")
    publish(repository, tmp_path / "work", "b")
    assert repository.clean(3) == ()
    assert repository.retire(1, 3).numbers == (2,)
    assert [version.number for version in repository.versions()] == [1, 3]


def test_what_a_check_of_write_access_left_in_a_store_is_removed(s3: S3Bucket, tmp_path: Path) -> None:
    repository = ModelRepository(open_destination(Location.parse(s3.url("served")), s3.environ()))
    s3.put("served/.ovms-converter-probe-0123456789ab", b"may this be written?\n")
    publish(repository, tmp_path / "work", "a")
    repository.clean(1)
    assert s3.keys() == ["served/1/conversion.json", "served/1/model.bin", "served/1/model.xml"]


def test_only_so_many_versions_are_kept(repository: ModelRepository, tmp_path: Path) -> None:
    for fingerprint in "abcde":
        publish(repository, tmp_path / "work", fingerprint)
    retired = repository.retire(2, 5)
    assert (retired.numbers, retired.left) == ((1, 2, 3), ())
    assert [version.number for version in repository.versions()] == [4, 5]
    assert repository.retire(2, 5).numbers == ()


def test_unfinished_versions_do_not_count_among_those_kept(
    repository: ModelRepository, tmp_path: Path
) -> None:
    for fingerprint in "abc":
        publish(repository, tmp_path / "work", fingerprint)
    leave_half(repository, tmp_path / "work", "d")
    assert repository.retire(2, 3).numbers == (1,)
    assert [version.number for version in repository.versions()] == [2, 3, 4]


def test_the_version_just_published_is_kept_whatever_its_number(
    repository: ModelRepository, tmp_path: Path
) -> None:
    for number in ("5", "6", "1", "2"):
        publish(repository, tmp_path / "work", number, number)
    assert repository.retire(1, 1).numbers == (2, 5)
    assert [version.number for version in repository.versions()] == [1, 6]


def test_files_of_others_in_an_old_version_are_left_and_told(
    repository: ModelRepository, tmp_path: Path
) -> None:
    paths = {**files(tmp_path / "work", "a"), "labels.txt": tmp_path / "labels.txt"}
    (tmp_path / "labels.txt").write_text("cat\n")
    order = ("conversion.json", "labels.txt", "model.bin", "model.xml")
    repository.destination.publish("1", {name: paths[name] for name in order}, lambda count: None)
    publish(repository, tmp_path / "work", "b")
    retired = repository.retire(1, 2)
    assert (retired.numbers, retired.left) == ((1,), ("1/labels.txt",))
    assert sorted(repository.versions()[0].files) == ["labels.txt"]


def test_the_graph_goes_first_and_the_record_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    destination = open_destination(Location.parse(str(tmp_path / "served")), {})
    repository = ModelRepository(destination)
    for fingerprint in "ab":
        publish(repository, tmp_path / "work", fingerprint)
    removed: list[str] = []
    monkeypatch.setattr(destination, "remove", removed.extend)
    repository.retire(1, 2)
    assert removed == ["1/model.xml", "1/model.bin", "1/conversion.json"]


def leave_half(repository: ModelRepository, directory: Path, fingerprint: str) -> int:
    """What a run leaves that is killed before it writes the graph."""
    number = publish(repository, directory, fingerprint)
    repository.destination.remove([f"{number}/model.xml"])
    return number


def test_a_store_that_does_not_answer_is_not_taken_for_an_empty_one(
    repository: ModelRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(repository, tmp_path / "work", "a")

    def no_answer(path: str) -> bytes:
        raise UnavailableError("no answer")

    monkeypatch.setattr(repository.destination, "read", no_answer)
    with pytest.raises(UnavailableError):
        repository.find("a")


def test_who_may_write_but_not_read_can_publish(
    repository: ModelRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: str, limit: int = 0) -> bytes:
        raise AccessDeniedError("no access")

    monkeypatch.setattr(repository.destination, "read", refused)
    assert publish(repository, tmp_path / "work", "a") == 1
    assert publish(repository, tmp_path / "work", "a", "auto") == 2
