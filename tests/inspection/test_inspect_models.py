"""What `inspect` says of models that can be converted: ends, operations, weights, options, cost."""

import os
import shlex
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from inspection_models import external_weight, inline_weight, onnx_model, saved_model
from ovms_converter.errors import NotFoundError
from ovms_converter.formats.base import TensorSpec
from ovms_converter.inspection import Inspection, inspect
from ovms_converter.inspection.shapes import input_report
from servers import S3Bucket

ROWS = 16 << 10
"""Rows of 4 KiB: 64 MiB of weights."""


def look(path: Path, data: bytes | None = None) -> Inspection:
    if data is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return inspect(str(path), environ={})


@pytest.mark.parametrize("as_file", [False, True])
def test_a_large_model_with_external_data_in_a_store_costs_kilobytes(s3: S3Bucket, as_file: bool) -> None:
    weight = external_weight("weights/w.bin", ROWS)
    s3.put("net/model.onnx", onnx_model(shape=("batch", ROWS), weight=weight))
    s3.put("net/weights/w.bin", bytes(ROWS << 12))
    found = inspect(s3.url("net/model.onnx" if as_file else "net"), environ=s3.environ())
    assert found.convertible
    assert found.model_bytes is not None
    assert found.model_bytes >= 64 << 20
    assert found.bytes_read < 1_000_000
    assert found.requests <= 2
    assert found.forecast is not None
    assert (found.forecast.output, found.forecast.output_fp16) == (64 << 20, 32 << 20)
    assert found.forecast.disk >= 128 << 20


def test_a_large_model_in_one_object_costs_kilobytes(s3: S3Bucket) -> None:
    s3.put("model.onnx", onnx_model(shape=("batch", ROWS), weight=inline_weight(ROWS)))
    found = inspect(s3.url("model.onnx"), environ=s3.environ())
    assert found.convertible
    assert [(kind.type, kind.elements, kind.bytes) for kind in found.weights] == [
        ("float32", ROWS << 10, 64 << 20)
    ]
    assert found.description is not None
    assert found.description.outputs[0].name == "y"
    assert found.bytes_read < 1_000_000


def test_an_onnx_model_is_told_with_its_ends_operations_and_opset(tmp_path: Path) -> None:
    found = look(tmp_path / "net.onnx", onnx_model(shape=("batch", 3, 224, 224)))
    model = found.description
    assert model is not None
    assert (model.format, model.producer, dict(model.opsets)) == ("onnx", "tests", {"ai.onnx": 17})
    assert model.operations == {"ai.onnx": {"MatMul": 1}}
    assert str(found.inputs[0].spec) == "x float32 [batch,3,224,224]"
    assert found.inputs[0].layout == "NCHW"
    assert found.unsupported == ()
    assert found.coverage is not None
    assert found.coverage.matches


def test_operations_without_a_rule_are_named_with_their_nodes(tmp_path: Path) -> None:
    inner = helper.make_graph(
        [helper.make_node("Mystery", ["x"], ["z"], domain="my.own", name="inside")],
        "branch",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
    )
    nodes = [
        helper.make_node("Mystery", ["x"], ["a"], domain="my.own", name="outside"),
        helper.make_node("SequenceConstruct", ["a"], ["s"]),
        helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner),
    ]
    found = look(tmp_path / "net.onnx", onnx_model(nodes, imports=(("", 17), ("my.own", 1))))
    mystery, sequence = found.unsupported
    assert (mystery.domain, mystery.operation, mystery.count) == ("my.own", "Mystery", 3)
    assert mystery.nodes == ("outside", "inside", "inside")
    assert (sequence.operation, sequence.nodes) == ("SequenceConstruct", ("s",))
    assert "single tensors" in sequence.workaround
    assert found.convertible, "the data is a hint: it refuses nothing"


def test_functions_that_a_model_defines_itself_are_put_in_place(tmp_path: Path) -> None:
    double = helper.make_function(
        "my.own",
        "Double",
        ["a"],
        ["b"],
        [helper.make_node("Add", ["a", "a"], ["b"])],
        [helper.make_opsetid("", 17)],
    )
    model = onnx.ModelProto.FromString(
        onnx_model(
            [helper.make_node("Double", ["x"], ["y"], domain="my.own", name="twice")],
            imports=(("", 17), ("my.own", 1)),
        )
    )
    model.functions.append(double)
    found = look(tmp_path / "net.onnx", model.SerializeToString())
    assert found.description is not None
    assert found.description.operations == {"my.own": {"Double": 1}, "ai.onnx": {"Add": 1}}
    assert found.unsupported == ()


def test_only_what_a_signature_serves_counts(tmp_path: Path) -> None:
    found = look(tmp_path / "saved_model.pb", saved_model())
    assert found.description is not None
    assert found.description.operations == {"tensorflow": {"Tanh": 1, "Relu": 1, "Placeholder": 1}}
    assert found.description.producer == "TensorFlow 2.17.0"
    assert found.unsupported == ()


def test_an_unknown_operation_that_is_served_is_found_in_its_function(tmp_path: Path) -> None:
    (each,) = look(tmp_path / "saved_model.pb", saved_model(served="DecodeJpeg")).unsupported
    assert (each.domain, each.operation, each.nodes) == ("tensorflow", "DecodeJpeg", ("inner",))
    assert "--input" in each.workaround


def test_signatures_without_a_default_are_listed_and_the_command_chooses(tmp_path: Path) -> None:
    found = look(tmp_path / "saved_model.pb", saved_model("classify", "embed"))
    assert found.description is not None
    assert list(found.description.signatures) == ["classify", "embed"]
    assert found.command[-2:] == ("--signature", "classify")
    assert any("`--signature` chooses" in line for line in found.advice)


def test_without_a_signature_no_command_line_can_be_told(tmp_path: Path) -> None:
    found = look(tmp_path / "saved_model.pb", saved_model("__saved_model_init_op"))
    assert found.command == ()
    assert "there is no signature" in found.advice[0]


@pytest.mark.parametrize(
    ("shape", "after", "refused"),
    [
        ((None, 3), ("N", 3), False),
        (("batch", "length"), ("N", "length"), False),
        ((0, 3), ("N", 3), False),
        ((1, 3), ("N", 3), False),
        ((2, 3), None, True),
        ((), None, False),
        (None, None, True),
    ],
)
def test_batch_does_what_model_optimizer_did(
    shape: tuple[int | str | None, ...] | None, after: tuple[int | str, ...] | None, refused: bool
) -> None:
    report = input_report(TensorSpec("x", "float32", shape), "onnx")
    assert (report.with_batch, report.batch_refused is not None) == (after, refused)


@pytest.mark.parametrize(
    ("shape", "format_name", "layout"),
    [
        ((None, 3, 224, 224), "onnx", "NCHW"),
        ((None, 224, 224, 3), "onnx", "NHWC"),
        ((None, 1, 8, 64, 64), "onnx", "NCDHW"),
        ((None, 3, 8, 3), "onnx", None),
        ((None, 64, 64, 64), "onnx", None),
        ((None, None, None, None), "tensorflow.saved_model", "NHWC"),
        ((None, 3), "onnx", None),
        (None, "onnx", None),
    ],
)
def test_layouts_are_guessed_from_the_place_of_the_channels(
    shape: tuple[int | None, ...] | None, format_name: str, layout: str | None
) -> None:
    assert input_report(TensorSpec("x", "float32", shape), format_name).layout == layout


def test_what_batch_leaves_dynamic_is_told(tmp_path: Path) -> None:
    advice = look(tmp_path / "net.onnx", onnx_model(shape=("batch", "length", 8))).advice
    assert any("`--batch N` would make `x` [N,length,8]" in line for line in advice)
    assert any("`--input-shape [batch,length,8]` with your numbers" in line for line in advice)


def test_nothing_there_is_no_model_at_all(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        inspect(str(tmp_path / "nowhere"), environ=os.environ)


@pytest.mark.slow
def test_the_command_line_that_is_told_converts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ovms_converter.cli.app import execute

    found = look(tmp_path / "a model's directory" / "net.onnx", onnx_model())
    words = shlex.split(shlex.join(found.command))
    assert words[0] == "ovms-converter"
    assert execute(words[1:], environ=os.environ) == 0
    assert (tmp_path / "a model's directory" / "net-ovms" / "1" / "net.xml").is_file()
