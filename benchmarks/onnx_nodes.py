"""ONNX's own backend node tests, models of one operator each: plain OpenVINO beside this converter.

    python benchmarks/onnx_nodes.py                       # both numbers, under `--verify load`
    python benchmarks/onnx_nodes.py --compare --auto      # and what these let through
    python benchmarks/onnx_nodes.py --every 20 --known    # a sample, with those that were wrong once
    python benchmarks/onnx_nodes.py --state nodes.jsonl   # can be broken off, and goes on where it was

A case is *converted* if its result compiles and runs on the case's data, and *equal* if every output is the
case's expected one (relative 1e-3, absolute 1e-5; integers too; NaN equals NaN). Plain OpenVINO is
`read_model`, or `convert_model` where that fails. This converter is `ovms_converter.convert` as a user calls
it, from a file to a published version, and the published IR is what is run. The one difference: its child
process is forked from one that has loaded openvino already, which saves half a second a case. All three run
in processes of their own, so whatever crashes is counted.

Ends with 1 if fewer cases are equal than by plain OpenVINO, if the program failed with anything but an error
of its own, or if wrong numbers were published under `compare` or `auto`. Not wrong is what is drawn at
random, and what is quantized one step beside the expected one, because the quotient lies at a tie.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # it would open a socket at the import

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx
import onnx.reference
import onnxruntime  # noqa: F401 - loaded once, before the forks
import openvino as ov
from onnx import numpy_helper

import ovms_converter
from ovms_converter.engine import process
from ovms_converter.engine.worker import serve
from ovms_converter.errors import ConverterError, InternalError

Array = npt.NDArray[Any]
Record = dict[str, Any]

RELATIVE, ABSOLUTE = 1e-3, 1e-5
ONE_STEP = "one step of 8 bits apart"
RANDOM = frozenset(("Bernoulli", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"))
SECONDS = 120
"""One case may take so long; none takes more than a few."""

WRONG_ONCE = frozenset(
    (
        "attention_23_boolmask_fullymasked_row_nan_robustness_expanded", "attention_3d_local_window",
        "attention_4d_with_past_and_present_qk_matmul_bias_3d_mask_causal",
        "attention_bidirectional_window", "attention_causal_boolmask_nan_robustness_expanded",
        "bitshift_left_int32_shift_ge_width", "bitshift_left_int8_overflow",
        "bitshift_right_int8_negative_input", "dft", "dft_axis", "dft_axis_opset19", "dft_irfft",
        "dft_irfft_opset19", "dft_opset19", "dft_rfft", "dft_rfft_opset19", "dynamicquantizelinear",
        "gru_batchwise", "lstm_batchwise", "lstm_with_peepholes",
        "maxpool_2d_ceil_output_size_reduce_by_one", "nonmaxsuppression_iou_threshold_boundary",
        "reduce_max_empty_set", "resize_downsample_scales_cubic_A_n0p5_exclude_outside",
        "resize_downsample_scales_linear_antialias", "resize_downsample_sizes_nearest_not_larger",
        "resize_upsample_sizes_nearest_not_smaller", "roialign_mode_max", "simple_rnn_batchwise",
        "spacetodepth_crd_mode_example", "tile", "top_k_same_values",
    )
)  # fmt: skip
"""Cases that plain OpenVINO 2026.4 computes wrongly, one or more of each kind."""


def all_cases() -> list[Any]:
    """Every case of the installed onnx, in its order."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return list(collect_testcases(None))


def name_of(case: Any) -> str:
    """Without the `test_` that all begin with."""
    return str(case.name).removeprefix("test_")


# ---------------------------------------------------------------------------------------------------- values

_NARROW = {
    "bfloat16": ov.Type.bf16,
    "float8_e4m3fn": ov.Type.f8e4m3,
    "float8_e5m2": ov.Type.f8e5m2,
    "float8_e8m0fnu": ov.Type.f8e8m0,
    "float4_e2m1fn": ov.Type.f4e2m1,
    "int4": ov.Type.i4,
    "uint4": ov.Type.u4,
}
_PACKED = ("int4", "uint4", "float4_e2m1fn")


def array_of(value: Any) -> Array:
    """A value of a case. Raises TypeError for sequences and optionals."""
    if isinstance(value, onnx.TensorProto):
        value = numpy_helper.to_array(value)
    if isinstance(value, list) or value is None:
        raise TypeError("a sequence or an optional value")
    return np.asarray(value)


def tensor_of(array: Array) -> "ov.Tensor | Array":
    """A value for openvino, with the types that numpy lacks as their bytes."""
    if array.dtype == object:
        return array.astype(str)
    kind = _NARROW.get(str(array.dtype))
    if kind is None:
        return np.require(array, requirements="C")
    if str(array.dtype) in _PACKED:
        nibbles = np.append(array.ravel().view(np.uint8) & 15, np.uint8(0))
        pairs = nibbles[: nibbles.size // 2 * 2]
        return ov.Tensor(pairs[0::2] | pairs[1::2] << 4, ov.Shape(array.shape), kind)
    bits = np.require(array, requirements="C").view(np.uint8 if array.itemsize == 1 else np.uint16)
    return ov.Tensor(bits, ov.Shape(array.shape), kind)


def result_of(tensor: ov.Tensor) -> Array:
    """What openvino computed, in ml_dtypes' types where numpy lacks one."""
    kind = next((name for name, each in _NARROW.items() if each == tensor.element_type), None)
    if kind is None:
        return np.asarray(tensor.str_data if tensor.element_type == ov.Type.string else tensor.data)
    if kind in _PACKED:
        raise TypeError(f"an output of the type {kind}")
    bits = np.asarray(tensor.data).view(np.uint8 if tensor.element_type.bitwidth == 8 else np.uint16)
    return bits.view(getattr(ml_dtypes, kind))


def difference(result: Array, expected: Array) -> str:
    """Empty if two outputs are equal, else in what they are not."""
    if result.shape != expected.shape:
        return f"shape {list(result.shape)}, expected {list(expected.shape)}"
    if expected.dtype.kind in "OSU" or result.dtype.kind in "OSU":
        return "" if np.array_equal(result.astype(str), expected.astype(str)) else "other text"
    if (result.dtype.kind == "c") != (expected.dtype.kind == "c"):
        return f"type {result.dtype}, expected {expected.dtype}"
    one, other = result.astype(np.float64), expected.astype(np.float64)
    # Two correct roundings to a short type may be one step of it apart.
    short = str(expected.dtype) == "bfloat16"
    relative, absolute = (2**-6, 2**-8) if short else (RELATIVE, ABSOLUTE)
    if np.allclose(one, other, rtol=relative, atol=absolute, equal_nan=True):
        return ""
    if expected.dtype in (np.int8, np.uint8) and np.max(np.abs(one - other)) == 1:
        return ONE_STEP
    with np.errstate(all="ignore"):
        return f"differs by up to {np.nanmax(np.abs(one - other)):.3g}"


def fed(port: ov.ConstOutput, declared: str, given: Mapping[str, Array]) -> "ov.Tensor | Array":
    """The value of an input, which a device may rename; a few cases do not give what they do not use."""
    name = next(iter(port.get_names() & given.keys()), declared)
    return (
        tensor_of(given[name]) if name in given else ov.Tensor(port.get_element_type(), ov.Shape(port.shape))
    )


def judged(model: ov.Model, case: Any) -> Record:
    """What a model makes of a case's data."""
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    inputs, expected = case.data_sets[0]
    names = [port.name for port in case.model.graph.input]
    try:
        given = {name: array_of(value) for name, value in zip(names, inputs, strict=False)}
        wanted = [array_of(value) for value in expected]
        feed = {port: fed(port, name, given) for port, name in zip(compiled.inputs, names, strict=False)}
    except (TypeError, RuntimeError) as error:
        return {"outcome": "unfed", "why": f"{type(error).__name__}: {error}"[:200]}
    request = compiled.create_infer_request()
    request.infer(feed)
    outputs = [name.name for name in case.model.graph.output]
    if len(compiled.outputs) != len(outputs):
        return {"outcome": "different", "why": f"{len(compiled.outputs)} outputs, expected {len(outputs)}"}
    for number, (name, value) in enumerate(zip(outputs, wanted, strict=False)):
        why = difference(result_of(request.get_output_tensor(number)), value)
        if why:
            return {"outcome": "different", "why": f"{name}: {why}"}
    return {"outcome": "equal"}


# ------------------------------------------------------------------------------------------------- processes


def apart(work: Callable[[], Record]) -> Record:
    """Do something in a process of its own, whose end, whatever it is, is told."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        signal.alarm(SECONDS)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        try:
            record = work()
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is told
            record = {"outcome": "failed", "why": f"{type(error).__name__}: {error}"[:600]}
        os.write(writing, json.dumps(record).encode()[: 1 << 16])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        told = stream.read()
    status = os.waitpid(child, 0)[1]
    if not told:
        return {"outcome": "crashed", "why": f"ended with {os.waitstatus_to_exitcode(status)}"}
    record = json.loads(told)
    return dict(record)


class Forked:
    """The converter's child process, forked from this one; what `engine.client` uses of a `Popen`."""

    def __init__(self, directory: Path, reply: int) -> None:
        jobs, self_in = os.pipe()
        self_out, printed = os.pipe()
        self.returncode: int | None = None
        self.pid = os.fork()
        if not self.pid:
            os.setsid()
            os.close(self_in)
            os.close(self_out)
            self._serve(directory, jobs, printed, reply)
        os.close(jobs)
        os.close(printed)
        self.stdin = os.fdopen(self_in, "wb", buffering=0)
        self.stdout = os.fdopen(self_out, "rb", buffering=0)

    @staticmethod
    def _serve(directory: Path, jobs: int, printed: int, reply: int) -> None:
        """The child's side: what `engine.worker.__main__` does once openvino is loaded."""
        os.environ["TMPDIR"] = str(directory)
        tempfile.tempdir = None
        for number, descriptor in enumerate((jobs, printed, printed)):
            os.dup2(descriptor, number)
        try:
            with os.fdopen(0, "rb", buffering=-1, closefd=False) as stream:
                line = stream.readline()
            if line:
                serve.serve(line, os.fdopen(reply, "wb", buffering=0))
        finally:
            os._exit(0)

    def wait(self, timeout: float | None = None) -> int:  # noqa: ARG002 - as of `Popen`
        """As of `Popen`."""
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode

    def kill(self) -> None:
        """As of `Popen`."""
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)


def fork_engine(directory: Path, reply: int, **_: object) -> Any:
    """In place of `engine.process.start`."""
    return Forked(directory, reply)


# --------------------------------------------------------------------------------------------------- one case


def plain(path: Path, case: Any) -> Record:
    """A case by OpenVINO alone."""
    try:
        return judged(ov.Core().read_model(path), case)
    except RuntimeError:
        return judged(ov.convert_model(path), case)


def ours(path: Path, case: Any, verify: str, directory: Path) -> Record:
    """A case by this converter, and what is published."""
    try:
        done = ovms_converter.convert(str(path), str(directory), environ={}, verify=verify, timeout=SECONDS)
    except InternalError as error:
        return {"outcome": "crashed", "why": f"{error.message} {error.__cause__ or ''}"[-600:]}
    except ConverterError as error:
        return {"outcome": "refused", "exit": error.exit_code, "why": error.message, "hint": error.hint}
    except BaseException:  # noqa: BLE001 - a traceback is what must not be
        return {"outcome": "crashed", "why": traceback.format_exc()[-600:]}
    xml = next((directory / str(done.version)).glob("*.xml"))
    record = apart(lambda: judged(ov.Core().read_model(xml), case))
    random = any(node.op_type in RANDOM for node in case.model.graph.node)
    return record | {"random": random, "verified": done.verified, "repairs": list(done.record["repairs"])}


def run_case(case: Any, modes: Sequence[str], directory: Path) -> Record:
    """A case in every way that is asked for."""
    path = directory / "model.onnx"
    onnx.save(case.model, path)
    record: Record = {"case": name_of(case), "operation": case.model.graph.node[0].op_type}
    for mode in modes:
        if mode == "plain":
            record[mode] = apart(lambda: plain(path, case))
        else:
            record[mode] = ours(path, case, mode, directory / mode)
    return record


def work(tasks: Iterable[str]) -> None:
    """Run cases, each with the ways that follow its name, and print a line of JSON for each."""
    process.start = fork_engine
    by_name = {name_of(case): case for case in all_cases()}
    for task in tasks:
        name, *modes = task.split()
        with tempfile.TemporaryDirectory() as directory:
            record = run_case(by_name[name], modes, Path(directory))
        # In one piece: another worker writes to the same file.
        os.write(1, f"{json.dumps(record)}\n".encode())


# -------------------------------------------------------------------------------------------------- the whole


def run_all(tasks: Sequence[str], state: Path, workers: int) -> None:
    """Run cases in several processes, and add what they tell to the state file as it comes."""
    command = [sys.executable, __file__, "--work"]
    with state.open("a") as stream:
        children = []
        for number in range(workers):
            share = tasks[number::workers]
            if share:
                child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=stream, text=True)
                assert child.stdin is not None
                child.stdin.write("\n".join(share))
                child.stdin.close()
                children.append(child)
        for child in children:
            if child.wait():
                raise SystemExit(f"a worker ended with {child.returncode}; what it has done is in {state}")


def read_state(state: Path) -> dict[str, Record]:
    """What is known of each case."""
    found: dict[str, Record] = {}
    if state.exists():
        for line in state.read_text().splitlines():
            record = json.loads(line)
            found.setdefault(record["case"], {}).update(record)
    return found


def count(records: Iterable[Mapping[str, Any]], mode: str, *outcomes: str) -> int:
    """How many cases came to one of these outcomes."""
    return sum(record[mode]["outcome"] in outcomes for record in records)


def report(records: Mapping[str, Record], modes: Sequence[str]) -> bool:
    """Print the numbers and the lists; whether all is as it should be."""
    every = records.values()
    good = True
    print(f"{len(records)} cases, onnx {onnx.__version__}, openvino {ov.get_version()}\n")
    print(f"{'':18} converted   equal   other numbers   refused   crashed")
    for mode in modes:
        label = "plain openvino" if mode == "plain" else f"--verify {mode}"
        numbers = [
            count(every, mode, "equal", "different", "unfed"),
            count(every, mode, "equal"),
            count(every, mode, "different"),
            count(every, mode, "refused", "failed"),
            count(every, mode, "crashed"),
        ]
        print(f"{label:18} {numbers[0]:9} {numbers[1]:7} {numbers[2]:15} {numbers[3]:9} {numbers[4]:9}")
    for mode in modes[1:]:
        good &= _list(
            f"the program crashed, {mode}", records, lambda each: each["outcome"] == "crashed", mode
        )
        if mode != "load":
            title = f"published with other numbers, {mode}"
            _list(f"{title}, drawn at random or one step of 8 bits apart", records, _is_no_fault, mode)
            good &= _list(title, records, lambda each: _differs(each) and not _is_no_fault(each), mode)
    if "plain" in modes and "load" in modes:
        worse = [name for name, each in records.items() if _equal(each, "plain") and not _equal(each, "load")]
        better = [
            name for name, each in records.items() if _equal(each, "load") and not _equal(each, "plain")
        ]
        print(f"\nequal here and not by plain openvino: {len(better)}")
        for name in better:
            print(f"  {name}: {', '.join(records[name]['load'].get('repairs', [])) or 'no repair'}")
        print(f"\nequal by plain openvino and not here: {len(worse)}")
        for name in worse:
            print(f"  {name}: {records[name]['load'].get('why')}")
        good &= len(better) >= len(worse)
    return good


def _differs(record: Mapping[str, Any]) -> bool:
    return bool(record["outcome"] == "different")


def _is_no_fault(record: Mapping[str, Any]) -> bool:
    """Whether nothing else could be expected: neither of two neighbours is wrong for a quotient at a tie."""
    return _differs(record) and (record["random"] or ONE_STEP in record["why"])


def _equal(record: Mapping[str, Any], mode: str) -> bool:
    return bool(record[mode]["outcome"] == "equal")


def _list(
    title: str, records: Mapping[str, Record], chosen: Callable[[Mapping[str, Any]], bool], mode: str
) -> bool:
    """Print the cases that are chosen; whether there are none."""
    found = [(name, record[mode]) for name, record in records.items() if chosen(record[mode])]
    print(f"\n{title}: {len(found)}")
    for name, record in found:
        print(f"  {name}: {record.get('why')}")
    return not found


def main() -> int:
    """Run what is missing, and print the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--compare", action="store_true", help="also under `--verify compare`")
    parser.add_argument("--auto", action="store_true", help="also under `--verify auto`")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every Nth case only")
    parser.add_argument("--known", action="store_true", help="with --every: and those that were wrong once")
    parser.add_argument("--only", metavar="TEXT", help="cases with this in their name")
    parser.add_argument("--state", type=Path, help="a file that keeps what is done")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(sys.stdin.read().splitlines())
        return 0
    modes = ["plain", "load", *["compare"] * options.compare, *["auto"] * options.auto]
    names = [name_of(case) for case in all_cases()]
    chosen = set(names[:: options.every]) | (WRONG_ONCE if options.known else set())
    wanted = [name for name in names if name in chosen and (options.only or "") in name]
    with tempfile.TemporaryDirectory() as directory:
        state = options.state or Path(directory) / "state.jsonl"
        known = read_state(state)
        missing = {name: [mode for mode in modes if mode not in known.get(name, {})] for name in wanted}
        tasks = [f"{name} {' '.join(ways)}" for name, ways in missing.items() if ways]
        run_all(tasks, state, options.workers)
        records = read_state(state)
        return 0 if report({name: records[name] for name in wanted}, modes) else 1


if __name__ == "__main__":
    sys.exit(main())
