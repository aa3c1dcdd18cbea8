"""Memory does not grow with the model: weights are mapped, wherever they lie."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from optimizer_models import value

LAYERS, WIDTH = 12, 1024
PROGRAM = """
import sys
import threading
import time
from pathlib import Path
from ovms_converter.optimizer.arguments import OptimizerArguments
from ovms_converter.optimizer.conversion import convert
from ovms_converter.optimizer.native import ov

def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) >> 10 for line in lines if line.startswith("RssAnon"))

def watch():
    while True:
        peak[0] = max(peak[0], anonymous())
        time.sleep(0.001)

before = anonymous()
peak = [before]
threading.Thread(target=watch, daemon=True).start()
arguments = OptimizerArguments.parse(dict(pair.split("=", 1) for pair in sys.argv[3:]))
result = convert(Path(sys.argv[1]), "onnx", arguments, Path(sys.argv[2]))
ov.save_model(result.model, sys.argv[2] + "/model.xml", compress_to_fp16=result.compress_to_fp16)
print(max(peak[0], anonymous()) - before)
"""


def write_layers(path: Path, kind: str) -> Path:
    """48 MiB of weights in a chain of matrix products: inside the file, or beside it."""
    nodes, weights, last = [], [], "x"
    for layer in range(LAYERS):
        array = np.full((WIDTH, WIDTH), layer, np.float32)
        weights.append(numpy_helper.from_array(array, f"w{layer}"))
        nodes.append(helper.make_node("MatMul", [last, f"w{layer}"], [f"y{layer}"]))
        last = f"y{layer}"
    ends = [value("x", [None, WIDTH])], [value(last, [None, WIDTH])]
    model = helper.make_model(helper.make_graph(nodes, "layers", *ends, weights), ir_version=8)
    onnx.save(model, str(path), save_as_external_data=kind == "beside", location="weights.bin")
    return path


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to tell anonymous memory")
@pytest.mark.parametrize("kind", ["inside", "beside"])
@pytest.mark.parametrize(
    "values",
    [
        [],
        ["batch=2", "scale=255", "data_type=FP16"],
        ["output=y6", "rename=x=image"],
        ["input=y3", "mean_values=[1]", "layout=nc"],
        ["input_shape=[2,1024]", "static_shape=true"],
    ],
    ids=["plain", "preprocessed", "shorter", "cut", "static"],
)
def test_anonymous_memory_stays_flat(tmp_path: Path, kind: str, values: list[str]) -> None:
    model = write_layers(tmp_path / "layers.onnx", kind)
    (tmp_path / "scratch").mkdir()
    command = [sys.executable, "-c", PROGRAM, str(model), str(tmp_path / "scratch"), *values]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    grown = int(done.stdout)
    assert grown < LAYERS * WIDTH * WIDTH * 4 >> 21, f"grew by {grown} MiB"
