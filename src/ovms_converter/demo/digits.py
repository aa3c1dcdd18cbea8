"""The digits that the demo shows to the published model, and what it says they are.

Run as a program, `python -m ovms_converter.demo.digits MODEL.xml`, it loads the model and prints one JSON
list of probabilities for each digit: openvino is imported in that process alone.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ovms_converter.errors import InternalError

__all__ = ["Digit", "Prediction", "classify", "digits"]

_SHADES = " .:-=+*#%@"
_BRIGHTEST = 16


@dataclass(frozen=True)
class Digit:
    """A picture of 8 x 8 pixels, each from 0 to 16, and the digit that a person wrote."""

    label: int
    pixels: tuple[tuple[int, ...], ...]

    def drawn(self) -> list[str]:
        """The picture in characters, two for each pixel so that it is about square."""
        return [
            "".join(_SHADES[value * (len(_SHADES) - 1) // _BRIGHTEST] * 2 for value in row)
            for row in self.pixels
        ]


@dataclass(frozen=True)
class Prediction:
    """What the model says about one digit; `probability` is from 0 to 1."""

    digit: Digit
    answer: int
    probability: float


def digits() -> tuple[Digit, ...]:
    """The digits in the package, none of which the model was trained with."""
    shown = json.loads((Path(__file__).parent / "digits.json").read_text(encoding="utf-8"))
    return tuple(Digit(item["label"], tuple(map(tuple, item["pixels"]))) for item in shown)


def classify(model: Path) -> list[Prediction]:
    """Ask a converted model about every digit, in a process of its own; `InternalError` if that fails."""
    finished = subprocess.run(  # noqa: S603 - this interpreter, and a path of ours
        [sys.executable, "-m", "ovms_converter.demo.digits", str(model)],
        capture_output=True,
        encoding="utf-8",
        errors="backslashreplace",
        check=False,
    )
    if finished.returncode:
        raise InternalError(f"the published model does not run: {finished.stderr.strip()[-500:]}")
    answers: list[list[float]] = json.loads(finished.stdout)
    return [
        Prediction(digit, row.index(max(row)), max(row)) for digit, row in zip(digits(), answers, strict=True)
    ]


def _run(model: str) -> None:
    """Print the probabilities for every digit."""
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import numpy
    import openvino

    compiled = openvino.Core().compile_model(model, "CPU")
    answers = [
        compiled([numpy.array(digit.pixels, numpy.float32).reshape(1, 8, 8, 1)])[0][0].tolist()
        for digit in digits()
    ]
    sys.stdout.write(json.dumps(answers))


if __name__ == "__main__":
    _run(sys.argv[1])
