"""What the Dockerfile puts into the image, as far as that shows without a Docker daemon."""

import os
import re
import subprocess
from fnmatch import fnmatch
from pathlib import Path

from ovms_converter import __version__

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
INSTRUCTIONS = re.sub(r"\\\n", " ", DOCKERFILE).splitlines()


def instructions(name: str) -> list[str]:
    return [line.removeprefix(name).strip() for line in INSTRUCTIONS if line.startswith(f"{name} ")]


def test_run_is_convert_with_the_same_arguments_and_the_same_process(tmp_path: Path) -> None:
    """FuseML starts a step by the name `run`."""
    (line,) = (line for line in DOCKERFILE.splitlines() if "printf" in line)
    script = (
        line.replace("&&", "").replace("/opt/ovms-converter/bin/run", str(tmp_path / "run")).rstrip("\\ ")
    )
    subprocess.run(["sh", "-c", script], check=True)
    (tmp_path / "ovms-converter").write_text('#!/bin/sh\nprintf "%s|" "$$" "$@"\n')
    for name in ("run", "ovms-converter"):
        (tmp_path / name).chmod(0o755)
    with subprocess.Popen(
        [str(tmp_path / "run"), "a b", "--batch", "1", ""],
        env={"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        out, _ = process.communicate()
    assert out == f"{process.pid}|convert|a b|--batch|1||"


def test_the_user_is_a_number_and_not_root() -> None:
    (user,) = instructions("USER")
    uid, _, _ = user.partition(":")
    assert uid.isdigit()
    assert int(uid) > 0


def test_the_base_is_pinned() -> None:
    assert re.search(r"^ARG PYTHON=python:\d+\.\d+\.\d+-slim-\w+$", DOCKERFILE, re.MULTILINE)
    assert all(line.split()[0] == "${PYTHON}" for line in instructions("FROM"))


def test_the_label_tells_the_version_of_the_package() -> None:
    assert f"VERSION={__version__}" in instructions("ARG")


def installed(extras: str) -> list[str]:
    """What `pip` is asked to install by a build with these extras."""
    command = re.search(r"pip --python (.*?) &&", "\n".join(INSTRUCTIONS))
    assert command
    shown = subprocess.run(
        ["sh", "-c", f"set -u; printf '%s\\n' {command[1]}"],
        env={"EXTRAS": extras},
        capture_output=True,
        text=True,
        check=True,
    )
    return shown.stdout.splitlines()[-1:]


def test_extras_are_installed_by_a_build_argument_and_none_without_one() -> None:
    assert instructions("ARG").count('EXTRAS=""') == 1
    assert installed("") == ["."]
    assert installed("verify,torch") == [".[verify,torch]"]


def test_the_extras_that_the_guide_names_are_there() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text()
    guide = (ROOT / "docs" / "guides" / "container.md").read_text()
    named = {
        extra for names in re.findall(r"EXTRAS=([\w,]+)", guide + DOCKERFILE) for extra in names.split(",")
    }
    assert named
    for extra in named:
        assert re.search(rf"^{extra} = \[", pyproject, re.MULTILINE), extra


def test_what_is_copied_is_there_and_let_in() -> None:
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for line in instructions("COPY"):
        if line.startswith("--from"):
            continue
        *sources, _ = line.split()
        for source in sources:
            assert (ROOT / source).exists()
            assert any(fnmatch(source, pattern) for pattern in let_in)


def test_the_package_brings_no_command_named_run() -> None:
    """`run` on the PATH of somebody's machine would be a nuisance."""
    scripts = re.search(r"\[project\.scripts\]\n(.*?)\n\n", (ROOT / "pyproject.toml").read_text(), re.DOTALL)
    assert scripts
    assert [line.split(" = ")[0] for line in scripts.group(1).splitlines()] == ["ovms-converter"]
