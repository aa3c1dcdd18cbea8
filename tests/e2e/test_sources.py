"""What may stand where a model's URL is expected: a file of it, an archive, a directory with old results."""

import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import ovms_converter
from ovms_converter.events import Event, Stage, StageFinished, StageProgress, StageTotal
from served import download, run_command
from servers import GcsBucket, S3Bucket

MODEL = Path(__file__).parent.parent / "data" / "mlflow" / "1.20.2-keras-tf-trained" / "model"
VERSION = ["conversion.json", "saved_model.bin", "saved_model.xml"]


def published(directory: Path) -> list[str]:
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    "part", ["", "/", "/MLmodel", "/data/model", "/data/model/", "/data/model/saved_model.pb"]
)
def test_the_model_or_a_file_that_stands_for_it(part: str, s3: S3Bucket, tmp_path: Path) -> None:
    s3.put_tree("run/model", MODEL)
    s3.put("run/model-old/MLmodel", b"not this one")
    s3.put("run/model.onnx", b"nor this")

    ovms_converter.convert(s3.url("run/model") + part, str(tmp_path / "served"), environ=s3.environ())

    assert published(tmp_path / "served") == [f"1/{name}" for name in VERSION]


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_an_archive(kind: str, s3: S3Bucket, tmp_path: Path) -> None:
    archive = tmp_path / "upload"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
            for path in MODEL.rglob("*"):
                packed.write(path, Path("model", path.relative_to(MODEL)))
    else:
        with tarfile.open(archive, "w:gz" if kind == "tar.gz" else "w") as tar:
            tar.add(MODEL, "model")
    s3.put("upload", archive.read_bytes())

    outcome = ovms_converter.convert(s3.url("upload"), s3.url("served"), environ=s3.environ())

    assert outcome.source_format == "tensorflow.saved_model"
    assert s3.keys("served/") == [f"served/1/{name}" for name in VERSION]


def test_results_below_the_source_are_not_taken_for_models(s3: S3Bucket) -> None:
    s3.put_tree("model", MODEL / "data" / "model")
    for number in (1, 2):
        outcome = ovms_converter.convert(s3.url("model"), environ=s3.environ(), model_version="next")
        assert outcome.version == number
    assert ovms_converter.convert(s3.url("model"), s3.url("model/ovms"), environ=s3.environ()).version == 1
    again = ovms_converter.convert(s3.url("model"), s3.url("model/ovms"), environ=s3.environ())
    assert (again.version, again.published) == (1, False)


def test_weights_in_a_file_of_their_own_count_for_the_progress(s3: S3Bucket, tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.ones((64, 64), np.float32), "weight")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weight"], ["y"])],
        "outside",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 64])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "net.onnx"
    onnx.save(model, path, save_as_external_data=True, location="net.weights", size_threshold=0)
    size = path.stat().st_size + (tmp_path / "net.weights").stat().st_size
    s3.put_tree("net", tmp_path)
    told: list[Event] = []

    ovms_converter.convert(s3.url("net"), str(tmp_path / "out"), environ=s3.environ(), listener=told.append)

    assert StageTotal(Stage.FETCH, size) in told
    fetched = [
        event.done for event in told if isinstance(event, StageProgress) and event.stage is Stage.FETCH
    ]
    assert fetched[-1] == size


def test_a_local_source_stays_where_it_is(tmp_path: Path) -> None:
    told: list[Event] = []

    ovms_converter.convert(str(MODEL), str(tmp_path / "out"), listener=told.append)

    (fetched,) = [event for event in told if isinstance(event, StageFinished) and event.stage is Stage.FETCH]
    assert (fetched.in_place, fetched.moved) == (True, 0)
    assert not [event for event in told if isinstance(event, StageProgress) and event.stage is Stage.FETCH]


def test_from_google_to_google(gcs: GcsBucket) -> None:
    for path in MODEL.rglob("*"):
        if path.is_file():
            gcs.put(f"model/{path.relative_to(MODEL).as_posix()}", path.read_bytes())

    outcome = ovms_converter.convert(gcs.url("model"), gcs.url("model/ovms"), environ=gcs.environ(), batch=1)

    assert outcome.url == gcs.url("model/ovms")
    assert gcs.keys("model/ovms/") == [f"model/ovms/1/{name}" for name in VERSION]


def test_input_and_output_on_two_stores(s3: S3Bucket, s3_other: S3Bucket) -> None:
    s3.put_tree("model", MODEL)

    ovms_converter.convert(
        s3.url("model"), s3_other.url("served"), environ=s3.environ() | s3_other.environ("OUTPUT_")
    )

    assert s3_other.keys() == [f"served/1/{name}" for name in VERSION]


def test_publishing_a_model_as_it_is(s3: S3Bucket, tmp_path: Path) -> None:
    s3.put_tree("model", MODEL)

    done = run_command(
        "convert", s3.url("model"), s3.url("served"), "--output-format", "tensorflow.saved_model",
        environ=os.environ | s3.environ(),
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    source = published(MODEL / "data" / "model")
    copy = download(s3, "served/1", tmp_path / "copy")
    assert published(copy) == sorted(["conversion.json", *source])
    assert all(
        (copy / name).read_bytes() == (MODEL / "data" / "model" / name).read_bytes() for name in source
    )
