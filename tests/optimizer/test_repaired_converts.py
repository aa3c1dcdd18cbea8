"""An output that is a conversion to its own type, at which the CPU plugin crashes, in another process."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from onnx import TensorProto, helper

from optimizer_models import converted, names, run, value, write_model
from ovms_converter.optimizer.repairs.converts_to_itself import CONVERTS_TO_ITSELF

SERVE = """
import sys
import numpy as np
import openvino as ov

request = ov.Core().compile_model(sys.argv[1], "CPU").create_infer_request()
for rows in (1, 2, 1, 3, 64, 2, 1, 500, 3) * 5:
    values = np.random.rand(rows, 4, 6, 5).astype(np.float32)
    tensor = ov.Tensor(values, shared_memory=True)
    found = np.array(request.infer([tensor])[0])
    assert np.array_equal(found.ravel(), values.ravel())
    del tensor
"""


def serves(model: Path) -> bool:
    """Whether requests of several sizes, each in memory of its own, are answered right."""
    done = subprocess.run([sys.executable, "-c", SERVE, str(model)], capture_output=True, check=False)
    return done.returncode == 0


@pytest.mark.parametrize("operations", [["Cast"], ["Cast", "Cast"]], ids="-".join)
def test_no_conversion_to_the_same_type_is_left(operations: list[str], tmp_path: Path) -> None:
    ends = ["x", *(f"c{number}" for number in range(len(operations) - 1)), "y"]
    path = write_model(
        tmp_path / "m.onnx",
        [
            helper.make_node(operation, [source], [target], to=TensorProto.FLOAT)
            for operation, (source, target) in zip(operations, pairwise(ends), strict=True)
        ],
        [value("x", ["n", 4, 6, 5])],
        [value("y", None)],
    )

    result = converted(path, tmp_path)

    assert result.repairs == (CONVERTS_TO_ITSELF.name,)
    assert names(result) == (["x"], ["y"])
    ov.save_model(result.model, tmp_path / "m.xml", compress_to_fp16=False)
    assert not serves(path), f"{ov.get_version()} does not crash: take the repair out"
    assert serves(tmp_path / "m.xml")
    for rows in (1, 3, 2):
        x = np.random.default_rng(rows).standard_normal((rows, 4, 6, 5)).astype(np.float32)
        assert np.array_equal(run(result, x=x)["y"].ravel(), x.ravel())


def test_a_conversion_that_something_reads_stays(tmp_path: Path) -> None:
    path = write_model(
        tmp_path / "m.onnx",
        [
            helper.make_node("Cast", ["x"], ["c"], to=TensorProto.FLOAT),
            helper.make_node("Neg", ["c"], ["y"]),
        ],
        [value("x", ["n", 4, 6, 5])],
        [value("y", ["n", 4, 6, 5])],
    )
    assert converted(path, tmp_path).repairs == ()


def test_other_conversions_stay(tmp_path: Path) -> None:
    path = write_model(
        tmp_path / "m.onnx",
        [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.INT32)],
        [value("x", ["n"])],
        [value("y", ["n"], TensorProto.INT32)],
    )
    assert converted(path, tmp_path).repairs == ()
