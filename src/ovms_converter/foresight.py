"""Before the work: will there be room for it?

The source's size tells roughly what a conversion takes, so what looks short is a warning. What turns out to
be too little ends the run with `ResourceError`.
"""

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ovms_converter.engine.container import container
from ovms_converter.request import ConversionRequest
from ovms_converter.units import size

__all__ = ["shortfalls"]

_MEMORY = 256 << 20
"""Anonymous memory that a conversion of a model of any size may take; `benchmarks/convert.py` measures it."""

_SHARES = {"int8": 0.25, "int4": 0.15}
"""What becomes of 32 bits."""


def shortfalls(request: ConversionRequest, source_bytes: int, work: Path) -> Iterator[str]:
    """One line for each disk, and for the memory, that looks too small for a source of so many bytes.

    `work` is the directory for temporary files, into which a remote source is fetched next.
    """
    needed: Counter[Path] = Counter()
    if request.input.is_remote:
        needed[work] += source_bytes
    needed[_place_of_the_result(request, work)] += int(source_bytes * _share(request))
    disks = {place.stat().st_dev: place for place in needed}
    for device, place in disks.items():
        count = sum(needed[each] for each in needed if each.stat().st_dev == device)
        free = shutil.disk_usage(place).free
        if count > free:
            yield f"`{place}` will have to hold about {size(count)}, and {size(free)} are free"
    yield from _memory(request, source_bytes)


def _share(request: ConversionRequest) -> float:
    """The result's size relative to the source's."""
    if request.output_format != "openvino":
        return 0.0 if request.output.is_remote else 1.0
    if request.weights:
        return _SHARES[request.weights]
    return 0.5 if request.arguments.half_precision else 1.0


def _place_of_the_result(request: ConversionRequest, work: Path) -> Path:
    """The directory, one that is there, on whose disk the result is written."""
    if request.output.is_remote or request.dry_run:
        return work
    target = Path(request.output.path)
    return next((each for each in (target, *target.parents) if each.is_dir()), work)


def _memory(request: ConversionRequest, source_bytes: int) -> Iterator[str]:
    around = container()
    if around is None or request.output_format != "openvino":
        return
    needed = _MEMORY + (2 * source_bytes if request.weights else 0)
    left = around.limit - around.in_use()
    if needed > left:
        yield (
            f"this may take {size(needed)} of memory, and of the container's {size(around.limit)} "
            f"{size(left)} are left"
        )
