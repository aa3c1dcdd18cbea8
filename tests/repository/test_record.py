"""`conversion.json` says what its reference page says, and nothing that it must not."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from killing import convert_command, run_to_its_end
from servers import S3Bucket, free_port, served

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "tests" / "data" / "mlflow" / "2.22.1-keras-exported" / "model"


def fields_of_the_page() -> set[str]:
    page = (ROOT / "docs" / "reference" / "conversion-json.md").read_text()
    rows = re.findall(r"^\| (`[^|]+) \| (?:text|object|list)", page, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


@pytest.fixture
def record(s3: S3Bucket) -> dict[str, Any]:
    """Of an artifact that came from a store and went to one."""
    s3.put_tree("model", MODEL)
    done = run_to_its_end(convert_command(s3.url("model"), s3.url("out"), "--batch", "2"), s3.environ())
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(s3.get("out/1/conversion.json"))
    return document


def test_the_reference_names_every_field(record: dict[str, Any], s3: S3Bucket) -> None:
    assert fields_of_the_page() == record.keys() | record["source"].keys()
    assert record["schema"] == "ovms-converter/conversion/1"
    assert record["source"]["url"] == s3.url("model")
    assert record["parameters"]["batch"] == {"value": "2", "origin": "flag"}
    assert record["minimum_openvino"] == "2022.1"
    assert record["inputs"] == [{"name": "inputs", "type": "f32", "shape": "[2,4]"}]
    assert record["files"].keys() == {"saved_model.bin", "saved_model.xml"}
    assert record["operations"]["source"]["MatMul"] == record["operations"]["result"]["MatMul"] > 0
    assert not {"Const", "Parameter", "Result"} & record["operations"]["result"].keys()


def test_a_local_conversion_tells_no_path_and_no_time(tmp_path: Path) -> None:
    done = run_to_its_end(convert_command(str(MODEL), str(tmp_path / "out")))
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "out" / "1" / "conversion.json").read_text()
    record = json.loads(text)
    assert record["source"]["url"] == "model"
    assert record["parameters"]["output_model"]["value"] == "out"
    for path in (tmp_path, ROOT, Path.home(), Path.cwd()):
        assert str(path) not in text
    assert not re.search(r"20\d\d-\d\d-\d\d", text)


def test_credentials_in_a_url_are_not_in_the_record(tmp_path: Path) -> None:
    port = free_port()
    source = ROOT / "tests/data/mlflow/1.30.1-onnx/model"
    server = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "-d", str(source)]
    with served(server, port, tmp_path / "log"):
        url = f"http://somebody:hunter2@127.0.0.1:{port}/model.onnx?X-Amz-Signature=0123abcd"
        done = run_to_its_end(convert_command(url, str(tmp_path / "out")), {"NO_PROXY": "*"})
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "out" / "1" / "conversion.json").read_text()
    assert json.loads(text)["source"]["url"].startswith(f"http://127.0.0.1:{port}/model.onnx")
    for secret in ("somebody", "hunter2", "0123abcd"):
        assert secret not in text
