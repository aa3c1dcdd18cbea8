"""`ovms-converter inspect` as a person and as a program sees it."""

import functools
import json
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from onnx import TensorProto, helper

from command_line import CommandLine

DATA = Path(__file__).parent.parent / "data" / "formats" / "mlflow"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["features"], name="conv"),
        helper.make_node("Mystery", ["features"], ["scores"], domain="my.own", name="odd"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ("batch", 3, 8, 8))],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, None)],
        [helper.make_tensor("w", TensorProto.FLOAT, [2, 3, 1, 1], [1.0] * 6)],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("my.own", 1)]
    path = tmp_path / "my net.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())
    return path


def test_the_report_says_what_counts_in_80_columns(command: CommandLine, model: Path) -> None:
    done = command("inspect", str(model))
    assert (done.code, done.err) == (0, "")
    rows = {line[:12].strip(): line[12:] for line in done.out.splitlines() if line[:12].strip()}
    assert rows["format"] == "an ONNX model (onnx)"
    assert rows["inputs"] == "image   float32 [batch,3,8,8]  perhaps NCHW"
    assert rows["operations"] == "2: Conv 1, my.own.Mystery 1"
    assert rows["weights"] == "6 parameters: float32 24 B"
    assert rows["convert"] == f"ovms-converter convert '{model}' '{str(model)[:-5]}-ovms'"
    assert "Mystery (my.own), 1: odd" in done.out
    wide = [line for line in done.out.splitlines() if len(line) > 80 and str(model)[:-5] not in line]
    assert not wide


def test_the_document_has_the_same(command: CommandLine, model: Path) -> None:
    done = command("inspect", str(model), "--json")
    document = done.document
    assert done.code == 0
    assert document["location"] == str(model)
    assert document["model"]["inputs"][0]["shape"] == ["batch", 3, 8, 8]
    assert document["model"]["inputs"][0]["with_batch"] == ["N", 3, 8, 8]
    assert document["model"]["unsupported_operations"][0]["nodes"] == ["odd"]
    assert document["command"][:2] == ["ovms-converter", "convert"]
    assert document["error"] is None
    assert document["read"]["bytes"] <= model.stat().st_size


def test_a_refused_model_is_reported_and_ends_with_5(command: CommandLine) -> None:
    done = command("inspect", str(DATA / "2.22.1-sklearn-mlp"))
    assert done.code == 5
    assert "a pickled scikit-learn model" in done.out
    assert "sklearn.neural_network" in done.out
    assert done.err.startswith("error: `model.pkl` is a pickled scikit-learn model")
    assert "\nhint: " in done.err


def test_a_refused_model_has_a_document_with_its_error(command: CommandLine) -> None:
    done = command("inspect", str(DATA / "2.22.1-sklearn-mlp"), "--json")
    assert done.code == 5
    assert done.document["error"]["kind"] == "unsupported-model"
    assert done.document["error"]["exit_code"] == 5
    assert done.document["mlflow"]["version"] == "2.22.1"
    assert done.document["model"]["convertible"] is False
    assert done.document["executable_content"][0]["path"] == "model.pkl"


@pytest.mark.parametrize("artifact", sorted(path.name for path in DATA.iterdir() if path.is_dir()))
def test_every_kind_of_artifact_is_told(command: CommandLine, artifact: str) -> None:
    done = command("inspect", str(DATA / artifact), "--json")
    expected = json.loads((DATA / "expected.json").read_text())[f"formats/mlflow/{artifact}"]
    document = done.document
    assert document["model"]["format"] == expected["format"]
    assert (done.code == 0) == (document["error"] is None) == document["model"]["convertible"]


def test_damage_is_reported_with_what_could_be_learned(command: CommandLine, model: Path) -> None:
    model.write_bytes(model.read_bytes()[:-20])
    done = command("inspect", str(model), "--json")
    assert done.code == 5
    assert done.document["error"]["kind"] == "corrupt-model"
    assert done.document["files"] == 1


def test_several_models_are_told_with_a_path_to_give(command: CommandLine) -> None:
    done = command("inspect", str(DATA))
    assert done.code == 5
    assert done.out.startswith("format      several models\n")
    assert f"such as `{DATA}/1.20.2-keras-h5`" in done.err


def test_a_password_in_a_url_is_in_no_command_line(command: CommandLine, model: Path) -> None:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    model.rename(model.with_name("net.onnx"))
    handler = functools.partial(Quiet, directory=str(model.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_address[1]}/net.onnx"
        signed = command("inspect", f"{base}?X-Amz-Signature=sekret0123", "--json")
        plain = command("inspect", base, "--json")
        server.shutdown()
    assert (signed.code, plain.code) == (0, 0)
    assert "sekret0123" not in signed.out + signed.err
    assert signed.document["command"] is None
    assert plain.document["command"] == ["ovms-converter", "convert", base, "./net-ovms"]


def test_nothing_there_ends_with_3(command: CommandLine, tmp_path: Path) -> None:
    done = command("inspect", str(tmp_path / "nowhere"), "--json")
    assert done.code == 3
    assert done.document["error"]["kind"] == "not-found"


def test_another_format_than_expected_is_the_requests_fault(command: CommandLine, model: Path) -> None:
    done = command("inspect", str(model), "--input_format", "tensorflow.saved_model")
    assert done.code == 2
    assert "`input_format`" in done.err


def test_no_url_is_a_wrong_request(command: CommandLine) -> None:
    done = command("inspect")
    assert done.code == 2
    assert "inspect --help" in done.err


def test_no_secret_gets_out(command: CommandLine, model: Path) -> None:
    secret = "sekret-0123456789abcdef"
    model = model.rename(model.with_name(f"{secret}.onnx"))
    for flags in ([], ["--json"]):
        done = command("inspect", str(model), *flags, AWS_SECRET_ACCESS_KEY=secret)
        assert done.code == 0
        assert secret not in done.out + done.err


def test_neither_openvino_nor_a_framework_is_loaded(model: Path) -> None:
    heavy = {"openvino", "numpy", "onnx", "onnxruntime", "tensorflow", "torch", "obstore", "urllib3", "rich"}
    code = f"""
import sys
from ovms_converter.cli.app import execute
assert execute(["inspect", sys.argv[1]]) == 0
print(sorted({heavy} & sys.modules.keys()), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code, model], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"


def test_help_tells_how(command: CommandLine) -> None:
    done = command("inspect", "--help")
    assert done.code == 0
    assert done.out.startswith("Usage: ovms-converter inspect URL")
    assert all(len(line) <= 80 for line in done.out.splitlines())
