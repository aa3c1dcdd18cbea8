"""A version that was verified less than is asked now is not the same again: it is verified again."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from conversions import Conversions
from ovms_converter.assurance import Assurance, Wanted
from ovms_converter.cli.summary import outcome_document, result_line
from ovms_converter.errors import VerificationError
from ovms_converter.request import Given, build_request
from servers import S3Bucket

MODEL = Path(__file__).parent.parent / "data" / "mlflow" / "1.30.1-onnx" / "model" / "model.onnx"


def wanted(**given: str) -> Wanted:
    data = given.pop("data", None)
    given = {"input_model": "/m", "output_model": "/out"} | given
    request = build_request({name: Given(value, "argument") for name, value in given.items()})
    return Wanted.of(request, data)


COMPARED = Assurance("compare", "compare", tolerance=5e-4)


@pytest.mark.parametrize(
    ("recorded", "asked", "enough"),
    [
        (Assurance("off", "off"), {"verify": "off"}, True),
        (Assurance("off", "off"), {}, False),
        (Assurance("off", "off"), {"verify": "load"}, False),
        (Assurance("off", "off"), {"output_format": "onnx", "verify": "compare"}, True),
        (Assurance("load", "load"), {}, True),
        (Assurance("load", "load"), {"verify": "load"}, True),
        (Assurance("load", "load"), {"verify": "compare"}, False),
        (Assurance("load", "load"), {"data": "d"}, False),
        (Assurance("load", "compare", tolerance=5e-4), {"verify": "compare"}, True),
        (Assurance("compare", "load"), {"verify": "compare"}, True),
        (COMPARED, {"verify": "compare"}, True),
        (COMPARED, {"verify": "compare", "tolerance": "1e-3"}, True),
        (COMPARED, {"verify": "compare", "tolerance": "1e-5"}, False),
        (COMPARED, {"tolerance": "1e-5"}, False),
        (COMPARED, {"verify": "load", "data": "d"}, False),
        (Assurance("compare", "compare", "d", 5e-4), {"data": "d"}, True),
        (Assurance("compare", "compare", "d", 5e-4), {"data": "e"}, False),
        (Assurance("compare", "compare", "d", 5e-4), {"verify": "compare"}, True),
        (Assurance("load", "load", "d"), {"verify": "load", "data": "d"}, True),
        (Assurance("compare", "compare", tolerance=0.5), {"verify": "compare"}, False),
        (Assurance("compare", "compare", tolerance=0.5), {"verify": "compare", "data_type": "FP16"}, False),
        (Assurance("compare", "compare", tolerance=2e-2), {"verify": "compare", "data_type": "FP16"}, True),
        (Assurance("compare", "compare", tolerance=0.5), {}, True),
    ],
)
def test_what_is_as_strong(recorded: Assurance, asked: dict[str, str], enough: bool) -> None:
    assert recorded.satisfies(wanted(**asked)) is enough


@pytest.mark.parametrize("told", [None, 3, {}, {"asked": 1, "reached": ["compare"]}, {"asked": "all"}])
def test_a_record_that_tells_nothing_sensible_was_not_verified(told: object) -> None:
    assert not Assurance.parse(told).satisfies(wanted())


@pytest.fixture(params=["directory", "store"])
def convert(request: pytest.FixtureRequest, tmp_path: Path) -> Conversions:
    """Into a directory or a store, from the same kind of place."""
    if request.param == "directory":
        return Conversions(str(tmp_path / "served"))
    bucket: S3Bucket = request.getfixturevalue("s3")
    return Conversions(bucket.url("served"), bucket.environ())


@pytest.fixture
def source(convert: Conversions, request: pytest.FixtureRequest) -> str:
    if convert.destination.startswith("s3://"):
        bucket: S3Bucket = request.getfixturevalue("s3")
        bucket.put("model.onnx", MODEL.read_bytes())
        return bucket.url("model.onnx")
    return str(MODEL)


@pytest.fixture
def contents(convert: Conversions, request: pytest.FixtureRequest) -> Callable[[], dict[str, bytes]]:
    """All files of the destination with their bytes."""

    def local() -> dict[str, bytes]:
        root = Path(convert.destination)
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    def stored() -> dict[str, bytes]:
        bucket: S3Bucket = request.getfixturevalue("s3")
        return {key: bucket.get(key) for key in bucket.keys("served/")}

    return stored if convert.destination.startswith("s3://") else local


def test_what_was_only_loaded_is_compared_and_nothing_is_written(
    convert: Conversions, source: str, contents: Callable[[], dict[str, bytes]]
) -> None:
    assert convert(source, verify="load").published
    before = contents()
    again = convert(source, verify="compare")
    assert (again.version, again.published, again.checked_again) == (1, False, True)
    assert again.verified.startswith("equal to ONNX Runtime")
    assert again.record["verification"].startswith("loaded")
    assert "convert" in convert.stages
    assert contents() == before
    assert "verified again, and passed" in result_line(again)
    assert outcome_document(again)["checked_again"] is True


def test_what_was_compared_is_the_same_for_whoever_asks_for_less(convert: Conversions, source: str) -> None:
    convert(source, verify="compare")
    for verify in ("compare", "auto", "load", "off"):
        again = convert(source, verify=verify)
        assert (again.version, again.published, again.checked_again) == (1, False, False)
        assert "convert" not in convert.stages


def test_auto_asks_for_no_more_than_that_it_was_loaded(convert: Conversions, source: str) -> None:
    convert(source, verify="load")
    assert not convert(source, verify="auto").published
    assert "convert" not in convert.stages


def test_what_was_not_looked_at_is_looked_at(convert: Conversions, source: str) -> None:
    convert(source, verify="off")
    again = convert(source, verify="auto")
    assert (again.version, again.checked_again) == (1, True)


def test_other_data_are_run_on(convert: Conversions, source: str, tmp_path: Path) -> None:
    (port,) = convert(source, verify="compare").inputs
    shape = [int(size) if size.isdigit() else 1 for size in port.shape.strip("[]").split(",")]
    data = tmp_path / "data.npz"
    np.savez(data, **dict[str, Any]({port.name: np.ones(shape, np.float32)}))
    assert convert(source, verify="auto", verify_data=str(data)).checked_again
    made = convert(source, verify="auto", verify_data=str(data), model_version="next")
    assert (made.version, made.published) == (2, True)
    assert not convert(source, verify="auto", verify_data=str(data)).checked_again
    assert "convert" not in convert.stages
    np.savez(data, **dict[str, Any]({port.name: np.zeros(shape, np.float32)}))
    assert convert(source, verify="auto", verify_data=str(data)).checked_again


def test_a_dry_run_tells_the_same(convert: Conversions, source: str) -> None:
    convert(source, verify="load")
    again = convert(source, verify="compare", dry_run="true")
    assert (again.version, again.published, again.checked_again) == (1, False, True)


def nearly_right(path: Path) -> None:
    """A model whose result differs from its source by rounding."""
    rng = np.random.default_rng(0)
    weights = helper.make_tensor("w", TensorProto.FLOAT, [64, 8], rng.standard_normal((64, 8)).ravel())
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Exp", ["m"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 8])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 10
    onnx.save(model, path)


def test_a_tighter_tolerance_that_fails_names_the_version(tmp_path: Path) -> None:
    nearly_right(tmp_path / "net.onnx")
    convert = Conversions(str(tmp_path / "served"))
    convert(str(tmp_path / "net.onnx"), verify="compare")
    with pytest.raises(VerificationError) as caught:
        convert(str(tmp_path / "net.onnx"), verify="compare", tolerance="1e-12")
    assert caught.value.message.startswith("version 1, which holds the same bytes and was verified less")
    assert "tolerance is 1e-12" in caught.value.message
    assert caught.value.exit_code == 6
    assert (caught.value.hint or "").endswith("remove it if no server shall serve it")
    assert sorted(path.name for path in (tmp_path / "served").iterdir()) == ["1"]


def test_other_bytes_that_pass_are_a_new_version(tmp_path: Path) -> None:
    convert = Conversions(str(tmp_path / "served"))
    convert(str(MODEL), verify="load")
    path = tmp_path / "served" / "1"
    record: dict[str, Any] = json.loads((path / "conversion.json").read_text())
    # As if the conversion had come to something else then.
    record["files"]["model.bin"]["sha256"] = "0" * 64
    (path / "conversion.json").write_text(json.dumps(record))
    made = convert(str(MODEL), verify="compare")
    assert (made.version, made.published, made.checked_again) == (2, True, False)
    assert made.record["assurance"] == {
        "asked": "compare",
        "reached": "compare",
        "verify_data": None,
        "tolerance": 5e-4,
    }


def test_two_versions_of_which_the_newest_counts(tmp_path: Path) -> None:
    convert = Conversions(str(tmp_path / "served"))
    convert(str(MODEL), verify="compare")
    shutil.copytree(tmp_path / "served" / "1", tmp_path / "served" / "2")
    record = convert.record(2)
    record["assurance"] = {"asked": "off", "reached": "off", "verify_data": None, "tolerance": None}
    (tmp_path / "served" / "2" / "conversion.json").write_text(json.dumps(record))
    again = convert(str(MODEL), verify="compare")
    assert (again.version, again.checked_again) == (2, True)
