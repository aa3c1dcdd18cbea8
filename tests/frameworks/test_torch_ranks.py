"""How many dimensions an input has, where only the program can tell: a rank is published if no other fits."""

# PyTorch reads comments on types of functions that are scripted
# mypy: disable-error-code="misc, name-defined, no-untyped-def"

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ovms_converter.errors import RequestError, UnsupportedModelError
from ovms_converter.frameworks.base import ExportJob

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
nn = torch.nn

from ovms_converter.frameworks import torch as room

pytestmark = [
    pytest.mark.slow,
    # what PyTorch says to its users of its own future
    pytest.mark.filterwarnings("ignore"),
]


class Rows(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Linear(4, 3)
        self.right = nn.Linear(5, 3)

    def forward(self, left, right):
        total = self.left(left) + self.right(right * 2)
        return total, total.sigmoid()


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, x):
        return self.layer(x)


class Projected(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(5, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, x):
        return self.layer(self.project(x)).amax(1)


class Steps(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.GRU(5, 6)

    def forward(self, sequence):
        return self.layer(sequence)


class Pooled(nn.Module):
    """Runs with a batch of vectors too, of which it then adds up the wrong ones."""

    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Linear(4, 1)

    def forward(self, x):
        return (self.score(x).softmax(1) * x).sum(1)


class Matched(nn.Module):
    """One number for each pair of indices, or one vector for each pair of lists."""

    def __init__(self) -> None:
        super().__init__()
        self.users = nn.Embedding(9, 4)
        self.items = nn.Embedding(8, 4)

    def forward(self, user, item):
        return (self.users(user) * self.items(item)).sum(1)


class Branches(nn.Module):
    """What it does with one row depends on all."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        if bool(x.sum() > 0):
            return self.linear(x)
        return self.linear(x) * 3


class Flat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(784, 2)

    def forward(self, image):
        return self.linear(image.flatten(1))


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(9, 4)
        self.linear = nn.Linear(4, 2)

    def forward(self, ids):
        return self.linear(self.words(ids).mean(1))


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """A process opens one model; this one opens many."""
    torch.manual_seed(0)
    room._KEPT.clear()
    yield
    room._KEPT.clear()


def saved(make: Any, kind: str, directory: Path, **more: Any) -> ExportJob:
    path = directory / "model.pt"
    module = make().eval()
    if kind == "pickled":
        torch.save(module, path)
    else:
        torch.jit.script(module).save(str(path))
    name = "pytorch.pickle" if kind == "pickled" else "pytorch.torchscript"
    return ExportJob(format=name, model=path, output=directory, trusted=True, **more)


KNOWN: list[tuple[str, Any, str, list[str]]] = [
    ("rows", Rows, "pickled", ["left[?,4]", "right[?,5]"]),
    ("rows", Rows, "scripted", ["left[?,4]", "right[?,5]"]),
    ("attention", Attention, "pickled", ["x[?,?,8]"]),
    ("projected", Projected, "pickled", ["x[?,?,5]"]),
    ("projected", Projected, "scripted", ["x[?,?,5]"]),
    ("steps", Steps, "pickled", ["sequence[?,?,5]"]),
    ("words", Words, "pickled", ["ids[?,?]"]),
    ("words", Words, "scripted", ["ids[?,?]"]),
    ("one linear layer", lambda: nn.Linear(4, 2), "pickled", ["input[?,4]"]),
    ("volumes", lambda: nn.Sequential(nn.Dropout(), nn.Conv3d(3, 4, 3)), "pickled", ["input[?,3,?,?,?]"]),
    ("signals", lambda: nn.ConvTranspose1d(3, 4, 3), "pickled", ["input[?,3,?]"]),
    ("norm", lambda: nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 2)), "pickled", ["input[?,4]"]),
    ("batch norm", lambda: nn.Sequential(nn.BatchNorm2d(4)), "pickled", ["input[?,4,?,?]"]),
]


@pytest.mark.parametrize(("name", "make", "kind", "shapes"), KNOWN)
def test_the_one_rank_that_fits_is_taken(
    name: str, make: Any, kind: str, shapes: list[str], tmp_path: Path
) -> None:
    _, settled = room._opened(saved(make, kind, tmp_path))
    assert [str(port) for port in settled.inputs] == shapes, name
    assert any("that of the layer which reads it" in note for note in settled.notes)


UNKNOWN: list[tuple[str, Any, str, str, str]] = [
    ("pooled", Pooled, "pickled", "do not mean the same", "[?,4]`"),
    ("pooled", Pooled, "scripted", "do not mean the same", "[?,4]`"),
    ("matched", Matched, "pickled", "do not mean the same", "[?,?],[?,?]`"),
    ("flat", Flat, "pickled", "does not say which shape `image`", "[?,784]`"),
    ("attention", Attention, "scripted", "does not say which shape `x`", "[?,?,8]` for [batch,time,"),
    ("steps", Steps, "scripted", "does not say which shape `sequence`", "[?,?,5]` for [batch,time,"),
    ("branches", Branches, "scripted", "keeps the items of a batch apart", "[?,4]`"),
    (
        "softmax",
        lambda: nn.Sequential(nn.Linear(4, 2), nn.Softmax(1)),
        "pickled",
        "runs with input[?,4] and input[?,?,4]",
        "[?,4]`",
    ),
    ("nothing", nn.ReLU, "pickled", "does not say", "[1,3,224,224]` for one image"),
]


@pytest.mark.parametrize(("name", "make", "kind", "message", "hint"), UNKNOWN)
def test_a_rank_that_nothing_tells_is_asked_for(
    name: str, make: Any, kind: str, message: str, hint: str, tmp_path: Path
) -> None:
    with pytest.raises(RequestError) as error:
        room._opened(saved(make, kind, tmp_path))
    assert message in error.value.message, name
    assert "--input_shape" in str(error.value.hint)
    assert hint in str(error.value.hint)


@pytest.mark.parametrize(
    ("make", "kind", "shape"),
    [
        (Pooled, "pickled", "[?,?,4]"),
        (Flat, "pickled", "[?,1,28,28]"),
        (Attention, "scripted", "[?,?,8]"),
    ],
)
def test_the_rank_that_is_asked_for_is_taken(make: Any, kind: str, shape: str, tmp_path: Path) -> None:
    _, settled = room._opened(saved(make, kind, tmp_path, arguments={"input_shape": shape}))
    assert str(settled.inputs[0]).endswith(shape)


def test_a_scripted_layer_with_several_ways_to_call_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="no method `forward`"):
        room._opened(saved(lambda: nn.LSTM(3, 4), "scripted", tmp_path))


class Remembered(nn.Module):
    """A state that its caller keeps, whose batch is not its first dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.GRU(5, 6, batch_first=True)

    def forward(self, x, state):
        return self.layer(x, state)


class Picked(nn.Module):
    def forward(self, x, place):
        return x.gather(1, place.unsqueeze(1))


class Masked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(9, 4)

    def forward(self, ids, mask):
        return (self.words(ids) * mask.unsqueeze(-1)).sum(1)


class Chosen(nn.Module):
    def forward(self, x, keep):
        return x.masked_fill(keep, 0.0), ~keep


def test_a_batch_is_the_same_wherever_it_is(tmp_path: Path) -> None:
    asked = saved(Remembered, "scripted", tmp_path, arguments={"input_shape": "[?,7,5],[1,?,6]"})
    _, settled = room._opened(asked)
    assert [str(port) for port in settled.inputs] == ["x[?,7,5]", "state[1,?,6]"]
    assert settled.notes == ()


@pytest.mark.parametrize(
    ("make", "shapes", "types"),
    [
        (Picked, "[?,4],[?]", ["float32", "int64"]),
        (Masked, "[?,7],[?,7]", ["int64", "int64"]),
        (Chosen, "[?,4],[?,4]", ["float32", "bool"]),
    ],
)
def test_types_go_with_shapes(make: Any, shapes: str, types: list[str], tmp_path: Path) -> None:
    _, settled = room._opened(saved(make, "scripted", tmp_path, arguments={"input_shape": shapes}))
    assert [port.type for port in settled.inputs] == types
