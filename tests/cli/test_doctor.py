"""`ovms-converter doctor`: which settings count, and whether the two locations can be reached."""

from pathlib import Path

from command_line import CommandLine
from servers import S3Bucket


def test_it_tells_what_counts_and_what_is_there(command: CommandLine, s3: S3Bucket) -> None:
    s3.put("run/model/model.onnx", b"x")
    s3.put("run/ovms/3/model.xml", b"x")
    before = s3.keys()
    finished = command("doctor", s3.url("run/model"), FUSEML_OUTPUT_MODEL=s3.url("run/ovms"), **s3.environ())
    assert (finished.code, finished.err) == (0, "")
    lines = [line.split() for line in finished.out.splitlines()]
    assert ["input", s3.url("run/model")] in lines
    assert ["endpoint", s3.endpoint, "(`S3_ENDPOINT`)"] in lines
    assert "  ok            it can be read: 1 file" in finished.out.splitlines()
    assert "  ok            it can be written, and holds version 3" in finished.out.splitlines()
    assert s3.server.secret_key not in finished.out
    assert s3.keys() == before


def test_a_wrong_key_is_told_for_the_side_that_has_it(command: CommandLine, s3: S3Bucket) -> None:
    s3.put("model.onnx", b"x")
    environ = s3.environ() | {
        "OUTPUT_AWS_ACCESS_KEY_ID": s3.server.access_key,
        "OUTPUT_AWS_SECRET_ACCESS_KEY": "not-the-secret-key",
    }
    finished = command("doctor", s3.url("model.onnx"), s3.url("out"), **environ)
    assert finished.code == 3
    before, after = finished.out.split("output  ")
    assert "error: " not in before
    assert "error: " in after
    assert "`OUTPUT_AWS_ACCESS_KEY_ID`" in after
    assert "not-the-secret-key" not in finished.out


def test_the_same_as_a_document(command: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"x")
    finished = command("doctor", str(tmp_path / "none"), str(tmp_path / "out"), "--json")
    assert finished.code == 3
    source, destination = finished.document["locations"]
    assert (source["side"], source["error"]["kind"]) == ("input", "not-found")
    assert (destination["side"], destination["error"]) == ("output", None)
    assert destination["finding"] == "it can be written"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "results"]


def test_a_wrong_request_is_told_as_convert_tells_it(command: CommandLine) -> None:
    finished = command("doctor", "s3://b/m", FUSEML_BATCH="two")
    assert finished.code == 2
    assert finished.err.startswith("error: `FUSEML_BATCH`: ")
