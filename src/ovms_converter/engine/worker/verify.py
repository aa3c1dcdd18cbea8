"""Does the written IR load, compile and run?"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import openvino as ov

from ovms_converter.engine import death
from ovms_converter.engine.job import ConversionJob, OutputComparison
from ovms_converter.engine.worker import execution, samples
from ovms_converter.engine.worker.execution import Runner, Tensor
from ovms_converter.engine.worker.samples import Sizes
from ovms_converter.engine.worker.save import Written
from ovms_converter.engine.worker.text import cause
from ovms_converter.errors import VerificationError

__all__ = ["Verified", "verify"]

_SEED = 20


@dataclass(frozen=True)
class Verified:
    """How a result was verified, in one line; notes for the user; and figures if it was compared."""

    text: str
    notes: tuple[str, ...] = ()
    comparison: tuple[OutputComparison, ...] = ()


def verify(written: Written, job: ConversionJob) -> Verified:
    """Verify the pair of files on disk as `job.verify` asks.

    Raises:
        VerificationError: it does not load, compile or run.
        ResourceError: memory ran out.
    """
    del job
    return _load(written)


def _load(written: Written) -> Verified:
    """Read the files back, compile them for the CPU in full precision and run them on small seeded inputs."""
    core = ov.Core()
    failure = ""
    guessed = False
    for method in execution.methods(core.read_model(str(written.xml))):
        model = core.read_model(str(written.xml))
        inputs = list(model.inputs)
        guessed = samples.has_other_free_dimensions(inputs)
        compiled = False
        try:
            runner = method(model, core)
            compiled = True
            return _run(runner, inputs)
        except (RuntimeError, ValueError) as error:
            _raise_if_resources(error, written)
            failure = cause(error)
            guessed = guessed and compiled
    if guessed:
        return Verified(
            "loaded and compiled; not run: no sizes for the free dimensions were found that it runs with",
            (f"the model was not run, because it fails with every guessed input size: {failure}",),
        )
    raise VerificationError(
        f"the converted model does not run on the CPU: {failure}",
        hint="`--verify off` publishes it without this check",
    )


def _run(runner: Runner, inputs: Sequence[ov.Output]) -> Verified:
    """Run once, and if the batch is free and that is cheap, once more with a batch of two."""
    sizes = _first_that_runs(runner, inputs)
    text = f"loaded, {runner.method}"
    if not (samples.has_free_batch(inputs) and runner.repeatable and sizes.batch == 1):
        return Verified(text)
    try:
        runner.run(_tensors(inputs, Sizes(2, sizes.other, sizes.rank)))
    except (RuntimeError, ValueError) as error:
        note = f"the batch is free, but the model runs with one of 1 and not with one of 2: {cause(error)}"
        return Verified(f"{text} with a batch of 1", (note,))
    return Verified(f"{text} with a batch of 1 and of 2")


def _first_that_runs(runner: Runner, inputs: Sequence[ov.Output]) -> Sizes:
    """The first of the candidate sizes that the model runs with; raises the first error if there is none."""
    first, *more = samples.candidates(inputs)
    try:
        runner.run(_tensors(inputs, first))
    except (RuntimeError, ValueError):
        for sizes in more:
            with contextlib.suppress(RuntimeError, ValueError):
                runner.run(_tensors(inputs, sizes))
                return sizes
        raise
    return first


def _tensors(inputs: Sequence[ov.Output], sizes: Sizes) -> list[Tensor]:
    tensors = samples.fill(inputs, sizes, _SEED, integers_below=1)
    if tensors is None:
        raise ValueError("its inputs are too large to run it")
    return tensors


def _raise_if_resources(error: Exception, written: Written) -> None:
    resources = death.of_exception(error, f"running `{written.xml.name}`")
    if resources:
        raise resources from None
