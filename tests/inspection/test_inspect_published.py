"""What `inspect` says where versions were published."""

import json
from pathlib import Path

import pytest

from inspection_models import onnx_model
from ovms_converter.inspection import Inspection, inspect, inspection_document

RECORD = {
    "source": {"url": "s3://b/model", "format": "onnx"},
    "versions": {"ovms_converter": "0.1", "openvino": "2026.4.1"},
    "parameters": {"batch": {"value": "1", "origin": "flag"}},
    "inputs": [{"name": "x", "type": "f32", "shape": "[1,3,224,224]"}],
    "outputs": [{"name": "y", "type": "f32", "shape": "[1,?]"}],
    "verification": "loaded and run",
    "files": {},
}


def look(path: Path) -> Inspection:
    return inspect(str(path), environ={})


def publish(base: Path, number: int, *, complete: bool = True, record: object = RECORD) -> None:
    directory = base / str(number)
    directory.mkdir(parents=True)
    if record is not None:
        (directory / "conversion.json").write_text(json.dumps(record))
    (directory / "net.bin").write_bytes(bytes(100 + number))
    if complete:
        (directory / "net.xml").write_text("<net/>")


def test_a_repository_shows_the_newest_complete_version(tmp_path: Path) -> None:
    for number in (1, 2, 10):
        publish(tmp_path, number)
    publish(tmp_path, 11, complete=False)
    found = look(tmp_path)
    published = found.published
    assert published is not None
    assert (published.versions, published.incomplete, published.newest) == ((1, 2, 10), (11,), 10)
    assert published.files["net.bin"] == 110
    assert published.record == RECORD
    assert found.refusal is None
    assert found.description is not None
    assert [str(spec) for spec in found.description.inputs] == ["x f32 [1,3,224,224]"]
    assert [str(spec) for spec in found.description.outputs] == ["y f32 [1,?]"]


def test_one_version_alone_is_shown_by_the_number_it_has(tmp_path: Path) -> None:
    publish(tmp_path, 3)
    found = look(tmp_path / "3")
    assert found.published is not None
    assert (found.published.newest, found.published.record) == (3, RECORD)


def test_a_version_of_another_program_is_shown_without_a_story(tmp_path: Path) -> None:
    publish(tmp_path, 1, record=None)
    found = look(tmp_path)
    assert found.published is not None
    assert (found.published.newest, found.published.record) == (1, None)


GRAPH = """<?xml version="1.0"?><net name="n" version="11"><layers>
<layer id="0" name="x" type="Parameter" version="opset1"><data shape="?,3" element_type="f32"/>
<output><port id="0" precision="FP32" names="x"><dim>-1</dim><dim>3</dim></port></output></layer>
<layer id="1" name="r" type="Result" version="opset1" output_names="y"><input><port id="0"/></input></layer>
</layers><edges><edge from-layer="0" from-port="0" to-layer="1" to-port="0"/></edges></net>"""


def test_the_graph_tells_the_ends_where_no_record_does(tmp_path: Path) -> None:
    publish(tmp_path, 1, record=None)
    (tmp_path / "1" / "net.xml").write_text(GRAPH)
    model = look(tmp_path).description
    assert model is not None
    assert [str(spec) for spec in model.inputs] == ["x f32 [?,3]"]
    assert [spec.name for spec in model.outputs] == ["y"]


def test_a_graph_outside_a_version_is_told_as_a_source(tmp_path: Path) -> None:
    (tmp_path / "net.xml").write_text(GRAPH)
    found = look(tmp_path)
    assert [str(report.spec) for report in found.inputs] == ["x float32 [?,3]"]
    assert found.convertible
    assert found.command[:2] == ("ovms-converter", "convert")


@pytest.mark.parametrize("damaged", ["", "[]", "{", '{"inputs": 7, "versions": []}', '{"inputs": [7, {}]}'])
def test_a_damaged_record_does_not_hide_the_version(tmp_path: Path, damaged: str) -> None:
    publish(tmp_path, 1)
    (tmp_path / "1" / "conversion.json").write_text(damaged)
    found = look(tmp_path)
    assert found.published is not None
    assert found.published.newest == 1
    json.dumps(inspection_document(found))


def test_a_source_with_versions_beside_it_shows_both(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(onnx_model())
    publish(tmp_path, 1)
    publish(tmp_path / "older", 5)
    found = look(tmp_path)
    assert found.convertible
    assert found.description is not None
    assert found.description.format == "onnx"
    assert found.published is not None
    assert (found.published.directory, found.published.versions) == ("", (1,))
