"""TFLite, PaddlePaddle, frozen graphs and IR through the command line: the result computes the same."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from served import assert_computes, run_command

DATA = Path(__file__).parent.parent / "data"
NATIVE = DATA / "optimizer" / "native"
PADDLE = DATA / "formats" / "mlflow" / "2.9.2-paddle"
SAVE_INFER_MODEL = "save_infer_model/scale_0.tmp_0"


def published(source: Path, repository: Path, *options: str) -> Path:
    done = run_command("convert", str(source), str(repository), *options, environ=os.environ)
    assert done.returncode == 0, done.stderr
    return repository / "1"


@pytest.mark.parametrize("source", [PADDLE, PADDLE / "model.pdmodel"], ids=["mlflow", "file"])
def test_paddle(source: Path, tmp_path: Path) -> None:
    version = published(source, tmp_path / "out")
    recorded = np.load(NATIVE / "paddle.npz")
    assert_computes(version, {"x": recorded["x"]}, {SAVE_INFER_MODEL: recorded["out0"]})
    record = json.loads((version / "conversion.json").read_text())
    assert record["source"]["format"] == "paddle"
    assert [file["path"] for file in record["source"]["files"]] == ["model.pdiparams", "model.pdmodel"]
    assert record["repairs"] == []


@pytest.mark.parametrize("name", ["float", "int8"])
def test_tflite(name: str, tmp_path: Path) -> None:
    recorded = dict(np.load(NATIVE / f"{name}.npz"))
    image = recorded.pop("serving_default_image:0")
    version = published(
        NATIVE / f"{name}.tflite", tmp_path / "out", "--rename", "serving_default_image=image"
    )
    assert_computes(version, {"image": image}, recorded)


def test_a_published_version_is_converted_again(tmp_path: Path) -> None:
    first = published(NATIVE / "old.xml", tmp_path / "first")
    (first / "conversion.json").unlink()
    again = published(tmp_path / "first", tmp_path / "second", "--input-shape", "[2,3]")
    ones = np.ones((2, 3), np.float32)
    assert_computes(again, {"image": ones}, {"sum": ones + np.array([1, 2, 3], np.float32)})


def test_a_frozen_graph_with_chosen_ends(tmp_path: Path) -> None:
    recorded = np.load(DATA / "optimizer/signatures/tf1.npz")
    version = published(
        DATA / "optimizer/signatures/frozen.pb", tmp_path / "out", "--input", "input", "--output", "prob"
    )
    assert_computes(version, {"input": recorded["x"]}, {"prob": recorded["prob"]})


@pytest.mark.parametrize(
    ("source", "format", "names"),
    [
        (NATIVE / "float.tflite", "tflite", ["conversion.json", "float.tflite"]),
        (PADDLE, "paddle", ["conversion.json", "model.pdiparams", "model.pdmodel"]),
    ],
)
def test_published_as_it_is(source: Path, format: str, names: list[str], tmp_path: Path) -> None:
    version = published(source, tmp_path / "out", "--output-format", format)
    assert sorted(path.name for path in version.iterdir()) == names
    original = source if source.is_file() else source / "model.pdmodel"
    assert (version / original.name).read_bytes() == original.read_bytes()
