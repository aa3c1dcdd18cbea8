"""What the documents show works: commands are accepted, links lead somewhere, the reference is current."""

import ast
import importlib
import re
import runpy
import shlex
from pathlib import Path

import pytest

from command_line import CommandLine, FakePipeline

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def blocks(document: Path, language: str) -> list[str]:
    return [text for name, text in _BLOCK.findall(document.read_text()) if name == language]


def commands() -> list[tuple[str, str]]:
    """Every call of the converter in a console block, with the document it is from."""
    found = []
    for document in DOCUMENTS:
        for block in (*blocks(document, "console"), *blocks(document, "shell")):
            for line in block.replace("\\\n", " ").splitlines():
                typed = line.removeprefix("$ ")
                if re.match(r"([A-Z_]+=\S+ )*ovms-converter ", typed):
                    found.append((document.name, typed.split(" | ")[0]))
    return found


def anchors(document: Path) -> set[str]:
    """What links may name behind `#`: the headings, as GitHub writes them."""
    headings = re.findall(r"^#+ +(.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(("document", "line"), commands(), ids=str)
def test_every_command_is_accepted(
    document: str,
    line: str,
    command: CommandLine,
    fake: FakePipeline,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    words = shlex.split(line, comments=True)
    start = words.index("ovms-converter")
    environ = dict(word.split("=", 1) for word in words[:start])
    if words[1:] == ["convert"] and not environ:
        environ = {"FUSEML_INPUT_MODEL": "s3://models/run42/model"}
    name = words[start + 1]
    if name in ("lint", "report", "verify"):  # their options are their own
        its_own = importlib.import_module(f"ovms_converter.cli.commands.{name}").command
        assert its_own.make_context(name, words[start + 2 :]).params["url"]
        return
    argv = ["convert" if word in ("doctor", "inspect") else word for word in words[start + 1 :]]
    finished = command(*argv, **environ)
    assert finished.code == 0, finished.err
    assert fake.requests


def test_there_are_commands_to_check() -> None:
    assert len(commands()) > 10


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    links = [link for link in _LINK.findall(document.read_text(encoding="utf-8")) if "://" not in link]
    places = [(document.parent / link.partition("#")[0] if link[0] != "#" else document) for link in links]
    missing = [
        link
        for link, place in zip(links, places, strict=True)
        if not place.exists() or ("#" in link and link.partition("#")[2] not in anchors(place))
    ]
    assert not missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_python_is_python(document: Path) -> None:
    for block in blocks(document, "python"):
        ast.parse(block)


@pytest.mark.parametrize("page", ["parameters", "exit_codes", "storage_variables"])
def test_the_reference_is_current(page: str) -> None:
    made = runpy.run_path(str(ROOT / "tools" / "make_reference.py"))[f"{page}_page"]()
    written = (ROOT / "docs" / "reference" / f"{page.replace('_', '-')}.md").read_text()
    assert written == made, "run tools/make_reference.py"
