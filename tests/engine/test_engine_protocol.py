"""What goes over the pipes comes back as it was, and nothing else is taken for a message."""

import json
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovms_converter import errors
from ovms_converter.engine.job import ConversionJob, OutputComparison, Port
from ovms_converter.engine.protocol import (
    Doing,
    Done,
    Failed,
    Message,
    StageEnded,
    decode_job,
    decode_message,
    encode_job,
    encode_message,
    raised,
)
from ovms_converter.events import Note, Stage
from ovms_converter.optimizer.arguments import OptimizerArguments

TEXT = st.text(max_size=30)
NUMBER = st.floats(allow_nan=False)
STAGE = st.sampled_from(Stage)
PORTS = st.lists(st.builds(Port, TEXT, TEXT, TEXT), max_size=3).map(tuple)
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(Doing, STAGE, TEXT),
    st.builds(StageEnded, STAGE, NUMBER, TEXT),
    st.builds(Note, st.sampled_from(["debug", "info", "warning"]), TEXT),
    st.builds(Failed, TEXT, TEXT, st.none() | TEXT, st.none() | TEXT, TEXT),
    st.builds(
        Done,
        inputs=PORTS,
        outputs=PORTS,
        notes=st.lists(TEXT, max_size=3).map(tuple),
        verified=TEXT,
        convert_seconds=NUMBER,
        verify_seconds=NUMBER,
        comparison=st.lists(st.builds(OutputComparison, TEXT, NUMBER, NUMBER, NUMBER), max_size=3).map(tuple),
    ),
)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
)


@given(MESSAGES)
def test_a_message_survives_the_pipe(message: Message) -> None:
    line = encode_message(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode_message(line) == message


@given(st.sampled_from(["Done", "Failed", "Doing", "StageEnded", "Note", "Job"]), JSON)
def test_nothing_else_is_a_message(kind: str, value: object) -> None:
    fields = value if isinstance(value, dict) else {"stage": value, "text": value}
    with pytest.raises(ValueError):
        decode_message(json.dumps({"stage": 1, "text": 2, **fields, "is": kind}).encode())


@given(st.binary(max_size=40))
def test_bytes_are_no_message(line: bytes) -> None:
    with pytest.raises(ValueError):
        decode_message(line)


def test_a_number_that_no_float_holds_is_no_message() -> None:
    with pytest.raises(ValueError):
        decode_message(b'{"is":"StageEnded","stage":"convert","detail":"","seconds":1%s}' % (b"0" * 400))


def test_a_bottomless_value_is_no_message() -> None:
    with pytest.raises(ValueError):
        decode_message(b"[" * 200_000)


@given(
    st.text(string.ascii_letters, min_size=1),
    st.sampled_from(["off", "load", "compare", "auto"]),
    st.none() | st.floats(0, 1),
)
def test_a_job_survives_the_pipe(stem: str, verify: str, tolerance: float | None) -> None:
    arguments = OptimizerArguments.parse({"batch": "3", "mean_values": "x[1,2,3]", "data_type": "FP16"})
    job = ConversionJob("onnx", Path("/a/m.onnx"), arguments, stem, Path("/b"), verify, tolerance)
    assert decode_job(encode_job(job)) == job


@pytest.mark.parametrize(
    "kind",
    [
        errors.RequestError,
        errors.ModelError,
        errors.CorruptModelError,
        errors.UnsupportedModelError,
        errors.AmbiguousModelError,
        errors.VerificationError,
        errors.ResourceError,
    ],
)
def test_our_errors_come_back_as_what_they_are(kind: type[errors.ConverterError]) -> None:
    error = raised(Failed(kind.__name__, "what", "help", "batch", "trace"))
    assert type(error) is kind
    assert (error.message, error.hint) == ("what", "help")
    assert getattr(error, "parameter", "batch") == "batch"


@pytest.mark.parametrize("kind", ["InternalError", "ConverterError", "KeyError", "__all__", "Any", ""])
def test_any_other_error_is_a_bug(kind: str) -> None:
    assert type(raised(Failed(kind, "what", None, None, "trace"))) is errors.InternalError
