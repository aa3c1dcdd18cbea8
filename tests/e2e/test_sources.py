"""What may stand where a model's URL is expected: a file of it, an archive, a directory with old results."""

import os
import tarfile
import zipfile
from pathlib import Path

import pytest

import ovms_converter
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
