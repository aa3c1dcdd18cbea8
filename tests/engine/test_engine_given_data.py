"""Inputs that somebody gave: `verify_data`, and MLflow's input example in all its forms."""

import json
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from openvino import opset13

from engine_rig import convert, dense, job, value, write
from ovms_converter.engine.job import ConversionJob
from ovms_converter.engine.worker.examples import MisfitError, read_data, read_mlflow
from ovms_converter.engine.worker.treatment import InputTreatment, Treatment
from ovms_converter.errors import CorruptModelError, RequestError, VerificationError
from ovms_converter.formats.npz import read_npz

FLOAT = TensorProto.FLOAT
ROWS = [[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]


def npz(path: Path, **arrays: object) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, values in arrays.items():
            with archive.open(f"{name.replace('output_', 'output:')}.npy", "w") as stream:
                np.lib.format.write_array(stream, np.asarray(values))
    return path


def with_data(one: ConversionJob, path: Path) -> ConversionJob:
    return replace(one, verify_data=path)


def model_of(*inputs: tuple[str, ov.Type, list[int]]) -> ov.Model:
    parameters = [opset13.parameter(ov.PartialShape(shape), kind, name=name) for name, kind, shape in inputs]
    results = [opset13.result(opset13.relu(opset13.convert(each, "f32"))) for each in parameters]
    model = ov.Model(results, parameters, "m")
    for node, (name, _, _) in zip(parameters, inputs, strict=True):
        node.output(0).get_tensor().set_names({name})
    for number, result in enumerate(results):
        result.output(0).get_tensor().set_names({"y" if len(inputs) == 1 else f"y{number}"})
    return model


def treatment_of(model: ov.Model) -> Treatment:
    names = [port.get_any_name() for port in model.inputs]
    return Treatment({name: InputTreatment(name) for name in names}, {}, {}, (), ())


FREE = [("x", ov.Type.f32, [-1, 4])]


def test_given_data_are_compared_on_besides_the_seeded_samples(tmp_path: Path) -> None:
    one = job(dense(tmp_path / "m.onnx"), tmp_path / "out", verify="compare")
    plain = convert(replace(one, output=tmp_path / "plain"), tmp_path / "s")
    more = convert(with_data(one, npz(tmp_path / "d.npz", x=np.ones((3, 4), "f"))), tmp_path / "s")
    assert "with a batch of 1 and 2" in plain.verified
    assert more.verified.startswith("equal to ONNX Runtime")
    assert "3" in more.verified.rpartition("batch of")[2]


def test_recorded_outputs_are_compared_with_where_there_is_no_reference(tmp_path: Path) -> None:
    ir = convert(job(dense(tmp_path / "m.onnx"), tmp_path / "ir"), tmp_path / "s")
    x = np.random.default_rng(0).random((2, 4), dtype=np.float32)
    y = ov.Core().compile_model(str(ir.xml), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([x])[0]
    one = replace(job(ir.xml, tmp_path / "out", verify="auto"), format="openvino.ir")
    result = convert(with_data(one, npz(tmp_path / "d.npz", x=x, output_y=y)), tmp_path / "s")
    assert "equal to the outputs in `verify_data`" in result.verified
    assert result.comparison[0].max_abs < 1e-5

    wrong = with_data(replace(one, output=tmp_path / "2"), npz(tmp_path / "w.npz", x=x, output_y=y + 1))
    with pytest.raises(VerificationError, match="something else than `verify_data` tells: of output `y`"):
        convert(wrong, tmp_path / "s")


def test_a_recorded_output_that_differs_from_the_source_is_told_as_recorded(tmp_path: Path) -> None:
    one = job(dense(tmp_path / "m.onnx"), tmp_path / "out", verify="compare")
    data = npz(tmp_path / "d.npz", x=np.ones((2, 4), "f"), output_y=np.ones((2, 4), "f"))
    with pytest.raises(VerificationError, match="`verify_data` tells"):
        convert(with_data(one, data), tmp_path / "s")


def test_load_runs_on_the_given_data(tmp_path: Path) -> None:
    one = job(dense(tmp_path / "m.onnx"), tmp_path / "out", verify="load")
    result = convert(with_data(one, npz(tmp_path / "d.npz", x=np.ones((3, 4), "f"))), tmp_path / "s")
    assert result.verified == "loaded, compiled and run on `verify_data`"


def test_data_that_the_source_refuses_are_the_requests_fault(tmp_path: Path) -> None:
    nodes = [helper.make_node("Gather", ["table", "x"], ["y"])]
    ends = [value("x", TensorProto.INT64, ["N"])], [value("y", FLOAT, ["N", 2])]
    model = write(tmp_path / "m.onnx", nodes, *ends, {"table": np.ones((5, 2), np.float32)})
    one = with_data(job(model, tmp_path / "out", verify="compare"), npz(tmp_path / "d.npz", x=[99]))
    with pytest.raises(RequestError, match="the source does not run on the file of `verify_data`") as caught:
        convert(one, tmp_path / "s")
    assert caught.value.parameter == "verify_data"


def test_the_input_example_is_used_and_one_that_does_not_fit_is_told(tmp_path: Path) -> None:
    one = job(dense(tmp_path / "m.onnx"), tmp_path / "out", verify="compare", scale="2")
    (tmp_path / "fits.json").write_text(json.dumps({"x": [*ROWS, ROWS[0]]}))
    result = convert(replace(one, example=tmp_path / "fits.json"), tmp_path / "s")
    assert "3" in result.verified.rpartition("batch of")[2]
    assert not result.notes

    (tmp_path / "other.json").write_text(json.dumps({"z": ROWS, "w": ROWS}))
    other = replace(one, example=tmp_path / "other.json", output=tmp_path / "2")
    result = convert(other, tmp_path / "s")
    assert result.verified.startswith("equal to ONNX Runtime")
    assert "the input example of the artifact was not used: it lacks the input `x`" in result.notes


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"x": np.ones((2, 5), "f")}, "of the shape [2, 5], and the input is [?,4]"),
        ({"x": np.ones(4, "f")}, "of the shape [4]"),
        ({"y": np.ones((2, 4), "f")}, "holds `y`, and the result has no such input"),
        ({"x": np.ones((2, 4), "f"), "output_z": np.ones(1)}, "holds `z`, and the result has no such output"),
        ({"output_y": np.ones(1)}, "lacks the input `x`"),
        ({"x": np.array([["a"] * 4])}, "of the type <U1, and the input takes float32"),
    ],
)
def test_data_that_do_not_fit_are_refused_by_name(
    arrays: Mapping[str, object], told: str, tmp_path: Path
) -> None:
    with pytest.raises(RequestError) as caught:
        read_data(npz(tmp_path / "d.npz", **arrays), model_of(*FREE))
    assert told in caught.value.message
    assert (caught.value.parameter, caught.value.exit_code) == ("verify_data", 2)


def test_numbers_beyond_the_inputs_type_are_refused(tmp_path: Path) -> None:
    model = model_of(("x", ov.Type.u8, [-1, 2]))
    with pytest.raises(RequestError, match="out of the range of its type uint8"):
        read_data(npz(tmp_path / "d.npz", x=[[1, 256]]), model)
    (whole,) = read_data(npz(tmp_path / "e.npz", x=[[1, 255], [2, 3]]), model)
    assert whole.inputs["x"].dtype == np.uint8


def test_one_row_is_also_given_twice_and_a_fixed_batch_gets_its_parts(tmp_path: Path) -> None:
    once, twice = read_data(npz(tmp_path / "d.npz", x=ROWS[:1], output_y=ROWS[:1]), model_of(*FREE))
    assert (once.inputs["x"].shape, twice.inputs["x"].shape) == ((1, 4), (2, 4))
    assert twice.outputs["y"].shape == (2, 4)

    fixed = model_of(("x", ov.Type.f32, [1, 4]))
    parts = read_data(npz(tmp_path / "e.npz", x=ROWS, output_y=ROWS), fixed)
    assert [part.inputs["x"].tolist() for part in parts] == [[ROWS[0]], [ROWS[1]]]
    assert parts[1].outputs["y"].tolist() == [ROWS[1]]

    larger = read_data(npz(tmp_path / "f.npz", x=ROWS), model_of(("x", ov.Type.f32, [3, 4])))
    assert [part.inputs["x"].tolist() for part in larger] == [[ROWS[0], ROWS[1], ROWS[0]]]


TABLE: dict[str, list[Any]] = {
    "columns": ["b", "a", "c", "d"],
    "data": [[row[1], row[0], row[2], row[3]] for row in ROWS],
}
SIGNATURE = {"inputs": [{"name": name, "type": "double"} for name in "abcd"]}


@pytest.mark.parametrize(
    "content",
    [
        ROWS,
        {"x": ROWS},
        {"inputs": ROWS},
        {"inputs": {"x": ROWS}},
        {"instances": ROWS},
        {"inputs": ROWS, "params": {"temperature": 1}},
        TABLE,
        {**TABLE, "index": [0, 1]},
        {"dataframe_split": TABLE},
        [dict(zip("bacd", row, strict=True)) for row in TABLE["data"]],
        {"dataframe_records": [dict(zip("abcd", row, strict=True)) for row in ROWS]},
    ],
    ids=lambda content: str(content)[:30],
)
def test_every_form_of_mlflows_example_is_read(content: object, tmp_path: Path) -> None:
    path = tmp_path / "input_example.json"
    path.write_text(json.dumps(content))
    model = model_of(*FREE)
    (found,) = read_mlflow(path, SIGNATURE, model, treatment_of(model))
    assert found.inputs["x"].tolist() == ROWS
    assert found.inputs["x"].dtype == np.float32


def test_the_columns_of_a_table_may_be_inputs_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "input_example.json"
    path.write_text(json.dumps({"columns": ["age", "name"], "data": [[30, "a"], [40, "b"]]}))
    model = model_of(("age", ov.Type.i64, [-1, 1]), ("name", ov.Type.string, [-1]))
    (found,) = read_mlflow(path, None, model, treatment_of(model))
    assert found.inputs["age"].tolist() == [[30], [40]]
    assert found.inputs["name"].tolist() == ["a", "b"]


KEYS = st.sampled_from(["x", "inputs", "data", "columns", "dataframe_split"])
JSON = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner),
)


@given(JSON)
def test_any_other_json_is_a_misfit_and_nothing_else(content: object) -> None:
    model = model_of(*FREE)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "input_example.json")
        path.write_text(json.dumps(content))
        try:
            found = read_mlflow(path, None, model, treatment_of(model))
        except MisfitError:
            return
    assert all(example.inputs["x"].shape[1:] == (4,) for example in found)


def test_the_headers_tell_what_is_no_npz(tmp_path: Path) -> None:
    found = read_npz(npz(tmp_path / "d.npz", x=np.ones((2, 3), "f"), output_y=[1]))
    assert {name: array.shape for name, array in found.items()} == {"x": (2, 3), "output:y": (1,)}

    np.savez(tmp_path / "o.npz", x=np.array([{}], dtype=object))
    with pytest.raises(CorruptModelError, match="Python objects are not read"):
        read_npz(tmp_path / "o.npz")
    (tmp_path / "n.npz").write_bytes(b"no zip")
    with pytest.raises(CorruptModelError, match=r"is no `\.npz`"):
        read_npz(tmp_path / "n.npz")
    with zipfile.ZipFile(tmp_path / "z.npz", "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00\x10\x00not a dictionary")
    with pytest.raises(CorruptModelError, match="no header that can be read"):
        read_npz(tmp_path / "z.npz")
    with zipfile.ZipFile(tmp_path / "e.npz", "w"):
        pass
    with pytest.raises(CorruptModelError, match="holds no arrays"):
        read_npz(tmp_path / "e.npz")


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda data: b"\1\0" + data))
def test_any_header_is_read_or_refused(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "d.npz")
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.npy", b"\x93NUMPY" + data)
        try:
            read_npz(path)
        except CorruptModelError:
            return
