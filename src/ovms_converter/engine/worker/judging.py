"""How far the results of samples are from what is expected of them, over all samples."""

from collections.abc import Sequence

from ovms_converter.engine.job import OutputComparison
from ovms_converter.engine.tolerance import Tolerance
from ovms_converter.engine.worker import difference
from ovms_converter.engine.worker.drawing import Sample
from ovms_converter.engine.worker.execution import Array
from ovms_converter.engine.worker.save import Written

__all__ = ["judge"]


def judge(
    written: Written, found: Sequence[Sample], results: Sequence[Sequence[Array]], tolerance: Tolerance
) -> tuple[tuple[OutputComparison, ...], str]:
    """The worst figures of every output over all samples, and what is wrong, if anything is."""
    figures, wrong = [], []
    for number, port in enumerate(written.outputs):
        seen = [
            difference.measure(port.name, result[number], sample.expected[port.name], tolerance)
            for sample, result in zip(found, results, strict=True)
            if port.name in sample.expected
        ]
        if not seen:
            continue
        figures.append(
            OutputComparison(
                port.name,
                max(one.figures.max_abs for one in seen),
                max(one.figures.max_rel for one in seen),
                min(one.figures.cosine for one in seen),
            )
        )
        wrong += [f"of output `{port.name}`: {one.why}" for one in seen if one.why][:1]
    others = f"; {len(wrong)} of {len(written.outputs)} outputs differ" if len(wrong) > 1 else ""
    return tuple(figures), f"{wrong[0]}{others}" if wrong else ""
