"""Boosters in their libraries' own files are recognised by content, and described from a few bytes."""

from pathlib import Path

import pytest

from formats_helpers import MemoryFiles
from ovms_converter import formats
from ovms_converter.errors import UnsupportedModelError
from ovms_converter.formats.describe import describe

DATA = Path(__file__).parents[1] / "data/optimizer/boosters"
OLD = [
    # file, XGBoost, objective, trees, columns, shapes of the outputs
    ("booster.xgb", "XGBoost 1.4", "binary:logistic", 5, 4, {"prediction": (None,)}),
    ("counts-0.90.model", "XGBoost before 1.0", "count:poisson", 3, 4, {"prediction": (None,)}),
    ("pickled-1.0.model", "XGBoost 1.0", "binary:logitraw", 3, 4, {"prediction": (None,)}),
    ("dart-1.3.xgb", "XGBoost 1.3", "reg:squarederror", 4, 4, {"prediction": (None,)}),
    ("linear-2.1.xgb", "XGBoost 2.1", "multi:softprob", None, 4, {"prediction": (None, 3)}),
    (
        "labels-1.3.xgb",
        "XGBoost 1.3",
        "multi:softprob",
        24,
        4,
        {"label": (None,), "probabilities": (None, 3)},
    ),
]


@pytest.mark.parametrize(("name", "producer", "objective", "trees", "columns", "outputs"), OLD)
def test_an_old_file_of_xgboost_tells_what_it_is(
    name: str,
    producer: str,
    objective: str,
    trees: int | None,
    columns: int,
    outputs: dict[str, tuple[int | None, ...]],
) -> None:
    files = MemoryFiles({"model": (DATA / name).read_bytes()})
    found = formats.recognise(files)
    assert found.format == "xgboost"
    told = describe(files, found)
    assert told.producer == producer
    assert [tensor.shape for tensor in told.inputs] == [(None, columns)]
    assert {tensor.name: tensor.shape for tensor in told.outputs} == outputs
    assert told.notes == tuple(
        filter(None, (f"objective {objective}", f"{trees} trees" if trees is not None else ""))
    )


def test_an_old_file_that_is_cut_is_recognised_and_one_that_only_resembles_it_is_not() -> None:
    data = (DATA / "counts-0.90.model").read_bytes()
    assert formats.recognise(MemoryFiles({"model": data[:700]})).format == "xgboost"
    for other in (bytes(200), bytes(4096), data.replace(b"gbtree", b"forest"), data[:140]):
        with pytest.raises(UnsupportedModelError):
            formats.recognise(MemoryFiles({"model": other}))
