"""XGBoost's and LightGBM's files become what their own `predict` gives; broken ones are told as such."""

import json
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from native_library import library_or_skip
from ovms_converter.errors import CorruptModelError, ModelError, UnsupportedModelError
from ovms_converter.formats.boosters import read_booster
from ovms_converter.optimizer.arguments import OptimizerArguments
from ovms_converter.optimizer.boosters import onnx_of
from ovms_converter.optimizer.conversion import convert

Array = npt.NDArray[Any]
DATA = Path(__file__).parents[1] / "data/optimizer/boosters"
OLD = [
    "booster.xgb",
    "classifier.xgb",
    "counts-0.90.model",
    "pickled-1.0.model",
    "labels-1.3.xgb",
    "dart-1.3.xgb",
    "linear-2.1.xgb",
]
MODELS = [*OLD, "regressor.json", "categories.ubj", "booster.lgb", "zeros.txt"]
BYTES = {name: (DATA / name).read_bytes() for name in MODELS}


@contextmanager
def memory_below(limit: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


def computed(model: Path, x: Array, scratch: Path) -> dict[str, Array]:
    kind = "lightgbm" if model.suffix in (".lgb", ".txt") else "xgboost"
    found = convert(model, kind, OptimizerArguments(), scratch).model
    compiled = ov.Core().compile_model(found, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    results = compiled({"X": x})
    return {port.any_name: np.array(results[port]) for port in compiled.outputs}


@pytest.mark.parametrize("name", MODELS)
def test_a_booster_predicts_what_its_library_recorded(name: str, tmp_path: Path) -> None:
    with np.load(DATA / f"{name}.input.npz") as file:
        x = file[file.files[0]].astype(np.float32)
    with np.load(DATA / f"{name}.output.npz") as file:
        wanted = dict(file)
    found = computed(DATA / name, x, tmp_path)
    assert found.keys() == wanted.keys()
    for key, values in wanted.items():
        assert np.shape(found[key]) == values.shape
        np.testing.assert_allclose(found[key], values, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "is_zero"), [("categories.ubj", False), ("zeros.txt", True)])
def test_a_category_below_zero_is_what_its_library_takes_it_for(
    name: str, is_zero: bool, tmp_path: Path
) -> None:
    """LightGBM cuts -0.5 to 0; for XGBoost it is no category at all."""
    x = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    results = []
    for category in (-0.5, 0, -7):
        x[:, 2] = category
        results.append(computed(DATA / name, x, tmp_path)["prediction"])
    below, zero, invalid = results
    np.testing.assert_array_equal(below, zero if is_zero else invalid)


def test_half_precision_leaves_the_thresholds_of_trees_alone(tmp_path: Path) -> None:
    asked = OptimizerArguments.parse({"data_type": "FP16"})
    found = convert(DATA / "booster.lgb", "lightgbm", asked, tmp_path)
    assert not found.compress_to_fp16
    assert any("FP16 would move the thresholds" in note for note in found.notes)


@pytest.mark.slow
@pytest.mark.parametrize(
    "objective",
    [
        "binary:logistic", "binary:logitraw", "binary:hinge", "count:poisson", "multi:softmax",
        "multi:softprob", "reg:squarederror", "reg:gamma", "reg:tweedie", "reg:pseudohubererror",
    ],
)  # fmt: skip
def test_objectives_of_xgboost(objective: str, tmp_path: Path) -> None:
    xgboost = pytest.importorskip("xgboost")
    random = np.random.default_rng(0)
    x = random.normal(size=(400, 4)).astype(np.float32)
    x[random.random(x.shape) < 0.1] = np.nan
    y = np.digitize(np.nan_to_num(x[:, 0] + x[:, 1]), [-0.5, 0.5]) + 1
    options = {"objective": objective, "max_depth": 3}
    if objective.startswith("multi"):
        y, options["num_class"] = y - 1, 3
    elif objective.startswith("binary"):
        y = (y > 1).astype(int)
    booster = xgboost.train(options, xgboost.DMatrix(x, label=y), 8)
    for name in ("m.json", "m.ubj"):
        booster.save_model(tmp_path / name)
        found = computed(tmp_path / name, x, tmp_path)["prediction"]
        wanted = booster.predict(xgboost.DMatrix(x))
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"objective": "binary", "sigmoid": 2.0},
        {"objective": "poisson"},
        {"objective": "regression", "reg_sqrt": True},
        {"objective": "multiclass", "num_class": 3},
        {"objective": "multiclassova", "num_class": 3},
        {"objective": "cross_entropy_lambda"},
        {"objective": "quantile", "boosting": "dart"},
        {"objective": "regression", "boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5},
        {"objective": "regression", "use_missing": False},
    ],
    ids=str,
)
def test_objectives_of_lightgbm(options: dict[str, object], tmp_path: Path) -> None:
    lightgbm = library_or_skip("lightgbm")
    random = np.random.default_rng(0)
    x = random.normal(size=(400, 4)).astype(np.float32)
    x[random.random(x.shape) < 0.1] = np.nan
    y = np.digitize(np.nan_to_num(x[:, 0] + x[:, 1]), [-0.5, 0.5])
    if options["objective"] in ("binary", "cross_entropy_lambda"):
        y = (y > 1).astype(int)
    data = lightgbm.Dataset(x, label=y, params={key: options[key] for key in options if key == "use_missing"})
    booster = lightgbm.train({"verbose": -1, "num_leaves": 7, **options}, data, 8)
    booster.save_model(tmp_path / "m.txt")
    found = computed(tmp_path / "m.txt", x, tmp_path)["prediction"]
    np.testing.assert_allclose(found, booster.predict(x), rtol=1e-5, atol=1e-5)


def test_a_model_beside_the_state_of_its_training_is_the_model() -> None:
    snapshot = b'{"Config":{"learner":{}},"Model":' + BYTES["regressor.json"] + b"}"
    assert onnx_of(read_booster(snapshot)) == onnx_of(read_booster(BYTES["regressor.json"]))


def test_an_old_file_is_the_same_with_and_without_its_mark() -> None:
    data = BYTES["dart-1.3.xgb"]
    assert data.startswith(b"binf")
    assert onnx_of(read_booster(data[4:])) == onnx_of(read_booster(data))


@pytest.mark.parametrize("name", OLD)
def test_an_old_file_that_ends_early_is_told_wherever_it_ends(name: str) -> None:
    data = BYTES[name]
    with memory_below(8 << 20):
        # behind the model come the attributes, then what an old version keeps for itself
        for end in range(len(data) * 2 // 5):
            with pytest.raises(CorruptModelError):
                read_booster(data[:end])


@pytest.mark.parametrize("name", OLD)
def test_an_old_file_may_claim_any_number(name: str) -> None:
    data = BYTES[name]
    with memory_below(8 << 20):
        # up to the nodes of the first trees
        for at in range(0, min(len(data), 800), 4):
            for claim in (b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff"):
                with suppress(ModelError):
                    read_booster(data[:at] + claim + data[at + 4 :])


def edited(change: dict[str, object]) -> bytes:
    """The JSON model with parts of its learner replaced."""
    document = json.loads(BYTES["regressor.json"])
    document["learner"] |= change
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (edited({"objective": {"name": "reg:mine"}}), UnsupportedModelError, "objective `reg:mine`"),
        (edited({"gradient_booster": {"name": "forest"}}), UnsupportedModelError, "kind `forest`"),
        (edited({"learner_model_param": {"num_feature": "-4"}}), CorruptModelError, "num_feature"),
        (edited({"gradient_booster": None}), CorruptModelError, "gradient_booster"),
        (BYTES["regressor.json"][:-200], CorruptModelError, "no JSON"),
        (BYTES["categories.ubj"][:-200], CorruptModelError, "truncated"),
        (BYTES["booster.xgb"][:900], CorruptModelError, "truncated|announces"),
        (BYTES["dart-1.3.xgb"].replace(b"dart", b"tree"), CorruptModelError, "unknown booster `tree`"),
        (BYTES["dart-1.3.xgb"].replace(b"squared", b"cubed.."), UnsupportedModelError, "`reg:cubed..error`"),
        (BYTES["linear-2.1.xgb"][:400], CorruptModelError, "truncated"),
        (
            BYTES["linear-2.1.xgb"].replace(b"multi", b"mul\x1b["),
            CorruptModelError,
            "no name of its objective",
        ),
        (b"binf\0\0\xc0\x7f" + BYTES["dart-1.3.xgb"][8:], CorruptModelError, "no finite number"),
        (
            edited({"learner_model_param": {"num_feature": "4", "base_score": "nan"}}),
            CorruptModelError,
            "finite",
        ),
        (BYTES["booster.lgb"][:3000], CorruptModelError, "end of trees"),
        (BYTES["booster.lgb"].replace(b"binary sigmoid", b"mine sigmoid"), UnsupportedModelError, "`mine`"),
        (BYTES["booster.lgb"].replace(b"is_linear=0", b"is_linear=1"), UnsupportedModelError, "linear"),
        (BYTES["booster.lgb"].replace(b"left_child=3", b"left_child=33"), CorruptModelError, "not there"),
        (BYTES["booster.lgb"].replace(b"leaf_value=", b"leaf_value=x"), CorruptModelError, "no number"),
        (b"{" * 100_000 + b'"learner"', CorruptModelError, "no JSON"),
        (b"{i\x07learner" + b"[" * 100_000, CorruptModelError, "nested|truncated"),
        (b"{i\x07learner[$d#L\x7f\xff\xff\xff\xff\xff\xff\xff", CorruptModelError, "truncated"),
    ],
)
def test_what_cannot_be_read_is_told(data: bytes, error: type[ModelError], words: str) -> None:
    with pytest.raises(error, match=words):
        read_booster(data)


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(MODELS),
    edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=6)), max_size=5),
    cut=st.floats(0.2, 1),
)
def test_a_damaged_booster_is_a_model_or_an_error(
    name: str, edits: list[tuple[float, bytes]], cut: float
) -> None:
    data = bytearray(BYTES[name])
    for place, value in edits:
        at = int(place * len(data))
        data[at : at + len(value)] = value
    try:
        made = onnx_of(read_booster(bytes(data[: int(cut * len(data))] if cut < 0.9 else data)))
    except ModelError:
        return
    assert made
