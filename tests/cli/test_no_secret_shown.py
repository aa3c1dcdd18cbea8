"""Random secrets in every place that takes one, a server that says back whatever it was sent, and every
command: no output of ours holds one.
"""

import base64
import json
import string
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from command_line import CommandLine, FakePipeline
from servers import S3Bucket

SECRETS = st.text(string.ascii_letters + string.digits + "/+=!$*_~-", min_size=12, max_size=40).filter(
    lambda text: text.strip("/+=!$*_~-") == text and len(set(text)) > 5
)
QUICK = settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Echo(BaseHTTPRequestHandler):
    """Refuses everything, and repeats it: its target, its headers and its body."""

    status: ClassVar[int] = 403

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        said = (
            f"<Error><Code>Weird</Code><Message>{self.path} {self.headers}</Message></Error>".encode() + body
        )
        self.send_response(self.status, "Refused")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(said)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def echo() -> Iterator[str]:
    """`127.0.0.1:PORT` of the server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def environ(echo: str, secret: str) -> dict[str, str]:
    """The secret in every variable that takes one."""
    key = base64.b64encode(secret.encode()).decode()
    account = f"BlobEndpoint=http://{echo}/devaccount"
    return {
        "S3_ENDPOINT": f"http://{echo}",
        "AWS_ACCESS_KEY_ID": f"AKIA{secret}",
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_SESSION_TOKEN": secret,
        "OUTPUT_AWS_ACCESS_KEY_ID": f"AKIB{secret}",
        "OUTPUT_AWS_SECRET_ACCESS_KEY": secret[::-1],
        "AZURE_STORAGE_CONNECTION_STRING": f"AccountName=devaccount;AccountKey={key};{account}",
        "MLFLOW_TRACKING_URI": f"http://{echo}",
        "MLFLOW_TRACKING_USERNAME": "user",
        "MLFLOW_TRACKING_PASSWORD": secret,
        "127.0.0.1-headers": json.dumps({"Private-Token": secret}),
    }


def assert_hidden(secret: str, *outputs: str) -> None:
    """Neither the secret nor a notation of it is in any output."""
    notations = {secret, secret[::-1], quote(secret, safe=""), base64.b64encode(secret.encode()).decode()}
    for output in outputs:
        for notation in notations:
            assert notation not in output


def locations(echo: str, secret: str) -> list[str]:
    userinfo = f"user:{quote(secret, safe='')}@"
    return [
        "s3://bucket/m.onnx",
        "az://container/m.onnx",
        f"http://{userinfo}{echo}/m.onnx",
        f"http://{echo}/m.onnx?X-Amz-Signature={quote(secret)}&X-Amz-Credential={quote(secret, safe='')}",
        f"http://{echo}/m.onnx?sv=1&sig={quote(secret, safe='')}",
        "models:/name/1",
    ]


@pytest.mark.parametrize("place", range(6), ids=["s3", "az", "userinfo", "presigned", "sas", "mlflow"])
@pytest.mark.parametrize(
    "argv", [["doctor"], ["doctor", "--json"], ["inspect"], ["inspect", "--json"]], ids=" ".join
)
@given(secret=SECRETS, status=st.sampled_from([400, 401, 403, 404]))
@QUICK
def test_no_refusal_shows_a_secret(
    command: CommandLine, echo: str, argv: list[str], place: int, secret: str, status: int
) -> None:
    Echo.status = status
    locations_ = [locations(echo, secret)[place]]
    if argv[0] == "doctor":
        locations_.append("s3://bucket/out")
    finished = command(*argv, *locations_, **environ(echo, secret))
    assert finished.code != 0
    assert finished.code != 70
    assert_hidden(secret, finished.out, finished.err)


@pytest.mark.parametrize(
    "flags", [[], ["--json"], ["--log-level", "debug"]], ids=lambda flags: " ".join(flags)
)
@given(secret=SECRETS)
@QUICK
def test_no_traceback_shows_a_secret(
    command: CommandLine, fake: FakePipeline, flags: list[str], secret: str
) -> None:
    fake.requests.clear()
    fake.error = RuntimeError(
        f"key {secret} at https://u:{quote(secret, safe='')}@h/p?sig={quote(secret)} failed"
    )
    fake.notes = (f"a note about {secret}",)
    finished = command("convert", "s3://b/m.onnx", "s3://b/out", *flags, **environ("127.0.0.1:1", secret))
    assert finished.code == 70
    assert_hidden(secret, finished.out, finished.err)


@given(secret=SECRETS)
@QUICK
def test_no_note_shows_a_secret(command: CommandLine, fake: FakePipeline, secret: str) -> None:
    fake.requests.clear()
    fake.notes = (f"a note about {secret}",)
    for flags in ([], ["--json"]):
        finished = command("convert", "s3://b/m.onnx", "s3://b/out", *flags, **environ("127.0.0.1:1", secret))
        assert finished.code == 0
        assert_hidden(secret, finished.out, finished.err)


@settings(QUICK, max_examples=3)
@given(secret=SECRETS)
def test_no_record_shows_a_secret(
    command: CommandLine, s3_open: S3Bucket, tmp_path: Path, secret: str
) -> None:
    import onnx
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "g",
        [value("x", TensorProto.FLOAT, [1, 3])],
        [value("y", TensorProto.FLOAT, [1, 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    s3_open.put("m.onnx", model.SerializeToString())
    url = f"{s3_open.endpoint}/{s3_open.name}/m.onnx?token={quote(secret, safe='')}"
    url = url.replace("//", f"//user:{quote(secret, safe='')}@", 1)
    target = tmp_path / f"out-{abs(hash(secret))}"
    finished = command(
        "convert",
        url,
        str(target),
        "--output-format",
        "onnx",
        AWS_SECRET_ACCESS_KEY=secret,
        AWS_ACCESS_KEY_ID="minio",
    )
    assert finished.code == 0, finished.err
    assert_hidden(secret, finished.out, finished.err, (target / "1" / "conversion.json").read_text())
    assert onnx.load(target / "1" / "m.onnx").graph.name == "g"
