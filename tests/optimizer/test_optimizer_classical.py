"""Operators of ai.onnx.ml become plain ones: what ONNX Runtime computes, also for NaN, infinity and ties."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import openvino as ov
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import NodeProto, TensorProto, helper

from old_runtime import skip_with_old_runtime
from ovms_converter.errors import CorruptModelError, ModelError, UnsupportedModelError
from ovms_converter.formats.onnx import CLASSICAL_OPERATIONS
from ovms_converter.optimizer.arguments import OptimizerArguments
from ovms_converter.optimizer.classical.lowering import LOWERINGS
from ovms_converter.optimizer.conversion import Conversion, convert

Array = npt.NDArray[Any]
FLOAT, INT = TensorProto.FLOAT, TensorProto.INT64
MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")
FOUR = ((-1.5, 0.5, 2.0, 0.25), (0.5, 1.0, -1.0, 0.75), (0.1, -0.2, 0.3, -0.4))


def ml(operation: str, *inputs: str, outputs: Sequence[str] = ("y",), **attributes: Any) -> NodeProto:
    return helper.make_node(
        operation, list(inputs) or ["x"], list(outputs), domain="ai.onnx.ml", **attributes
    )


def model(
    nodes: Sequence[NodeProto],
    width: int,
    outputs: Sequence[tuple[str, int]],
    *,
    kind: int = FLOAT,
    opset: int | None = 17,
    version: int = 3,
    constants: Sequence[TensorProto] = (),
) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", kind, [None, width])],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs],
        list(constants),
    )
    opsets = [helper.make_opsetid("ai.onnx.ml", version)]
    opsets += [helper.make_opsetid("", opset)] if opset else []
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def converted(proto: onnx.ModelProto, directory: Path, **arguments: str) -> Conversion:
    path = directory / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    return convert(path, "onnx", OptimizerArguments.parse(arguments), directory / "scratch")


def computed(conversion: Conversion, x: Array) -> dict[str, Array]:
    compiled = ov.Core().compile_model(conversion.model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled({"x": x})
    return {port.any_name: np.array(found[port]) for port in compiled.outputs}


def assert_equal(proto: onnx.ModelProto, x: Array, directory: Path) -> Conversion:
    """The converted model computes what ONNX Runtime does: numbers to 1e-5, labels without exception."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    names = [output.name for output in session.get_outputs()]
    conversion = converted(proto, directory)
    found = computed(conversion, x)
    for name, wanted in zip(names, session.run(names, {"x": x}), strict=True):
        assert found[name].shape == wanted.shape
        np.testing.assert_allclose(found[name], wanted, rtol=1e-5, atol=1e-5, err_msg=name)
        if wanted.dtype.kind == "i":
            assert (found[name] == wanted).all()
    return conversion


def awkward(random: np.random.Generator, rows: int, width: int) -> Array:
    """Halves, so that many are equal to a threshold, and NaN and infinities."""
    x = random.integers(-4, 5, (rows, width)) / 2
    x += np.where(random.random((rows, width)) < 0.3, random.normal(0, 0.3, (rows, width)), 0)
    for value, share in ((np.nan, 0.05), (np.inf, 0.02), (-np.inf, 0.02)):
        x[random.random((rows, width)) < share] = value
    return x.astype(np.float32)


class Forest:
    """Random trees as attributes of an operator; `columns` are what a leaf gives to."""

    def __init__(
        self,
        random: np.random.Generator,
        trees: int,
        width: int,
        modes: Sequence[str],
        columns: Sequence[int],
    ) -> None:
        self.nodes: dict[str, list[Any]] = {}
        self.leaves: dict[str, list[Any]] = {}
        self._random, self._width, self._modes, self._columns = random, width, modes, columns
        for tree in range(trees):
            self._numbered = 0
            self._grow(tree, 0)

    def _grow(self, tree: int, depth: int) -> int:
        random, number = self._random, self._numbered
        self._numbered += 1
        leaf = depth == 4 or random.random() < 0.2
        row = {"treeids": tree, "nodeids": number, "modes": "LEAF", "truenodeids": 0, "falsenodeids": 0}
        row |= {"featureids": int(random.integers(self._width)), "values": random.integers(-3, 4) / 2}
        row |= {"missing_value_tracks_true": int(random.integers(2))}
        for key, value in row.items():
            self.nodes.setdefault(f"nodes_{key}", []).append(value)
        place = len(self.nodes["nodes_modes"]) - 1
        if leaf:
            for column in self._columns:
                entry = {"treeids": tree, "nodeids": number, "ids": column, "weights": random.normal()}
                for key, value in entry.items():
                    self.leaves.setdefault(key, []).append(value)
        else:
            self.nodes["nodes_modes"][place] = str(random.choice(list(self._modes)))
            self.nodes["nodes_truenodeids"][place] = self._grow(tree, depth + 1)
            self.nodes["nodes_falsenodeids"][place] = self._grow(tree, depth + 1)
        return number

    def attributes(self, prefix: str) -> dict[str, Any]:
        return {**self.nodes, **{f"{prefix}_{key}": value for key, value in self.leaves.items()}}


many = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_every_operator_that_is_not_refused_has_a_plain_form() -> None:
    assert LOWERINGS.keys() == CLASSICAL_OPERATIONS


@many
@given(
    seed=st.integers(0, 1 << 30),
    targets=st.integers(1, 3),
    aggregate=st.sampled_from(["SUM", "AVERAGE", "MIN", "MAX"]),
    transform=st.sampled_from(["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"]),
    modes=st.lists(st.sampled_from(MODES), min_size=1, max_size=3),
    opset=st.sampled_from([None, 9, 11, 13, 18, 21]),
    based=st.booleans(),
)
def test_tree_regressors(
    tmp_path: Path,
    seed: int,
    targets: int,
    aggregate: str,
    transform: str,
    modes: list[str],
    opset: int | None,
    based: bool,
) -> None:
    random = np.random.default_rng(seed)
    columns = sorted(set(random.integers(0, targets, 4).tolist()) | {0})
    attributes = Forest(random, 4, 3, modes, columns).attributes("target")
    if based:
        attributes["base_values"] = random.normal(size=targets).tolist()
    node = ml(
        "TreeEnsembleRegressor",
        n_targets=targets,
        aggregate_function=aggregate,
        post_transform=transform,
        **attributes,
    )
    assert_equal(model([node], 3, [("y", FLOAT)], opset=opset), awkward(random, 300, 3), tmp_path)


@many
@given(
    seed=st.integers(0, 1 << 30),
    columns=st.sampled_from([(0,), (1,), (0, 1), (0, 1, 2), (0, 1, 2, 3)]),
    transform=st.sampled_from(["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"]),
    modes=st.lists(st.sampled_from(MODES), min_size=1, max_size=3),
    base=st.sampled_from([0, 1, 2]),
    positive=st.booleans(),
)
def test_tree_classifiers(
    tmp_path: Path,
    seed: int,
    columns: tuple[int, ...],
    transform: str,
    modes: list[str],
    base: int,
    positive: bool,
) -> None:
    random = np.random.default_rng(seed)
    classes = max(len(columns), 2)
    attributes = Forest(random, 4, 3, modes, columns).attributes("class")
    if positive:
        attributes["class_weights"] = np.abs(attributes["class_weights"]).tolist()
    if base:
        attributes["base_values"] = random.normal(size=base if classes == 2 else classes).tolist()
    labels = random.permutation(20)[:classes].tolist()
    node = ml(
        "TreeEnsembleClassifier",
        outputs=("label", "scores"),
        classlabels_int64s=labels,
        post_transform=transform,
        **attributes,
    )
    proto = model([node], 3, [("label", INT), ("scores", FLOAT)])
    assert_equal(proto, awkward(random, 300, 3), tmp_path)


def test_what_was_replaced_is_told(tmp_path: Path) -> None:
    node = ml("Scaler", offset=[1.0, 2.0], scale=[2.0, 0.5])
    found = converted(model([node], 2, [("y", FLOAT)]), tmp_path)
    assert "onnx-ml-Scaler" in found.repairs
    with pytest.raises(ModelError, match="Scaler"):
        converted(model([node], 2, [("y", FLOAT)]), tmp_path, repairs="off")


LINEAR = [
    ml("LinearRegressor", coefficients=[0.5, -1.0, 2.0, 0.25], targets=1, post_transform="LOGISTIC"),
    ml("LinearRegressor", coefficients=np.ravel(FOUR).tolist(), intercepts=[1.0, 2.0, 3.0], targets=3),
    ml("Normalizer", norm="L1"),
    ml("Normalizer", norm="L2"),
    ml("Normalizer", norm="MAX"),
    ml("Scaler", offset=[0.5], scale=[3.0]),
    ml("Imputer", imputed_value_floats=[1.0, 2.0, 3.0, 4.0], replaced_value_float=float("nan")),
    ml("Imputer", imputed_value_floats=[9.0], replaced_value_float=0.5),
    ml("SVMRegressor", coefficients=[0.5, -1.0, 2.0], kernel_params=[0.3, 0.5, 3.0], kernel_type="RBF",
       n_supports=3, rho=[0.2], support_vectors=np.ravel(FOUR).tolist()),
    ml("SVMRegressor", coefficients=[0.5, -1.0, 2.0], kernel_params=[0.3, 0.5, 3.0], kernel_type="POLY",
       n_supports=3, rho=[0.2], support_vectors=np.ravel(FOUR).tolist(), one_class=1),
]  # fmt: skip


@pytest.mark.parametrize("node", LINEAR, ids=lambda node: node.op_type)
def test_operators_without_labels(node: NodeProto, tmp_path: Path) -> None:
    x = np.random.default_rng(1).normal(size=(300, 4)).astype(np.float32)
    x[:20] = 0
    if node.op_type == "Imputer":
        x[::7, 1] = np.nan
        x[::5, 2] = 0.5
    assert_equal(model([node], 4, [("y", FLOAT)]), x, tmp_path)


@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"])
@pytest.mark.parametrize("rows", [1, 2, 3])
def test_linear_classifiers(transform: str, rows: int, tmp_path: Path) -> None:
    if (rows, transform) == (1, "LOGISTIC"):
        skip_with_old_runtime()
    node = ml(
        "LinearClassifier",
        outputs=("label", "scores"),
        coefficients=np.ravel(FOUR[:rows]).tolist(),
        intercepts=[0.1, -0.2, 0.3][:rows],
        classlabels_ints=[7, 3, 5][: max(rows, 2)],
        post_transform=transform,
    )
    x = np.random.default_rng(2).normal(size=(300, 4)).astype(np.float32)
    assert_equal(model([node], 4, [("label", INT), ("scores", FLOAT)]), x, tmp_path)


@pytest.mark.parametrize("kernel", ["LINEAR", "RBF", "POLY", "SIGMOID"])
@pytest.mark.parametrize("classes", [2, 3])
def test_support_vector_classifiers(kernel: str, classes: int, tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    per_class = [3, 2, 4][:classes]
    node = ml(
        "SVMClassifier",
        outputs=("label", "scores"),
        classlabels_ints=[4, 8, 2][:classes],
        coefficients=random.normal(size=(classes - 1) * sum(per_class)).tolist(),
        kernel_params=[0.3, 0.5, 3.0],
        kernel_type=kernel,
        rho=random.normal(size=classes * (classes - 1) // 2).tolist(),
        support_vectors=random.normal(size=sum(per_class) * 4).tolist(),
        vectors_per_class=per_class,
    )
    x = random.normal(size=(300, 4)).astype(np.float32)
    assert_equal(model([node], 4, [("label", INT), ("scores", FLOAT)]), x, tmp_path)


WHOLE = [
    (ml("LabelEncoder", keys_int64s=[1, 2, -3], values_floats=[0.5, 1.5, 2.5], default_float=9.0), FLOAT),
    (ml("LabelEncoder", keys_int64s=[1, 2, -3], values_int64s=[5, 6, 7]), INT),
    (ml("OneHotEncoder", cats_int64s=[3, -1, 2]), FLOAT),
    (ml("Imputer", imputed_value_int64s=[1, 2], replaced_value_int64=2), INT),
    (ml("Scaler", offset=[1.0, 2.0], scale=[2.0, 0.5]), FLOAT),
]


@pytest.mark.parametrize(("node", "kind"), WHOLE, ids=lambda value: getattr(value, "op_type", None))
def test_operators_on_whole_numbers(node: NodeProto, kind: int, tmp_path: Path) -> None:
    x = np.random.default_rng(4).integers(-4, 5, (300, 2))
    assert_equal(model([node], 2, [("y", kind)], kind=INT, version=2), x, tmp_path)


def test_columns_of_a_matrix_and_labels_of_a_list(tmp_path: Path) -> None:
    nodes = [
        ml("ArrayFeatureExtractor", "x", "columns"),
        helper.make_node("ArgMax", ["x"], ["most"], axis=1, keepdims=0),
        ml("ArrayFeatureExtractor", "labels", "most", outputs=("z",)),
    ]
    constants = [
        helper.make_tensor("columns", INT, [2], [2, 0]),
        helper.make_tensor("labels", INT, [3], [5, 6, 7]),
    ]
    x = np.random.default_rng(5).normal(size=(50, 3)).astype(np.float32)
    assert_equal(model(nodes, 3, [("y", FLOAT), ("z", INT)], constants=constants), x, tmp_path)


def test_a_set_of_categories(tmp_path: Path) -> None:
    def tensor(kind: int, values: Sequence[float]) -> TensorProto:
        return helper.make_tensor("t", kind, [len(values)], values)

    node = ml(
        "TreeEnsemble",
        n_targets=2,
        membership_values=tensor(FLOAT, [1.0, 3.0, 8.0, float("nan")]),
        tree_roots=[0],
        nodes_modes=tensor(TensorProto.UINT8, [0, 0, 6]),
        nodes_featureids=[0, 0, 0],
        nodes_splits=tensor(FLOAT, [3.14, 1.2, 4.2]),
        nodes_truenodeids=[1, 0, 1],
        nodes_trueleafs=[0, 1, 1],
        nodes_falsenodeids=[2, 2, 3],
        nodes_falseleafs=[0, 1, 1],
        leaf_targetids=[0, 1, 0, 1],
        leaf_weights=tensor(FLOAT, [5.23, 12.12, -12.23, 7.21]),
    )
    x = np.array([[1], [3], [3.5], [8], [8.5], [9], [-1], [1e9], [np.nan]], np.float32)
    assert_equal(model([node], 1, [("y", FLOAT)], opset=21, version=5), x, tmp_path)


def classifier(**labels: Any) -> onnx.ModelProto:
    nodes = [
        ml(
            "LinearClassifier",
            outputs=("label", "p"),
            coefficients=[1.0, 2.0, 3.0, 4.0],
            intercepts=[0.0, 0.1],
            post_transform="SOFTMAX",
            **labels,
        ),
        ml("ZipMap", "p", outputs=("probability",), **labels),
    ]
    kind = TensorProto.STRING if "classlabels_strings" in labels else INT
    proto = model(nodes, 2, [("label", kind), ("probability", FLOAT)])
    zipped = proto.graph.output[1].type
    zipped.Clear()
    zipped.sequence_type.elem_type.map_type.key_type = kind
    zipped.sequence_type.elem_type.map_type.value_type.tensor_type.elem_type = FLOAT
    return proto


def test_a_map_of_probabilities_is_published_as_a_matrix(tmp_path: Path) -> None:
    found = converted(classifier(classlabels_int64s=[0, 1]), tmp_path)
    assert any("`probability` is a matrix with a column for each class" in note for note in found.notes)
    scores = computed(found, np.ones((3, 2), np.float32))["probability"]
    assert scores.shape == (3, 2)
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-6)


def test_text_labels_are_refused_unless_only_the_scores_are_wanted(tmp_path: Path) -> None:
    proto = classifier(classlabels_strings=["cat", "dog"])
    with pytest.raises(UnsupportedModelError, match=r"text labels \('cat', 'dog'\)") as caught:
        converted(proto, tmp_path)
    assert caught.value.hint is not None
    assert "`--output p`" in caught.value.hint
    found = converted(proto, tmp_path, output="p")
    assert computed(found, np.ones((3, 2), np.float32))["p"].shape == (3, 2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"nodes_truenodeids": [7, 0, 0]}, "not there"),
        ({"nodes_truenodeids": [0, 0, 0]}, "leads back"),
        ({"nodes_nodeids": [0, 1, 1]}, "same number"),
        ({"nodes_values": [0.5]}, "different lengths"),
        ({"nodes_modes": ["BRANCH_LEQ", "LEAF", "TWIG"]}, "unknown word `TWIG`"),
        ({"target_ids": [0, 5]}, "output that is not there"),
        ({"target_nodeids": [1, 9]}, "not there"),
    ],
)
def test_broken_trees_are_told(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    attributes: dict[str, Any] = {
        "nodes_treeids": [0, 0, 0],
        "nodes_nodeids": [0, 1, 2],
        "nodes_featureids": [0, 0, 0],
        "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"],
        "nodes_values": [0.5, 0.0, 0.0],
        "nodes_truenodeids": [1, 0, 0],
        "nodes_falsenodeids": [2, 0, 0],
        "target_treeids": [0, 0],
        "target_nodeids": [1, 2],
        "target_ids": [0, 0],
        "target_weights": [1.0, 2.0],
    }
    node = ml("TreeEnsembleRegressor", n_targets=1, **(attributes | change))
    with pytest.raises(CorruptModelError, match=words):
        converted(model([node], 1, [("y", FLOAT)]), tmp_path)


def test_the_cpu_plugin_still_finds_nan_greater_than_a_number() -> None:
    """Why the plain form of a comparison is never `Greater`; if this fails, that may be said no more."""
    x = ov.opset13.parameter([2], np.float32)
    above = ov.opset13.convert(ov.opset13.greater(x, ov.opset13.constant(np.float32(1))), "i32")
    found = ov.Core().compile_model(ov.Model([above], [x]), "CPU")([np.array([np.nan, 0], np.float32)])[0]
    assert found.tolist() == [1, 0]


def test_a_double_on_a_split_goes_where_onnx_says(tmp_path: Path) -> None:
    """1.2 <= 1.2, although no float32 is 1.2: ONNX's own case, with the output that it records."""
    from onnx.backend.test.case.node import collect_testcases

    name = "test_ai_onnx_ml_tree_ensemble_single_tree"
    with np.errstate(all="ignore"):
        case = next(each for each in collect_testcases(None) if each.name == name)
    (tmp_path / "m.onnx").write_bytes(case.model.SerializeToString())
    model = convert(tmp_path / "m.onnx", "onnx", OptimizerArguments(), tmp_path).model
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    (inputs,), (expected,) = case.data_sets[0]
    np.testing.assert_allclose(compiled([inputs])[0], expected, rtol=1e-6)
