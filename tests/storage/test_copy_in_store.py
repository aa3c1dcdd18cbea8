"""A model that is published as it is, from a bucket into the same one: its weights are never sent."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import ovms_converter
from ovms_converter.storage.obstore_bucket import ObstoreBucket
from servers import S3Bucket


def test_weights_beside_a_model_are_copied_by_the_store(
    s3: S3Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = np.random.default_rng(1).random((1500, 1500), dtype=np.float32)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [value("x", TensorProto.FLOAT, [1, 1500])],
        [value("y", TensorProto.FLOAT, [1, 1500])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(tmp_path / "m.onnx"), save_as_external_data=True, location="m.onnx.data")
    s3.put_tree("in", tmp_path)

    async def refused(self: ObstoreBucket, key: str, *rest: object) -> None:
        raise AssertionError(key)

    monkeypatch.setattr(ObstoreBucket, "put_file", refused)
    result = ovms_converter.convert(
        s3.url("in/m.onnx"), s3.url("out"), output_format="onnx", verify="off", environ=s3.environ()
    )
    assert result.version == 1
    assert s3.get("out/1/m.onnx.data") == (tmp_path / "m.onnx.data").read_bytes()
    record = json.loads(s3.get("out/1/conversion.json"))
    assert set(record["files"]) == {"m.onnx", "m.onnx.data"}
