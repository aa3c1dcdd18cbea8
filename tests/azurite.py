"""Azurite, Microsoft's own emulator of Azure Blob Storage, and a small client that has nothing to do with
ours.

Azurite is an npm package (`npm install --global azurite`); tests that want it are skipped where it is not.
"""

import base64
import contextlib
import hashlib
import hmac
import re
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from xml.sax.saxutils import unescape

import urllib3

from servers import free_port, served, tool

__all__ = ["ACCOUNT", "KEY", "AzureBucket", "run_azurite"]

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The emulator's, the same everywhere and public."""
_VERSION = "2021-12-02"


@dataclass
class AzureBucket:
    """One container, filled and inspected through the REST API with shared-key signatures."""

    endpoint: str
    name: str
    http: urllib3.PoolManager = field(repr=False)

    @property
    def connection_string(self) -> str:
        """What the Azure portal shows for an account."""
        return f"AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={self.endpoint}/{ACCOUNT};"

    def environ(self) -> dict[str, str]:
        """The variable that makes `az://` mean this server."""
        return {"AZURE_STORAGE_CONNECTION_STRING": self.connection_string}

    def url(self, key: str = "") -> str:
        """`az://CONTAINER/KEY`."""
        return f"az://{self.name}/{key}"

    def create(self) -> None:
        """Make the container."""
        self._ask("PUT", "", {"restype": "container"})

    def put(self, key: str, data: bytes) -> None:
        """Store a blob under exactly this key."""
        self._ask("PUT", key, {}, data, {"x-ms-blob-type": "BlockBlob"})

    def get(self, key: str) -> bytes:
        """The bytes of a blob."""
        return self._ask("GET", key, {})

    def keys(self, prefix: str = "") -> list[str]:
        """All keys, sorted."""
        query = {"restype": "container", "comp": "list"} | ({"prefix": prefix} if prefix else {})
        found = re.findall(r"<Name>(.*?)</Name>", self._ask("GET", "", query).decode())
        return sorted(unescape(name, {"&quot;": '"', "&apos;": "'"}) for name in found)

    def shared_access_signature(self, permissions: str) -> str:
        """A service SAS for the container: `r`, `l`, `w`, `c`, `d` in Azure's own order `rcwdl`."""
        start, expiry = "2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z"
        resource = f"/blob/{ACCOUNT}/{self.name}"
        fields = [permissions, start, expiry, resource, "", "", "", _VERSION, "c", *[""] * 7]
        query = {"sp": permissions, "st": start, "se": expiry, "sv": _VERSION, "sr": "c"}
        return urllib.parse.urlencode(query | {"sig": _signed("\n".join(fields))})

    def _ask(
        self,
        method: str,
        key: str,
        query: dict[str, str],
        body: bytes = b"",
        headers: dict[str, str] | None = None,
    ) -> bytes:
        path = f"/{ACCOUNT}/{self.name}" + (f"/{urllib.parse.quote(key)}" if key else "")
        sent = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": _VERSION, **(headers or {})}
        sent |= {"content-type": "application/octet-stream"}
        plain = [method, "", "", str(len(body) or ""), "", sent["content-type"], *[""] * 6]
        own = [f"{name}:{sent[name]}" for name in sorted(sent) if name.startswith("x-ms-")]
        resource = [f"/{ACCOUNT}{path}", *(f"{name}:{query[name]}" for name in sorted(query))]
        sent["authorization"] = f"SharedKey {ACCOUNT}:{_signed(chr(10).join(plain + own + resource))}"
        url = f"{self.endpoint}{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        answer = self.http.request(method, url, body=body, headers=sent)
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {answer.data[:300]!r}")
        return answer.data


def _signed(text: str) -> str:
    return base64.b64encode(hmac.digest(base64.b64decode(KEY), text.encode(), hashlib.sha256)).decode()


@contextlib.contextmanager
def run_azurite(directory: Path) -> Iterator[str]:
    """The emulator, with its blobs in memory; gives its base URL. Raises `FileNotFoundError` without it."""
    port = free_port()
    command = [
        tool("azurite-blob"), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence",
        "--skipApiVersionCheck", "--silent", "--disableTelemetry",
    ]  # fmt: skip
    with served(command, port, directory / f"azurite-{port}.log"):
        yield f"http://127.0.0.1:{port}"
