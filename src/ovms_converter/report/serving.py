"""The commands that serve a version with OpenVINO Model Server, ready to be pasted into a shell."""

import shlex
from urllib.parse import quote

from ovms_converter.storage.location import Location

__all__ = ["ask_command", "serve_command"]

_USUAL = "2025.1"
"""The server that the guide uses; a model that needs a later one gets that."""
_CREDENTIALS = {
    "s3": "-e AWS_ACCESS_KEY_ID -e AWS_SECRET_ACCESS_KEY -e AWS_REGION -e S3_ENDPOINT",
    "gs": '-v "$GOOGLE_APPLICATION_CREDENTIALS":/key.json:ro -e GOOGLE_APPLICATION_CREDENTIALS=/key.json',
    "az": "-e AZURE_STORAGE_CONNECTION_STRING",
}
"""What a server in a container needs to read from a store; the values come from the caller's environment."""


def serve_command(location: Location, name: str, version: int | None, minimum: str) -> str:
    """The command line of Docker, several lines with `\\` at their ends.

    `version` is the one to serve, None for the newest; `minimum` the oldest release that reads it, or "".
    """
    if location.scheme in ("http", "https"):
        path = f"/models/{name}"  # a server reads no such URL, only a copy of what is there
        access = f'-v "$PWD"/{shlex.quote(f"{name}:{path}:ro")}'
    elif location.is_remote:
        access = _CREDENTIALS.get(location.scheme, "")
        # What follows a question mark may be a signature.
        path = f"{location.scheme}://{location.container}/{location.path.partition('?')[0]}"
    else:
        path = f"/models/{name}"
        access = f"-v {_on_host(location, path)}"
    lines = [
        f"docker run --rm -p 8000:8000 {access}".rstrip(),
        f"openvino/model_server:{_release(minimum)}",
        f"--model_name {shlex.quote(name)}",
        f"--model_path {shlex.quote(path)}",
    ]
    if version is not None:
        policy = f'{{"specific": {{"versions": [{version}]}}}}'
        lines.append(f"--model_version_policy {shlex.quote(policy)}")
    lines.append("--rest_port 8000")
    return " \\\n  ".join(lines)


def ask_command(name: str) -> str:
    """The request that shows the inputs and outputs as the server knows them (KServe's v2 protocol)."""
    return f"curl {shlex.quote('http://localhost:8000/v2/models/' + quote(name, safe=''))}"


def _on_host(location: Location, path: str) -> str:
    """The bind mount of a local repository; a path is written as it was given."""
    given = location.path if location.text.startswith("file:") else location.text
    mount = shlex.quote(f"{given.removeprefix('./')}:{path}:ro")
    return mount if given.startswith("/") else f'"$PWD"/{mount}'


def _release(minimum: str) -> str:
    parts = minimum.split(".")
    known = len(parts) == 2 and all(part.isascii() and part.isdigit() for part in parts)
    later = known and tuple(map(int, parts)) > tuple(map(int, _USUAL.split(".")))
    return minimum if later else _USUAL
