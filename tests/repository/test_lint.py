"""What a look at a model repository finds, each thing alone."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from ovms_converter.errors import NotFoundError
from ovms_converter.lint import CODES, LintReport, lint
from servers import GcsBucket, S3Bucket

GRAPH = """<?xml version="1.0"?>
<net name="m" version="{ir}">
 <layers>
  <layer id="0" name="x" type="Parameter" version="opset1">
   <data shape="?,3" element_type="f32"/>
   <output><port id="0" precision="FP32" names="{input}"><dim>-1</dim><dim>3</dim></port></output>
  </layer>
  <layer id="1" name="c" type="Const" version="opset1">
   <data element_type="f32" shape="3" offset="0" size="12"/>
   <output><port id="0" precision="FP32"><dim>3</dim></port></output>
  </layer>
  <layer id="2" name="y" type="{type}" version="{opset}">
   <output><port id="2" precision="FP32" names="{output}"><dim>-1</dim><dim>3</dim></port></output>
  </layer>
  <layer id="3" name="r" type="Result" version="opset1"/>
 </layers>
 <edges>
  <edge from-layer="0" from-port="0" to-layer="2" to-port="0"/>
  <edge from-layer="1" from-port="0" to-layer="2" to-port="1"/>
  <edge from-layer="2" from-port="2" to-layer="3" to-port="0"/>
 </edges>
</net>
"""
BIN = b"\0" * 12
XML, BIN_FILE, MAPPING = "1/model.xml", "1/model.bin", "1/mapping_config.json"
DOCTYPE = b"<!DOCTYPE net []><net version='11'/>"


def graph(
    *, ir: int = 11, input: str = "x", output: str = "y", type: str = "Add", opset: str = "opset1"
) -> bytes:
    return GRAPH.format(ir=ir, input=input, output=output, type=type, opset=opset).encode()


GOOD = {XML: graph(), BIN_FILE: BIN}
Looked = Callable[[Mapping[str, bytes]], LintReport]


@pytest.fixture
def on_disk(tmp_path: Path) -> Looked:
    """Lints these files on a file system."""

    def look(files: Mapping[str, bytes]) -> LintReport:
        for name, data in files.items():
            path = tmp_path / "served" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return lint(str(tmp_path / "served"), environ={})

    return look


@pytest.fixture
def in_store(s3: S3Bucket) -> Looked:
    """Lints these objects, as `s3://bucket/served`."""

    def look(files: Mapping[str, bytes]) -> LintReport:
        for name, data in files.items():
            s3.put(f"served/{name}", data)
        return lint(s3.url("served"), environ=s3.environ())

    return look


def found(report: LintReport) -> dict[str, tuple[str, str]]:
    """Code → severity and path, without what every good repository has."""
    return {
        finding.code: (finding.severity.value, finding.path)
        for finding in report.findings
        if finding.code != "minimum-release"
    }


def test_a_good_repository_has_nothing_but_its_facts(on_disk: Looked) -> None:
    report = on_disk(GOOD)
    assert found(report) == {}
    assert (report.served, report.versions) == (1, (1,))
    assert report.graph is not None
    assert report.graph.minimum_openvino == "2022.1"
    (port,) = report.graph.inputs
    assert (port.names, port.type, port.shape) == (("x",), "f32", "[?,3]")


@pytest.mark.parametrize(
    ("files", "code", "severity", "path"),
    [
        ({"model.xml": graph(), "model.bin": BIN}, "nothing-served", "error", ""),
        ({"model.xml": graph(), "model.bin": BIN}, "files-in-base", "warning", "model.xml"),
        (GOOD | {"model.xml": graph()}, "files-in-base", "warning", "model.xml"),
        ({"0/model.xml": graph(), "0/model.bin": BIN}, "version-zero", "warning", "0"),
        ({"0/model.xml": graph(), "0/model.bin": BIN}, "nothing-served", "error", ""),
        ({"2.part/m.xml": graph(), "2.part/m.bin": BIN}, "name-parsed-as-number", "warning", "2.part"),
        ({"01/m.xml": graph(), "01/m.bin": BIN}, "nothing-served", "error", ""),
        (GOOD | {"01/m.xml": graph(), "01/m.bin": BIN}, "duplicate-number", "warning", "01"),
        (GOOD | {"latest/m.xml": graph()}, "skipped-directory", "warning", "latest"),
        (GOOD | {"notes/readme.txt": b"x"}, "skipped-directory", "info", "notes"),
        (GOOD | {"1/other.xml": graph()}, "several-models", "error", XML),
        (GOOD | {"1/other.bin": BIN}, "several-models", "error", BIN_FILE),
        (GOOD | {"2/m.xml": graph(), "2/m.bin": BIN, "1/o.xml": b"x"}, "several-models", "warning", XML),
        (GOOD | {"2/m.xml": graph()}, "incomplete-pair", "warning", "2"),
        (GOOD | {"2/m.bin": BIN}, "incomplete-pair", "warning", "2"),
        (GOOD | {"2/notes.txt": b"x"}, "no-model", "warning", "2"),
        (GOOD | {"2/conversion.json": b"{}"}, "unfinished-version", "warning", "2"),
        (GOOD | {"1/model.onnx": b"x"}, "other-model", "info", "1/model.onnx"),
        (GOOD | {"1/data.csv": b"x" * ((10 << 20) + 1)}, "large-extra", "warning", "1/data.csv"),
        (GOOD | {MAPPING: b"{"}, "invalid-mapping", "warning", MAPPING),
        (GOOD | {MAPPING: b"[" * 100_000}, "invalid-mapping", "warning", MAPPING),
        (GOOD | {MAPPING: b'{"inputs": {"x": 1}}'}, "invalid-mapping", "warning", MAPPING),
        (GOOD | {MAPPING: b'{"in": {}}'}, "invalid-mapping", "warning", MAPPING),
        (GOOD | {MAPPING: b'{"inputs": {"z": "a"}}'}, "unknown-mapped-name", "warning", MAPPING),
        (GOOD | {"1/conversion.json": b"[" * 100_000}, "invalid-record", "warning", "1/conversion.json"),
        (GOOD | {"1/conversion.json": b"[]"}, "invalid-record", "warning", "1/conversion.json"),
        (GOOD | {XML: b"no xml"}, "unreadable-graph", "error", XML),
        (GOOD | {XML: b""}, "unreadable-graph", "error", XML),
        (GOOD | {XML: b"<html/>"}, "unreadable-graph", "error", XML),
        (GOOD | {XML: DOCTYPE}, "unreadable-graph", "error", XML),
        (GOOD | {XML: graph(ir=7)}, "old-ir", "error", XML),
        (GOOD | {BIN_FILE: BIN[:-1]}, "weights-too-short", "error", BIN_FILE),
        (GOOD | {XML: graph(input="")}, "unnamed-input", "error", XML),
        (GOOD | {XML: graph(output="")}, "unnamed-output", "warning", XML),
        (GOOD | {XML: graph(input="x,y")}, "several-names", "warning", XML),
        (GOOD | {XML: graph(type="Own", opset="extension")}, "unknown-operation", "warning", XML),
    ],
)  # fmt: skip
def test_each_fault_has_its_code(
    on_disk: Looked, files: dict[str, bytes], code: str, severity: str, path: str
) -> None:
    report = on_disk(files)
    assert found(report).get(code) == (severity, path), report.findings
    assert bool(report.errors) == any(one.severity.value == "error" for one in report.findings)


def test_the_url_of_one_version_is_recognised(on_disk: Looked, tmp_path: Path) -> None:
    on_disk(GOOD)
    report = lint(str(tmp_path / "served" / "1"), environ={})
    assert found(report) == {"version-directory": ("error", "")}


def test_a_comma_in_a_name_does_not_make_two(on_disk: Looked) -> None:
    assert "several-names" not in found(on_disk(GOOD | {XML: graph(input="x\\,y")}))


def test_a_file_of_another_size_than_its_record_tells_is_found(on_disk: Looked) -> None:
    record = {"files": {"model.bin": {"size": 13}, "model.xml": {"size": len(graph())}}}
    report = on_disk(GOOD | {"1/conversion.json": json.dumps(record).encode()})
    assert found(report) == {"size-differs": ("error", BIN_FILE)}


@pytest.mark.parametrize(
    ("operation", "opset", "release"),
    [
        ("Add", "opset1", "2022.1"),
        ("GridSample", "opset9", "2022.2"),
        ("ScaledDotProductAttention", "opset13", "2023.3"),
        ("AvgPool", "opset14", "2024.2"),
        ("BitwiseLeftShift", "opset15", "2024.4"),
        ("Identity", "opset16", "2025.4"),
    ],
)
def test_the_oldest_server_is_told_by_operation(
    on_disk: Looked, operation: str, opset: str, release: str
) -> None:
    report = on_disk(GOOD | {XML: graph(type=operation, opset=opset)})
    assert report.graph is not None
    assert report.graph.minimum_openvino == release
    assert any(one.code == "minimum-release" and release in one.message for one in report.findings)


@pytest.mark.parametrize("path", [BIN_FILE, "1/notes.txt"])
def test_an_empty_object_is_lost_on_the_way_to_kserve(in_store: Looked, path: str) -> None:
    report = in_store(GOOD | {path: b""})
    assert found(report)["empty-object"] == ("warning", path)


def test_siblings_that_kserve_would_mix_in_are_named(s3: S3Bucket, in_store: Looked) -> None:
    s3.put("served2/1/model.xml", graph())
    s3.put("other/1/model.xml", graph())
    report = in_store(GOOD)
    assert found(report) == {"sibling-prefix": ("warning", "")}
    assert "`served2`" in report.findings[0].message
    assert found(lint(f"{s3.url('served')}/", environ=s3.environ())) == {}


def test_siblings_are_named_in_google_storage_too(gcs: GcsBucket) -> None:
    for key in ("a/served/1/model.xml", "a/served-old/1/model.xml", "a/served.txt", "served3"):
        gcs.put(key, graph())
    gcs.put("a/served/1/model.bin", BIN)
    report = lint(gcs.url("a/served"), environ=gcs.environ())
    assert found(report) == {"sibling-prefix": ("warning", "")}
    assert "`served-old`, `served.txt`" in report.findings[0].message


def test_versions_behind_the_thousandth_key_are_not_seen(s3: S3Bucket, in_store: Looked) -> None:
    for number in range(1000):
        s3.put(f"served/1/variables/{number}", b"x")
    report = in_store(GOOD | {"2/model.xml": graph(), "2/model.bin": BIN})
    assert report.served == 2
    assert found(report)["listing-limit"] == ("error", "")
    assert any("version 2 is not among them" in finding.message for finding in report.findings)


def test_a_saved_model_in_a_store_comes_without_its_variables(in_store: Looked) -> None:
    report = in_store({"1/saved_model.pb": b"x", "1/variables/variables.index": b"x"})
    assert found(report) == {"variables-not-fetched": ("error", "1/variables")}


def test_what_a_check_of_write_access_left_is_no_fault(in_store: Looked) -> None:
    assert found(in_store(GOOD | {".ovms-converter-probe-123": b"x"})) == {}


def test_a_url_that_no_server_reads_is_refused_without_a_look() -> None:
    report = lint("runs:/abc/model?token=secret", environ={})
    assert found(report) == {"unreadable-url": ("error", "")}
    assert "secret" not in str(report)


def test_another_spelling_of_a_scheme_is_told(s3: S3Bucket, in_store: Looked) -> None:
    in_store(GOOD)
    report = lint(s3.url("served/").replace("s3://", "s3a://"), environ=s3.environ())
    assert found(report) == {"url-spelling": ("warning", "")}


def test_nothing_at_all_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no directory with files"):
        lint(str(tmp_path / "nothing"), environ={})


def test_every_code_has_advice_and_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "guides" / "publishing.md").read_text()
    for code, advice in CODES.items():
        assert advice
        assert f"`{code}`" in page, code


@pytest.mark.parametrize(
    ("path", "code", "limit"),
    [
        ("1/conversion.json", "invalid-record", "16,777,216"),
        (MAPPING, "invalid-mapping", "16,777,216"),
        (XML, "large-graph", "536,870,912"),
    ],
)
def test_a_file_of_any_size_is_not_read_into_memory(
    on_disk: Looked, tmp_path: Path, path: str, code: str, limit: str
) -> None:
    on_disk(GOOD)
    with (tmp_path / "served" / path).open("wb") as file:
        file.truncate(1 << 40)
    (finding,) = (each for each in on_disk({}).findings if each.code == code)
    assert finding.path == path
    assert f" has 1,099,511,627,776 bytes, and no more than {limit} " in finding.message


def test_a_graph_is_read_in_parts_in_a_store_too(in_store: Looked) -> None:
    """More than one part of 8 MiB, with the inputs on one side of the border and the outputs on the other."""
    filler = b"<!-- " + b"x" * (9 << 20) + b" -->\n <edges>"
    report = in_store(GOOD | {XML: graph().replace(b"<edges>", filler)})
    assert report.graph
    assert [port.names for port in report.graph.outputs] == [("y",)]


def test_versions_below_a_model_of_the_same_name_are_read(s3: S3Bucket, in_store: Looked) -> None:
    """`convert s3://b/net.onnx` without an output publishes there: the object is the prefix as well."""
    s3.put("served", b"an ONNX model")
    report = in_store(GOOD)
    assert report.graph
    assert report.served == 1


def test_a_tag_without_an_end_is_no_graph(on_disk: Looked) -> None:
    report = on_disk(GOOD | {XML: b'<net version="11" name="' + b"x" * (40 << 20)})
    (finding,) = (each for each in report.findings if each.code == "unreadable-graph")
    assert finding.message == "the graph cannot be read: a tag in it is longer than 16 MiB"
