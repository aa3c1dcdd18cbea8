"""What a model says about itself, from few bytes."""

from dataclasses import replace

import pytest
from onnx import TensorProto, helper

from formats_helpers import DATA, MemoryFiles, adding, onnx_bytes
from ovms_converter import formats
from ovms_converter.formats.base import ModelDescription, TensorSpec
from ovms_converter.formats.describe import describe
from ovms_converter.formats.onnx_graph import describe_onnx
from ovms_converter.formats.outline import onnx_outline
from ovms_converter.formats.signature import signature_specs
from ovms_converter.formats.tree import Window


def described(name: str) -> ModelDescription:
    files = formats.LocalFiles(DATA / name)
    return describe(files, formats.identify(formats.open_tree(files)))


def test_an_onnx_model_with_external_data() -> None:
    found = described("mlflow/3.18.0-onnx-external/model")
    assert [str(spec) for spec in found.inputs] == ["x float32 [N,4]"]
    assert [str(spec) for spec in found.outputs] == ["logits float32 [N,3]", "probs float32 [N,3]"]
    assert found.opsets["ai.onnx"] > 0
    assert sum(found.operations["ai.onnx"].values()) > 0
    assert found.parameters == 4203
    assert found.parameter_bytes == 4 * 4203
    assert any("1 other file" in note for note in found.notes)


def test_a_saved_model() -> None:
    found = described("mlflow/1.30.1-keras-tf-two/model")
    assert [spec.name for spec in found.inputs] == ["left", "right"]
    assert set(found.signatures) == {"serving_default"}
    assert found.tags == (("serve",),)
    assert found.producer == "TensorFlow 2.8.4"
    assert found.parameters
    assert found.parameter_bytes == 4 * found.parameters


def test_what_only_its_library_knows_is_not_taken_from_mlflows_signature() -> None:
    found = described("formats/mlflow/1.20.2-sklearn-pickle")
    assert (found.format, found.title) == ("sklearn.pickle", "a pickled scikit-learn model")
    assert (found.inputs, found.outputs) == ((), ())
    assert any("not known before it is opened" in note for note in found.notes)
    assert any("MLflow before 1.27" in note for note in found.notes)


def test_a_format_that_is_only_recognised_shows_mlflows_signature() -> None:
    source = DATA / "formats" / "mlflow" / "1.20.2-sklearn-pickle"
    text = (source / "MLmodel").read_bytes()
    files = MemoryFiles({"MLmodel": text, "model.pkl": b"PK\x03\x04"})
    model = replace(formats.identify(formats.open_tree(files)), format="pyfunc")
    found = describe(files, model)
    assert [str(spec) for spec in found.inputs] == ["inputs float64 [?,4]"]


@pytest.mark.parametrize(
    ("signature", "specs"),
    [
        ({}, ()),
        ({"inputs": "text"}, ()),
        ({"inputs": [1, None, {}]}, ()),
        (
            {"inputs": [{"name": "a", "type": "double"}, {"name": "b", "type": "double"}]},
            (TensorSpec("inputs", "float64", (None, 2)),),
        ),
        ({"inputs": [{"name": "a", "type": "double"}, {"name": "b", "type": "long"}]}, ()),
        (
            {
                "inputs": [
                    {"name": "x", "type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1, 2, "q"]}}
                ]
            },
            (TensorSpec("x", "int64", (None, 2, None)),),
        ),
    ],
)
def test_signatures_of_mlflow(signature: dict[str, object], specs: tuple[TensorSpec, ...]) -> None:
    assert signature_specs(signature, "inputs") == specs


def test_large_inline_weights_are_described_and_not_read() -> None:
    weights = [
        TensorProto(
            name=f"w{number}", data_type=TensorProto.FLOAT16, dims=[1 << 10, 1 << 9], raw_data=bytes(1 << 20)
        )
        for number in range(8)
    ]
    constant = helper.make_node("Constant", [], ["c"], value=weights[0])
    data = onnx_bytes([constant, *adding(*(weight.name for weight in weights))], weights)
    files = MemoryFiles({"m.onnx": data})
    found = describe(files, formats.recognise(files))
    assert found.parameters == 9 << 19
    assert found.parameter_bytes == 9 << 20
    assert files.bytes_read < 300_000 < len(data)


def test_the_outline_says_what_the_whole_model_says() -> None:
    weights = [
        helper.make_tensor(f"w{size}", TensorProto.FLOAT, [size], [1.0] * size) for size in (1, 300, 5000)
    ]
    data = onnx_bytes(adding(*(weight.name for weight in weights)), weights)
    outline = onnx_outline(Window(lambda start, length: data[start : start + length], len(data)))
    assert len(outline) < len(data) / 5
    assert describe_onnx(memoryview(outline)) == describe_onnx(memoryview(data))


def test_an_mlmodel_without_a_version_is_an_early_one() -> None:
    files = MemoryFiles(
        {"MLmodel": b"flavors:\n  onnx:\n    data: m.onnx\n", "m.onnx": onnx_bytes(adding("w"))}
    )
    found = describe(files, formats.recognise(files))
    assert "logged by MLflow before 1.27" in found.notes


def test_a_large_forest_is_described_without_its_trees() -> None:
    count = 20_000
    node = helper.make_node(
        "TreeEnsembleRegressor",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        nodes_values=[0.5] * count,
        nodes_nodeids=list(range(count)),
        nodes_modes=["LEAF"] * count,
    )
    data = onnx_bytes([node], opsets={"": 17, "ai.onnx.ml": 3})
    files = MemoryFiles({"m.onnx": data})
    found = describe(files, formats.identify(formats.open_tree(files)))
    assert found.operations == {"ai.onnx.ml": {"TreeEnsembleRegressor": 1}}
    assert files.bytes_read < len(data) / 2
