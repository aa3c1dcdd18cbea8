"""Two runs to one destination at the same moment: two versions or one, never a mixture."""

import json
import os
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from killing import convert_command
from ovms_converter.repository import ModelRepository, Published
from ovms_converter.storage import open_destination
from ovms_converter.storage.location import Location
from published_files import assert_unmixed, version_files
from servers import S3Bucket

MODEL = Path(__file__).parent.parent / "data" / "mlflow" / "1.30.1-onnx" / "model" / "model.onnx"
Opener = Callable[[str], ModelRepository]


@pytest.fixture(params=["file", "s3"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """A new client of the destination of a name, as every process has its own."""
    if request.param == "file":
        return lambda name: ModelRepository(open_destination(Location.parse(str(tmp_path / name)), {}))
    bucket: S3Bucket = request.getfixturevalue("s3")
    return lambda name: ModelRepository(open_destination(Location.parse(bucket.url(name)), bucket.environ()))


def together(*runs: Callable[[], Published]) -> list[Published]:
    """Start all at one moment and wait for all."""
    barrier = threading.Barrier(len(runs))

    def one(run: Callable[[], Published]) -> Published:
        barrier.wait()
        return run()

    with ThreadPoolExecutor(len(runs)) as pool:
        return list(pool.map(one, runs))


def a_run(repository: ModelRepository, files: dict[str, Path], wanted: str) -> Callable[[], Published]:
    """Publishes and then tidies up, as the pipeline does."""

    def run() -> Published:
        published = repository.publish(files, wanted, lambda count: None)
        if published.written:
            repository.clean(published.number)
        return published

    return run


@pytest.mark.slow
def test_two_different_results_become_two_versions(opened: Opener, tmp_path: Path) -> None:
    one, other = (version_files(tmp_path / name, name, 300_000, signed=True) for name in ("one", "other"))
    for attempt in range(100):
        name = f"served{attempt}"
        published = together(a_run(opened(name), one, "auto"), a_run(opened(name), other, "auto"))
        fingerprints = assert_unmixed(opened(name))
        assert fingerprints == {published[0].number: "one", published[1].number: "other"}


@pytest.mark.slow
def test_two_equal_results_become_one_version_or_two(opened: Opener, tmp_path: Path) -> None:
    files = version_files(tmp_path / "one", "one", 300_000, signed=True)
    for attempt in range(100):
        name = f"served{attempt}"
        published = together(a_run(opened(name), files, "auto"), a_run(opened(name), files, "auto"))
        fingerprints = assert_unmixed(opened(name))
        assert set(fingerprints.values()) == {"one"}
        assert any(run.written for run in published)
        assert max(fingerprints) in {run.number for run in published}


@pytest.mark.parametrize("after", [1, 2, 3, 4])
def test_a_run_that_lost_its_claim_takes_back_what_it_wrote(
    opened: Opener, tmp_path: Path, after: int
) -> None:
    """It stood still after one of its files, until another one had published the same."""
    repository, other = opened("served"), opened("served")
    files = version_files(tmp_path / "one", "one", signed=True)
    calls = 0

    def stand_still(count: int) -> None:
        nonlocal calls
        calls += 1
        if calls == after:
            a_run(other, files, "auto")()

    published = repository.publish(files, "auto", stand_still)

    fingerprints = assert_unmixed(repository)
    assert published.number in fingerprints
    assert fingerprints[max(fingerprints)] == "one"


@pytest.mark.slow
def test_two_processes_with_different_parameters_make_two_versions(s3: S3Bucket) -> None:
    for attempt in range(3):
        url = s3.url(f"served{attempt}")
        runs = [
            subprocess.Popen(
                convert_command(str(MODEL), url, "--model-name", name),
                env=os.environ | s3.environ(),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for name in ("one", "other")
        ]
        for run in runs:
            assert run.communicate(timeout=120)[0] == f"{url}\n"
        repository = ModelRepository(open_destination(Location.parse(url), s3.environ()))
        assert sorted(assert_unmixed(repository)) == [1, 2]
        records = [json.loads(s3.get(f"served{attempt}/{number}/conversion.json")) for number in (1, 2)]
        assert sorted(record["parameters"]["model_name"]["value"] for record in records) == ["one", "other"]
