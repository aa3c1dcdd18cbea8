"""`ovms-converter lint`: what a person and a program see of it."""

from pathlib import Path

from command_line import CommandLine


def served(tmp_path: Path, **files: bytes) -> str:
    for name, data in files.items():
        path = tmp_path / "served" / name.replace("__", "/").replace("_xml", ".xml").replace("_bin", ".bin")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return str(tmp_path / "served")


def test_nothing_served_is_an_error_with_advice(command: CommandLine, tmp_path: Path) -> None:
    url = served(tmp_path, model_xml=b"<net version='11'/>", model_bin=b"\0")
    done = command("lint", url)
    assert done.code == 6
    assert "served    nothing" in done.out.splitlines()
    assert "error[nothing-served]: there are files, and no version with a whole model" in done.out
    assert "move them into a directory named by a number, such as `1`" in done.out
    assert done.err.startswith(f"error: `{url}` has 1 error: ")
    assert "hint: put one `.xml` and its `.bin` into a directory named by a number" in done.err


def test_a_repository_that_is_served_ends_well_whatever_the_warnings(
    command: CommandLine, tmp_path: Path
) -> None:
    url = served(tmp_path, **{"1__m_xml": b"<net version='11'/>", "1__m_bin": b"\0", "0__m_bin": b"\0"})
    done = command("lint", url)
    assert (done.code, done.err) == (0, "")
    assert "served    version 1" in done.out.splitlines()
    assert "warning[version-zero]: `0`: OVMS serves no version 0" in done.out


def test_programs_get_one_document(command: CommandLine, tmp_path: Path) -> None:
    url = served(tmp_path, model_xml=b"<net version='11'/>")
    done = command("lint", url, "--json")
    assert done.code == 6
    assert (done.document["served"], done.document["versions"]) == (None, [])
    first = done.document["findings"][0]
    assert (first["code"], first["severity"], first["path"]) == ("nothing-served", "error", "")
    assert first["message"]
    assert first["advice"]


def test_a_secret_in_the_url_is_not_shown(command: CommandLine) -> None:
    done = command("lint", "https://user:hunter2@host/models?sig=abcdef123", "--json")
    assert done.code == 2
    for secret in ("hunter2", "abcdef123"):
        assert secret not in done.out + done.err


def test_a_place_with_nothing_in_it_is_not_found(command: CommandLine, tmp_path: Path) -> None:
    done = command("lint", str(tmp_path / "nothing"))
    assert (done.code, done.out) == (3, "")
    assert "no directory with files" in done.err


def test_help_tells_the_exit_code(command: CommandLine) -> None:
    done = command("lint", "--help")
    assert done.code == 0
    assert "Ends with 6" in " ".join(done.out.split())
