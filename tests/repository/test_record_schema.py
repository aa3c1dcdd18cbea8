"""The JSON Schema of `conversion.json` describes what is really written, and nothing else passes it."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from conversions import Conversions
from servers import S3Bucket
from signing_keys import new_pair

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "docs" / "reference" / "conversion.schema.json").read_text())
ARTIFACTS = ROOT / "tests" / "data" / "mlflow"


def faults(record: object) -> list[str]:
    validator = jsonschema.Draft202012Validator(SCHEMA)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(record)]


def described() -> set[str]:
    """Every field that the schema names, with the fields of `source`."""
    return {*SCHEMA["properties"], *SCHEMA["properties"]["source"]["properties"]}


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of an MLflow artifact, compared with its source."""
    convert = Conversions(str(tmp_path_factory.mktemp("served") / "net"))
    convert(str(ARTIFACTS / "1.30.1-onnx" / "model"), verify="compare", batch="2", extra_args="--silent")
    return convert.record()


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_a_real_record_is_described_whole(record: dict[str, Any]) -> None:
    assert faults(record) == []
    assert described() == record.keys() | record["source"].keys()
    assert record["comparison"]


def test_a_model_that_was_published_as_it_was_is_described_too(tmp_path: Path) -> None:
    convert = Conversions(str(tmp_path / "served"))
    convert(str(ARTIFACTS / "1.30.1-onnx" / "model" / "model.onnx"), output_format="onnx")
    assert faults(convert.record()) == []


def test_a_signed_model_from_a_store_is_described_too(s3: S3Bucket, tmp_path: Path) -> None:
    s3.put_tree("model", ARTIFACTS / "3.18.0-onnx-external" / "model")
    private, _ = new_pair(tmp_path)
    convert = Conversions(str(tmp_path / "served"), s3.environ())
    convert(s3.url("model"), sign=str(private), data_type="FP16")
    assert faults(convert.record()) == []
    assert convert.record()["source"]["state"]
    assert convert.record()["signed_by"]


def test_every_parameter_tells_where_it_came_from(record: dict[str, Any]) -> None:
    parameters = record["parameters"]
    assert parameters["batch"] == {"value": "2", "origin": "argument"}
    assert parameters["silent"]["origin"] == "extra_args"
    assert parameters["model_version"] == {"value": "auto", "origin": "default"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), "ovms-converter/conversion/2"),
        (("fingerprint",), "0"),
        (("source", "url"), "https://host/model.onnx?sig=secret"),
        (("source", "url"), "https://user:word@host/model.onnx"),
        (("source", "files"), []),
        (("source", "files", 0, "sha256"), "ABC"),
        (("source", "files", 0, "path"), "../../etc/passwd"),
        (("source", "state"), {"listing": "sha256:0", "etags": {}}),
        (("parameters", "batch", "origin"), "guess"),
        (("files",), {}),
        (("inputs", 0, "shape"), [2, 4]),
        (("signed_by",), "me"),
        (("minimum_openvino",), 2022.1),
    ],
    ids=str,
)
def test_what_is_no_record_does_not_pass(
    path: tuple[str | int, ...], value: object, record: dict[str, Any]
) -> None:
    other: Any = copy.deepcopy(record)
    *way, last = path
    place = other
    for step in way:
        place = place[step]
    place[last] = value
    assert faults(other)
