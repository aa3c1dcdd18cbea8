"""A repository on a server that takes PUT, as a user sees it from the first version to the last."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from killing import convert_command, gate_before, run_to_its_end
from put_servers import Site, run_put_site, run_wsgidav

MODEL = Path(__file__).parent.parent / "data" / "mlflow" / "1.30.1-onnx" / "model" / "model.onnx"
USER = "me:secret-word@"


@pytest.fixture(params=["webdav", "pages"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """WebDAV with a password, and index pages alone."""
    if request.param == "webdav":
        with run_wsgidav(tmp_path / "webdav", {"me": "secret-word"}) as running:
            yield running
    else:
        with run_put_site(tmp_path / "pages") as running:
            yield running


@pytest.fixture
def webdav(tmp_path: Path) -> Iterator[Site]:
    with run_wsgidav(tmp_path / "webdav") as running:
        yield running


def ovms(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Our program; it shows no password."""
    done = run_to_its_end([*convert_command("", "")[:3], *arguments])
    assert "secret-word" not in done.stdout + done.stderr
    return done


def test_from_the_first_version_to_the_last(site: Site, tmp_path: Path) -> None:
    url, shown = site.url("models/net x", USER), site.url("models/net x")
    local = ovms("convert", str(MODEL), str(tmp_path / "local"))
    dry = ovms("convert", str(MODEL), url, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert site.tree() == {}

    done = ovms("convert", str(MODEL), url)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{shown}\n"
    assert "OVMS reads no http(s) URL" in done.stderr
    files = {path.name: path.read_bytes() for path in (tmp_path / "local" / "1").iterdir()}
    written = {path.removeprefix("models/net x/1/"): data for path, data in site.tree().items()}
    assert local.returncode == 0
    assert written.keys() == files.keys()
    assert {name for name in files if files[name] != written[name]} == {"conversion.json"}
    record, other = (json.loads(each["conversion.json"]) for each in (files, written))
    assert record["fingerprint"] == other["fingerprint"]
    assert "secret-word" not in json.dumps(other)

    again = ovms("convert", str(MODEL), url)
    assert (again.returncode, again.stdout) == (0, f"{shown}\n")
    assert len(site.tree()) == len(files)

    next_one = ovms("convert", str(MODEL), url, "--batch", "2", "--keep", "1")
    assert next_one.returncode == 0, next_one.stderr
    assert {path.split("/")[2] for path in site.tree()} == {"2"}
    taken = ovms("convert", str(MODEL), url, "--model-version", "2")
    assert taken.returncode == 3
    assert "version 2 exists already" in taken.stderr

    verified = ovms("verify", f"{url}/2")
    assert verified.returncode == 0, verified.stderr
    assert "version 2 is what was published" in verified.stdout
    looked = ovms("lint", url, "--json")
    findings = json.loads(looked.stdout)["findings"]
    assert looked.returncode == 0
    told = {each["code"]: each["severity"] for each in findings}
    assert told == {"unreadable-url": "warning", "minimum-release": "info"}
    doctor = ovms("doctor", str(MODEL), url)
    assert doctor.returncode == 0, doctor.stdout
    assert "it can be written, and holds version 2" in doctor.stdout


def test_the_source_is_no_destination_if_none_is_given() -> None:
    done = ovms("convert", "https://host.invalid/m.onnx")
    assert done.returncode == 2
    assert "no output model was given" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("passes", [0.5, 1.0])
@pytest.mark.parametrize("name", ["conversion.json", ".bin", ".xml"])
def test_what_a_killed_run_leaves_loads_nowhere(webdav: Site, name: str, passes: float) -> None:
    """Killed when the request for a file was half or wholly sent."""
    port = int(webdav.endpoint.rpartition(":")[2])
    killed: list[subprocess.Popen[bytes]] = []

    def count(stop_at: int) -> list[str]:
        with gate_before(port, stop_at, passes, lambda: killed[-1].kill()) as gate:
            url = f"http://127.0.0.1:{gate.port}/net"
            command = convert_command(str(MODEL), url, "--model-version", "next")
            killed.append(subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL))
            killed[-1].wait(60)
            return gate.requests

    requests = count(0)
    assert killed[-1].returncode == 0
    puts = [n for n, line in enumerate(requests, 1) if line.startswith("PUT ") and f"{name} " in line]
    count(puts[0])
    assert killed[-1].returncode == -signal.SIGKILL
    whole = {path.removeprefix("net/1/"): data for path, data in webdav.tree().items() if "/1/" in path}
    left = {path.removeprefix("net/2/"): data for path, data in webdav.tree().items() if "/2/" in path}
    models = {n for n in left if n.endswith((".xml", ".bin")) and left[n] == whole[n]}
    assert not {n for n in models if n.endswith(".xml")} or len(models) == 2
    done = ovms("convert", str(MODEL), webdav.url("net"), "--model-version", "next")
    assert done.returncode == 0, done.stderr
    versions = {path.split("/")[1] for path in webdav.tree()}
    newest = max(versions)
    assert {path.split("/")[2] for path in webdav.tree() if f"/{newest}/" in path} == whole.keys()
    assert ovms("verify", webdav.url("net"), "--no-load").returncode == 0


def test_two_runs_at_once_publish_one_version_or_two(webdav: Site) -> None:
    command = convert_command(str(MODEL), webdav.url("net"))
    runs = [
        subprocess.Popen(command, env=dict(os.environ), stderr=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    for run in runs:
        _, errors = run.communicate(timeout=120)
        assert run.returncode == 0, errors
    versions = {path.split("/")[1] for path in webdav.tree()}
    assert versions in ({"1"}, {"1", "2"})
    for version in versions:
        verified = ovms("verify", webdav.url(f"net/{version}"), "--no-load")
        assert verified.returncode == 0, verified.stderr
