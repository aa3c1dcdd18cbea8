"""What `inspect` tells of PyTorch programs, without PyTorch, is what `convert` publishes."""

# PyTorch reads comments on types of functions that are scripted
# mypy: disable-error-code="misc, name-defined, no-untyped-def"

import json
from pathlib import Path
from typing import Any

import pytest

from published_ends import both

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
nn = torch.nn

pytestmark = [
    pytest.mark.slow,
    # what PyTorch says to its users of its own future
    pytest.mark.filterwarnings("ignore"),
]


class Image(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)

    def forward(self, image):
        return self.convolution(image).mean((2, 3))


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, left, right):
        total = self.linear(left) + right
        return total, total.sigmoid()


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x) -> dict[str, torch.Tensor]:
        found = self.linear(x)
        return {"probs": found.softmax(-1), "x": found, "best": found.argmax(-1)}


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x):
        found = self.linear(x)
        return {"first": found, "more": (found + 1, [found + 2, {"inner": found + 3}]), "none": None}


class Optional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x, mask: torch.Tensor | None = None, scale: float = 2.0):
        found = self.linear(x) * scale
        if mask is not None:
            found = found * mask
        return [found, found + 1]


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 6)
        self.linear = nn.Linear(6, 2)

    def forward(self, ids):
        return self.linear(self.words(ids).mean(1))


ROWS = torch.zeros(5, 4)
MODELS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "image": (Image, (torch.zeros(2, 3, 8, 8),)),
    "two": (Two, (ROWS, torch.zeros(5, 3))),
    "named": (Named, (ROWS,)),
    "nested": (Nested, (ROWS,)),
    "optional": (Optional, (ROWS,)),
    "words": (Words, (torch.zeros(2, 7, dtype=torch.int64),)),
}
CASES = [
    *((name, "scripted") for name in ("image", "two", "optional", "words")),
    *((name, "traced") for name in ("image", "two", "named", "optional", "words")),
    *((name, "pt2") for name in MODELS),
]


def build(name: str, kind: str, path: Path) -> None:
    """Write a model with a free batch."""
    torch.manual_seed(0)
    make, samples = MODELS[name]
    module = make().eval()
    if kind == "scripted":
        torch.jit.script(module).save(str(path))
    elif kind == "traced":
        torch.jit.trace(module, samples, strict=False).save(str(path))
    else:
        batch = torch.export.Dim("batch", min=2)
        free = tuple({0: batch} for _ in samples)
        torch.export.save(torch.export.export(module, samples, dynamic_shapes=free), path)


def logged(directory: Path, model: str, inputs: object, outputs: object) -> None:
    """Make a directory a model of MLflow with a signature."""
    signature = {"inputs": json.dumps(inputs), "outputs": json.dumps(outputs)}
    flavors = {"pytorch": {"model_data": "data", "pytorch_version": "2.13.0"}}
    (directory / "MLmodel").write_text(
        json.dumps({"flavors": flavors, "mlflow_version": "3.18.0", "signature": signature})
    )
    assert (directory / "data" / model).is_file()


def tensor(shape: list[int], dtype: str = "float32", name: str | None = None) -> dict[str, object]:
    """One entry of a signature."""
    spec: dict[str, object] = {"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": shape}}
    return spec | ({"name": name} if name else {})


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_ends_are_told_as_they_are_published(name: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"model.{'pt2' if kind == 'pt2' else 'pt'}"
    build(name, kind, path)
    shapes = ["[?,?]"] if name == "words" else ["[?,4]", "[?,3]"][: len(MODELS[name][1])]
    asked = {} if name == "image" or kind == "pt2" else {"input_shape": ",".join(shapes)}
    found = both(path, tmp_path, **asked)
    assert found.inputs
    assert found.outputs


SIGNED = [
    ("image", [tensor([-1, 3, 8, 8], name="picture")], [tensor([-1, 4], name="scores")]),
    ("two", [tensor([-1, 3], name="right"), tensor([-1, 4], name="left")], [tensor([-1, 3], name="one")]),
    (
        "two",
        [tensor([-1, 4], name="a"), tensor([-1, 3], name="b")],
        [tensor([-1, 3], name="sum"), tensor([-1, 3], name="score")],
    ),
    ("words", [tensor([-1, 7], "int32", "tokens")], [tensor([-1, 2])]),
    ("optional", [tensor([-1, 4], name="x"), tensor([-1, 4], name="mask")], [tensor([-1, 4])]),
]


@pytest.mark.parametrize("kind", ["scripted", "pt2"])
@pytest.mark.parametrize(("name", "inputs", "outputs"), SIGNED)
def test_mlflows_signature_names_what_is_published(
    name: str, kind: str, inputs: object, outputs: object, tmp_path: Path
) -> None:
    source = tmp_path / "model"
    (source / "data").mkdir(parents=True)
    file = "model.pt2" if kind == "pt2" else "model.pth"
    build(name, kind, source / "data" / file)
    logged(source, file, inputs, outputs)
    found = both(source, tmp_path)
    assert found.inputs
    assert found.outputs


def test_columns_have_no_type_of_their_own(tmp_path: Path) -> None:
    source = tmp_path / "model"
    (source / "data").mkdir(parents=True)
    build("two", "scripted", source / "data" / "model.pth")
    columns = [{"type": "double", "name": f"c{number}"} for number in range(4)]
    logged(source, "model.pth", columns, None)
    found = both(source, tmp_path, input_shape="[?,4],[?,3]")
    assert [spec.type for spec in found.inputs] == ["unknown", "unknown"]


def test_a_pickled_module_tells_nothing_before_it_is_opened(tmp_path: Path) -> None:
    torch.save(nn.Sequential(nn.Linear(4, 2)), tmp_path / "model.pth")
    found = both(tmp_path / "model.pth", tmp_path, trust_source="true")
    assert (found.inputs, found.outputs) == ((), ())
    assert any("not known before it is opened" in note for note in found.notes)
