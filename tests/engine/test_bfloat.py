"""Models of bfloat16, a type that numpy lacks, are fed and read as the numbers that they hold."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine_rig import convert, job
from ovms_converter.engine.worker import execution
from ovms_converter.engine.worker.bfloat import as_array, as_tensor, dtype_of
from ovms_converter.optimizer.native import ov

BF16 = ov.Type.bf16


def there_and_back(*values: float) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    tensor = as_tensor(np.array(values, np.float32), BF16)
    found = as_array(tensor.data, tensor.element_type)
    assert found.dtype == dtype_of(BF16) == np.float32
    return found.astype(np.float32)


def test_numbers_of_eight_bits_stay() -> None:
    values = (0.0, -0.0, 1.0, -1.5, 3.0e38, 1e-40, np.inf, -np.inf)
    kept = there_and_back(*values)
    np.testing.assert_allclose(kept, np.array(values, np.float32), rtol=2**-8, atol=1e-41)
    assert np.signbit(kept[1])


def test_nan_stays_and_halves_go_to_the_even_neighbour() -> None:
    low, step = 1.0, 2.0**-7
    nan, down, up = there_and_back(np.nan, low + step / 2, low + 3 * step / 2)
    assert np.isnan(nan)
    assert (down, up) == (low, low + 2 * step)


@given(st.floats(width=32, allow_nan=False))
def test_no_number_is_further_off_than_its_last_bit(value: float) -> None:
    (kept,) = there_and_back(value)
    if np.isfinite(kept):
        assert abs(kept - value) <= max(abs(value) * 2.0**-8, 2.0**-133)
    else:
        assert abs(value) > 3.38e38


def test_a_model_is_run_on_numbers_and_gives_numbers() -> None:
    taken = ov.opset13.parameter([-1, 2], BF16, name="x")
    model = ov.Model([ov.opset13.multiply(taken, ov.opset13.constant(2.0, BF16))], [taken], "twice")
    (method,) = execution.methods(model)
    (found,) = method(model, ov.Core()).run([np.array([[1.5, -0.25]], np.float32)])
    np.testing.assert_array_equal(found, np.array([[3.0, -0.5]], np.float32))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_a_module_of_bfloat16_is_compared(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    layers = [torch.nn.Linear(8, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)]
    module = torch.nn.Sequential(*layers).to(torch.bfloat16).eval()
    source = tmp_path / "net.pt"
    torch.jit.trace(module, torch.zeros(2, 8, dtype=torch.bfloat16)).save(str(source))
    asked = replace(
        job(source, tmp_path / "out", verify="compare", input_shape="[?,8]"), format="pytorch.torchscript"
    )
    done = convert(asked, tmp_path / "scratch")
    assert [port.type for port in (*done.inputs, *done.outputs)] == ["bf16", "bf16"]
    assert done.verified.startswith("equal to PyTorch")
