"""Write which operations the installed openvino has conversion rules for: the data that `inspect` goes by.

    python tools/operation_coverage.py            # compare with what is stored; status 1 if it differs
    python tools/operation_coverage.py --write
    python tools/operation_coverage.py --sample 20   # ask again for every 20th only: seconds, not minutes

The front ends offer no list, so they are asked: a graph with one node of each operation is given to one, and
its error says whether there is "no conversion rule". Asked are the operators of the packages onnx and
onnxruntime, TensorFlow's if it is installed, all that are stored already, and every word in the front end's
library (a short name is not among these: compilers put it into the code).
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TypedDict

sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # it would open a socket at the import

import openvino
from openvino.frontend import FrontEnd, FrontEndManager

from ovms_converter.formats.wire import bytes_field, varint_field

__all__ = ["DATA", "Question", "ask", "derive"]

DATA = Path(__file__).parent.parent / "src" / "ovms_converter" / "coverage" / "operations.json"

DOMAINS = (
    "ai.onnx.contrib",
    "ai.onnx.ml",
    "ai.onnx.preview.training",
    "com.microsoft",
    "com.microsoft.experimental",
    "mmdeploy",
    "org.openvinotoolkit",
    "org.pytorch.aten",
    "pkg.onnxscript.torch_lib",
)
"""Domains of operators beside ONNX's own that some exporter writes."""

CONTROL_FLOW = ("Enter", "Exit", "LoopCond", "Merge", "NextIteration", "Switch")
"""TensorFlow 1's loops: the front end replaces them as a whole, and has no rule for each."""

_NAME = re.compile(rb"[A-Za-z_][A-Za-z0-9_]{1,63}")


class Data(TypedDict):
    """Operations that have a conversion rule: `onnx` by domain. `openvino` is the version that was asked."""

    openvino: str
    onnx: dict[str, list[str]]
    tensorflow: list[str]


@dataclass(frozen=True)
class Question:
    """Is there a rule for this operation? `opset` is that of the model; it is 0 for TensorFlow."""

    domain: str
    operation: str
    opset: int

    def answer(self, front_end: FrontEnd, path: Path) -> bool:
        """Ask a front end, with a graph that is written to `path`."""
        path.write_bytes(
            onnx_graph(self.domain, self.operation, self.opset)
            if self.opset
            else tensorflow_graph(self.operation)
        )
        try:
            front_end.convert(front_end.load(str(path)))
        except Exception as error:  # noqa: BLE001 - whatever else is wrong with such a graph does not matter
            return "No conversion rule found" not in str(error)
        return True


def ask(questions: Sequence[Question]) -> list[bool]:
    """The answers. A rule that gets too few inputs may crash: a child asks, and another goes on after it."""
    answers: list[bool] = []
    while len(answers) < len(questions):
        left = [[each.domain, each.operation, each.opset] for each in questions[len(answers) :]]
        child = subprocess.run(
            [sys.executable, __file__, "--answer"], input=json.dumps(left), capture_output=True, text=True
        )
        answers += [line == "True" for line in child.stdout.split()]
        if child.returncode < 0:
            answers.append(True)
        elif child.returncode:
            raise RuntimeError(child.stderr)
    return answers


def answer_questions() -> None:
    """The child: questions from stdin, one answer a line to stdout."""
    manager = FrontEndManager()
    onnx, tensorflow = manager.load_by_framework("onnx"), manager.load_by_framework("tf")
    with tempfile.TemporaryDirectory() as name:
        for domain, operation, opset in json.load(sys.stdin):
            front_end, file = (onnx, "asked.onnx") if opset else (tensorflow, "asked.pb")
            print(Question(domain, operation, opset).answer(front_end, Path(name, file)), flush=True)


def having_rules(domain: str, operations: Iterable[str], opset: int) -> list[str]:
    """Those operations for which there is a rule, sorted."""
    names = sorted(operations)
    answers = ask([Question(domain, name, opset) for name in names])
    return [name for name, found in zip(names, answers, strict=True) if found]


def tensorflow_graph(operation: str) -> bytes:
    """A frozen graph with one node of an operation."""
    kind = bytes_field(5, bytes_field(1, "dtype") + bytes_field(2, varint_field(6, 1)))
    source = bytes_field(1, "x") + bytes_field(2, "Placeholder") + kind
    node = bytes_field(1, "n") + bytes_field(2, operation) + bytes_field(3, "x")
    return bytes_field(1, source) + bytes_field(1, node)


def onnx_graph(domain: str, operator: str, opset: int) -> bytes:
    """A model with one node of an operator."""

    def value(name: str) -> bytes:
        shape = bytes_field(2, bytes_field(1, varint_field(1, 2)))
        return bytes_field(1, name) + bytes_field(2, bytes_field(1, varint_field(1, 1) + shape))

    node = bytes_field(1, "x") + bytes_field(2, "y") + bytes_field(4, operator) + bytes_field(7, domain)
    graph = (
        bytes_field(1, node) + bytes_field(2, "g") + bytes_field(11, value("x")) + bytes_field(12, value("y"))
    )
    imports = bytes_field(8, varint_field(2, opset))
    if domain:
        imports += bytes_field(8, bytes_field(1, domain) + varint_field(2, 1))
    return varint_field(1, 8) + bytes_field(7, graph) + imports


def words(library: str) -> set[str]:
    """Every text in a library of openvino that is one word."""
    directory = Path(openvino.__file__).parent / "libs"
    data = next(directory.glob(f"libopenvino_{library}_frontend.*")).read_bytes()
    return {part.decode() for part in set(data.split(b"\0")) if _NAME.fullmatch(part)}


def derive(stored: Data) -> Data:
    """All the data, as it is stored; what was `stored` before is asked for again."""
    import onnx.defs
    from onnxruntime.capi import onnxruntime_pybind11_state

    schemas = [
        *onnx.defs.get_all_schemas_with_history(),
        *onnxruntime_pybind11_state.get_all_operator_schema(),
    ]
    names = {*words("onnx"), *(schema.name for schema in schemas)}
    for domain in stored["onnx"].values():
        names |= set(domain)
    newest = onnx.defs.onnx_opset_version()
    by_domain = {domain or "ai.onnx": having_rules(domain, names, newest) for domain in ("", *DOMAINS)}
    operations = words("tensorflow") | _tensorflow_names() | set(stored["tensorflow"])
    return {
        "openvino": metadata.version("openvino"),
        "onnx": {domain: found for domain, found in by_domain.items() if found},
        "tensorflow": sorted({*having_rules("", operations, 0), *CONTROL_FLOW}),
    }


def sample(stored: Data, step: int) -> list[str]:
    """What is wrong in the stored data, judged by every `step`th operation and some that nobody defined."""
    questions = [
        Question("" if domain == "ai.onnx" else domain, name, 17)
        for domain, names in stored["onnx"].items()
        for name in names[::step]
    ]
    tensorflow = [name for name in stored["tensorflow"][::step] if name not in CONTROL_FLOW]
    questions += [Question("", name, 0) for name in tensorflow]
    unknown = [Question("", "NoSuchOperation", opset) for opset in (17, 0)]
    answers = ask([*questions, *unknown])
    expected = [True] * len(questions) + [False] * len(unknown)
    wrong = [
        f"{each.domain or 'ai.onnx' if each.opset else 'tensorflow'}: {each.operation}"
        for each, answer, right in zip([*questions, *unknown], answers, expected, strict=True)
        if answer != right
    ]
    installed = metadata.version("openvino")
    if stored["openvino"] != installed:
        wrong.append(f"made for openvino {stored['openvino']}, and {installed} is installed")
    return wrong


def _tensorflow_names() -> set[str]:
    """All of TensorFlow's operations; none if it is not installed."""
    try:
        import tensorflow
    except ImportError:
        return set()
    return {name for name in dir(tensorflow.raw_ops) if name[0].isupper()}


def _text(data: Data) -> str:
    """JSON with one line a domain, so that a change is seen in a diff."""
    return json.dumps(data, separators=(",", ":"), sort_keys=True).replace('],"', '],\n"') + "\n"


def main() -> int:
    """Write the data, or compare it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="store what was found")
    parser.add_argument("--sample", type=int, metavar="N", help="compare every Nth operation only")
    parser.add_argument("--answer", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.answer:
        answer_questions()
        return 0
    before = DATA.read_text()
    if options.sample:
        wrong = sample(json.loads(before), options.sample)
        print("\n".join(wrong))
        return 1 if wrong else 0
    found = derive(json.loads(before))
    if options.write:
        DATA.write_text(_text(found))
    elif _text(found) != before:
        print(f"{DATA} is not what openvino {found['openvino']} has: run with --write")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
