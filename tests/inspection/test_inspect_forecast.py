"""What a conversion is said to take."""

import pytest

from ovms_converter.inspection.forecast import MEMORY, forecast
from ovms_converter.inspection.report import WeightKind

GIB = 1 << 30


@pytest.mark.parametrize(
    ("format", "held"), [("onnx", 0), ("tensorflow.saved_model", GIB), ("tensorflow.frozen", 4 * GIB)]
)
def test_memory_grows_with_the_weights_that_a_front_end_holds(format: str, held: int) -> None:
    weights = [WeightKind("float32", GIB // 4, GIB)]
    found = forecast(weights, format=format, source_bytes=GIB, remote=True, stored=True)

    assert found.memory == MEMORY + held
    assert (found.output, found.output_fp16, found.download, found.disk) == (GIB, GIB // 2, GIB, 2 * GIB)
