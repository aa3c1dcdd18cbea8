"""A file behind a URL to disk: in order, or in parts over several connections if it is large."""

import errno
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ovms_converter.errors import UnavailableError
from ovms_converter.storage.base import Progress
from ovms_converter.storage.disk import disk_errors, write_at
from ovms_converter.storage.http_digest import Digests
from ovms_converter.storage.http_resource import Resource
from ovms_converter.storage.http_retry import Broken

__all__ = ["download"]

_PROBE_BYTES = 1 << 20
_HASH_BYTES = 1 << 20
_DOWNLOADS = 2
"""How often a file is fetched whose digest is not the one that the server tells."""


def download(resource: Resource, target: Path, progress: Progress, stop: threading.Event) -> tuple[int, str]:
    """Write the file to `target` (its directory is there): its size in bytes and SHA-256 as hex digits.

    A set `stop` ends it early with `UnavailableError`. Raises also `ResourceError` if the disk is full.
    """
    patience = resource.patience(stop)
    for left in reversed(range(_DOWNLOADS)):
        try:
            with disk_errors(target):
                result = _download_once(resource, target, progress if left else _silent, stop)
        except Broken as broken:  # noqa: PERF203 - a network is slower than a try
            if not left:
                raise UnavailableError(
                    f"`{resource.shown}` is damaged on the way: {broken.reason}",
                    hint="the server's file or something between is broken: check the file at the server",
                ) from None
            patience.failed(broken)
            resource.forget()
        else:
            resource.forget_start()
            return result
    raise AssertionError


def _download_once(
    resource: Resource, target: Path, progress: Progress, stop: threading.Event
) -> tuple[int, str]:
    head = resource.head(_PROBE_BYTES, stop)
    if head.size is not None and head.size > shutil.disk_usage(target.parent).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    digests = Digests(head.digests)
    size = 0
    descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        if head.size is not None and head.ranges and head.size >= resource.limits.ranged_from:
            size = head.size
            _in_parts(resource, size, descriptor, digests, progress, stop)
        else:
            for chunk in resource.chunks(0, None, stop):
                size = write_at(descriptor, chunk, size)
                digests.update(chunk)
                progress(len(chunk))
    finally:
        os.close(descriptor)
    return size, digests.check()


def _in_parts(
    resource: Resource,
    size: int,
    descriptor: int,
    digests: Digests,
    progress: Progress,
    stop: threading.Event,
) -> None:
    """Fetch parts over several connections straight into place; the digest follows in order."""

    def part(begin: int, end: int) -> None:
        position = begin
        for chunk in resource.chunks(begin, end, stop):
            position = write_at(descriptor, chunk, position)
            progress(len(chunk))

    step = resource.limits.part_bytes
    bounds = [(begin, min(begin + step, size)) for begin in range(0, size, step)]
    with ThreadPoolExecutor(resource.limits.streams, "http-part") as pool:
        try:
            futures = [pool.submit(part, begin, end) for begin, end in bounds]
            for (begin, end), future in zip(bounds, futures, strict=True):
                future.result()
                for position in range(begin, end, _HASH_BYTES):
                    digests.update(os.pread(descriptor, min(_HASH_BYTES, end - position), position))
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _silent(moved: int) -> None:
    """The progress of a second download: its bytes were counted the first time."""
