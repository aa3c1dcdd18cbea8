"""The files of a version on this machine: where they are written, and their digests while they are."""

import json
import shutil
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from ovms_converter.engine.job import ConvertedModel
from ovms_converter.formats.base import SourceModel
from ovms_converter.growing import digest_of_growing, write_back_growing
from ovms_converter.optimizer.mapping import mapping_config
from ovms_converter.record import digest
from ovms_converter.request import ConversionRequest
from ovms_converter.storage.base import Destination, FetchedFile, FetchedTree
from ovms_converter.storage.disk import disk_errors
from ovms_converter.storage.renaming import flush

__all__ = ["Result", "files_of_conversion", "files_of_source"]


class Result:
    """A directory for a version's files: beside a destination on disk, so that publishing is a rename."""

    def __init__(
        self, request: ConversionRequest, destination: Destination, work: Path, stack: ExitStack
    ) -> None:
        """Make the directory; `stack` removes it, and `work` is taken where no place is beside."""
        self._target = Path(request.output.path)
        self._digests: dict[str, Future[str]] = {}
        self._flushed: Future[None] | None = None
        beside = None if request.dry_run else destination.scratch()
        self._is_renamed = beside is not None
        self.directory = beside or work / "result"
        if beside:
            stack.callback(shutil.rmtree, beside, ignore_errors=True)
        else:
            self.directory.mkdir()

    def watch(self, weights: str, finished: threading.Event, pool: ThreadPoolExecutor) -> None:
        """Hash the file `weights`, and have it go to the disk, while it is written until `finished`."""
        path = self.directory / weights
        self._digests[weights] = pool.submit(digest_of_growing, path, finished)
        if self._is_renamed:
            # A rename publishes them, and they must be on the disk before it: a wait of seconds for a large
            # model if it only began then.
            self._flushed = pool.submit(_flush_growing, path, finished)

    def described(self, files: Mapping[str, Path]) -> tuple[FetchedFile, ...]:
        """The files of a version with their sizes and digests, once the disk has taken what it was given."""
        if self._flushed:
            with disk_errors(self._target):
                self._flushed.result()
        return tuple(
            FetchedFile(
                name,
                file.stat().st_size,
                self._digests[name].result() if name in self._digests else digest(file),
            )
            for name, file in sorted(files.items())
        )


def files_of_conversion(request: ConversionRequest, converted: ConvertedModel) -> dict[str, Path]:
    """The files to publish after the record, by name, the one that completes a version last."""
    files = {converted.bin.name: converted.bin, converted.xml.name: converted.xml}
    arguments = request.arguments
    if not (arguments.mapping_config and arguments.rename):
        return files
    # By this file a server renames inputs and outputs.
    names = [[port.name for port in ports] for ports in (converted.inputs, converted.outputs)]
    path = converted.xml.with_name("mapping_config.json")
    path.write_text(json.dumps(mapping_config(arguments.rename, *names), indent=1), encoding="utf-8")
    return {path.name: path} | files


def files_of_source(model: SourceModel, tree: FetchedTree) -> dict[str, Path]:
    """The source's own files, where it is published as it is; as `files_of_conversion`."""
    base = tree.root / model.path
    root = base if base.is_dir() else base.parent
    paths = {
        str((tree.root / file.path).relative_to(root).as_posix()): tree.root / file.path
        for file in tree.files
    }
    last = "saved_model.pb" if base.is_dir() else base.name
    return {name: path for name, path in paths.items() if name != last} | {last: paths[last]}


def _flush_growing(path: Path, finished: threading.Event) -> None:
    """Have the weights on the disk soon after they are complete."""
    write_back_growing(path, finished)
    flush(path)
