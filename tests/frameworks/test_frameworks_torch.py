"""PyTorch programs against PyTorch itself: names, types, shapes and numbers, at batches of 1 and 3."""

import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest

from ovms_converter.errors import CorruptModelError, RequestError, UnsupportedModelError
from ovms_converter.formats.framework import versions_of
from ovms_converter.formats.mlmodel import parse_mlmodel
from ovms_converter.frameworks import process
from ovms_converter.frameworks.base import Exported, ExportJob

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
nn = torch.nn

from ovms_converter.frameworks import torch as room

pytestmark = [
    pytest.mark.slow,
    # what PyTorch says to its users of its own future
    pytest.mark.filterwarnings("ignore"),
]

DATA = Path(__file__).parent.parent / "data"
FREE = "[?,{}]"


class Classifier(nn.Module):  # type: ignore[misc, name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.dropout = nn.Dropout(0.5)
        self.linear = nn.Linear(4, 2)
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, image):  # type: ignore[no-untyped-def]
        return self.linear(self.dropout(self.norm(self.convolution(image)).relu()).mean((2, 3)))


class Pair(nn.Module):  # type: ignore[misc, name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 6)

    def forward(self, ids, scale):  # type: ignore[no-untyped-def]
        found = self.words(ids).sum(1) * scale
        return {"scaled": found, "same": found, "best": found.argmax(1)}


class Recurrent(nn.Module):  # type: ignore[misc, name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 5, batch_first=True)

    def forward(self, sequence):  # type: ignore[no-untyped-def]
        found, (hidden, _) = self.lstm(sequence)
        return found[:, -1], hidden


class Optional(nn.Module):  # type: ignore[misc, name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x, mask=None):  # type: ignore[no-untyped-def]
        found = self.linear(x)
        return found if mask is None else found * mask


class Branches(nn.Module):  # type: ignore[misc, name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):  # type: ignore[no-untyped-def]
        if bool(x.sum() > 0):
            return self.linear(x)
        return x * 3


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """A process opens one model; this one opens many."""
    torch.manual_seed(0)
    room._KEPT.clear()
    yield
    room._KEPT.clear()


def job(format: str, model: Path, output: Path, **more: Any) -> ExportJob:
    output.mkdir(exist_ok=True)
    return ExportJob(format=format, model=model, output=output, **more)


def save(module: Any, kind: str, samples: Sequence[Any], directory: Path) -> tuple[str, Path]:
    module.eval()
    path = directory / f"model.{kind}"
    if kind == "traced":
        torch.jit.trace(module, tuple(samples), strict=False, check_trace=False).save(str(path))
    elif kind == "scripted":
        torch.jit.script(module).save(str(path))
    elif kind == "pt2":
        free = tuple({0: torch.export.Dim.DYNAMIC} for _ in samples)
        torch.export.save(torch.export.export(module, tuple(samples), dynamic_shapes=free), path)
    else:
        torch.save(module, path)
    return {"pt2": "pytorch.export", "pickled": "pytorch.pickle"}.get(kind, "pytorch.torchscript"), path


def check_equal(exported: Exported, asked: ExportJob, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Run both, compare all outputs, and hand back what PyTorch computes."""
    core = ov.Core()
    compiled = core.compile_model(str(exported.path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    expected = room.run(asked, inputs)
    found = compiled(dict(inputs))
    assert [port.get_any_name() for port in compiled.outputs] == list(expected)
    for name, array in expected.items():
        assert found[name].shape == array.shape
        assert found[name].dtype == array.dtype
        np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-5)
    return expected


def shapes(exported: Exported) -> list[str]:
    return [
        f"{port.get_any_name()}{port.get_partial_shape()}"
        for port in ov.Core().read_model(exported.path).inputs
    ]


@pytest.mark.parametrize(
    "name",
    ["1.30.1-pytorch-script-two", "3.18.0-pytorch-default", "3.18.0-pytorch-trace", "2.22.1-pytorch-pickle"],
)
def test_what_mlflow_logged_computes_what_was_recorded(name: str, tmp_path: Path) -> None:
    root = DATA / "pytorch" / name / "model"
    root = root if root.exists() else DATA / "formats" / "mlflow" / name
    mlmodel = parse_mlmodel((root / "MLmodel").read_bytes())
    model = next((root / "data").glob("model.pt*"))
    format = {".pt2": "pytorch.export"}.get(model.suffix, "pytorch.torchscript")
    asked = job(
        "pytorch.pickle" if "pickle" in name else format,
        model,
        tmp_path / "out",
        signature=mlmodel.signature,
        versions=versions_of(mlmodel),
        trusted=True,
    )
    if "pickle" in name and sys.version_info[:2] != (3, 11):
        with pytest.raises(UnsupportedModelError, match=r"holds bytecode of Python 3\.11"):
            process.export(asked)
        return
    exported = process.export(asked)
    with np.load(DATA / "pytorch" / name / "reference_input.npz") as stored:
        inputs = dict(stored)
    with np.load(DATA / "pytorch" / name / "reference_output.npz") as stored:
        recorded = list(dict(stored).values())
    computed = process.run_reference(asked, inputs)
    assert list(inputs) == [port.partition("[")[0] for port in shapes(exported)]
    for array, expected in zip(computed.values(), recorded, strict=True):
        np.testing.assert_allclose(array, expected, rtol=1e-5, atol=1e-6)
    check_equal(exported, asked, inputs)


@pytest.mark.parametrize("kind", ["traced", "scripted", "pt2", "pickled"])
def test_an_image_classifier_keeps_its_names_and_a_free_batch(kind: str, tmp_path: Path) -> None:
    format, path = save(Classifier(), kind, [torch.zeros(2, 3, 8, 8)], tmp_path)
    arguments = {"input_shape": "[?,3,8,8]"}
    asked = job(format, path, tmp_path / "out", arguments=arguments, trusted=kind == "pickled")
    exported = room.export(asked)
    assert shapes(exported) == ["image[?,3,8,8]"]
    for batch in (1, 3):
        expected = check_equal(
            exported, asked, {"image": np.random.default_rng(0).random((batch, 3, 8, 8), "f4")}
        )
    assert list(expected) == (["linear"] if kind == "pt2" else ["output_0"])


@pytest.mark.parametrize("kind", ["traced", "scripted", "pt2", "pickled"])
def test_integers_go_in_and_a_dictionary_comes_out(kind: str, tmp_path: Path) -> None:
    samples = [torch.zeros(2, 7, dtype=torch.int64), torch.ones(2, 6)]
    format, path = save(Pair(), kind, samples, tmp_path)
    arguments = {"input": "ids[?,7]{i64},scale[?,6]"}
    asked = job(format, path, tmp_path / "out", arguments=arguments, trusted=kind == "pickled")
    exported = room.export(asked)
    assert shapes(exported) == ["ids[?,7]", "scale[?,6]"]
    for batch in (1, 3):
        random = np.random.default_rng(batch)
        inputs = {"ids": random.integers(0, 20, (batch, 7)), "scale": random.random((batch, 6), "f4")}
        assert list(check_equal(exported, asked, inputs)) == ["scaled", "same", "best"]


@pytest.mark.parametrize("kind", ["traced", "scripted", "pt2"])
def test_a_recurrent_layer_of_any_batch(kind: str, tmp_path: Path) -> None:
    format, path = save(Recurrent(), kind, [torch.zeros(2, 4, 3)], tmp_path)
    signature = {"inputs": [{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 4, 3]}}]}
    asked = job(format, path, tmp_path / "out", signature=signature)
    exported = room.export(asked)
    assert shapes(exported) == ["sequence[?,4,3]"]
    for batch in (1, 3):
        check_equal(exported, asked, {"sequence": np.random.default_rng(0).random((batch, 4, 3), "f4")})


def test_a_scripted_branch_stays_a_branch(tmp_path: Path) -> None:
    format, path = save(Branches(), "scripted", [], tmp_path)
    asked = job(format, path, tmp_path / "out", arguments={"input_shape": "[?,4]"})
    exported = room.export(asked)
    for sign in (-1, 1):
        check_equal(exported, asked, {"x": np.full((3, 4), sign, "f4")})


class Attention(nn.Module):  # type: ignore[misc, name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):  # type: ignore[no-untyped-def]
        return self.attention(x, x, x, need_weights=False)[0]


@pytest.mark.parametrize("kind", ["traced", "scripted"])
def test_attention_takes_its_plain_way(kind: str, tmp_path: Path) -> None:
    format, path = save(Attention(), kind, [torch.zeros(2, 5, 8)], tmp_path)
    asked = job(format, path, tmp_path / "out", arguments={"input_shape": "[?,5,8]"})
    exported = room.export(asked)
    for batch in (1, 3):
        check_equal(exported, asked, {"x": np.random.default_rng(0).random((batch, 5, 8), "f4")})


@pytest.mark.parametrize("half", ["float16", "float64"])
def test_weights_keep_their_precision(half: str, tmp_path: Path) -> None:
    module = nn.Linear(4, 3).to(getattr(torch, half))
    format, path = save(module, "traced", [torch.zeros(2, 4, dtype=getattr(torch, half))], tmp_path)
    asked = job(format, path, tmp_path / "out")
    exported = room.export(asked)
    model = ov.Core().read_model(exported.path)
    constants = {
        node.get_element_type().to_dtype().name
        for node in model.get_ops()
        if node.get_type_name() == "Constant"
    }
    assert half in constants
    assert model.inputs[0].get_element_type().to_dtype() == np.dtype(half)


def test_the_signature_names_inputs_and_outputs(tmp_path: Path) -> None:
    format, path = save(nn.Linear(4, 3), "traced", [torch.zeros(2, 4)], tmp_path)
    spec = {"dtype": "float32", "shape": [-1, 4]}
    signature = {
        "inputs": [{"name": "features", "type": "tensor", "tensor-spec": spec}],
        "outputs": [{"name": "score", "type": "tensor", "tensor-spec": {**spec, "shape": [-1, 3]}}],
    }
    asked = job(format, path, tmp_path / "out", signature=signature)
    exported = room.export(asked)
    assert shapes(exported) == ["features[?,4]"]
    assert list(check_equal(exported, asked, {"features": np.ones((3, 4), "f4")})) == ["score"]


def test_the_input_example_gives_the_shape(tmp_path: Path) -> None:
    format, path = save(nn.Flatten(), "traced", [torch.zeros(2, 4, 5)], tmp_path)
    example = tmp_path / "input_example.json"
    example.write_text(str([[[0.5] * 5] * 4]))
    exported = room.export(job(format, path, tmp_path / "out", example=example))
    assert [shape.partition("[")[2] for shape in shapes(exported)] == ["?,4,5]"]


def test_a_shape_that_nothing_tells_is_asked_for(tmp_path: Path) -> None:
    format, path = save(nn.Flatten(), "traced", [torch.zeros(2, 4, 5)], tmp_path)
    with pytest.raises(RequestError, match="does not say which shape `input` has") as error:
        room.export(job(format, path, tmp_path / "out"))
    assert "--input_shape [1,3,224,224]" in str(error.value.hint)


@pytest.mark.parametrize(
    ("arguments", "inputs"), [({}, ["x"]), ({"input": "x[?,4],mask[?,4]"}, ["x", "mask"])]
)
def test_an_argument_that_may_be_left_out_is_taken_if_it_is_named(
    arguments: dict[str, str], inputs: list[str], tmp_path: Path
) -> None:
    format, path = save(Optional(), "pickled", [], tmp_path)
    asked = job(format, path, tmp_path / "out", arguments=arguments, trusted=True)
    exported = room.export(asked)
    assert [shape.partition("[")[0] for shape in shapes(exported)] == inputs
    check_equal(exported, asked, {name: np.full((3, 4), 2, "f4") for name in inputs})


def test_a_recurrent_module_whose_code_is_not_there_takes_what_its_export_holds_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_source(*_: object, **__: object) -> None:
        raise OSError("could not get source code")  # as for a class that was pickled by value

    format, path = save(Recurrent(), "pickled", [], tmp_path)
    monkeypatch.setattr(torch.jit, "script", without_source)
    asked = job(format, path, tmp_path / "out", trusted=True)

    exported = room.export(asked)

    (declared,) = shapes(exported)
    fixed = [
        int(size) for size in declared.removeprefix("sequence[").removesuffix("]").split(",") if size != "?"
    ]
    assert len(fixed) == 2  # the length is, and the features are anyway
    assert any(declared.removeprefix("sequence") in note for note in exported.notes)
    check_equal(exported, asked, {"sequence": np.random.rand(4, *fixed).astype("f4")})


@pytest.mark.parametrize("kind", ["traced", "pt2"])
def test_a_program_in_training_mode_is_refused(kind: str, tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
    path = tmp_path / "model.pt2"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == "traced":
            torch.jit.trace(module, (torch.zeros(2, 4),), check_trace=False).save(str(path))
        else:
            torch.export.save(torch.export.export(module, (torch.zeros(2, 4),)), path)
    format = "pytorch.torchscript" if kind == "traced" else "pytorch.export"
    with pytest.raises(UnsupportedModelError, match="in training mode"):
        room.export(job(format, path, tmp_path / "out"))


class Runs:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.mark,)


def test_a_pickle_runs_only_if_its_source_is_trusted(tmp_path: Path) -> None:
    mark, path = tmp_path / "ran", tmp_path / "model.pth"
    torch.save(Runs(mark), path)
    with pytest.raises(UnsupportedModelError, match="is a pickled PyTorch module"):
        room.export(job("pytorch.pickle", path, tmp_path / "out"))
    assert not mark.exists()
    with pytest.raises(UnsupportedModelError, match="holds a `NoneType` and no model"):
        room.export(job("pytorch.pickle", path, tmp_path / "out", trusted=True))
    assert mark.exists()


def test_a_pickle_of_another_python_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    path = DATA / "formats" / "mlflow" / "2.22.1-pytorch-pickle" / "data" / "model.pth"
    asked = job("pytorch.pickle", path, tmp_path / "out", trusted=True, versions={"python_version": "3.7.1"})
    with pytest.raises(UnsupportedModelError, match=r"holds bytecode of Python 3\.7"):
        room.export(asked)


def test_damage_is_told_with_the_files_name(tmp_path: Path) -> None:
    format, path = save(nn.Linear(4, 3), "traced", [torch.zeros(2, 4)], tmp_path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CorruptModelError, match=r"`model\.traced`"):
        room.export(job(format, path, tmp_path / "out"))


def test_a_shape_that_does_not_fit_is_told_in_pytorchs_words(tmp_path: Path) -> None:
    format, path = save(nn.Linear(4, 3), "traced", [torch.zeros(2, 4)], tmp_path)
    with pytest.raises(RequestError, match=r"does not run with input\[1,7\]: .*1x7 and 4x3"):
        room.export(job(format, path, tmp_path / "out", arguments={"input_shape": "[1,7]"}))


def test_the_layer_that_reads_an_input_tells_its_shape(tmp_path: Path) -> None:
    format, path = save(Recurrent(), "traced", [torch.zeros(2, 4, 3)], tmp_path)
    exported = room.export(job(format, path, tmp_path / "out"))
    assert shapes(exported) == ["sequence[?,?,3]"]
    assert "`--input_shape` says another" in exported.notes[0]


def test_a_batch_that_a_trace_has_fixed_is_told(tmp_path: Path) -> None:
    class Fixed(nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, x):  # type: ignore[no-untyped-def]
            return x.reshape(1, 12)

    format, path = save(Fixed(), "traced", [torch.zeros(1, 3, 4)], tmp_path)
    exported = room.export(job(format, path, tmp_path / "out", arguments={"input_shape": "[?,3,4]"}))
    assert shapes(exported) == ["x[1,3,4]"]
    assert exported.notes == ("the batch of x[1,3,4] is fixed: the program runs with a batch of 1 only",)


class Unread(nn.Module):  # type: ignore[misc, name-defined]
    def forward(self, first, x, last):  # type: ignore[no-untyped-def]
        return x * 2


@pytest.mark.parametrize("kind", ["traced", "scripted", "pt2"])
def test_an_input_that_nothing_reads_stays(kind: str, tmp_path: Path) -> None:
    samples = torch.ones(2), torch.ones(5, 4), torch.ones(3)
    format, path = save(Unread(), kind, samples, tmp_path)
    arguments = {} if kind == "pt2" else {"input_shape": "[?],[?,4],[?]"}
    asked = job(format, path, tmp_path / "out", arguments=arguments)
    exported = room.export(asked)
    assert shapes(exported) == ["first[?]", "x[?,4]", "last[?]"]
    ones = np.ones(2, "f4")
    check_equal(exported, asked, {"first": ones, "x": np.ones((5, 4), "f4"), "last": ones})


class Spectrum(nn.Module):  # type: ignore[misc, name-defined]
    def forward(self, x):  # type: ignore[no-untyped-def]
        return torch.fft.rfft(x).abs()


def test_an_operator_without_a_rule_is_named_with_what_is_left_to_try(tmp_path: Path) -> None:
    format, path = save(Spectrum(), "pt2", (torch.ones(2, 8),), tmp_path)
    with pytest.raises(UnsupportedModelError, match="_fft_r2c") as error:
        room.export(job(format, path, tmp_path / "out"))
    assert "as ONNX" in str(error.value.hint)
    assert "torch.export.save" not in str(error.value.hint)


class Found(nn.Module):  # type: ignore[misc, name-defined]
    def forward(self, x):  # type: ignore[no-untyped-def]
        return x[x > 0], torch.nonzero(x < 0)


def test_sizes_that_the_values_decide_are_no_code(tmp_path: Path) -> None:
    format, path = save(Found(), "pt2", (torch.randn(5, 4),), tmp_path)
    asked = job(format, path, tmp_path / "out")
    check_equal(room.export(asked), asked, {"x": np.array([[1, -2, 3, 4], [-1, 5, 6, 0]], "f4")})
