"""The rules of the house that no linter knows: which room may import which, and what must stay unloaded."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "ovms_converter"

# Arrows run downwards only; rooms of one row do not know each other.
ROWS = (
    {"__main__"},
    {"cli"},
    {"demo"},
    {"workflow"},
    {"pipeline", "diagnosis", "inspection", "lint", "recheck", "report"},
    {"record", "acquisition", "foresight", "verification_data", "jobs", "provenance"},
    {"assurance"},
    {"request"},
    {"repository"},
    {"storage", "engine"},
    {"frameworks", "coverage"},
    {"optimizer"},
    {"formats"},
    {"parameters", "stages"},
    {"events", "redaction", "exhaustion", "messages", "placeholders"},
    {"errors", "_version", "units", "processes", "growing"},
)
HEIGHT = {room: len(ROWS) - row for row, rooms in enumerate(ROWS) for room in rooms}
MODULES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [
                f"{node.module}.{alias.name}" if node.module == "ovms_converter" else node.module
                for alias in node.names
            ]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        rooms |= {name.split(".")[1] for name in names if name.startswith("ovms_converter.")}
    return rooms & HEIGHT.keys()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_arrows_run_downwards(path: Path) -> None:
    room = room_of(path)
    upwards = {
        other
        for other in imported_rooms(path)
        if other != room and HEIGHT[other] >= HEIGHT[room] and HEIGHT[room] < len(ROWS)
    }
    assert not upwards, f"{room} must not import {sorted(upwards)}"


def test_the_top_meets_storage_and_engine_only_through_the_pipeline() -> None:
    met = {
        (str(path.relative_to(SOURCE)), other)
        for path in MODULES
        if room_of(path) in ("cli", "workflow")
        for other in imported_rooms(path) & {"storage", "engine"}
    }
    assert not met


@pytest.mark.parametrize(
    "program",
    [
        "import ovms_converter",
        "import ovms_converter.cli",
        "from ovms_converter.request import Given, build_request;"
        "build_request({'input_model': Given('s3://b/m', 'flag'), 'mean_values': Given('[1,2,3]', 'flag')})",
    ],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(program: str) -> None:
    heavy = "{'openvino', 'numpy', 'obstore', 'urllib3', 'rich', 'onnx', 'tensorflow'}"
    code = f"{program}\nimport sys; print(sorted({heavy} & sys.modules.keys()))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )
