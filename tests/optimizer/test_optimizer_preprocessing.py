"""Mean, scale, reversed channels and layouts against the same arithmetic in numpy."""

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from optimizer_models import DATA, Array, converted, names, passing, run, shapes, types, value, write_model
from ovms_converter.errors import RequestError

MEAN, SCALE = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
IMAGE = (np.random.default_rng(3).random((1, 3, 4, 5)) * 255).astype(np.float32)


def along(values: Array, axis: int, rank: int = 4) -> Array:
    return values.reshape([-1 if at == axis else 1 for at in range(rank)])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return passing(tmp_path / "image.onnx", [1, 3, 4, 5])


def test_reverse_comes_before_mean_and_mean_before_scale(model: Path, tmp_path: Path) -> None:
    result = converted(
        model,
        tmp_path,
        reverse_input_channels="true",
        mean_values="[123.675,116.28,103.53]",
        scale_values="image[58.395,57.12,57.375]",
    )

    assert names(result) == (["image"], ["y"])
    expected = np.abs((IMAGE[:, ::-1] - along(MEAN, 1)) / along(SCALE, 1))
    np.testing.assert_allclose(run(result, image=IMAGE)["y"], expected, rtol=1e-5)


def test_one_value_is_for_all_channels(model: Path, tmp_path: Path) -> None:
    result = converted(model, tmp_path, mean_values="(100)", scale="50")

    np.testing.assert_allclose(run(result, image=IMAGE)["y"], np.abs((IMAGE - 100) / 50), rtol=1e-5)


@pytest.mark.parametrize(
    ("shape", "layout", "axis"),
    [
        ([1, 3, 4, 5], "", 1),
        ([1, 4, 5, 3], "", 3),
        ([1, 3, 5, 3], "", 1),
        ([None, 3, None, None], "", 1),
        ([3, 4, 5], "", 0),
        ([4, 5, 3], "", 2),
        ([2, 3, 4, 5, 6], "", 1),
        ([2, 4, 5, 6, 3], "", 4),
        ([1, 3, 5, 3], "image(nhwc)", 3),
        ([4, 3], "", 1),
        ([3, 3, 3, 3], "c...", 0),
    ],
)
def test_where_the_channels_are(tmp_path: Path, shape: list[int | None], layout: str, axis: int) -> None:
    result = converted(passing(tmp_path / "m.onnx", shape), tmp_path, mean_values="[1,2,3]", layout=layout)
    image = np.full([size or 2 for size in shape], 10, np.float32)

    expected = image - along(np.array([1, 2, 3]), axis, len(shape))
    np.testing.assert_allclose(run(result, image=image)["y"], expected)


@pytest.mark.parametrize("count", [2, 4])
def test_as_many_values_as_channels(tmp_path: Path, count: int) -> None:
    text = ",".join("1" * count)
    path = passing(tmp_path / "m.onnx", [1, count, 8, 9])
    result = converted(path, tmp_path, mean_values=f"[{text}]")
    image = np.full((1, count, 8, 9), 3, np.float32)
    np.testing.assert_allclose(run(result, image=image)["y"], image - 1)

    with pytest.raises(RequestError) as caught:
        converted(path, tmp_path, mean_values="[1,2,3]")
    assert "`mean_values` has 3 values" in caught.value.message
    assert "layout" in (caught.value.hint or "")

    with pytest.raises(RequestError) as caught:
        converted(path, tmp_path, mean_values="[1,2,3]", layout="nchw")
    assert f"the input `image` has {count} channels" in caught.value.message


def test_only_the_named_input_is_changed(tmp_path: Path) -> None:
    path = write_model(
        tmp_path / "two.onnx",
        [helper.make_node("Neg", ["a"], ["x"]), helper.make_node("Neg", ["b"], ["y"])],
        [value("a", [1, 3]), value("b", [1, 3])],
        [value("x", [1, 3]), value("y", [1, 3])],
    )
    ones = np.ones((1, 3), np.float32)
    named = run(converted(path, tmp_path, mean_values="b[5]"), a=ones, b=ones)
    np.testing.assert_allclose(named["x"], -ones)
    np.testing.assert_allclose(named["y"], -ones + 5)

    listed = run(converted(path, tmp_path, input="b,a", mean_values="[1],[5]"), a=ones, b=ones)
    np.testing.assert_allclose(listed["x"], -ones + 5)
    np.testing.assert_allclose(listed["y"], -ones + 1)

    every = run(converted(path, tmp_path, scale="2"), a=ones, b=ones)
    np.testing.assert_allclose(every["x"], -ones / 2)
    np.testing.assert_allclose(every["y"], -ones / 2)

    port = run(converted(path, tmp_path, mean_values="b:0[5]"), a=ones, b=ones)
    np.testing.assert_allclose(port["y"], -ones + 5)

    with pytest.raises(RequestError, match="1 list without names, and the model has 2 inputs: `a` and `b`"):
        converted(path, tmp_path, mean_values="[1]")
    with pytest.raises(RequestError, match="`mean_values` names `c`"):
        converted(path, tmp_path, mean_values="c[1]")


def test_whole_numbers_have_no_mean_but_a_converted_input_has(tmp_path: Path) -> None:
    whole = passing(tmp_path / "whole.onnx", [1, 3], TensorProto.INT32)
    with pytest.raises(RequestError, match="`scale` cannot be applied to the input `image`"):
        converted(whole, tmp_path, scale="2")

    result = converted(
        passing(tmp_path / "m.onnx", [1, 3, 4, 5]), tmp_path, input="image{u8}", mean_values="[1,2,3]"
    )
    image = IMAGE.astype(np.uint8)
    assert types(result)["image"] == "u8"
    expected = np.abs(image.astype(np.float32) - along(np.array([1, 2, 3]), 1))
    np.testing.assert_allclose(run(result, image=image)["y"], expected)


def test_reverse_tells_which_inputs_it_leaves_and_refuses_if_none_fits(tmp_path: Path) -> None:
    path = write_model(
        tmp_path / "two.onnx",
        [helper.make_node("Neg", ["image"], ["x"]), helper.make_node("Neg", ["meta"], ["y"])],
        [value("image", [1, 3, 2, 2]), value("meta", [1, 6])],
        [value("x", [1, 3, 2, 2]), value("y", [1, 6])],
    )
    result = converted(path, tmp_path, reverse_input_channels="true")
    assert result.notes == ("reverse_input_channels does not change `meta`: no three channels",)

    for shape, layout in (([1, 1, 4, 4], ""), ([1, 6], ""), ([1, 4, 4, 4], "nchw"), ([1, 3, 4, 4], "nhwc")):
        with pytest.raises(RequestError) as caught:
            converted(
                passing(tmp_path / "m.onnx", shape), tmp_path, reverse_input_channels="1", layout=layout
            )
        assert caught.value.parameter == "reverse_input_channels"


@pytest.mark.parametrize(
    ("values", "inner", "outer"),
    [
        ({"layout": "image(nchw->nhwc)"}, (0, 3, 1, 2), None),
        ({"layout": "nchw->nhwc"}, (0, 3, 1, 2), None),
        ({"source_layout": "image(nchw)", "target_layout": "image[n,h,w,c]"}, (0, 3, 1, 2), None),
        ({"layout": "image(nchw->nhwc),y(nchw->hwcn)"}, (0, 3, 1, 2), (2, 3, 1, 0)),
        ({"layout": "y(nchw->nhwc)"}, None, (0, 2, 3, 1)),
        ({"layout": "nchw"}, None, None),
        ({"target_layout": "nhwc"}, None, None),
    ],
)
def test_layouts(
    model: Path,
    tmp_path: Path,
    values: dict[str, str],
    inner: tuple[int, ...] | None,
    outer: tuple[int, ...] | None,
) -> None:
    result = converted(model, tmp_path, **values)
    assert names(result) == (["image"], ["y"])

    given = IMAGE.transpose(np.argsort(inner)) if inner else IMAGE
    expected = np.abs(IMAGE).transpose(outer) if outer else np.abs(IMAGE)
    np.testing.assert_allclose(run(result, image=given)["y"], expected)


def test_a_layout_that_was_asked_for_is_kept_and_a_guess_is_not(model: Path, tmp_path: Path) -> None:
    asked = converted(model, tmp_path, layout="nchw")
    guessed = converted(model, tmp_path, mean_values="[1,2,3]")

    assert str(asked.model.get_parameters()[0].layout) == "[N,C,H,W]"
    assert guessed.model.get_parameters()[0].layout.empty


def test_channels_first_on_request(tmp_path: Path) -> None:
    source = DATA / "signatures" / "tf1"
    image = np.random.default_rng(0).random((2, 8, 8, 3)).astype(np.float32)
    plain = converted(source, tmp_path / "a", "tensorflow.saved_model", output="relu,scores")
    turned = converted(
        source, tmp_path / "b", "tensorflow.saved_model", output="relu,scores", nhwc_to_nchw="true"
    )

    assert shapes(plain) == {"images": "[?,8,8,3]", "relu": "[?,8,8,4]", "scores": "[?,4]"}
    assert shapes(turned) == {"images": "[?,3,8,8]", "relu": "[?,4,8,8]", "scores": "[?,4]"}
    assert plain.notes[0].startswith("Model Optimizer 2021 would have turned images, relu channels-first")
    assert turned.notes == ()
    wanted, got = run(plain, images=image), run(turned, images=np.moveaxis(image, -1, 1))
    np.testing.assert_allclose(got["relu"], np.moveaxis(wanted["relu"], -1, 1), atol=1e-6)
    np.testing.assert_allclose(got["scores"], wanted["scores"], atol=1e-6)


def test_channels_first_with_mean_and_reverse(tmp_path: Path) -> None:
    source = DATA / "signatures" / "tf1"
    steps = {"mean_values": "input[1,2,3]", "reverse_input_channels": "true", "scale": "2"}
    image = np.random.default_rng(0).random((2, 8, 8, 3)).astype(np.float32)
    plain = converted(source, tmp_path / "a", "tensorflow.saved_model", **steps)
    turned = converted(source, tmp_path / "b", "tensorflow.saved_model", **steps, nhwc_to_nchw="true")
    untouched = converted(source, tmp_path / "c", "tensorflow.saved_model")

    expected = run(untouched, images=(image[..., ::-1] - np.array([1, 2, 3], np.float32)) / 2)["scores"]
    np.testing.assert_allclose(run(plain, images=image)["scores"], expected, rtol=1e-5)
    np.testing.assert_allclose(run(turned, images=np.moveaxis(image, -1, 1))["scores"], expected, rtol=1e-5)


def test_a_signature_or_tags_change_no_onnx_model_and_say_so(model: Path, tmp_path: Path) -> None:
    result = converted(model, tmp_path, signature="serving_default", saved_model_tags="serve")
    assert result.notes == (
        "signature changes nothing: it is for SavedModels",
        "saved_model_tags changes nothing: it is for SavedModels",
    )


def test_channels_first_changes_no_onnx_model_and_says_so(model: Path, tmp_path: Path) -> None:
    result = converted(model, tmp_path, nhwc_to_nchw="true")

    assert shapes(result)["image"] == "[1,3,4,5]"
    assert result.notes == ("nhwc_to_nchw changes nothing: ONNX models are channels-first",)


@pytest.mark.parametrize(
    ("shape", "kind", "values", "parameter", "message", "hint"),
    [
        (
            [],
            "FLOAT",
            {"scale": "2"},
            "scale",
            "`image`, which is a single number",
            "`scale_values` = `image[",
        ),
        ([2, 3], "INT64", {"scale": "2"}, "scale", "no floating-point numbers", "`scale_values` = `image["),
        (
            [1, 4, 8, 8],
            "FLOAT",
            {"reverse_input_channels": "1"},
            "reverse_input_channels",
            "`image` [1,4,8,8]",
            "`image(nchw)`",
        ),
        ([5, 7], "FLOAT", {"mean_values": "[1,2,3]"}, "mean_values", "`image` [5,7]", "`image(nc)`"),
        ([6], "FLOAT", {"mean_values": "image[1,2]"}, "mean_values", "`image` [6]", "`image(c)`"),
        ([5, 7], "FLOAT", {"mean_values": "imagine[1]"}, "mean_values", "names `imagine`", "`image`"),
        ([5, 7], "FLOAT", {"mean_values": "q[1]"}, "mean_values", "names `q`", "it has `image`"),
        (
            [2],
            "FLOAT",
            {"input": "image->[1 2 3]"},
            "input",
            "the shape `[2]` of 2 elements, not 3",
            "`input`",
        ),
    ],
)
def test_what_cannot_be_applied_is_told_with_what_could(
    shape: list[int],
    kind: str,
    values: dict[str, str],
    parameter: str,
    message: str,
    hint: str,
    tmp_path: Path,
) -> None:
    path = passing(tmp_path / "m.onnx", shape, getattr(TensorProto, kind))
    with pytest.raises(RequestError) as caught:
        converted(path, tmp_path, **values)

    assert caught.value.parameter == parameter
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")
