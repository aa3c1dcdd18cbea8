"""SavedModels and frozen graphs: signatures, tags, variables of one name, graphs cut open."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from optimizer_models import DATA, converted, names, run, shapes
from ovms_converter.errors import AmbiguousModelError, CorruptModelError, ModelError, RequestError

SIGNATURES, MODELS = DATA / "signatures", DATA / "models"
SAVED_MODEL = "tensorflow.saved_model"


@pytest.mark.parametrize("name", ["collide3", "keras_nested", "dup", "flag"])
def test_computes_what_tensorflow_computed(name: str, tmp_path: Path) -> None:
    result = converted(SIGNATURES / name, tmp_path, SAVED_MODEL)
    recorded = np.load(SIGNATURES / f"{name}.npz")
    inputs, outputs = names(result)

    assert [f"in_{each}" for each in inputs] == sorted(each for each in recorded if each.startswith("in_"))
    assert [f"out_{each}" for each in outputs] == sorted(each for each in recorded if each.startswith("out_"))
    got = run(result, **{each: recorded[f"in_{each}"] for each in inputs})
    for each in outputs:
        np.testing.assert_allclose(got[each], recorded[f"out_{each}"], rtol=1e-5)


def test_the_source_is_never_changed(tmp_path: Path) -> None:
    source = tmp_path / "model"
    shutil.copytree(SIGNATURES / "collide3", source)
    before = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    converted(source, tmp_path / "scratch", SAVED_MODEL)

    assert {path: path.read_bytes() for path in source.rglob("*") if path.is_file()} == before


def test_several_signatures_want_a_choice(tmp_path: Path) -> None:
    source = SIGNATURES / "two_sigs"
    with pytest.raises(AmbiguousModelError) as caught:
        converted(source, tmp_path / "a", SAVED_MODEL)
    assert "`one` and `two`" in caught.value.message
    assert "--signature one" in (caught.value.hint or "")

    assert names(converted(source, tmp_path / "b", SAVED_MODEL, signature="two")) == (["flag", "x"], ["y"])
    assert names(converted(source, tmp_path / "c", SAVED_MODEL, signature="one"))[1] == ["a", "b", "same"]

    with pytest.raises(RequestError) as wrong:
        converted(source, tmp_path / "d", SAVED_MODEL, signature="tow")
    assert wrong.value.hint == "did you mean `two`?"


def test_without_a_signature_nothing_can_be_served(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has no signature"):
        converted(MODELS / "tf_no_sig", tmp_path, SAVED_MODEL)


def test_tags_are_exactly_those_of_one_graph(tmp_path: Path) -> None:
    source = MODELS / "tf1_two_tags"
    assert names(converted(source, tmp_path / "a", SAVED_MODEL, saved_model_tags="gpu,serve"))[0] == [
        "images"
    ]
    assert names(converted(source, tmp_path / "b", SAVED_MODEL))[0] == ["images"]

    with pytest.raises(RequestError) as caught:
        converted(source, tmp_path / "c", SAVED_MODEL, saved_model_tags="gpu")
    assert "exactly the tags `gpu`" in caught.value.message
    assert "`serve` and `serve,gpu`" in (caught.value.hint or "") or "`serve,gpu`" in (
        caught.value.hint or ""
    )


@pytest.mark.parametrize("source", ["tf1", "frozen"])
def test_cuts_inside_a_graph(source: str, tmp_path: Path) -> None:
    recorded = np.load(SIGNATURES / "tf1.npz")
    path, kind = SIGNATURES / "tf1", SAVED_MODEL
    if source == "frozen":
        path, kind = SIGNATURES / "frozen.pb", "tensorflow.frozen"
    for number, (values, expected) in enumerate(
        [
            ({"output": "relu"}, {"relu": "relu"}),
            ({"output": "relu:0,prob"}, {"relu:0": "relu", "prob": "prob", "scores": "prob"}),
            ({"output": "0:relu"}, {"0:relu": "conv"}),
            ({"output": "split:1"}, {"split:1": "split1"}),
        ]
    ):
        result = converted(path, tmp_path / f"{number}", kind, **values)
        image = "images" if source == "tf1" else "input"
        for name, array in run(result, **{image: recorded["x"]}).items():
            np.testing.assert_allclose(array, recorded[expected[name]], atol=1e-5)
    for number, (cut, feed) in enumerate(
        [("relu", "conv"), ("0:relu", "conv"), ("relu:0", "relu"), ("pool", "relu")]
    ):
        result = converted(path, tmp_path / f"cut{number}", kind, input=f"{cut}[2,8,8,4]", output="prob")
        inputs, outputs = names(result)
        assert inputs == [cut]
        np.testing.assert_allclose(
            run(result, **{cut: recorded[feed]})[outputs[0]], recorded["prob"], atol=1e-5
        )


FUNCTION_CUTS = {
    "model/relu1/Relu": "0:model/relu1/Relu",
    "0:model/relu1/Relu": "0:model/relu1/Relu",
    "StatefulPartitionedCall/model/relu1/Relu:0": "model/relu1/Relu",
    "model/conv2/Conv2D": "model/relu1/Relu:0",
}


@pytest.mark.parametrize(("cut", "source"), FUNCTION_CUTS.items())
def test_cuts_inside_the_functions_of_tensorflow_2(cut: str, source: str, tmp_path: Path) -> None:
    image = np.random.default_rng(5).random((2, 16, 16, 3)).astype(np.float32)
    whole = converted(MODELS / "tf_conv", tmp_path / "a", SAVED_MODEL, output=f"{source},prob")
    assert names(whole) == (["image"], [source, "prob"])
    inner, expected = run(whole, image=image).values()

    behind = converted(MODELS / "tf_conv", tmp_path / "b", SAVED_MODEL, input=f"{cut}[2,16,16,4]")
    assert names(behind) == ([cut], ["prob"])
    np.testing.assert_allclose(run(behind, **{cut: inner})["prob"], expected, atol=1e-6)


def test_an_unknown_place_in_a_function_is_told(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="has 2 inputs"):
        converted(MODELS / "tf_conv", tmp_path, SAVED_MODEL, input="7:model/gap/Mean")
    with pytest.raises(RequestError, match="nothing of that name"):
        converted(MODELS / "tf_conv", tmp_path, SAVED_MODEL, output="model/nope")


def test_graph_names_and_keys_mean_the_same(tmp_path: Path) -> None:
    source = SIGNATURES / "tf1"
    for number, name in enumerate(("images", "input", "input:0")):
        result = converted(
            source, tmp_path / f"{number}", SAVED_MODEL, input=f"{name}[1,8,8,3]", output="prob"
        )
        assert shapes(result) == {"images": "[1,8,8,3]", "scores": "[1,4]"}


def test_values_can_be_fixed_outside_and_inside(tmp_path: Path) -> None:
    ones = np.ones((1, 3), np.float32)
    result = converted(
        SIGNATURES / "flag", tmp_path / "a", SAVED_MODEL, freeze_placeholder_with_value="flag->True"
    )
    assert names(result) == (["x"], ["y"])
    np.testing.assert_allclose(run(result, x=ones)["y"], 2 * ones)

    with pytest.raises(RequestError, match="no input is left to feed"):
        converted(SIGNATURES / "tf1", tmp_path / "b", SAVED_MODEL, input="relu[1,1,1,4]->[1 2 3 4]")


@pytest.mark.parametrize(
    ("values", "message", "hint"),
    [
        (
            {"input": "imags"},
            "`input` names `imags`",
            "did you mean `images`? its inputs are `images` [?,8,8,3] f32",
        ),
        ({"output": "rel"}, "`output` names `rel`", "`relu`"),
        ({"input": "3:relu"}, "the node `relu` has 1 input", "first input"),
        ({"input_shape": "[1,8,8,7]"}, "does not convert with this `input_shape`", "`images` [?,8,8,3]"),
    ],
)
def test_errors_name_the_real_ends(tmp_path: Path, values: dict[str, str], message: str, hint: str) -> None:
    with pytest.raises(RequestError) as caught:
        converted(SIGNATURES / "tf1", tmp_path, SAVED_MODEL, **values)

    assert message in caught.value.message
    assert hint in (caught.value.hint or "")


def test_damaged_models_are_the_models_fault(tmp_path: Path) -> None:
    source = tmp_path / "model"
    shutil.copytree(SIGNATURES / "tf1", source)
    graph = source / "saved_model.pb"
    data = graph.read_bytes()
    graph.write_bytes(data[: len(data) // 2])
    with pytest.raises(CorruptModelError):
        converted(source, tmp_path / "a", SAVED_MODEL)

    graph.write_bytes(data)
    weights = source / "variables" / "variables.data-00000-of-00001"
    weights.write_bytes(weights.read_bytes()[:-40])
    with pytest.raises(ModelError):
        converted(source, tmp_path / "b", SAVED_MODEL)
