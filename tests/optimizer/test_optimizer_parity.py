"""Recorded conversions of Model Optimizer come out equal: names, shapes, types and numbers."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data" / "optimizer"


def load_benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("parity", ROOT / "benchmarks" / "parity.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["parity"] = module
    spec.loader.exec_module(module)
    return module


parity = load_benchmark()


@pytest.mark.parametrize("case", parity.find_cases(DATA), ids=lambda case: str(case.name))
def test_recorded_case(case: "parity.Case", tmp_path: Path) -> None:  # type: ignore[name-defined]
    outcome = parity.run_case(case, tmp_path)

    assert outcome.problems == [], outcome.message


def test_report_has_a_row_for_each_parameter_and_names_what_differs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def off_by_one(model: object, feed: object) -> dict[object, object]:
        return {port: array + 1 for port, array in compute(model, feed).items()}

    assert parity.main([str(DATA), "mean_and_scale"]) == 0
    rows = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()}
    assert rows["mean_values"][:2] == rows["scale"][:2] == rows["total"][:2] == ["1", "1"]

    compute = parity.ov.CompiledModel.__call__
    monkeypatch.setattr(parity.ov.CompiledModel, "__call__", off_by_one)
    assert parity.main([str(DATA), "mean_and_scale"]) == 1
    assert "mean_and_scale: `prob` differs by 1.0" in capsys.readouterr().out
