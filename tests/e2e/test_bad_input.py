"""Ways to ask for what cannot be: each ends in its exit code with a plain line and writes nothing."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from served import run_command
from servers import S3Bucket


def tiny_onnx() -> bytes:
    weight = numpy_helper.from_array(np.ones((4, 2), np.float32), "weight")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["features", "weight"], ["scores"])],
        "tiny",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 2])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def missing_object(s3: S3Bucket, environ: dict[str, str]) -> list[str]:
    return [s3.url("no/such/model.onnx")]


def wrong_key(s3: S3Bucket, environ: dict[str, str]) -> list[str]:
    environ["AWS_SECRET_ACCESS_KEY"] = "wrong"
    return [s3.url("good/model.onnx")]


def truncated_onnx(s3: S3Bucket, environ: dict[str, str]) -> list[str]:
    s3.put("cut/model.onnx", tiny_onnx()[:-40])
    return [s3.url("cut/model.onnx")]


def two_models(s3: S3Bucket, environ: dict[str, str]) -> list[str]:
    s3.put("two/a.onnx", tiny_onnx())
    s3.put("two/b.onnx", tiny_onnx())
    return [s3.url("two")]


def pickle_only(s3: S3Bucket, environ: dict[str, str]) -> list[str]:
    s3.put(
        "pickled/model.pkl",
        b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x08builtins\x94\x8c\x04eval\x94\x93.",
    )
    return [s3.url("pickled")]


def unknown_scheme(s3: S3Bucket, environ: dict[str, str]) -> list[str]:
    return ["ftp://host/model.onnx"]


def bad_boolean(s3: S3Bucket, environ: dict[str, str]) -> list[str]:
    environ["FUSEML_REVERSE_INPUT_CHANNELS"] = "maybe"
    return [s3.url("good/model.onnx")]


def unknown_input(s3: S3Bucket, environ: dict[str, str]) -> list[str]:
    return [s3.url("good/model.onnx"), "--input", "feature"]


def unwritable(s3: S3Bucket, environ: dict[str, str]) -> list[str]:
    environ["OUTPUT_AWS_ACCESS_KEY_ID"] = "AKIDNOBODY"
    environ["OUTPUT_AWS_SECRET_ACCESS_KEY"] = "nothing"
    return [s3.url("good/model.onnx")]


def placeholder(s3: S3Bucket, environ: dict[str, str]) -> list[str]:
    environ["FUSEML_BATCH"] = "{{inputs.batch}}"
    return [s3.url("good/model.onnx")]


def too_slow(s3: S3Bucket, environ: dict[str, str]) -> list[str]:
    return [s3.url("good/model.onnx"), "--timeout", "0.001"]


def too_little_memory(s3: S3Bucket, environ: dict[str, str]) -> list[str]:
    environ["FUSEML_MEMORY_LIMIT"] = "1MiB"
    return [s3.url("good/model.onnx")]


def too_strict(s3: S3Bucket, environ: dict[str, str]) -> list[str]:
    rng = np.random.default_rng(0)
    size = 256
    weight = numpy_helper.from_array(rng.standard_normal((size, size)).astype(np.float32), "weight")
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["features", "weight"], ["product"]),
            helper.make_node("Tanh", ["product"], ["scores"]),
        ],
        "rounded",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", size])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", size])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    s3.put("rounded/model.onnx", model.SerializeToString())
    return [s3.url("rounded/model.onnx"), "--data_type", "FP16", "--tolerance", "1e-9", "--verify", "compare"]


Case = Callable[[S3Bucket, dict[str, str]], list[str]]


@pytest.mark.parametrize(
    ("case", "code", "said"),
    [
        (missing_object, 3, "no/such/model.onnx"),
        (wrong_key, 3, "the secret does not fit"),
        (truncated_onnx, 5, "truncated"),
        (two_models, 5, "two/a.onnx"),
        (pickle_only, 5, "pickle"),
        (unknown_scheme, 2, "`ftp`"),
        (bad_boolean, 2, "`maybe`"),
        (unknown_input, 2, "features"),
        (unwritable, 3, "OUTPUT_AWS"),
        (placeholder, 2, "{{inputs.batch}}"),
        (too_slow, 5, "`timeout`"),
        (too_little_memory, 7, "`memory_limit`"),
        (too_strict, 6, "`scores`"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_bad_input_is_told_and_nothing_is_written(case: Case, code: int, said: str, s3: S3Bucket) -> None:
    s3.put("good/model.onnx", tiny_onnx())
    environ = dict(os.environ) | s3.environ()
    arguments = case(s3, environ)
    source, *options = arguments
    before = s3.keys()

    done = run_command("convert", source, s3.url("served"), *options, environ=environ)

    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert said in done.stderr
    assert "error: " in done.stderr
    assert "Traceback" not in done.stderr
    assert s3.keys() == before


def test_a_model_that_is_good_after_all(s3: S3Bucket, tmp_path: Path) -> None:
    s3.put("good/model.onnx", tiny_onnx())

    done = run_command(
        "convert", s3.url("good/model.onnx"), s3.url("served"), environ=os.environ | s3.environ()
    )

    assert (done.returncode, done.stdout) == (0, f"{s3.url('served')}\n"), done.stderr
    assert s3.keys("served/") == ["served/1/conversion.json", "served/1/model.bin", "served/1/model.xml"]
