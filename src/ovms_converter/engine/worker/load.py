"""Does the written IR load and compile, and does it run at all?"""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import openvino as ov

from ovms_converter.engine import death
from ovms_converter.engine.worker import execution, samples
from ovms_converter.engine.worker.execution import Runner, Tensor
from ovms_converter.engine.worker.samples import Draw, Sizes
from ovms_converter.engine.worker.verification import Verified
from ovms_converter.optimizer.native import cause_of

if TYPE_CHECKING:
    from ovms_converter.engine.worker.examples import Example

__all__ = ["load"]


def load(xml: Path, read: ov.Model, given: "Sequence[Example]") -> Verified:
    """Compile the files for the CPU in full precision and run them on small seeded inputs, or on given ones.

    `read` is what was read of them, and is used up. Raises as `execution.run_file` does.
    """
    try:
        return execution.run_file(
            xml,
            lambda runner, inputs: _run(xml, runner, inputs, given),
            read=read,
            whole_bytes=None if given else execution.LOADED_BYTES,
        )
    except _NoSizesError as error:
        return Verified(
            "loaded and compiled; not run: no inputs were found that it runs with",
            (f"the model was not run, because it fails with every guessed input: {error}",),
        )


class _NoSizesError(RuntimeError):
    """The model runs with none of the guessed inputs, which may be the fault of the guess."""


def _run(xml: Path, runner: Runner, inputs: Sequence[ov.Output], given: "Sequence[Example]") -> Verified:
    """Run on the given data, else once, and if the batch is free, with a batch of two.

    Where a second run is not cheap, the shapes of all operations are told for that batch instead.
    """
    if given:
        for each in given:
            runner.run([each.inputs[port.get_any_name()] for port in inputs])
        return Verified(f"loaded, {runner.method} on `verify_data`")
    sizes = _first_that_runs(runner, inputs)
    text = f"loaded, {runner.method}"
    if not (samples.has_free_batch(inputs) and sizes.batch == 1):
        return Verified(text)
    two = Sizes(2, sizes.other, sizes.rank)
    try:
        if runner.repeatable:
            runner.run(_tensors(inputs, two))
            return Verified(f"{text} with a batch of 1 and of 2")
        if samples.fit(ov.Core().read_model(str(xml)), two):
            return Verified(f"{text} with a batch of 1; its shapes fit together with one of 2 as well")
    except (RuntimeError, ValueError) as error:
        note = f"the batch is free, but the model runs with one of 1 and not with one of 2: {cause_of(error)}"
        return Verified(f"{text} with a batch of 1", (note,))
    return Verified(f"{text} with a batch of 1")


def _first_that_runs(runner: Runner, inputs: Sequence[ov.Output]) -> Sizes:
    """The first of the candidate sizes that the model runs with; raises the first error if there is none."""
    first, *more = samples.candidates(inputs)
    try:
        runner.run(_tensors(inputs, first))
    except (RuntimeError, ValueError) as error:
        if death.of_exception(error, ""):
            raise
        settings = samples.has_settings(inputs)
        draws = (Draw.UNIT, Draw.COUNTS) if settings else ()
        for sizes, draw in (*((sizes, Draw.ZEROS) for sizes in more), *((first, draw) for draw in draws)):
            with contextlib.suppress(RuntimeError, ValueError):
                runner.run(_tensors(inputs, sizes, draw))
                return sizes
        if samples.has_other_free_dimensions(inputs) or settings:
            raise _NoSizesError(cause_of(error)) from None
        raise
    return first


def _tensors(inputs: Sequence[ov.Output], sizes: Sizes, draw: Draw = Draw.ZEROS) -> list[Tensor]:
    tensors = samples.fill(inputs, sizes, draw)
    if tensors is None:
        raise ValueError("its inputs are too large to run it")
    return tensors
