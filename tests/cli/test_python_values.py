"""Values of Python are the same as what would be typed."""

from pathlib import Path
from typing import Any

import pytest

import ovms_converter
from command_line import FakePipeline
from ovms_converter.errors import RequestError


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("batch", 1, "1"),
        ("scale", 127.5, "127.5"),
        ("static_shape", True, "true"),
        ("static_shape", False, "false"),
        ("input_shape", [1, 3, 224], "[1,3,224]"),
        ("input_shape", (1, None, 224), "[1,?,224]"),
        ("input_shape", [[1, 3], [1]], "[1,3],[1]"),
        ("input_shape", [], "[]"),
        ("output", ["prob", "features"], "prob,features"),
        ("mean_values", {"image": [1, 2, 3]}, "image[1,2,3]"),
        ("rename", {"old": "new", "other": "better"}, "old=new,other=better"),
    ],
)
def test_a_value_is_read_as_if_it_was_typed(fake: FakePipeline, name: str, value: Any, text: str) -> None:
    ovms_converter.convert("s3://b/m", "s3://b/o", **{name: value})
    assert fake.given[name] == (text, "argument")


def test_what_is_none_is_not_given(fake: FakePipeline) -> None:
    ovms_converter.convert("s3://b/m", None, batch=None)
    assert fake.given.keys() == {"input_model"}


def test_locations_may_be_paths(fake: FakePipeline, tmp_path: Path) -> None:
    ovms_converter.convert(tmp_path / "net.onnx", tmp_path / "served")
    (request,) = fake.requests
    assert request.input.path == str(tmp_path / "net.onnx")
    assert request.output.text == str(tmp_path / "served")


def test_bytes_are_refused_by_name(fake: FakePipeline) -> None:
    with pytest.raises(RequestError, match="`sign` is given as bytes") as refused:
        ovms_converter.convert("s3://b/m", "s3://b/o", sign=b"key")
    assert refused.value.parameter == "sign"
    assert not fake.requests
