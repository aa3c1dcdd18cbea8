"""Versions as OpenVINO Model Server reads them, on a file system and in an object store."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovms_converter.errors import AlreadyExistsError
from ovms_converter.repository import ModelRepository, version_number
from ovms_converter.storage import open_destination
from ovms_converter.storage.location import Location
from servers import S3Bucket


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
