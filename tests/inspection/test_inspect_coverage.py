"""The stored list of operations is that of the openvino that is installed."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from inspection_models import onnx_model
from ovms_converter.cli.inspection import inspection_lines
from ovms_converter.coverage import coverage, has_rule, workaround
from ovms_converter.inspection import inspect

TOOL = Path(__file__).parent.parent.parent / "tools" / "operation_coverage.py"


def test_a_sample_of_the_list_is_what_openvino_answers() -> None:
    done = subprocess.run([sys.executable, TOOL, "--sample", "25"], capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == ("", 0), done.stderr


@pytest.mark.parametrize(
    ("domain", "operation", "known"),
    [
        ("ai.onnx", "Conv", True),
        ("ai.onnx", "SequenceMap", False),
        ("ai.onnx", "CumProd", True),
        ("ai.onnx.ml", "TreeEnsembleClassifier", True),
        ("ai.onnx.ml", "DictVectorizer", False),
        ("com.microsoft", "FusedConv", True),
        ("my.own", "Conv", False),
        ("tensorflow", "Conv2D", True),
        ("tensorflow", "Exit", True),
        ("tensorflow", "PyFunc", False),
    ],
)
def test_rules(domain: str, operation: str, known: bool) -> None:
    assert has_rule(domain, operation) is known
    assert workaround(domain, operation)


def test_another_openvino_than_the_list_is_for_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert coverage().matches
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2099.1.0")
    (tmp_path / "net.onnx").write_bytes(onnx_model())
    text = " ".join("\n".join(inspection_lines(inspect(str(tmp_path), environ={}), 0.1)).split())
    assert f"judged by what openvino {coverage().openvino} knows, and 2099.1.0 is installed" in text
