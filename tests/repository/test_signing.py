"""A signed version: what the signature covers, who can check it, and what a wrong key comes to."""

import base64
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from command_line import CommandLine
from conversions import Conversions
from killing import gate_before
from ovms_converter.errors import RequestError, VerificationError
from ovms_converter.provenance import PrivateKey, PublicKey, manifest, opened, sealed, signed_files
from ovms_converter.provenance.keys import PASSPHRASE
from ovms_converter.recheck import Checks, Recheck, recheck
from servers import S3Bucket
from signing_keys import KINDS, new_pair

ROOT = Path(__file__).parents[2]
MODEL = str(ROOT / "tests" / "data" / "mlflow" / "1.30.1-onnx" / "model" / "model.onnx")
GOLDEN = ROOT / "tests" / "data" / "provenance"


@pytest.fixture
def convert(tmp_path: Path) -> Conversions:
    return Conversions(str(tmp_path / "net"))


def faults(url: str, key: Path) -> list[str]:
    """The names of the files that are not as they were signed."""
    checked = recheck(url, environ={}, checks=Checks(key=str(key)))
    assert checked.signature is not None
    return [path for path, _ in checked.signature.faults]


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_signed_is_checked_with_the_public_key(
    kind: str, convert: Conversions, tmp_path: Path
) -> None:
    private, public = new_pair(tmp_path, kind)
    outcome = convert(MODEL, sign=str(private))
    assert outcome.files == ("1/conversion.json", "1/model.bin", "1/model.sig", "1/model.xml")
    checked = recheck(convert.destination, environ={}, checks=Checks(key=str(public)))
    assert checked.is_good
    assert checked.signature is not None
    assert convert.record()["signed_by"] == f"sha256:{checked.signature.key}"


@pytest.mark.parametrize("name", ["conversion.json", "model.bin", "model.xml"])
def test_every_file_is_covered_the_record_too(name: str, convert: Conversions, tmp_path: Path) -> None:
    private, public = new_pair(tmp_path)
    convert(MODEL, sign=str(private))
    path = Path(convert.destination, "1", name)
    path.write_bytes(path.read_bytes().replace(b"1", b"2", 1))
    assert faults(convert.destination, public) == [f"1/{name}"]


def test_a_record_that_was_made_to_fit_is_found_out(convert: Conversions, tmp_path: Path) -> None:
    """Who can change the files can change the record; he cannot sign."""
    private, public = new_pair(tmp_path)
    convert(MODEL, sign=str(private))
    other = Conversions(str(tmp_path / "other"))
    other(MODEL, batch="2")
    for name in ("model.bin", "model.xml", "conversion.json"):
        Path(convert.destination, "1", name).write_bytes(Path(other.destination, "1", name).read_bytes())
    assert recheck(convert.destination, environ={}).is_as_published
    assert faults(convert.destination, public) == ["1/conversion.json", "1/model.xml"]


def test_a_file_that_was_put_beside_is_not_signed(convert: Conversions, tmp_path: Path) -> None:
    private, public = new_pair(tmp_path)
    convert(MODEL, sign=str(private))
    Path(convert.destination, "1", "notes.txt").write_text("mine")
    assert faults(convert.destination, public) == ["1/notes.txt"]


def test_another_key_did_not_sign(convert: Conversions, tmp_path: Path) -> None:
    private, _ = new_pair(tmp_path)
    (tmp_path / "other").mkdir()
    _, public = new_pair(tmp_path / "other")
    convert(MODEL, sign=str(private))
    assert faults(convert.destination, public) == ["1/model.sig"]


def test_a_signature_that_was_taken_away_is_missed(convert: Conversions, tmp_path: Path) -> None:
    private, public = new_pair(tmp_path)
    convert(MODEL, sign=str(private))
    Path(convert.destination, "1", "model.sig").unlink()
    assert faults(f"{convert.destination}/1", public) == ["1/model.sig"]
    without_key = recheck(f"{convert.destination}/1", environ={})
    assert not without_key.is_good
    again = convert(MODEL, sign=str(private))
    assert again.version == 2


def test_what_was_never_signed_does_not_pass_with_a_key(convert: Conversions, tmp_path: Path) -> None:
    _, public = new_pair(tmp_path)
    convert(MODEL)
    assert faults(convert.destination, public) == ["1/model.sig"]


def test_the_signature_is_part_of_what_is_the_same(convert: Conversions, tmp_path: Path) -> None:
    private, _ = new_pair(tmp_path)
    assert convert(MODEL, sign=str(private)).version == 1
    assert not convert(MODEL, sign=str(private)).published
    assert convert(MODEL).version == 2
    other, _ = new_pair(tmp_path, "Ed25519")
    assert convert(MODEL, sign=str(other)).version == 3


def test_an_old_version_goes_with_its_signature(convert: Conversions, tmp_path: Path) -> None:
    private, _ = new_pair(tmp_path)
    convert(MODEL, sign=str(private))
    convert(MODEL, sign=str(private), model_version="next", keep="1")
    assert [path.name for path in Path(convert.destination).iterdir()] == ["2"]


def test_in_a_store_the_signature_is_there_before_the_graph(s3: S3Bucket, tmp_path: Path) -> None:
    private, public = new_pair(tmp_path)
    with gate_before(int(s3.endpoint.rpartition(":")[2])) as gate:
        environ = s3.environ() | {"S3_ENDPOINT": f"http://127.0.0.1:{gate.port}"}
        Conversions(s3.url("net"), environ)(MODEL, sign=str(private))
        written = [line.split()[1].rpartition("/")[2] for line in gate.requests if line.startswith("PUT")]
    assert [name for name in written if "probe" not in name][-1] == "model.xml"
    assert "model.sig" in written
    checked = recheck(s3.url("net"), environ=s3.environ(), checks=Checks(key=str(public)))
    assert checked.is_good


def test_keys_may_come_from_variables_with_a_passphrase(command: CommandLine, tmp_path: Path) -> None:
    private, public = new_pair(tmp_path, passphrase="correct horse")
    secrets = {"KEY": private.read_text(), PASSPHRASE: "correct horse", "PUBLIC": public.read_text()}
    url = str(tmp_path / "net")
    done = command("convert", MODEL, url, "--sign", "env:KEY", "--verify", "off", **secrets)
    assert done.code == 0, done.err
    record = (tmp_path / "net" / "1" / "conversion.json").read_text()
    assert json.loads(record)["parameters"]["sign"] == {"value": "env:KEY", "origin": "flag"}
    assert command("verify", url, "--no-load", "--key", "env:PUBLIC", **secrets).code == 0
    for text in (done.out, done.err, record, (tmp_path / "net" / "1" / "model.sig").read_text()):
        assert "correct horse" not in text
        assert not any(line in text for line in private.read_text().splitlines() if len(line) > 40)


def test_the_record_tells_the_name_of_the_key_and_not_where_it_lies(
    convert: Conversions, tmp_path: Path
) -> None:
    private, _ = new_pair(tmp_path)
    convert(MODEL, sign=str(private))
    assert convert.record()["parameters"]["sign"]["value"] == "P-256.pem"
    assert str(tmp_path) not in Path(convert.destination, "1", "conversion.json").read_text()


@pytest.mark.parametrize(
    "kind", ["missing", "directory", "unset", "RSA", "K-256", "public", "cosign", "text"]
)
def test_a_key_that_will_not_do_is_refused_before_any_work(
    kind: str, command: CommandLine, tmp_path: Path
) -> None:
    private, public = new_pair(tmp_path, kind if kind in ("RSA", "K-256") else "P-256")
    (tmp_path / "text").write_text("secret words")
    cosign = tmp_path / "cosign"
    cosign.write_text(private.read_text().replace("PRIVATE KEY", "ENCRYPTED SIGSTORE PRIVATE KEY"))
    names = {"missing": "none.pem", "directory": str(tmp_path), "unset": "env:NOBODY", "public": str(public)}
    names |= {"cosign": str(cosign), "text": str(tmp_path / "text")}
    done = command(
        "convert", "/no/such/model", str(tmp_path / "out"), "--sign", names.get(kind, str(private))
    )
    assert done.code == 2, done.err
    assert "of `sign` " in done.err
    assert "hint: " in done.err
    assert "secret words" not in done.err
    assert not any(line in done.err for line in private.read_text().splitlines() if len(line) > 40)


@pytest.mark.parametrize("given", ["", "wrong"])
def test_a_passphrase_that_does_not_open_the_key_is_named_and_not_shown(
    given: str, command: CommandLine, tmp_path: Path
) -> None:
    private, _ = new_pair(tmp_path, passphrase="right")
    done = command(
        "convert", "/no/model", str(tmp_path / "out"), "--sign", str(private), **{PASSPHRASE: given}
    )
    assert done.code == 2
    assert f"`{PASSPHRASE}`" in done.err
    assert "wrong" not in done.err


def test_without_the_package_the_extra_is_named(
    command: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public = new_pair(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    done = command("convert", "/no/such/model", str(tmp_path / "out"), "--sign", str(private))
    assert done.code == 2
    assert "hint: pip install 'ovms-converter[sign]'" in done.err
    done = command("verify", str(tmp_path), "--key", str(public))
    assert done.code == 2
    assert "ovms-converter[sign]" in done.err


def test_nobody_needs_the_package_who_does_not_sign() -> None:
    code = (
        "import sys; sys.modules['cryptography'] = None\n"
        "import ovms_converter.pipeline, ovms_converter.recheck, ovms_converter.provenance"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_model_that_model_signing_signed_is_checked() -> None:
    """Made with `model_signing sign key` of model-signing 1.1.1."""
    bundle = (GOLDEN / "net" / "model.sig").read_bytes()
    names = signed_files(opened(bundle, PublicKey.load(str(GOLDEN / "net.pub"), {})))
    assert sorted(names) == ["net.bin", "net.xml"]


@pytest.mark.skipif(not importlib.util.find_spec("model_signing"), reason="model-signing is not installed")
@pytest.mark.parametrize("kind", ["P-256", "P-384", "P-521"])
def test_model_signing_accepts_a_signed_version(kind: str, convert: Conversions, tmp_path: Path) -> None:
    private, public = new_pair(tmp_path, kind)
    convert(MODEL, sign=str(private))
    version = Path(convert.destination, "1")
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(version)]
    command += ["--signature", str(version / "model.sig"), "--public_key", str(public)]
    assert subprocess.run(command, check=False).returncode == 0
    (version / "model.bin").write_bytes(b"other")
    assert subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode != 0


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, PublicKey]:
    private, public = new_pair(tmp_path_factory.mktemp("keys"), "Ed25519")
    statement = manifest("net", {"a": "00" * 32, "b/c": "11" * 32}, "model.sig")
    return sealed(statement, PrivateKey.load(str(private), {})), PublicKey.load(str(public), {})


@given(st.data())
def test_a_changed_signature_never_passes(bundle: tuple[bytes, PublicKey], data: st.DataObject) -> None:
    signed, key = bundle
    envelope = json.loads(signed)
    place = data.draw(st.sampled_from(["payload", "sig"]))
    holder = envelope["dsseEnvelope"] if place == "payload" else envelope["dsseEnvelope"]["signatures"][0]
    changed = bytearray(base64.b64decode(holder[place]))
    index = data.draw(st.integers(0, len(changed) - 1))
    changed[index] ^= data.draw(st.integers(1, 255))
    holder[place] = base64.b64encode(changed).decode()
    with pytest.raises(VerificationError):
        opened(json.dumps(envelope).encode(), key)


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode) | st.just(b"[]") | st.just(b'{"a": 1}'))
def test_what_is_no_bundle_is_told_so(bundle: tuple[bytes, PublicKey], junk: bytes) -> None:
    with pytest.raises(VerificationError, match="no Sigstore bundle"):
        opened(junk, bundle[1])


@pytest.mark.parametrize(
    "change",
    [
        {"_type": "https://in-toto.io/Statement/v0.1"},
        {"predicateType": "https://slsa.dev/provenance/v1"},
        {"subject": []},
        {"subject": [{"name": "net", "digest": {"sha256": "00" * 32}}]},
        {"predicate": {}},
        {"predicate": {"serialization": {"method": "shards"}, "resources": []}},
    ],
    ids=str,
)
def test_a_signed_statement_that_names_no_files_is_refused(change: dict[str, object]) -> None:
    statement = manifest("net", {"a": "00" * 32}, "model.sig")
    assert signed_files(statement) == {"a": "00" * 32}
    with pytest.raises(VerificationError):
        signed_files(statement | change)


@pytest.mark.parametrize("kind", ["P-256", "Ed25519"])
def test_the_same_files_and_key_give_the_same_signature(kind: str, tmp_path: Path) -> None:
    private, _ = new_pair(tmp_path, kind)
    first, second = (Conversions(str(tmp_path / name / "net")) for name in ("a", "b"))
    first(MODEL, sign=str(private))
    second(MODEL, sign=str(private))
    made = [Path(one.destination, "1", "model.sig").read_bytes() for one in (first, second)]
    assert made[0] == made[1]


def test_a_missing_key_is_a_request_error(tmp_path: Path) -> None:
    with pytest.raises(RequestError) as caught:
        PublicKey.load(str(tmp_path / "none"), {})
    assert caught.value.parameter == "key"


def as_result(url: str) -> Recheck:
    return recheck(url, environ={})


def test_without_a_key_a_signature_is_told_and_not_trusted(
    convert: Conversions, command: CommandLine, tmp_path: Path
) -> None:
    private, _ = new_pair(tmp_path)
    convert(MODEL, sign=str(private))
    signature = as_result(convert.destination).signature
    assert signature is not None
    assert not signature.checked
    assert "not checked" in command("verify", convert.destination, "--no-load").out
