"""`ovms-converter verify`: what a person and a program see of it."""

import hashlib
import json
from pathlib import Path

import pytest

from command_line import CommandLine


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A repository with one version."""
    version = tmp_path / "served" / "1"
    version.mkdir(parents=True)
    files = {"model.bin": b"weights", "model.xml": b"<net/>"}
    for name, data in files.items():
        (version / name).write_bytes(data)
    facts = {n: {"size": len(d), "sha256": hashlib.sha256(d).hexdigest()} for n, d in files.items()}
    (version / "conversion.json").write_text(json.dumps({"fingerprint": "sha256:0", "files": facts}))
    return str(tmp_path / "served")


def test_what_was_published_is_confirmed_file_by_file(command: CommandLine, url: str) -> None:
    done = command("verify", url, "--no-load")
    assert done.code == 0
    lines = done.out.splitlines()
    assert [line.split()[:2] for line in lines[:2]] == [["ok", "1/model.bin"], ["ok", "1/model.xml"]]
    assert lines[2] == "version 1 is what was published"


def test_a_changed_file_is_named_and_ends_with_6(command: CommandLine, url: str) -> None:
    Path(url, "1", "model.bin").write_bytes(b"Weights")
    done = command("verify", f"{url}/1", "--quiet")
    assert done.code == 6
    assert done.out.splitlines()[0].startswith("differs  1/model.bin  its SHA-256 is ")
    assert "is what was published" not in done.out
    first, second = done.err.splitlines()
    assert first.startswith(f"error: `1/model.bin` at `{url}` is not what was published: ")
    assert second.startswith("hint: publish the model again")


def test_a_second_graph_ends_with_6(command: CommandLine, url: str) -> None:
    Path(url, "1", "a.xml").write_bytes(b"<net/>")
    done = command("verify", url, "--quiet")
    assert done.code == 6
    assert "unknown  1/a.xml  not in the record" in done.out.splitlines()
    assert "is what was published" not in done.out
    assert "error: `1/a.xml`" in done.err


def test_programs_get_one_document(command: CommandLine, url: str) -> None:
    Path(url, "1", "model.xml").unlink()
    done = command("verify", f"{url}/1", "--json")
    assert done.code == 6
    assert (done.document["version"], done.document["ok"]) == (1, False)
    faults = {file["path"]: file["fault"] for file in done.document["files"]}
    assert faults == {"1/model.bin": None, "1/model.xml": "it is not there"}


def test_what_this_program_did_not_publish_is_not_found(command: CommandLine, tmp_path: Path) -> None:
    done = command("verify", str(tmp_path))
    assert done.code == 3
    assert "`ovms-converter lint` checks any repository" in done.err


def test_help_tells_the_exit_code(command: CommandLine) -> None:
    done = command("verify", "--help")
    assert done.code == 0
    assert "Ends with 6" in " ".join(done.out.split())
