"""How fast the links of a test are, as the program takes them."""

from collections.abc import Callable

import pytest

from ovms_converter.storage import large_file, transfer
from ovms_converter.storage.pulling import S3Puller
from ovms_converter.storage.receiving import Segment, Wanted


def set_outrun(monkeypatch: pytest.MonkeyPatch, *, outrun: bool) -> None:
    """Whether all bytes pass for so fast that their SHA-256 is left for later, or none, on any machine."""
    for module in (large_file, transfer):
        monkeypatch.setattr(module, "OUTRUNS", 0 if outrun else float("inf"))


def set_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every link pass for one on which large files are pulled; digests are taken all the same."""
    monkeypatch.setattr(large_file, "FAST", 0)
    set_outrun(monkeypatch, outrun=False)


def watched_pulls(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each of the pieces that are pulled from now on came whole."""
    is_whole: list[bool] = []
    original = S3Puller.pull

    async def pull(
        self: S3Puller, wanted: Wanted, segment: Segment, handle: int, arrived: Callable[[int], None]
    ) -> None:
        await original(self, wanted, segment, handle, arrived)
        is_whole.append(segment.position == segment.end)

    monkeypatch.setattr(S3Puller, "pull", pull)
    return is_whole
