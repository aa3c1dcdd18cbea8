"""Azure Blob Storage against its emulator: credentials, refusals, spellings. Reading and publishing are
tested with the other stores.
"""

import asyncio
import hashlib
import os
from pathlib import Path

import pytest

from azurite import ACCOUNT, KEY, AzureBucket
from ovms_converter.errors import AccessDeniedError, NotFoundError
from ovms_converter.storage import open_destination, open_source
from ovms_converter.storage.az import AzureAccess
from ovms_converter.storage.az_bucket import AzureContainer, signed_by_store
from ovms_converter.storage.checksums import Checksum
from ovms_converter.storage.http_url import HttpUrl
from ovms_converter.storage.location import Location
from ovms_converter.storage.network import Network
from ovms_converter.storage.store_errors import StoreNames
from proxy import Fault, running_proxy

NETWORK = Network.from_environment({})


def no_advice(target: HttpUrl, region: str | None) -> str:
    """No test of this file is redirected."""
    raise AssertionError(f"a redirect to {target}")


def listed(url: str, environ: dict[str, str]) -> list[str]:
    return [entry.path for entry in open_source(Location.parse(url), environ).list().entries]


def test_an_account_with_its_key(azure: AzureBucket) -> None:
    azure.put("m/f", b"1")
    environ = {
        "AZURE_STORAGE_ACCOUNT": ACCOUNT,
        "AZURE_STORAGE_KEY": KEY,
        "AZURE_STORAGE_ENDPOINT": f"{azure.endpoint}/{ACCOUNT}",
    }
    assert listed(azure.url("m"), environ) == ["f"]
    assert listed(azure.url("m").replace("az://", "azure://"), environ) == ["f"]
    open_destination(Location.parse(azure.url("o")), environ).check_writable()
    assert azure.keys() == ["m/f"]


SPELLINGS = (
    "az://{container}/",
    "azure://{container}/",
    "az://{container}@{account}.blob.core.windows.net/",
    "abfs://{container}@{account}.dfs.core.windows.net/",
    "abfss://{container}@{account}.dfs.core.windows.net/",
    "wasb://{container}@{account}.blob.core.windows.net/",
    "wasbs://{container}@{account}.blob.core.windows.net/",
    "https://{account}.blob.core.windows.net/{container}/",
    "https://{account}.dfs.core.windows.net/{container}/",
    "abfss://{container}@{account}.dfs.fabric.microsoft.com/",
)


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("tail", ["", "/"])
def test_every_spelling_is_read_and_written(
    azure: AzureBucket, tmp_path: Path, spelling: str, tail: str
) -> None:
    """The connection string of the account in the URL tells where its server is."""
    for key in ("m/MLmodel", "m/a b/ü#1.onnx", "m-old/f"):
        azure.put(key, key.encode())
    base = spelling.format(container=azure.name, account=ACCOUNT)
    source = open_source(Location.parse(f"{base}m{tail}"), azure.environ())
    paths = [entry.path for entry in source.list().entries]
    assert paths == ["MLmodel", "a b/ü#1.onnx"]
    source.fetch(paths, tmp_path, lambda count: None)
    assert (tmp_path / "a b" / "ü#1.onnx").read_bytes() == "m/a b/ü#1.onnx".encode()
    target = open_destination(Location.parse(f"{base}out{tail}"), azure.environ())
    target.check_writable()
    files = {"conversion.json": tmp_path / "MLmodel", "m.xml": tmp_path / "MLmodel"}
    target.publish("1", files, lambda count: None)
    assert [entry.path for entry in target.list()] == ["1/conversion.json", "1/m.xml"]
    assert target.read("1/m.xml") == b"m/MLmodel"
    assert azure.keys("out") == ["out/1/conversion.json", "out/1/m.xml"]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_of_one_blob(azure: AzureBucket, tmp_path: Path, spelling: str) -> None:
    azure.put("m/a%20b c.onnx", b"1")
    key = "m/a%2520b%20c.onnx" if spelling.startswith("https") else "m/a%20b c.onnx"
    url = f"{spelling.format(container=azure.name, account=ACCOUNT)}{key}"
    source = open_source(Location.parse(url), azure.environ())
    listing = source.list()
    assert listing.is_file
    assert [entry.path for entry in listing.entries] == ["a%20b c.onnx"]
    source.fetch(["a%20b c.onnx"], tmp_path, lambda count: None)
    assert (tmp_path / "a%20b c.onnx").read_bytes() == b"1"


def test_a_shared_access_signature_allows_what_it_says(azure: AzureBucket, tmp_path: Path) -> None:
    azure.put("m/f", b"1")
    (tmp_path / "m.xml").write_bytes(b"<net/>")
    reading, writing = azure.shared_access_signature("rl"), azure.shared_access_signature("rcwdl")
    account = f"AccountName={ACCOUNT};BlobEndpoint={azure.endpoint}/{ACCOUNT};SharedAccessSignature="
    environ = {"AZURE_STORAGE_CONNECTION_STRING": account + reading}
    assert listed(azure.url("m"), environ) == ["f"]
    with pytest.raises(AccessDeniedError) as caught:
        open_destination(Location.parse(azure.url("o")), environ).check_writable()
    assert "sig=" not in f"{caught.value.message} {caught.value.hint}"
    plain = {"AZURE_STORAGE_ACCOUNT": ACCOUNT, "AZURE_STORAGE_ENDPOINT": f"{azure.endpoint}/{ACCOUNT}"}
    for variable in ("AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_SAS_KEY"):
        found = open_destination(Location.parse(azure.url("o")), plain | {variable: f"?{writing}"})
        found.check_writable()
    found.publish("1", {"m.xml": tmp_path / "m.xml"}, lambda count: None)
    assert azure.get("o/1/m.xml") == b"<net/>"


def test_wrong_keys_are_denied(azure: AzureBucket) -> None:
    azure.put("m/f", b"1")
    wrong = azure.connection_string.replace(KEY, f"AAAA{KEY[4:]}")
    for key in ("m", "m/f"):
        with pytest.raises(AccessDeniedError, match="from `AZURE_STORAGE_CONNECTION_STRING`") as caught:
            listed(azure.url(key), {"AZURE_STORAGE_CONNECTION_STRING": wrong})
        assert KEY[4:] not in f"{caught.value.message} {caught.value.hint}"


def test_no_keys_where_some_are_needed(azure: AzureBucket) -> None:
    environ = {"AZURE_STORAGE_ACCOUNT": ACCOUNT, "AZURE_STORAGE_ENDPOINT": f"{azure.endpoint}/{ACCOUNT}"}
    with pytest.raises((AccessDeniedError, NotFoundError)) as caught:
        listed(azure.url("m"), environ)
    assert caught.value.exit_code == 3


def test_a_missing_container_is_told(azure: AzureBucket) -> None:
    with pytest.raises(NotFoundError, match=r"no (bucket )?`az://absent"):
        listed("az://absent/m", azure.environ())


@pytest.mark.parametrize(
    "fault",
    [
        Fault("503", method=b"PUT", times=2),
        Fault("lost", method=b"PUT"),
        Fault("lost", method=b"PUT", spared=9),
    ],
    ids=["busy", "lost claim", "lost completion"],
)
def test_a_version_is_published_through_faults(azure: AzureBucket, tmp_path: Path, fault: Fault) -> None:
    """40 MiB are eight blocks, and the tenth PUT is the list of them."""
    contents = {"conversion.json": b"{}", "m.bin": os.urandom(40 << 20), "m.xml": b"<net/>"}
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    fault = Fault(fault.kind, method=fault.method, times=fault.times, spared=fault.spared)
    with running_proxy(azure.endpoint) as proxy:
        through = {
            name: text.replace(azure.endpoint, proxy.endpoint) for name, text in azure.environ().items()
        }
        proxy.fault = fault
        found = open_destination(Location.parse(azure.url("o")), through)
        found.publish("1", {name: tmp_path / name for name in contents}, lambda count: None)
        assert fault.happened > 0
    assert azure.keys() == [f"o/1/{name}" for name in contents]
    for name, data in contents.items():
        assert azure.get(f"o/1/{name}") == data


def test_what_a_workload_may_sign_is_compared_too(azure: AzureBucket, tmp_path: Path) -> None:
    """As with a token, which needs a key to sign with: obstore makes the URLs."""
    location = Location.parse(azure.url())
    container = AzureAccess.from_environment(azure.environ(), location).bucket(location)
    store, names = vars(container)["_patient"], container.names
    signed = signed_by_store(store, names)
    signing = AzureContainer(store, store, names, signed, NETWORK, advice=no_advice, asks_from=9)
    (tmp_path / "f").write_bytes(os.urandom(11 << 20))

    async def used() -> tuple[str | Checksum | None, ...]:
        sent = await signing.put_file("a/b", tmp_path / "f", lambda count: None)
        large = await signing.head("a/b")
        await signing.put("small", b"12345678", only_if_absent=True)
        small = await signing.head("small")
        assert large
        assert small
        return sent, await signing.checksum("a/b", large), await signing.checksum("small", small)

    expected = hashlib.md5((tmp_path / "f").read_bytes())
    assert asyncio.run(used()) == (expected.hexdigest(), Checksum("MD5", expected.digest()), None)
    assert azure.get("a/b") == (tmp_path / "f").read_bytes()


def test_who_may_not_sign_stores_without_a_digest(azure: AzureBucket, tmp_path: Path) -> None:
    location = Location.parse(azure.url())
    store = vars(AzureAccess.from_environment(azure.environ(), location).bucket(location))["_patient"]
    names = StoreNames("az://c", azure.endpoint, None, "")

    async def refuse(method: str, key: str) -> str:
        raise AccessDeniedError("no key to sign with")

    container = AzureContainer(store, store, names, refuse, NETWORK, advice=no_advice)
    (tmp_path / "f").write_bytes(os.urandom(11 << 20))

    async def used() -> tuple[str | Checksum | None, ...]:
        sent = await container.put_file("f", tmp_path / "f", lambda count: None)
        await container.put("g", b"1")
        entry = await container.head("g")
        assert entry
        return sent, await container.checksum("g", entry)

    assert asyncio.run(used()) == (None, None)
    assert azure.get("f") == (tmp_path / "f").read_bytes()
    assert azure.get("g") == b"1"
