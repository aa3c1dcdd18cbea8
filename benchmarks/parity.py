"""How equal is the result to Model Optimizer's? One row for each parameter: cases, equal ones, largest
difference.

    python benchmarks/parity.py DIRECTORY [CASE ...]

`DIRECTORY` holds recorded cases: `cases/<id>/case.json` with the arguments and what Model Optimizer 2024.6
and 2021.4.1 did with them, the inputs as `input.npz` and their outputs as `output_mo24.npz` and
`output_mo21.npz`, and `models/`. A small set is in `tests/data/optimizer`. Ends with 1 if a case differs.
"""

import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ovms_converter.errors import ConverterError, RequestError
from ovms_converter.optimizer.arguments import OptimizerArguments
from ovms_converter.optimizer.command_line import parse_extra_args
from ovms_converter.optimizer.conversion import convert
from ovms_converter.optimizer.native import Model, ov

Array = npt.NDArray[Any]
FORMATS = {
    "onnx": "onnx",
    "tf_saved_model": "tensorflow.saved_model",
    "tf_frozen": "tensorflow.frozen",
}


@dataclass(frozen=True)
class Case:
    """One recorded case: a model, the arguments, and what is expected."""

    directory: Path
    record: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Its directory's name."""
        return self.directory.name

    @property
    def status(self) -> str:
        """`ok`, `error`, or `either` where it is up to the implementation."""
        return str(self.record["expect"]["status"])

    @property
    def channels_first(self) -> bool:
        """Whether Model Optimizer 2021 turned this model's image inputs and outputs channels-first."""
        return self.record["framework"] != "onnx" and "disable_nhwc_to_nchw" not in self.record["extra_args"]

    def parameters(self) -> list[str]:
        """The names of the arguments, as far as they can be read."""
        names = list(self.record["params"])
        try:
            names += parse_extra_args(self.record["extra_args"])
        except RequestError:
            names.append("(unreadable extra_args)")
        return names or ["(none)"]


@dataclass
class Outcome:
    """What became of a case; it is equal if there are no `problems`."""

    status: str = "ok"
    message: str = ""
    problems: list[str] = field(default_factory=list)
    largest_difference: float = 0.0


def find_cases(directory: Path) -> list[Case]:
    """Every case below a directory, by name."""
    found = sorted((directory / "cases").iterdir())
    return [Case(each, json.loads((each / "case.json").read_text())) for each in found]


def run_case(case: Case, scratch: Path) -> Outcome:
    """Convert the case's model, save it, read it back, and compare with every oracle that must be matched."""
    outcome = Outcome()
    try:
        model = _convert(case, scratch)
    except ConverterError as error:
        outcome.status = "error"
        outcome.message = f"{type(error).__name__}: {error.message}"
    if case.status not in (outcome.status, "either"):
        outcome.problems.append(f"the case ends with {outcome.status}, expected {case.status}")
    if outcome.status == "ok":
        for oracle in case.record["expect"]["match"]:
            _compare(case, oracle, model, outcome)
    return outcome


def _convert(case: Case, scratch: Path) -> Model:
    values = parse_extra_args(case.record["extra_args"]) | case.record["params"]
    source = (case.directory / case.record["model"]).resolve()
    if not source.exists():
        raise RequestError(f"there is no model `{source.name}`")
    arguments = OptimizerArguments.parse(values)
    conversion = convert(source, FORMATS[case.record["framework"]], arguments, scratch)
    ov.save_model(conversion.model, str(scratch / "model.xml"), compress_to_fp16=conversion.compress_to_fp16)
    return ov.Core().read_model(str(scratch / "model.xml"))


def _compare(case: Case, oracle: str, model: Model, outcome: Outcome) -> None:
    record = case.record["oracles"][oracle]
    given = np.load(case.directory / "input.npz")
    wanted = np.load(case.directory / f"output_{oracle}.npz")
    turned = oracle == "mo21" and case.channels_first
    for port in (*model.inputs, *model.outputs):
        if len(port.get_names()) != 1:
            outcome.problems.append(f"{port.get_names()} are not one name")
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    feed: dict[str, Array] = {}
    for position, port in enumerate(compiled.inputs):
        recorded = _recorded(port.get_any_name(), record["inputs"], position)
        array = given[recorded["key"] if recorded["key"] in given else port.get_any_name()]
        feed[port.get_any_name()] = array.astype(port.get_element_type().to_dtype())
        if oracle == "mo24":
            _compare_declaration(recorded, model.input(port.get_any_name()), outcome)
    results = compiled(feed)
    if len(compiled.outputs) != len(record["outputs"]):
        outcome.problems.append(f"{len(compiled.outputs)} outputs, {oracle} has {len(record['outputs'])}")
        return
    for position, port in enumerate(compiled.outputs):
        recorded = _recorded(port.get_any_name(), record["outputs"], position)
        reference = wanted[f"out{record['outputs'].index(recorded)}"]
        if turned and reference.ndim in (4, 5):
            reference = np.moveaxis(reference, 1, -1)
        if oracle == "mo24":
            _compare_declaration(recorded, model.output(port.get_any_name()), outcome)
        _compare_arrays(port.get_any_name(), results[port], reference, case, oracle, outcome)


def _compare_declaration(recorded: Mapping[str, Any], port: Any, outcome: Outcome) -> None:
    shape, kind = str(port.get_partial_shape()), port.get_element_type().get_type_name()
    if (shape, kind) != (recorded["shape"], recorded["dtype"]):
        outcome.problems.append(
            f"`{port.get_any_name()}` is {shape} {kind}, recorded {recorded['shape']} {recorded['dtype']}"
        )


def _compare_arrays(
    name: str, got: Array, reference: Array, case: Case, oracle: str, outcome: Outcome
) -> None:
    if got.shape != reference.shape:
        outcome.problems.append(f"`{name}` has the shape {got.shape}, {oracle} has {reference.shape}")
        return
    difference = float(np.max(np.abs(got.astype(np.float64) - reference.astype(np.float64)), initial=0.0))
    outcome.largest_difference = max(outcome.largest_difference, difference)
    largest = float(np.max(np.abs(reference.astype(np.float64)), initial=0.0))
    # the recorded bound is for any implementation; FP32 results are held to 1e-5
    tolerance = min(case.record["expect"]["rtol"], 1e-5) if case.record["expect"]["rtol"] < 1e-3 else 2e-3
    if difference > tolerance * max(largest, 1e-30):
        outcome.problems.append(f"`{name}` differs by {difference:.2e} from {oracle}")


def _recorded(name: str, ports: Sequence[Mapping[str, Any]], position: int) -> Mapping[str, Any]:
    """The oracle's record of an input or output: by name, with or without a port, else by position."""
    for port in ports:
        names = {each.removesuffix(":0") for each in (*port["names"], port["friendly_name"])}
        if name.removesuffix(":0") in names:
            return port
    return ports[min(position, len(ports) - 1)]


def report(cases: Sequence[Case]) -> Iterator[str]:
    """The lines of the table; those of cases that differ come first."""
    rows: dict[str, list[Outcome]] = defaultdict(list)
    for case in cases:
        with tempfile.TemporaryDirectory() as scratch:
            outcome = run_case(case, Path(scratch))
        for name in case.parameters():
            rows[name].append(outcome)
        rows["total"].append(outcome)
        for problem in outcome.problems:
            yield f"{case.name}: {problem} {outcome.message}"
    yield f"{'parameter':32}{'cases':>7}{'equal':>7}{'max abs diff':>15}"
    for name in [*sorted(set(rows) - {"total"}), "total"]:
        outcomes = rows[name]
        equal = sum(not outcome.problems for outcome in outcomes)
        largest = max(outcome.largest_difference for outcome in outcomes)
        yield f"{name:32}{len(outcomes):7}{equal:7}{largest:15.2e}"


def main(arguments: Sequence[str]) -> int:
    """Print the table. Returns 1 if a case differs, 2 if there is no directory."""
    if not arguments:
        print(__doc__, file=sys.stderr)
        return 2
    wanted = arguments[1:]
    cases = [case for case in find_cases(Path(arguments[0])) if not wanted or case.name in wanted]
    lines = list(report(cases))
    print("\n".join(lines))
    return int(not lines[0].startswith("parameter"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
