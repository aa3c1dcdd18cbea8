"""ONNX's own backend node tests: a sample of them, and those that OpenVINO computes wrongly."""

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "benchmarks" / "onnx_nodes.py"


@pytest.mark.slow
def test_no_case_crashes_none_is_published_wrong_and_plain_openvino_is_not_better() -> None:
    command = [sys.executable, str(TOOL), "--every", "20", "--known", "--compare"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-2000:]}"
    assert "\nthe program crashed, load: 0\n" in done.stdout
    assert "\npublished with other numbers, compare: 0\n" in done.stdout
