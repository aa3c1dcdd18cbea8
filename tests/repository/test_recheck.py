"""What was published is still there, byte for byte, or the file that differs is named."""

import contextlib
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ovms_converter.errors import ConverterError, CorruptModelError, NotFoundError
from ovms_converter.events import Event, Stage, StageFinished, StageStarted
from ovms_converter.recheck import Checks, recheck
from ovms_converter.repository import ModelRepository
from ovms_converter.storage import open_destination
from ovms_converter.storage.location import Location
from published_files import version_files
from servers import S3Bucket


class Served:
    """A published repository, and ways to damage it."""

    def __init__(self, url: str, environ: dict[str, str], work: Path) -> None:
        self.url = url
        self.environ = environ
        self.repository = ModelRepository(open_destination(Location.parse(url), environ))
        self._work = work

    def publish(self, fingerprint: str) -> None:
        self.repository.publish(version_files(self._work, fingerprint), "next", lambda count: None)

    def put(self, path: str, data: bytes) -> None:
        raise NotImplementedError


class ServedDirectory(Served):
    def put(self, path: str, data: bytes) -> None:
        Path(self.url, path).write_bytes(data)


class ServedPrefix(Served):
    bucket: S3Bucket

    def put(self, path: str, data: bytes) -> None:
        self.bucket.put(f"served/{path}", data)


@pytest.fixture(params=["file", "s3"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Served:
    if request.param == "file":
        return ServedDirectory(str(tmp_path / "served"), {}, tmp_path / "work")
    bucket: S3Bucket = request.getfixturevalue("s3")
    prefix = ServedPrefix(bucket.url("served"), bucket.environ(), tmp_path / "work")
    prefix.bucket = bucket
    return prefix


def test_what_was_published_is_found_so(served: Served) -> None:
    served.publish("a")
    served.publish("b")
    events: list[Event] = []
    checked = recheck(served.url, environ=served.environ, listener=events.append)
    assert (checked.version, checked.differing, checked.strangers) == (2, (), ())
    assert [file.path for file in checked.files] == ["2/model.bin", "2/model.xml"]
    assert isinstance(events[0], StageStarted)
    assert isinstance(events[-1], StageFinished)
    assert events[-1].stage is Stage.VERIFY
    read = sum(file.recorded_size for file in checked.files)
    assert events[-1].moved == read + len(served.repository.destination.read("2/conversion.json"))


@pytest.mark.parametrize("end", ["/1", "/1/"])
def test_an_older_version_is_checked_by_its_url(served: Served, end: str) -> None:
    served.publish("a")
    served.publish("b")
    served.put("1/model.bin", b"other")
    assert recheck(served.url, environ=served.environ).differing == ()
    checked = recheck(served.url + end, environ=served.environ)
    assert checked.version == 1
    assert [file.path for file in checked.differing] == ["1/model.bin"]


@pytest.mark.parametrize("name", ["model.bin", "model.xml"])
def test_one_flipped_bit_is_found_and_the_file_named(served: Served, name: str) -> None:
    served.publish("a")
    data = bytearray(served.repository.destination.read(f"1/{name}"))
    data[7] ^= 1
    served.put(f"1/{name}", bytes(data))
    (file,) = recheck(served.url, environ=served.environ).differing
    assert file.path == f"1/{name}"
    assert file.sha256 is not None
    assert file.fault is not None
    assert file.sha256 in file.fault
    assert file.recorded_sha256 in file.fault


def test_a_file_of_another_size_is_found(served: Served) -> None:
    served.publish("a")
    served.put("1/model.bin", b"short")
    (file,) = recheck(served.url, environ=served.environ).differing
    assert file.fault == "it has 5 bytes, and the record tells of 64"


def test_a_version_that_lacks_a_file_is_passed_over_unless_it_is_asked_for(served: Served) -> None:
    served.publish("a")
    served.publish("b")
    served.repository.destination.remove(["2/model.xml"])
    assert recheck(served.url, environ=served.environ).version == 1
    (file,) = recheck(f"{served.url}/2", environ=served.environ).differing
    assert (file.path, file.fault) == ("2/model.xml", "it is not there")


def test_files_that_the_record_does_not_know_are_told(served: Served) -> None:
    served.publish("a")
    served.put("1/notes.txt", b"seen")
    checked = recheck(served.url, environ=served.environ)
    assert (checked.strangers, checked.intruders) == (("1/notes.txt",), ())
    assert checked.is_as_published


@pytest.mark.parametrize("name", ["a.xml", "a.bin", "mapping_config.json", "a.onnx"])
def test_a_file_that_a_server_would_read_as_well_is_an_intruder(served: Served, name: str) -> None:
    served.publish("a")
    served.put(f"1/{name}", b"other")
    checked = recheck(served.url, environ=served.environ)
    assert checked.intruders == (f"1/{name}",)
    assert checked.differing == ()
    assert not checked.is_as_published


@pytest.mark.parametrize("record", [b"{", b"[]", b'{"files": {"model.bin": {"size": 64}}}'])
def test_a_damaged_record_is_told(served: Served, record: bytes) -> None:
    served.publish("a")
    served.put("1/conversion.json", record)
    with pytest.raises(CorruptModelError, match=r"conversion\.json"):
        recheck(served.url, environ=served.environ)


def test_what_was_not_published_by_this_program_cannot_be_checked(served: Served) -> None:
    served.publish("a")
    served.repository.destination.remove(["1/conversion.json"])
    with pytest.raises(NotFoundError, match="no finished version") as raised:
        recheck(served.url, environ=served.environ)
    assert "lint" in (raised.value.hint or "")


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["value", "origin", "url", "files", "path", "x"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)
NAMES = ["source", "parameters", "versions", "signed_by", "verification", "fingerprint"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(more=st.dictionaries(st.sampled_from(NAMES), junk))
def test_a_record_that_anybody_may_have_written_breaks_nothing(
    tmp_path: Path, more: dict[str, object]
) -> None:
    work = Path(tempfile.mkdtemp(dir=tmp_path))
    files = version_files(work, "a")
    record = json.loads(files["conversion.json"].read_text())
    (work / "1").mkdir()
    for name, path in files.items():
        path.rename(work / "1" / name)
    (work / "1" / "conversion.json").write_text(json.dumps(record | more))
    with contextlib.suppress(ConverterError):
        assert recheck(str(work), environ={}).differing == ()
    with contextlib.suppress(ConverterError):
        recheck(str(work), environ={}, checks=Checks(source="/no/such/model"))


def test_a_version_below_a_model_of_the_same_name_is_checked(s3: S3Bucket, tmp_path: Path) -> None:
    """`convert s3://b/net.onnx` without an output publishes there: the object is the prefix as well."""
    s3.put("net.onnx", b"an ONNX model")
    served = ServedPrefix(s3.url("net.onnx"), s3.environ(), tmp_path / "work")
    served.publish("a")
    assert recheck(served.url, environ=served.environ).is_as_published


def test_a_record_or_signature_of_any_size_is_not_read_into_memory(served: Served) -> None:
    served.publish("a")
    served.put("1/model.sig", b" " * (17 << 20))
    (_, fault), *_ = recheck(served.url, environ=served.environ).signature.faults  # type: ignore[union-attr]
    assert fault == "`1/model.sig` has 17,825,792 bytes, and no more than 16,777,216 are read"
    served.put("1/conversion.json", b" " * (17 << 20))
    with pytest.raises(CorruptModelError, match=r"`1/conversion.json` has 17,825,792 bytes"):
        recheck(served.url, environ=served.environ)
