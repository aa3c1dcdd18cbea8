"""`--help`: everything is in it, it fits a terminal, and it is cheap."""

import subprocess
import sys

import pytest

from command_line import CommandLine
from ovms_converter.parameters import PARAMETERS, Group, Support

PAGES = [["--help"], ["convert", "--help"], ["convert", "-h"], ["demo", "--help"]]


@pytest.mark.parametrize("argv", PAGES, ids=" ".join)
def test_it_fits_eighty_columns_and_goes_to_stdout(argv: list[str], command: CommandLine) -> None:
    finished = command(*argv)
    assert (finished.code, finished.err) == (0, "")
    assert finished.out.startswith("Usage: ovms-converter ")
    assert max(map(len, finished.out.splitlines())) <= 80


def test_every_parameter_is_under_its_heading(command: CommandLine) -> None:
    sections: dict[str, list[str]] = {}
    for line in command("convert", "--help").out.splitlines():
        if line and not line.startswith(" "):
            heading = line.removesuffix(":")
            sections[heading] = []
        elif line.startswith("  --"):
            sections[heading].append(line.split()[0])
    for group in Group:
        flags = [row.flag for row in PARAMETERS if row.group is group and row.support is Support.HONOURED]
        assert sections.get(group.value, []) == flags


def test_what_has_no_effect_is_named_and_what_is_refused_is_not(command: CommandLine) -> None:
    text = command("convert", "--help").out
    for parameter in PARAMETERS:
        if parameter.support is Support.NO_OP:
            assert parameter.flag in text
        elif parameter.support is Support.REFUSED and parameter.name not in ("help", "k", "version"):
            assert f"{parameter.flag} " not in text


def test_it_does_not_depend_on_the_terminal(command: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = command("convert", "--help").out
    monkeypatch.setenv("COLUMNS", "40")
    assert command("convert", "--help").out == wide


def test_nothing_typed_shows_the_overview_and_fails(command: CommandLine) -> None:
    finished = command()
    assert finished.code == 2
    assert "Commands:" in finished.out


def test_it_loads_nothing_that_it_does_not_need() -> None:
    program = (
        "import sys; from ovms_converter.cli.app import execute; code = execute(['convert', '--help']);"
        "heavy = {'rich', 'yaml', 'numpy', 'openvino', 'obstore', 'urllib3', 'asyncio', 'ssl'};"
        "print(code, sorted(heavy & sys.modules.keys()), file=sys.stderr)"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert finished.stderr == "0 []\n"
