"""ONNX: ends moved, values fixed, names kept, errors that help, and weights that stay where they are."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from optimizer_models import chain, converted, names, passing, run, shapes, types, value, write_model
from ovms_converter.errors import CorruptModelError, ModelError, RequestError, UnsupportedModelError
from ovms_converter.optimizer.arguments import OptimizerArguments
from ovms_converter.optimizer.mapping import mapping_config
from ovms_converter.optimizer.native import ov

X = np.array([[1.0, -2.0, 3.0]], np.float32)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return chain(tmp_path / "chain.onnx")


@pytest.mark.parametrize(
    ("output", "name", "expected"),
    [
        ("t", "t", 2 * X),
        ("double", "t", 2 * X),
        ("plus:0", "u", 2 * X + 1),
        ("0:plus", "t", 2 * X),
        ("0:u", "t", 2 * X),
        ("u:0", "u", 2 * X + 1),
        ("0:y", "u", 2 * X + 1),
        ("y", "y", -(2 * X + 1)),
    ],
)
def test_outputs_by_tensor_node_and_port(
    model: Path, tmp_path: Path, output: str, name: str, expected: np.ndarray
) -> None:
    result = converted(model, tmp_path, output=output)

    assert names(result) == (["x"], [name])
    np.testing.assert_allclose(run(result, x=X)[name], expected)


def test_several_outputs_come_in_the_order_asked_for(model: Path, tmp_path: Path) -> None:
    result = converted(model, tmp_path, output="y,t")

    assert names(result) == (["x"], ["y", "t"])
    np.testing.assert_allclose(run(result, x=X)["t"], 2 * X)


@pytest.mark.parametrize("cut", ["t", "double:0", "plus", "0:plus", "t:0", "0:u", "t{f32}", "plus[?,3]"])
def test_cut_at_tensor_node_and_port(model: Path, tmp_path: Path, cut: str) -> None:
    result = converted(model, tmp_path, input=cut)

    assert names(result) == (["t"], ["y"])
    assert shapes(result)["t"] == "[?,3]"
    np.testing.assert_allclose(run(result, t=X)["y"], -(X + 1))


def test_a_cut_with_a_shape_of_its_own_and_ranges(model: Path, tmp_path: Path) -> None:
    result = converted(model, tmp_path, input="u[2..4,7]")

    assert shapes(result) == {"u": "[2..4,7]", "y": "[2..4,7]"}


def test_a_value_inside_the_graph_can_be_fixed(tmp_path: Path) -> None:
    path = write_model(
        tmp_path / "two.onnx",
        [helper.make_node("Neg", ["a"], ["n"]), helper.make_node("Add", ["b", "n"], ["y"])],
        [value("a", [1, 3]), value("b", [1, 3])],
        [value("y", [1, 3])],
    )
    result = converted(path, tmp_path, input="b,n->[1 2 3]")

    assert names(result) == (["b"], ["y"])
    np.testing.assert_allclose(run(result, b=X)["y"], X + np.array([1, 2, 3]))


def test_inputs_are_fixed_with_the_type_they_have(tmp_path: Path) -> None:
    path = write_model(
        tmp_path / "where.onnx",
        [helper.make_node("Where", ["flag", "a", "b"], ["y"])],
        [value("flag", [1], TensorProto.BOOL), value("a", [1, 3]), value("b", [1, 3])],
        [value("y", [1, 3])],
    )
    for text, expected in (("flag->True,b->[7 8 9]", X), ("flag->0,b->[7 8 9]", np.array([[7, 8, 9]]))):
        result = converted(path, tmp_path / text[-9:], freeze_placeholder_with_value=text)
        assert names(result) == (["a"], ["y"])
        np.testing.assert_allclose(run(result, a=X)["y"], expected)


def test_listing_the_own_inputs_in_another_order_changes_nothing(tmp_path: Path) -> None:
    path = write_model(
        tmp_path / "two.onnx",
        [helper.make_node("Sub", ["a", "b"], ["y"])],
        [value("a", [1, 3]), value("b", [1, 3])],
        [value("y", [1, 3])],
    )

    assert names(converted(path, tmp_path, input="b,a")) == (["a", "b"], ["y"])


def test_unsupported_operations_can_be_cut_off(tmp_path: Path) -> None:
    path = write_model(
        tmp_path / "odd.onnx",
        [
            helper.make_node("Decode", ["raw"], ["d"], domain="odd"),
            helper.make_node("Neg", ["d"], ["n"], name="neg"),
            helper.make_node("Tell", ["n"], ["told"], domain="odd"),
        ],
        [value("raw", [1])],
        [value("told", [1])],
        domains=["odd"],
    )
    with pytest.raises(UnsupportedModelError) as caught:
        converted(path, tmp_path)
    assert "`odd.Decode` and `odd.Tell`" in caught.value.message

    result = converted(path, tmp_path, input="d[1,3]", output="neg")
    assert names(result) == (["d"], ["n"])
    np.testing.assert_allclose(run(result, d=X)["n"], -X)


def test_a_tensor_that_only_a_branch_uses_can_be_an_input(tmp_path: Path) -> None:
    def branch(operation: str) -> onnx.GraphProto:
        node = helper.make_node(operation, ["t"], [operation])
        return helper.make_graph([node], operation, [], [value(operation, [1, 3])])

    path = write_model(
        tmp_path / "branches.onnx",
        [
            helper.make_node("Abs", ["x"], ["t"]),
            helper.make_node("If", ["flag"], ["y"], then_branch=branch("Neg"), else_branch=branch("Sqrt")),
        ],
        [value("x", [1, 3]), value("flag", [1], TensorProto.BOOL)],
        [value("y", [1, 3])],
    )
    whole, cut = converted(path, tmp_path / "a"), converted(path, tmp_path / "b", input="t,flag", output="y")

    assert names(cut) == (["t", "flag"], ["y"])
    flag = np.array([True])
    np.testing.assert_allclose(run(whole, x=X, flag=flag)["y"], -np.abs(X))
    np.testing.assert_allclose(run(cut, t=X, flag=flag)["y"], -X)


def test_ends_that_share_a_tensor_keep_a_name_each(tmp_path: Path) -> None:
    path = write_model(
        tmp_path / "same.onnx",
        [
            helper.make_node("Neg", ["x"], ["n"]),
            *(helper.make_node("Identity", [a], [b]) for a, b in ("na", "nb", "xc")),
        ],
        [value("x", [1, 3])],
        [value(name, [1, 3]) for name in ("a", "b", "c")],
    )
    result = converted(path, tmp_path)
    assert names(result) == (["x"], ["a", "b", "c"])

    ov.save_model(result.model, str(tmp_path / "same.xml"))
    compiled = ov.Core().compile_model(str(tmp_path / "same.xml"), "CPU")
    assert [port.get_names() for port in (*compiled.inputs, *compiled.outputs)] == [
        {"x"},
        {"a"},
        {"b"},
        {"c"},
    ]
    outputs = compiled({"x": X})
    for name, expected in (("a", -X), ("b", -X), ("c", X)):
        np.testing.assert_allclose(outputs[name], expected)


def test_an_input_that_is_handed_on_through_a_sequence_keeps_its_name(tmp_path: Path) -> None:
    """OpenVINO gives the input the output's name alone."""
    nodes = [
        helper.make_node("SequenceConstruct", ["a", "b"], ["both"]),
        helper.make_node("SequenceAt", ["both", "at"], ["y"]),
    ]
    model = write_model(
        tmp_path / "m.onnx",
        nodes,
        [value("a", [2, 3]), value("b", [2, 3])],
        [value("y", [2, 3])],
        {"at": np.array(1)},
    )
    result = converted(model, tmp_path)
    assert names(result) == (["a", "b"], ["y"])
    given = {name: np.full((2, 3), number, np.float32) for number, name in enumerate("ab")}
    assert run(result, **given)["y"].tolist() == given["b"].tolist()


def test_rename_changes_the_names_that_servers_show(model: Path, tmp_path: Path) -> None:
    result = converted(model, tmp_path, rename="x=image,plus:0=score", output="plus")

    assert names(result) == (["image"], ["score"])
    with pytest.raises(RequestError, match="would give two inputs or outputs the name `x`"):
        converted(model, tmp_path / "b", rename="y=x")
    with pytest.raises(RequestError, match="`rename` names `z`"):
        converted(model, tmp_path / "c", rename="z=x")


def test_a_mapping_for_the_server_leaves_the_model_its_names(model: Path, tmp_path: Path) -> None:
    values = {"rename": "x=image,y=score", "mapping_config": "true"}
    result = converted(model, tmp_path, **values)
    arguments = OptimizerArguments.parse(values)

    assert names(result) == (["x"], ["y"])
    assert mapping_config(arguments.rename, *names(result)) == {
        "inputs": {"x": "image"},
        "outputs": {"y": "score"},
    }
    with pytest.raises(RequestError, match="`plus:0`, which is no name in the result"):
        converted(model, tmp_path, rename="plus:0=score", output="plus", mapping_config="true")


@pytest.mark.parametrize(
    ("given", "expected"),
    [("[5,3]", "[5,3]"), ("[?,4..8]", "[?,4..8]"), ("[-1,3]", "[?,3]"), ("[2..,..6]", "[2..,..6]")],
)
def test_shapes_reach_inputs_and_what_follows(tmp_path: Path, given: str, expected: str) -> None:
    result = converted(chain(tmp_path / "m.onnx", [None, None]), tmp_path, input_shape=given)

    assert shapes(result) == {"x": expected, "y": expected}


def test_shapes_by_position_skip_constants(tmp_path: Path) -> None:
    path = write_model(
        tmp_path / "three.onnx",
        [helper.make_node("Sum", ["a", "b", "c"], ["y"])],
        [value(name, [None, 3]) for name in "abc"],
        [value("y", [None, 3])],
    )
    result = converted(path, tmp_path, input_shape="[1,3],[2,3]", freeze_placeholder_with_value="b->[1 1 1]")

    assert shapes(result) == {"a": "[1,3]", "c": "[2,3]", "y": "[2,3]"}


@pytest.mark.parametrize(
    ("shape", "layout", "expected"),
    [
        ([None, 3], "", "[4,3]"),
        ([1, 3], "", "[4,3]"),
        (["batch", 3], "", "[4,3]"),
        ([7, None, 2], "image(?n?)", "[7,4,2]"),
        ([7, 5, 2], "...n?", "[7,4,2]"),
        ([7, 5], "n?", "[4,5]"),
    ],
)
def test_batch(tmp_path: Path, shape: list[int | str | None], layout: str, expected: str) -> None:
    result = converted(passing(tmp_path / "m.onnx", shape), tmp_path, batch="4", layout=layout)

    assert shapes(result)["image"] == expected


def test_batch_leaves_scalars_alone_and_refuses_what_has_none(tmp_path: Path) -> None:
    path = write_model(
        tmp_path / "scalar.onnx",
        [helper.make_node("Mul", ["x", "k"], ["y"])],
        [value("x", [1, 3]), value("k", [])],
        [value("y", [None, 3])],
    )
    assert shapes(converted(path, tmp_path, batch="2"))["k"] == "[]"

    for shape, layout in (([4, 3], ""), ([], ""), ([1, 3], "?c"), (None, ""), ([1, 3], "???n")):
        with pytest.raises(RequestError) as caught:
            converted(passing(tmp_path / "m.onnx", shape), tmp_path, batch="2", layout=layout)
        assert caught.value.parameter in ("batch", "layout")


def test_input_types_are_converted_before_the_model(tmp_path: Path) -> None:
    result = converted(passing(tmp_path / "m.onnx", [1, 3]), tmp_path, input="image{u8}")

    assert types(result) == {"image": "u8", "y": "f32"}
    np.testing.assert_allclose(run(result, image=np.array([[1, 2, 250]], np.uint8))["y"], [[1, 2, 250]])


def test_static_shape_computes_what_follows_from_shapes(tmp_path: Path) -> None:
    path = write_model(
        tmp_path / "shape.onnx",
        [helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Reshape", ["x", "s"], ["y"])],
        [value("x", [2, 3])],
        [value("y", [2, 3])],
    )

    def operations(**values: str) -> set[str]:
        result = converted(path, tmp_path, **values)
        return {node.get_type_name() for node in result.model.get_ops()}

    assert "ShapeOf" in operations()
    assert "ShapeOf" not in operations(static_shape="true")


def stateful(path: Path) -> Path:
    """h + x → both the output `y` and the next state `n`."""
    return write_model(
        path,
        [helper.make_node("Add", ["h", "x"], ["n"]), helper.make_node("Neg", ["n"], ["y"])],
        [value("x", [1, 3]), value("h", [1, 3])],
        [value("y", [1, 3]), value("n", [1, 3])],
    )


def test_transformations_may_take_ends_away(tmp_path: Path) -> None:
    path = stateful(tmp_path / "m.onnx")
    result = converted(path, tmp_path, transform="MakeStateful[param_res_names={'h':'n'}],LowLatency2")
    assert names(result) == (["x"], ["y"])
    request = ov.Core().compile_model(result.model, "CPU").create_infer_request()
    totals = [request.infer({"x": X})["y"] for _ in range(3)]
    np.testing.assert_allclose(totals, [-X, -2 * X, -3 * X])

    with pytest.raises(RequestError) as caught:
        converted(path, tmp_path, transform="MakeStateful[param_res_names={'z':'n'}]")
    assert caught.value.parameter == "transform"
    assert "does not fit the model" in caught.value.message


def test_half_precision_is_left_to_the_writer(model: Path, tmp_path: Path) -> None:
    assert converted(model, tmp_path, data_type="half").compress_to_fp16
    assert not converted(model, tmp_path).compress_to_fp16


def test_what_has_no_effect_is_no_warning(model: Path, tmp_path: Path) -> None:
    result = converted(
        model, tmp_path, silent="true", progress="1", disable_nhwc_to_nchw="yes", mapping_config="true"
    )

    assert result.notes == ()


@pytest.mark.parametrize(
    ("values", "message", "hint"),
    [
        ({"input": "imag"}, "`input` names `imag`", "its inputs are `x` [?,3] f32"),
        ({"output": "plos"}, "`output` names `plos`", "did you mean `plus`? its outputs are `y` [?,3] f32"),
        ({"freeze_placeholder_with_value": "q->1"}, "`freeze_placeholder_with_value` names `q`", "`x` [?,3]"),
        ({"input": "two"}, "`two` is a constant", "depends on"),
        ({"input": "4:plus"}, "the node `plus` has 2 inputs and 1 output", "`0:node`"),
        ({"output": "plus:3"}, "the node `plus` has 2 inputs and 1 output", "`node:0`"),
        ({"input": "t,double:0"}, "`t` and `double:0` are the same place", "once"),
        ({"input": "u", "output": "t,y"}, "`input` leaves out `x`", "give it a value"),
        ({"freeze_placeholder_with_value": "x->[1 2 3]"}, "no input is left to feed", "its inputs are"),
        (
            {"freeze_placeholder_with_value": "x->[1 2 3 4]", "input": "x[1,3]"},
            "gets 4 values, but its shape",
            "",
        ),
        (
            {"input_shape": "[1,3],[1,3]"},
            "`input_shape` gives 2 shapes, and the model has 1 input: `x`",
            "name",
        ),
        ({"framework": "tf"}, "`framework` is `tf`", "leave it out"),
        ({"layout": "other(nc)"}, "`layout` names `other`", "`x` and `y`"),
        ({"layout": "nchw"}, "does not fit `x`, which has 2 dimensions", "[?,3]"),
        (
            {"layout": "nc,nc"},
            "`layout` gives 2 layouts without names, and the model has 1 input: `x`",
            "x(nhwc)",
        ),
    ],
)
def test_errors_name_the_parameter_and_the_real_ends(
    model: Path, tmp_path: Path, values: dict[str, str], message: str, hint: str
) -> None:
    with pytest.raises(RequestError) as caught:
        converted(model, tmp_path, **values)

    assert message in caught.value.message
    assert hint in (caught.value.hint or "")


def test_a_shape_that_the_model_cannot_take_is_the_users_fault(tmp_path: Path) -> None:
    weights = {"w": np.ones((3, 2), np.float32)}
    path = write_model(
        tmp_path / "m.onnx",
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [value("x", [None, 3])],
        [value("y", [None, 2])],
        weights,
    )
    with pytest.raises(RequestError) as caught:
        converted(path, tmp_path, input_shape="[1,4]")

    assert "does not convert with this `input_shape`" in caught.value.message
    assert "`[1,4]` is not the input `x` [?,3] f32 at position 1 (from 0)" in caught.value.message
    assert "`x` [?,3] f32" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("values", "parameter", "message"),
    [
        (
            {"input_shape": "[1,4,1]"},
            "input_shape",
            "`[1,4,1]` has 3 dimensions, the input `x` [?,3] f32 has 2",
        ),
        ({"output": "t,double"}, "output", "`t` and `double` are the same place"),
        ({"output": "two"}, "output", "`two` is a constant"),
        (
            {"input": "plus[2,3]", "output": "double"},
            "input",
            "the output `t` is cut off by `plus` in `input`",
        ),
        ({"input": "plus,x"}, "input", "`x`, on which nothing depends behind the cut at `plus`"),
        (
            {"freeze_placeholder_with_value": "x->True"},
            "freeze_placeholder_with_value",
            "`True` is no number, and its type is `f32`",
        ),
        ({"input": "plus:0"}, "input", "the output `y` is cut off by `plus:0` in `input`"),
    ],
)
def test_what_cannot_be_asked_for(
    tmp_path: Path, values: dict[str, str], parameter: str, message: str
) -> None:
    weights = {"two": np.ones((3, 3), np.float32), "one": np.array(1, np.float32)}
    path = write_model(
        tmp_path / "m.onnx",
        [
            helper.make_node("MatMul", ["x", "two"], ["t"], name="double"),
            helper.make_node("Add", ["t", "one"], ["y"], name="plus"),
        ],
        [value("x", [None, 3])],
        [value("y", [None, 3])],
        weights,
    )
    with pytest.raises(RequestError) as caught:
        converted(path, tmp_path, **values)

    assert caught.value.parameter == parameter
    assert message in caught.value.message


@pytest.mark.parametrize(
    "values",
    [
        {"input": "b[3]->[1 2 3]"},
        {"input": "b->[1 2 3]"},
        {"input": "a,b->[1 2 3]"},
        {"input": "a,b[3]->[1 2 3]", "freeze_placeholder_with_value": "b->[1 2 3]"},
        {"input": "b[3]->[1 2 3]", "freeze_placeholder_with_value": "b->[1 2 3]"},
        {"input": "a,b", "freeze_placeholder_with_value": "b->[1 2 3]"},
        {"input": "a", "freeze_placeholder_with_value": "b->[1 2 3]"},
        {"freeze_placeholder_with_value": "b->[1 2 3]"},
    ],
)
def test_every_way_to_fix_one_input_leaves_the_other(tmp_path: Path, values: dict[str, str]) -> None:
    path = write_model(
        tmp_path / "sum.onnx",
        [helper.make_node("Add", ["a", "b"], ["y"])],
        [value("a", [2, 3]), value("b", [3])],
        [value("y", [2, 3])],
    )
    result = converted(path, tmp_path, **values)

    assert names(result) == (["a"], ["y"])
    zeros = np.zeros((2, 3), np.float32)
    np.testing.assert_allclose(run(result, a=zeros)["y"], np.array([[1, 2, 3]] * 2))


@pytest.mark.parametrize("content", [b"", b"hello world" * 40, b"\x00" * 64])
def test_damaged_files_are_the_models_fault(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(content)

    with pytest.raises(ModelError):
        converted(tmp_path / "m.onnx", tmp_path)


def test_a_truncated_file_is_corrupt(model: Path, tmp_path: Path) -> None:
    model.write_bytes(model.read_bytes()[:-20])

    with pytest.raises(CorruptModelError):
        converted(model, tmp_path)


def test_a_model_without_inputs_is_refused(tmp_path: Path) -> None:
    constant = helper.make_node("Constant", [], ["y"], value=numpy_helper.from_array(X))
    path = write_model(tmp_path / "m.onnx", [constant], [], [value("y", [1, 3])])

    with pytest.raises(ModelError, match="no inputs"):
        converted(path, tmp_path)


@pytest.mark.parametrize(
    ("code", "told"),
    [(TensorProto.INT4, "i4"), (TensorProto.FLOAT8E5M2, "f8e5m2"), (TensorProto.UINT4, "u4")],
)
def test_a_type_that_no_client_can_receive_is_refused(code: int, told: str, tmp_path: Path) -> None:
    cast = helper.make_node("Cast", ["x"], ["y"], to=code)
    path = write_model(tmp_path / "m.onnx", [cast], [value("x", [1, 3])], [value("y", [1, 3], code)])

    with pytest.raises(ModelError, match=rf"the output `y` is of the type {told}\b") as refused:
        converted(path, tmp_path)
    assert "`--output`" in (refused.value.hint or "")


def test_a_type_that_no_client_can_send_is_told(tmp_path: Path) -> None:
    cast = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)
    path = write_model(
        tmp_path / "m.onnx", [cast], [value("x", [1, 4], TensorProto.INT4)], [value("y", [1, 4])]
    )

    notes = converted(path, tmp_path).notes

    assert "no client of OpenVINO Model Server can send `x`, which is of the type i4" in notes


def weighty(path: Path, kind: str) -> np.ndarray:
    """A model of 2 MiB whose weights lie in one of the places that ONNX has for them."""
    weights = np.random.default_rng(7).standard_normal((512, 1024)).astype(np.float32)
    tensor = numpy_helper.from_array(weights, "w")
    if kind == "float_data":
        tensor = helper.make_tensor("w", TensorProto.FLOAT, weights.shape, weights.ravel().tolist())
    inputs, nodes, constants = (
        [value("x", [1, 512])],
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [tensor],
    )
    if kind == "constant":
        nodes, constants = [helper.make_node("Constant", [], ["w"], value=tensor), *nodes], []
    if kind == "branch":
        branch = helper.make_graph(nodes, "branch", [], [value("y", [1, 1024])], constants)
        inputs.append(value("flag", [1], TensorProto.BOOL))
        nodes, constants = (
            [helper.make_node("If", ["flag"], ["y"], then_branch=branch, else_branch=branch)],
            [],
        )
    graph = helper.make_graph(nodes, "g", inputs, [value("y", [1, 1024])], constants)
    # a name of odd length puts the weights at an odd place in the file
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="odd"
    )
    onnx.save(model, str(path))
    return weights


@pytest.mark.parametrize("kind", ["raw", "float_data", "constant", "branch"])
@pytest.mark.parametrize("linked", [True, False])
def test_large_weights_stay_in_the_original_file(
    tmp_path: Path, kind: str, linked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, scratch = tmp_path / "m.onnx", tmp_path / "scratch"
    weights = weighty(path, kind)
    if not linked:
        monkeypatch.setattr(Path, "hardlink_to", lambda *_: (_ for _ in ()).throw(OSError("no links here")))
    result = converted(path, scratch)

    (sidecar,), (link,) = scratch.glob("*/*.onnx"), scratch.glob("*/*.weights")
    assert sidecar.stat().st_size < 16384
    assert link.samefile(path) is linked
    inputs = {"x": np.ones((1, 512), np.float32)} | ({"flag": np.array([True])} if kind == "branch" else {})
    np.testing.assert_allclose(run(result, **inputs)["y"], weights.sum(axis=0)[None], rtol=1e-4, atol=1e-3)


def test_small_models_are_read_as_they_are(model: Path, tmp_path: Path) -> None:
    converted(model, tmp_path / "scratch")

    assert not (tmp_path / "scratch").exists()


def test_external_data_beside_the_model_is_found_after_a_cut(tmp_path: Path) -> None:
    weights = np.arange(6, dtype=np.float32).reshape(3, 2)
    path = write_model(
        tmp_path / "m.onnx",
        [helper.make_node("MatMul", ["x", "w"], ["t"]), helper.make_node("Neg", ["t"], ["y"])],
        [value("x", [1, 3])],
        [value("y", [1, 2])],
        {"w": weights},
    )
    (tmp_path / "data").mkdir()
    loaded = onnx.load(str(path))
    onnx.save(loaded, str(path), save_as_external_data=True, location="data/w.bin", size_threshold=0)
    result = converted(path, tmp_path / "scratch", output="t")
    np.testing.assert_allclose(run(result, x=X)["t"], X @ weights)

    (tmp_path / "data" / "w.bin").unlink()
    with pytest.raises(CorruptModelError, match="of the ONNX model is missing"):
        converted(path, tmp_path / "other", output="t")


def test_a_scratch_directory_can_be_used_again_and_no_file_of_the_user_is_written(tmp_path: Path) -> None:
    path, scratch = tmp_path / "m.onnx", tmp_path / "scratch"
    weighty(path, "raw")
    before = path.read_bytes()
    for values in ({}, {"output": "y"}, {"input": "x"}, {}):
        converted(path, scratch, **values)

    assert path.read_bytes() == before


def test_external_data_behind_a_symbolic_link_out_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(b"secret" * 8)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "w.bin").symlink_to(tmp_path / "secret.bin")
    tensor = TensorProto(name="w", data_type=1, dims=[3], data_location=TensorProto.EXTERNAL)
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "w.bin"
    nodes = [helper.make_node("Add", ["x", "w"], ["t"]), helper.make_node("Neg", ["t"], ["y"])]
    graph = helper.make_graph(nodes, "g", [value("x", [3])], [value("y", [3])], [tensor])
    path = tmp_path / "model" / "m.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())

    for values in ({}, {"output": "t"}):
        with pytest.raises(ModelError):
            converted(path, tmp_path / "scratch", **values)


def test_external_data_outside_the_directory_is_refused(tmp_path: Path) -> None:
    tensor = TensorProto(name="w", data_type=1, dims=[3], data_location=TensorProto.EXTERNAL)
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../secret.bin"
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["t"]), helper.make_node("Neg", ["t"], ["y"])],
        "g", [value("x", [3])], [value("y", [3])], [tensor],
    )  # fmt: skip
    (tmp_path / "m.onnx").write_bytes(helper.make_model(graph).SerializeToString())

    with pytest.raises(CorruptModelError, match="outside of the model's directory"):
        converted(tmp_path / "m.onnx", tmp_path / "scratch", output="t")


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([("Relu", ["y"], ["y"])], "`y` of the graph is computed from itself"),
        ([("Abs", ["y"], ["a"]), ("Relu", ["a"], ["y"])], "is computed from itself"),
        ([("Add", ["x", "nowhere"], ["y"])], "`nowhere`, and nothing in it computes that"),
    ],
)
def test_a_tensor_that_nothing_computes_makes_no_further_input(
    nodes: list[tuple[str, list[str], list[str]]], said: str, tmp_path: Path
) -> None:
    made = [helper.make_node(*node) for node in nodes]
    broken = write_model(tmp_path / "broken.onnx", made, [value("x", (None, 3))], [value("y", (None, 3))])

    with pytest.raises(CorruptModelError, match=said):
        converted(broken, tmp_path)


def test_nodes_in_any_order_are_computed(tmp_path: Path) -> None:
    made = [helper.make_node("Relu", ["a"], ["y"]), helper.make_node("Neg", ["x"], ["a"])]
    unsorted = write_model(tmp_path / "any.onnx", made, [value("x", (None, 3))], [value("y", (None, 3))])

    np.testing.assert_allclose(run(converted(unsorted, tmp_path), x=X)["y"], np.maximum(-X, 0))
