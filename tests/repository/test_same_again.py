"""The same source again: where the store tells that nothing changed, no byte of the model is asked for."""

import json
import shutil
from pathlib import Path

import pytest

from conversions import Conversions
from killing import gate_before
from ovms_converter.errors import ModelError
from ovms_converter.jobs import programs
from ovms_converter.request import Given, build_request
from servers import GcsBucket, S3Bucket

ARTIFACTS = Path(__file__).parent.parent / "data" / "mlflow"
PLAIN = ARTIFACTS / "1.30.1-onnx" / "model"
EXTERNAL = ARTIFACTS / "3.18.0-onnx-external" / "model"
WEIGHTS = "e2b5e39e-e679-11f1-b152-02fc00000001.data"


@pytest.fixture
def convert(tmp_path: Path) -> Conversions:
    return Conversions(str(tmp_path / "served"))


def stored(kind: str, bucket: S3Bucket, tmp_path: Path) -> str:
    """Put a model into a bucket; its URL."""
    bucket.put_tree("model", EXTERNAL)
    if kind == "archive":
        path = shutil.make_archive(str(tmp_path / "model"), "zip", PLAIN)
        bucket.put("model.zip", Path(path).read_bytes())
        return bucket.url("model.zip")
    return bucket.url("model/model.onnx" if kind == "file" else "model")


@pytest.mark.parametrize("kind", ["directory", "file", "archive"])
@pytest.mark.parametrize("store", ["s3", "s3_unconditional"])
def test_no_byte_of_an_unchanged_model_leaves_the_store(
    store: str, kind: str, request: pytest.FixtureRequest, convert: Conversions, tmp_path: Path
) -> None:
    bucket: S3Bucket = request.getfixturevalue(store)
    url = stored(kind, bucket, tmp_path)
    with gate_before(int(bucket.endpoint.rpartition(":")[2])) as gate:
        convert.environ |= bucket.environ() | {"S3_ENDPOINT": f"http://127.0.0.1:{gate.port}"}
        first = convert(url)
        assert first.published
        gate.requests.clear()
        gate.returned = 0
        again = convert(url)
        asked = [line for line in gate.requests if not line.startswith("HEAD ") and "list-type=2" not in line]
    assert (again.version, again.published) == (1, False)
    assert asked == []
    assert gate.returned < 10_000
    assert convert.stages == []
    assert (again.inputs, again.outputs, again.files) == (first.inputs, first.outputs, first.files)
    assert (again.source_format, again.source_bytes) == (first.source_format, first.source_bytes)


def test_googles_storage_tells_it_too(gcs: GcsBucket, convert: Conversions) -> None:
    gcs.put("model.onnx", (PLAIN / "model.onnx").read_bytes())
    convert.environ |= gcs.environ()
    assert convert(gcs.url("model.onnx")).published
    assert not convert(gcs.url("model.onnx")).published
    assert convert.stages == []
    gcs.put("model.onnx", (EXTERNAL / "MLmodel").read_bytes())
    with pytest.raises(ModelError):
        convert(gcs.url("model.onnx"))


def test_the_record_tells_what_the_store_called_the_bytes(
    s3: S3Bucket, convert: Conversions, tmp_path: Path
) -> None:
    convert.environ |= s3.environ()
    convert(stored("file", s3, tmp_path))
    etags = convert.record()["source"]["state"]["etags"]
    for name in ("model.onnx", WEIGHTS):
        assert etags[name] == s3.client.head_object(Bucket=s3.name, Key=f"model/{name}")["ETag"]


def test_the_etag_of_a_multipart_upload_will_do(s3: S3Bucket, convert: Conversions) -> None:
    s3.put_in_parts("model.onnx", (PLAIN / "model.onnx").read_bytes(), 5 << 20)
    convert.environ |= s3.environ()
    assert convert(s3.url("model.onnx")).published
    assert "-1" in convert.record()["source"]["state"]["etags"]["model.onnx"]
    assert not convert(s3.url("model.onnx")).published
    assert convert.stages == []


@pytest.mark.parametrize("kind", ["directory", "file"])
def test_weights_of_the_same_size_beside_the_graph_are_noticed(
    kind: str, s3: S3Bucket, convert: Conversions, tmp_path: Path
) -> None:
    convert.environ |= s3.environ()
    url = stored(kind, s3, tmp_path)
    convert(url)
    weights = bytearray(s3.get(f"model/{WEIGHTS}"))
    weights[7] ^= 1
    s3.put(f"model/{WEIGHTS}", bytes(weights))
    again = convert(url)
    assert (again.version, again.published) == (2, True)


def test_the_same_bytes_uploaded_again_under_another_etag_are_read_and_recognised(
    s3: S3Bucket, convert: Conversions
) -> None:
    data = (PLAIN / "model.onnx").read_bytes()
    s3.put("model.onnx", data)
    convert.environ |= s3.environ()
    convert(s3.url("model.onnx"))
    s3.put_in_parts("model.onnx", data, 5 << 20)
    assert not convert(s3.url("model.onnx")).published
    assert "fetch" in convert.stages


def test_a_second_model_in_the_directory_is_noticed(
    s3: S3Bucket, convert: Conversions, tmp_path: Path
) -> None:
    s3.put("model/a.onnx", (PLAIN / "model.onnx").read_bytes())
    convert.environ |= s3.environ()
    convert(s3.url("model"))
    s3.put("model/b.onnx", (PLAIN / "model.onnx").read_bytes())
    with pytest.raises(ModelError, match="2 models"):
        convert(s3.url("model"))


@pytest.mark.parametrize("changed", [{"batch": "2"}, {"model_name": "other"}, {"model_version": "next"}])
def test_other_wishes_make_another_version(
    changed: dict[str, str], s3: S3Bucket, convert: Conversions
) -> None:
    s3.put("model.onnx", (PLAIN / "model.onnx").read_bytes())
    convert.environ |= s3.environ()
    convert(s3.url("model.onnx"))
    again = convert(s3.url("model.onnx"), **changed)
    assert (again.version, again.published) == (2, True)


def test_a_version_that_is_not_whole_any_more_is_made_again(s3: S3Bucket, convert: Conversions) -> None:
    s3.put("model.onnx", (PLAIN / "model.onnx").read_bytes())
    convert.environ |= s3.environ()
    convert(s3.url("model.onnx"))
    Path(convert.destination, "1", "model.bin").unlink()
    assert convert(s3.url("model.onnx")).version == 2


def test_a_record_that_names_files_outside_of_the_source_is_not_followed(
    s3: S3Bucket, convert: Conversions
) -> None:
    s3.put("model.onnx", (PLAIN / "model.onnx").read_bytes())
    convert.environ |= s3.environ()
    convert(s3.url("model.onnx"))
    record = convert.record()
    record["source"]["state"]["etags"]["../../other"] = '"0"'
    Path(convert.destination, "1", "conversion.json").write_text(json.dumps(record))
    assert not convert(s3.url("model.onnx")).published
    assert "fetch" in convert.stages


@pytest.mark.parametrize(
    "damage",
    [{"source": None}, {"source": {"files": [1], "format": []}}, {"inputs": [1, {}], "notes": 3}],
    ids=["no source", "odd source", "odd ports"],
)
def test_a_damaged_record_of_the_same_result_is_no_trouble(
    damage: dict[str, object], s3: S3Bucket, convert: Conversions
) -> None:
    s3.put("model.onnx", (PLAIN / "model.onnx").read_bytes())
    convert.environ |= s3.environ()
    convert(s3.url("model.onnx"))
    record = convert.record() | damage
    Path(convert.destination, "1", "conversion.json").write_text(json.dumps(record))
    again = convert(s3.url("model.onnx"))
    assert (again.version, again.published) == (1, False)


def test_another_release_of_a_library_that_took_part_counts(s3: S3Bucket, convert: Conversions) -> None:
    s3.put("model.onnx", (PLAIN / "model.onnx").read_bytes())
    convert.environ |= s3.environ()
    convert(s3.url("model.onnx"))
    record = convert.record()
    record["versions"]["keras"] = "3.0"
    Path(convert.destination, "1", "conversion.json").write_text(json.dumps(record))
    convert(s3.url("model.onnx"))
    assert "fetch" in convert.stages


def test_the_libraries_that_export_a_format_take_part() -> None:
    pytest.importorskip("keras")
    given = {"input_model": "/m", "output_model": "/out"}
    request = build_request({name: Given(value, "argument") for name, value in given.items()})
    assert programs(request, "keras.keras").keys() > {"keras", "openvino"}
    assert programs(request, "onnx").keys() == {"openvino"}


def test_what_was_published_inside_the_source_is_no_change_of_it(s3: S3Bucket) -> None:
    s3.put_tree("model", PLAIN)
    convert = Conversions(s3.url("model/ovms"), s3.environ())
    assert convert(s3.url("model")).published
    assert not convert(s3.url("model")).published
    assert convert.stages == []
    inside = Conversions(s3.url("model"), s3.environ())
    assert inside(s3.url("model")).published
    assert not inside(s3.url("model")).published
    assert inside.stages == []


def test_a_local_source_is_hashed_each_time(convert: Conversions, tmp_path: Path) -> None:
    source = tmp_path / "model.onnx"
    shutil.copyfile(PLAIN / "model.onnx", source)
    convert(str(source))
    assert convert.record()["source"]["state"] is None
    assert not convert(str(source)).published
    assert "recognise" in convert.stages
