"""Real servers for the tests, each a subprocess on a free loopback port, and small clients to fill and
inspect them.

moto        S3 with signatures checked, conditional writes, multipart, paging
rclone      S3 with keys checked that ignores `If-None-Match`: a store without conditional writes
gcp-storage-emulator   Google's JSON API, no credentials
"""

import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import urllib3

__all__ = [
    "GcsBucket",
    "GoogleByXml",
    "S3Bucket",
    "S3Server",
    "free_port",
    "run_gcs",
    "run_moto",
    "run_rclone",
    "served",
]

READY_SECONDS = 60
"""How long a server may take to accept its first connection: a broken one fails the test, a slow machine
does not.
"""


def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def tool(name: str) -> str:
    """The path of a program that was installed beside this Python, or anywhere on PATH."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if not found:
        raise FileNotFoundError(f"{name} is not installed")
    return found


@contextlib.contextmanager
def served(command: list[str], port: int, log: Path, environ: dict[str, str] | None = None) -> Iterator[None]:
    """Run a server until the block ends; ready means that `port` accepts a connection.

    The server sees none of the caller's storage settings, only `environ` and what a process needs to run.
    """
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=kept | (environ or {})
        )
        try:
            deadline = time.monotonic() + READY_SECONDS
            while True:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(
                        f"{command[0]} did not start:\n{log.read_text(errors='replace')[-2000:]}"
                    )
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
                time.sleep(0.05)
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@dataclass(frozen=True)
class S3Server:
    """A running S3-compatible server and one pair of keys that it accepts."""

    endpoint: str
    access_key: str
    secret_key: str

    def client(self) -> Any:
        """A boto3 client: an implementation that has nothing to do with ours."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import boto3  # type: ignore[import-untyped]
            from botocore.config import Config  # type: ignore[import-untyped]

            return boto3.client(
                "s3",
                endpoint_url=self.endpoint,
                aws_access_key_id=self.access_key,
                aws_secret_access_key=self.secret_key,
                region_name="us-east-1",
                config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 2}),
            )

    def environ(self, prefix: str = "") -> dict[str, str]:
        """The variables that make `s3://` mean this server; `prefix="OUTPUT_"` gives the output side's."""
        return {
            f"{prefix}S3_ENDPOINT": self.endpoint,
            f"{prefix}AWS_ACCESS_KEY_ID": self.access_key,
            f"{prefix}AWS_SECRET_ACCESS_KEY": self.secret_key,
        }


@dataclass
class S3Bucket:
    """One bucket of a server, made when this is, with what tests do to it."""

    server: S3Server
    name: str
    client: Any = field(repr=False)

    @classmethod
    def create(cls, server: S3Server, name: str, client: Any) -> "S3Bucket":
        """Make the bucket."""
        client.create_bucket(Bucket=name)
        return cls(server, name, client)

    @property
    def endpoint(self) -> str:
        """`http://127.0.0.1:PORT`."""
        return self.server.endpoint

    def environ(self, prefix: str = "") -> dict[str, str]:
        """See `S3Server.environ`."""
        return self.server.environ(prefix)

    def url(self, key: str = "") -> str:
        """`s3://BUCKET/KEY`."""
        return f"s3://{self.name}/{key}"

    def put(self, key: str, data: bytes) -> None:
        """Store an object in one part, under exactly this key."""
        self.client.put_object(Bucket=self.name, Key=key, Body=data)

    def put_tree(self, prefix: str, directory: Path) -> None:
        """Store every file below a directory under `prefix/<relative path>`."""
        for path in sorted(directory.rglob("*")):
            if path.is_file():
                self.put(f"{prefix}/{path.relative_to(directory).as_posix()}", path.read_bytes())

    def put_in_parts(self, key: str, data: bytes, part_size: int) -> None:
        """Store an object by a multipart upload: its ETag is no MD5."""
        upload = self.client.create_multipart_upload(Bucket=self.name, Key=key)["UploadId"]
        parts = []
        for number, start in enumerate(range(0, len(data), part_size), 1):
            answer = self.client.upload_part(
                Bucket=self.name,
                Key=key,
                UploadId=upload,
                PartNumber=number,
                Body=data[start : start + part_size],
            )
            parts.append({"PartNumber": number, "ETag": answer["ETag"]})
        self.client.complete_multipart_upload(
            Bucket=self.name, Key=key, UploadId=upload, MultipartUpload={"Parts": parts}
        )

    def get(self, key: str) -> bytes:
        """The bytes of an object."""
        body = self.client.get_object(Bucket=self.name, Key=key)["Body"]
        with contextlib.closing(body):
            data: bytes = body.read()
            return data

    def keys(self, prefix: str = "") -> list[str]:
        """All keys, sorted."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return sorted(item["Key"] for page in pages for item in page.get("Contents", ()))

    def delete(self, key: str) -> None:
        """Remove an object."""
        self.client.delete_object(Bucket=self.name, Key=key)

    def unfinished_uploads(self) -> int:
        """How many multipart uploads were begun and neither completed nor aborted."""
        return len(self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", ()))


@contextlib.contextmanager
def run_moto(directory: Path, environ: dict[str, str] | None = None) -> Iterator[S3Server]:
    """A moto server that checks signatures from the fourth request on: the first three make the user and
    its keys.
    """
    port = free_port()
    command = [tool("moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    settings = {"INITIAL_NO_AUTH_ACTION_COUNT": "3", **(environ or {})}
    with served(command, port, directory / f"moto-{port}.log", settings):
        _iam(port, Action="CreateUser", UserName="tester")
        answer = _iam(port, Action="CreateAccessKey", UserName="tester")
        allow_all = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'
        _iam(port, Action="PutUserPolicy", UserName="tester", PolicyName="all", PolicyDocument=allow_all)
        key, secret = (
            re.findall(rf"<{name}>(.*?)</", answer)[0] for name in ("AccessKeyId", "SecretAccessKey")
        )
        yield S3Server(f"http://127.0.0.1:{port}", key, secret)


def _iam(port: int, **fields: str) -> str:
    """One unchecked request to moto's IAM service."""
    scope = "Credential=none/20200101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=none"
    headers = {
        "Authorization": f"AWS4-HMAC-SHA256 {scope}",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        connection.request("POST", "/", urllib.parse.urlencode({"Version": "2010-05-08", **fields}), headers)
        answer = connection.getresponse()
        text = answer.read().decode()
    if answer.status != 200:
        raise RuntimeError(f"IAM answered {answer.status}: {text}")
    return text


@contextlib.contextmanager
def run_rclone(directory: Path, *, checks_keys: bool = True) -> Iterator[S3Server]:
    """`rclone serve s3`: keys are checked, conditional requests are ignored, objects are files below
    `directory`.
    """
    port = free_port()
    key, secret = "AKIDRCLONE", "rclone-secret-key"
    objects = directory / "objects"
    objects.mkdir()
    command = [
        tool("rclone"), "serve", "s3", str(objects), "--addr", f"127.0.0.1:{port}",
        "--config", str(directory / "rclone.conf"),
    ]  # fmt: skip
    if checks_keys:
        command += ["--auth-key", f"{key},{secret}"]
    with served(command, port, directory / f"rclone-{port}.log"):
        yield S3Server(f"http://127.0.0.1:{port}", key, secret)


@dataclass
class GcsBucket:
    """A bucket of the Google emulator, filled and inspected through its JSON API."""

    endpoint: str
    name: str
    http: urllib3.PoolManager = field(repr=False)

    def environ(self) -> dict[str, str]:
        """The variable that makes `gs://` mean this server."""
        return {"STORAGE_EMULATOR_HOST": self.endpoint}

    def url(self, key: str = "") -> str:
        """`gs://BUCKET/KEY`."""
        return f"gs://{self.name}/{key}"

    def put(self, key: str, data: bytes) -> None:
        """Store an object under exactly this key."""
        name = urllib.parse.quote(key, safe="")
        self._ask("POST", f"/upload/storage/v1/b/{self.name}/o?uploadType=media&name={name}", data)

    def get(self, key: str) -> bytes:
        """The bytes of an object."""
        return self._ask("GET", f"/storage/v1/b/{self.name}/o/{urllib.parse.quote(key, safe='')}?alt=media")

    def keys(self, prefix: str = "") -> list[str]:
        """All keys, sorted."""
        answer = json.loads(
            self._ask("GET", f"/storage/v1/b/{self.name}/o?prefix={urllib.parse.quote(prefix)}")
        )
        return sorted(item["name"] for item in answer.get("items", ()))

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        answer = self.http.request(method, self.endpoint + path, body=body)
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {answer.data[:200]!r}")
        return answer.data


class GoogleByXml(S3Bucket):
    """Google's XML interface, which is near enough to S3's that a server of that one, without keys, answers
    for it.
    """

    def environ(self, prefix: str = "") -> dict[str, str]:
        """The variable that makes `gs://` mean this server."""
        account = {"type": "service_account", "gcs_base_url": self.endpoint, "disable_oauth": True}
        account |= {"client_email": "", "private_key": "", "private_key_id": ""}
        return {"GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(account)}

    def url(self, key: str = "") -> str:
        """`gs://BUCKET/KEY`."""
        return f"gs://{self.name}/{key}"


@contextlib.contextmanager
def run_gcs(directory: Path) -> Iterator[str]:
    """A Google storage emulator; gives its base URL."""
    port = free_port()
    command = [
        tool("gcp-storage-emulator"), "start", "--host", "127.0.0.1", "--port", str(port),
        "--in-memory", "--quiet",
    ]  # fmt: skip
    with served(command, port, directory / f"gcs-{port}.log"):
        yield f"http://127.0.0.1:{port}"
