"""A reader that does what OpenVINO Model Server does with a model repository, and nothing that it does not.

Rules (model_server: modelmanager.cpp, modelinstance.cpp, s3filesystem.cpp):

- every directory name goes through `std::stoll`, a prefix parse; what is above 0 is a version, read from the
  directory of that number;
- the highest version is wanted; one that does not load is dropped, and the next lower one is wanted instead;
  what was served before stays served meanwhile;
- in a version the first name that ends in `.xml` and the first that ends in `.bin` are taken, each by itself,
  in the order of the listing; both must be there;
- from a store only files with certain endings are downloaded, and a listing is one page of 1000 keys;
- a version that was loaded is never looked into again.
"""

import os
import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import openvino

from servers import S3Bucket

__all__ = ["DirectoryFiles", "Graph", "OvmsReader", "RepositoryFiles", "S3Files"]

Graph = Any
DOWNLOADED = (".bin", ".onnx", ".xml", "mapping_config.json", ".pdiparams", ".pdmodel", ".pb", ".tflite")
POLL_SECONDS = 0.01
FULL_PRECISION = {"INFERENCE_PRECISION_HINT": "f32"}


class RepositoryFiles(Protocol):
    """Where the reader looks."""

    def directories(self) -> list[str]:
        """Names of the directories in the base path."""

    def bring(self, version: int, scratch: Path) -> dict[str, Path]:
        """The files of `<base>/<version>` by name, in the order of a listing, on this machine."""


class DirectoryFiles:
    """A base path on a file system: files are opened where they lie."""

    def __init__(self, base: Path) -> None:
        self._base = base

    def directories(self) -> list[str]:
        try:
            with os.scandir(self._base) as items:
                return [item.name for item in items if item.is_dir()]
        except FileNotFoundError:
            return []

    def bring(self, version: int, scratch: Path) -> dict[str, Path]:
        with os.scandir(self._base / str(version)) as items:
            return {item.name: Path(item.path) for item in items if item.is_file()}


class S3Files:
    """A base path in a bucket."""

    def __init__(self, bucket: S3Bucket, prefix: str) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/"

    def directories(self) -> list[str]:
        keys = [key.removeprefix(self._prefix) for key in self._page(self._prefix)]
        return sorted({key.partition("/")[0] for key in keys if "/" in key})

    def bring(self, version: int, scratch: Path) -> dict[str, Path]:
        directory = f"{self._prefix}{version}/"
        files = {}
        for key in self._page(directory):
            name = key.removeprefix(directory)
            if "/" not in name and name.endswith(DOWNLOADED):
                files[name] = scratch / name
                files[name].write_bytes(self._bucket.get(key))
        return files

    def _page(self, prefix: str) -> list[str]:
        answer = self._bucket.client.list_objects(Bucket=self._bucket.name, Prefix=prefix, MaxKeys=1000)
        return [item["Key"] for item in answer.get("Contents", ())]


class OvmsReader:
    """Polls until its block ends.

    `wrong` collects every version that had both files and did not load, or that `check` refused; `served` is
    the versions that were loaded, in their order. `check` gets a loaded version's number and model.
    """

    def __init__(self, files: RepositoryFiles, scratch: Path, check: Callable[[int, Graph], None]) -> None:
        self.served: list[int] = []
        self.wrong: list[str] = []
        self.polls = 0
        self._files = files
        self._scratch = scratch
        self._check = check
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ovms")
        self._current: int | None = None

    def __enter__(self) -> "OvmsReader":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self.poll()

    def poll(self) -> None:
        """One look at the repository."""
        self.polls += 1
        numbers = {stoll(name) for name in self._files.directories()}
        available = {number for number in numbers if number is not None and number > 0}
        if self._current not in available:
            self._current = None
        while available:
            wanted = max(available)
            if wanted == self._current or self._load(wanted):
                return
            available.discard(wanted)

    def _run(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            try:
                self.poll()
            except Exception as error:  # noqa: BLE001 - a thread must not hide it
                self.wrong.append(f"the reader failed: {error!r}")

    def _load(self, number: int) -> bool:
        directory = self._scratch / f"{self.polls}-{number}"
        directory.mkdir(parents=True)
        try:
            files = self._files.bring(number, directory)
            xml = first(files, ".xml")
            weights = first(files, ".bin")
        except FileNotFoundError:
            return False
        except Exception as error:
            if type(error).__name__ == "NoSuchKey":
                return False
            raise
        if xml is None or weights is None:
            return False
        try:
            core = openvino.Core()
            model = core.compile_model(core.read_model(xml, weights), "CPU", FULL_PRECISION)
            self._check(number, model)
        except (RuntimeError, AssertionError) as error:
            self.wrong.append(f"version {number}: {error}")
            return False
        self._current = number
        self.served.append(number)
        return True


def stoll(text: str) -> int | None:
    """What C++'s `std::stoll` makes of a name: the number that it begins with; None where it throws."""
    match = re.match(r"[ \t\n\v\f\r]*([+-]?[0-9]+)", text)
    return int(match[1]) if match and abs(int(match[1])) < 1 << 63 else None


def first(files: Mapping[str, Path], suffix: str) -> Path | None:
    """The first file with an ending, in the order of the listing."""
    return next((path for name, path in files.items() if name.endswith(suffix)), None)
