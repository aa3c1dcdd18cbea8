"""TFLite, PaddlePaddle, frozen graphs and IR: recognised by content, with the file of their weights."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from formats_helpers import DATA, MemoryFiles, onnx_bytes
from ovms_converter import formats
from ovms_converter.errors import AmbiguousModelError, CorruptModelError, UnsupportedModelError
from ovms_converter.formats.base import SourceModel
from ovms_converter.formats.wire import bytes_field

NATIVE = DATA / "optimizer" / "native"
TFLITE = (NATIVE / "float.tflite").read_bytes()
FROZEN = (DATA / "optimizer/signatures/frozen.pb").read_bytes()
PADDLE = (DATA / "formats/mlflow/2.9.2-paddle/model.pdmodel").read_bytes()
IR = (NATIVE / "old.xml").read_bytes()


def found(tree: Mapping[str, bytes], input_format: str = "auto") -> SourceModel:
    return formats.recognise(MemoryFiles(tree), input_format)


@pytest.mark.parametrize(
    ("name", "tree"),
    [
        ("tflite", {"m.tflite": TFLITE}),
        ("tflite", {"model": TFLITE}),
        ("tensorflow.frozen", {"frozen_graph.pb": FROZEN}),
        ("tensorflow.frozen", {"graph": FROZEN}),
        ("paddle", {"m.pdmodel": PADDLE, "m.pdiparams": b"\0"}),
        ("openvino.ir", {"m.xml": IR, "m.bin": b"\0"}),
        ("openvino.ir", {"m.xml": b"\xef\xbb\xbf" + IR}),
    ],
)
def test_each_is_recognised_alone_and_in_a_directory(name: str, tree: dict[str, bytes]) -> None:
    path = next(iter(tree))
    assert (found(tree).format, found(tree).path) == (name, path)
    assert found(tree).needs == tuple(sorted(tree))
    assert found(tree, name) == found(tree)
    deeper = {f"sub/{name}": data for name, data in tree.items()} | {"README.md": b"# text"}
    assert found(deeper).path == f"sub/{path}"


def test_weights_beside_a_single_file_are_companions(tmp_path: Path) -> None:
    for graph, data, weights in (("m.pdmodel", PADDLE, "m.pdiparams"), ("m.xml", IR, "m.bin")):
        files = MemoryFiles({graph: data}, hidden={weights: b"\0"})
        model = formats.recognise(files)
        assert model.needs == (graph,)
        assert formats.companions(tmp_path, model, files) == (weights,)
    lite = MemoryFiles({"m.tflite": TFLITE})
    assert formats.companions(tmp_path, formats.recognise(lite), lite) == ()


def test_paddle_without_its_weights_is_broken_and_ir_may_have_none(tmp_path: Path) -> None:
    paddle, graph = MemoryFiles({"d/m.pdmodel": PADDLE}), MemoryFiles({"m.xml": IR})
    with pytest.raises(CorruptModelError, match=r"`d/m\.pdiparams`, which is missing"):
        formats.companions(tmp_path, formats.recognise(paddle), paddle)
    assert formats.companions(tmp_path, formats.recognise(graph), graph) == ()
    assert formats.companions(tmp_path, formats.recognise(graph)) == ()


def test_the_new_form_of_paddle_is_refused_by_name() -> None:
    program = b'{"base_code":{"magic":"pir","version":1},"program":{}}'
    mlmodel = b"flavors:\n  paddle:\n    pickled_model: model\nmlflow_version: 3.1.0\n"
    for tree in (
        {"model.json": program},
        {"model.json": program, "model.pdiparams": b"\0"},
        {"MLmodel": mlmodel, "model.json": program, "model.pdiparams": b"\0"},
    ):
        with pytest.raises(UnsupportedModelError, match=r"PaddlePaddle 3 inference model \(PIR\)") as caught:
            found(tree)
        assert "paddle2onnx" in (caught.value.hint or "")


def test_ir_beside_another_model_is_what_was_made_of_it() -> None:
    assert found({"m.onnx": onnx_bytes(), "m.xml": IR, "m.bin": b"\0"}).format == "onnx"
    assert found({"m.onnx": onnx_bytes(), "m.xml": IR, "m.bin": b"\0"}, "openvino.ir").path == "m.xml"


def test_two_models_of_different_formats_can_be_told_apart_by_the_format() -> None:
    tree = {"m.onnx": onnx_bytes(), "m.tflite": TFLITE}
    with pytest.raises(AmbiguousModelError) as caught:
        found(tree)
    assert "`input_format` (onnx or tflite)" in (caught.value.hint or "")
    assert found(tree, "tflite").path == "m.tflite"


def test_a_message_that_begins_like_no_node_is_no_graph() -> None:
    other = bytes_field(1, bytes_field(1, "a b c\n") + bytes_field(2, "Relu"))
    with pytest.raises((CorruptModelError, UnsupportedModelError)):
        found({"m.pb": other})
