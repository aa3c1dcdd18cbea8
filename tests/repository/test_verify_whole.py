"""`verify` beyond digests: does the version run, what does it compute, and where did it come from?"""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from command_line import CommandLine
from conversions import Conversions
from ovms_converter.provenance.statement import BUILD_TYPE
from servers import S3Bucket

ARTIFACT = Path(__file__).parents[1] / "data" / "mlflow" / "1.30.1-onnx" / "model"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of a model, which a test may change."""
    shutil.copytree(ARTIFACT, tmp_path / "source")
    return tmp_path / "source" / "model.onnx"


@pytest.fixture
def net(tmp_path: Path, model: Path) -> str:
    """A repository with one version of it."""
    convert = Conversions(str(tmp_path / "net"))
    convert(str(model))
    return convert.destination


def make_fit(net: str, name: str, data: bytes) -> None:
    """Write a file of version 1, and make the record fit."""
    version = Path(net, "1")
    (version / name).write_bytes(data)
    record = json.loads((version / "conversion.json").read_text())
    record["files"][name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (version / "conversion.json").write_text(json.dumps(record))


def change_weights(model: Path) -> None:
    graph = onnx.load(model)
    weights = graph.graph.initializer[0]
    values = onnx.numpy_helper.to_array(weights) + np.float32(1)
    weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))
    onnx.save(graph, model)


def test_a_version_is_loaded_and_run(command: CommandLine, net: str) -> None:
    done = command("verify", net, "--json")
    assert done.code == 0, done.err
    assert done.document["ok"]
    assert done.document["run"]["text"] == "loaded, compiled and run with a batch of 1 and of 2"


def test_a_graph_that_does_not_load_ends_with_6_though_its_digest_fits(
    command: CommandLine, net: str
) -> None:
    xml = Path(net, "1", "model.xml").read_bytes()
    make_fit(net, "model.xml", xml.replace(b'type="MatMul"', b'type="NoSuchOperation"', 1))
    done = command("verify", net)
    assert done.code == 6
    assert "error: `1/model.xml` at" in done.err
    assert "NoSuchOperation" in done.err
    assert "is what was published" not in done.out
    assert command("verify", net, "--no-load").code == 0


def test_a_file_that_differs_is_told_and_not_run(command: CommandLine, net: str) -> None:
    Path(net, "1", "model.xml").write_bytes(b"<net/>")
    done = command("verify", net, "--json")
    assert done.code == 6
    assert done.document["run"] is None


def test_it_is_compared_with_its_source_again(command: CommandLine, net: str, model: Path) -> None:
    done = command("verify", net, "--source", str(model.parent))
    assert done.code == 0, done.err
    assert "equal to ONNX Runtime" in done.out
    assert "cosine 1.0" in done.out
    assert "warning" not in done.err


def test_another_source_computes_something_else(command: CommandLine, net: str, model: Path) -> None:
    change_weights(model)
    done = command("verify", net, "--source", str(model))
    assert done.code == 6
    assert "computes something else than its source" in done.err
    assert "warning: `model.onnx` of the source is not what it was when the version was made" in done.err


def test_the_parameters_of_the_record_count(command: CommandLine, tmp_path: Path, model: Path) -> None:
    convert = Conversions(str(tmp_path / "other"))
    convert(str(model), batch="3", extra_args="--data_type FP16")
    done = command("verify", convert.destination, "--source", str(model))
    assert done.code == 0, done.err
    assert "equal to ONNX Runtime" in done.out


def test_the_place_that_the_record_tells_is_read(command: CommandLine, s3: S3Bucket, model: Path) -> None:
    s3.put("model.onnx", model.read_bytes())
    Conversions(s3.url("net"), s3.environ())(s3.url("model.onnx"))
    done = command("verify", s3.url("net"), "--compare", **s3.environ())
    assert done.code == 0, done.err
    assert "equal to ONNX Runtime" in done.out
    s3.delete("model.onnx")
    assert command("verify", s3.url("net"), "--compare", **s3.environ()).code == 3


def test_a_local_place_is_not_in_the_record(command: CommandLine, net: str) -> None:
    done = command("verify", net, "--compare")
    assert done.code == 2
    assert "hint: say where it is: `--source PATH`" in done.err


def test_a_source_that_was_published_as_it_was_is_not_run(
    command: CommandLine, tmp_path: Path, model: Path
) -> None:
    convert = Conversions(str(tmp_path / "other"))
    convert(str(model), output_format="onnx")
    done = command("verify", convert.destination)
    assert done.code == 0
    assert "not run: the source was published as it was" in done.out


def test_the_provenance_is_an_in_toto_statement_and_the_same_each_time(
    command: CommandLine, net: str, tmp_path: Path
) -> None:
    file = tmp_path / "provenance.json"
    assert command("verify", net, "--no-load", "--attestation", str(file)).code == 0
    printed = command("verify", net, "--no-load", "--attestation", "-")
    assert json.loads(printed.out) == json.loads(file.read_text())
    statement = json.loads(file.read_text())
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    for subject in statement["subject"]:
        data = Path(net, "1", subject["name"]).read_bytes()
        assert subject["digest"] == {"sha256": hashlib.sha256(data).hexdigest()}
    assert {subject["name"] for subject in statement["subject"]} == {
        "conversion.json", "model.bin", "model.xml",
    }  # fmt: skip
    build = statement["predicate"]["buildDefinition"]
    assert build["buildType"] == BUILD_TYPE
    source = (ARTIFACT / "model.onnx").read_bytes()
    digest = {"sha256": hashlib.sha256(source).hexdigest()}
    assert {"name": "model.onnx", "digest": digest} in build["resolvedDependencies"]
    assert build["externalParameters"]["source"] == "model.onnx"


def test_no_statement_is_made_of_what_does_not_pass(command: CommandLine, net: str, tmp_path: Path) -> None:
    Path(net, "1", "model.bin").write_bytes(b"other")
    file = tmp_path / "provenance.json"
    assert command("verify", net, "--attestation", str(file)).code == 6
    assert not file.exists()
