"""A request is complete and free of contradictions, or refused by name before anything starts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovms_converter.errors import ConverterError, RequestError
from ovms_converter.parameters import PARAMETERS, Kind
from ovms_converter.request import ConversionRequest, Given, build_request


def request(**values: str) -> ConversionRequest:
    return build_request({name: Given(value, "flag") for name, value in values.items()})


def test_defaults() -> None:
    made = request(input_model="s3://bucket/model")
    assert (made.input_format, made.output_format, made.model_version) == ("auto", "openvino", "auto")
    assert made.output == made.input


def test_outer_white_space_is_stripped_and_empty_means_not_given() -> None:
    made = request(input_model=" s3://bucket/model\n", batch="", input_format=" ")
    assert made.input.text == "s3://bucket/model"
    assert made.input_format == "auto"
    assert "batch" not in made.parameters


def test_the_output_is_reported_as_it_was_given() -> None:
    assert request(input_model="s3://b/m", output_model="s3://b/m/ovms/").output.text == "s3://b/m/ovms/"


@pytest.mark.parametrize(
    ("values", "parameter", "said"),
    [
        ({}, "input_model", "no input model"),
        ({"input_model": "s3://b/m", "bach": "1"}, "bach", "`bach`"),
        ({"input_model": "s3://b/m", "batch": "{{inputs.batch}}"}, "batch", "{{inputs.batch}}"),
        ({"input_model": "s3://b/$(params.model)"}, "input_model", "$(params.model)"),
        ({"input_model": "s3://b/m\n/ovms"}, "input_model", "line break"),
        ({"input_model": "s3://b/m", "input_format": "onx"}, "input_format", "`onx`"),
        ({"input_model": "s3://b/m", "static_shape": "maybe"}, "static_shape", "`maybe`"),
        ({"input_model": "s3://b/m", "batch": "none"}, "batch", "`none`"),
        ({"input_model": "s3://b/m", "model_version": "0"}, "model_version", "`0`"),
        ({"input_model": "s3://b/m", "model_version": str(1 << 63)}, "model_version", str(1 << 63)),
        ({"input_model": "s3://b/m", "model_version": "9" * 5000}, "model_version", "999"),
        ({"input_model": "s3://b/m", "keep": "9" * 5000}, "keep", "999"),
        ({"input_model": "s3://b/m", "model_name": "../x"}, "model_name", "`../x`"),
        ({"input_model": "s3://b/m", "timeout": "0"}, "timeout", "`0`"),
        ({"input_model": "s3://b/m", "timeout": "-1"}, "timeout", "above 0"),
        ({"input_model": "s3://b/m", "timeout": "inf"}, "timeout", "`inf`"),
        ({"input_model": "s3://b/m", "memory_limit": "0"}, "memory_limit", "`0`"),
        ({"input_model": "s3://b/m", "memory_limit": "5XB"}, "memory_limit", "`5XB`"),
        ({"input_model": "s3://b/m", "memory_limit": "-1"}, "memory_limit", "`-1`"),
        ({"input_model": "s3://b/m", "memory_limit": "4"}, "memory_limit", "4 bytes"),
        ({"input_model": "s3://b/m", "batch": "${BATCH}"}, "batch", "${BATCH}"),
        ({"input_model": "s3://b/m", "verify": "yes"}, "verify", "`yes`"),
        ({"input_model": "s3://b/m", "data_type": "INT8"}, "data_type", "`INT8`"),
        ({"input_model": "s3://b/m", "log_level": "LOUD"}, "log_level", "`LOUD`"),
        ({"input_model": "s3://b/m", "weights": "fp8"}, "weights", "`fp8`"),
        ({"input_model": "s3://b/m", "tolerance": "0"}, "tolerance", "`0`"),
        ({"input_model": "s3://b/m", "tolerance": "1", "verify": "off"}, "tolerance", "compares nothing"),
        ({"input_model": "s3://b/m", "verify_data": "d.npz", "verify": "off"}, "verify_data", "runs nothing"),
        ({"input_model": "http://host/m.onnx"}, "output_model", "http://host/m.onnx"),
        ({"input_model": "s3://b/m", "output_model": "runs:/1/m"}, "output_model", "runs:/1/m"),
        ({"input_model": "s3://b/m", "extra_args": "--no_such_option 1"}, None, "no_such_option"),
        (
            {"input_model": "s3://b/m", "extra_args": "--transformations_config x.json"},
            None,
            "transformations_config",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_name(values: dict[str, str], parameter: str | None, said: str) -> None:
    with pytest.raises(RequestError) as refused:
        request(**values)
    assert said in refused.value.message
    assert refused.value.hint
    if parameter:
        assert refused.value.parameter == parameter


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1048576", 1 << 20),
        ("512MiB", 512 << 20),
        ("512 mib", 512 << 20),
        ("4Gi", 4 << 30),
        ("4G", 4 * 10**9),
        ("1.5GB", 15 * 10**8),
        ("1TiB", 1 << 40),
        ("", None),
    ],
)
def test_memory_in_the_usual_units(text: str, size: int | None) -> None:
    assert request(input_model="s3://b/m", memory_limit=text).memory_limit == size


def test_limits() -> None:
    made = request(input_model="s3://b/m", timeout="0.5", tolerance="1e-3")
    assert (made.timeout, made.tolerance) == (0.5, 0.001)
    assert request(input_model="s3://b/m").timeout == 3600
    assert request(input_model="s3://b/m").tolerance is None


def test_a_near_miss_is_suggested() -> None:
    with pytest.raises(RequestError) as refused:
        request(input_model="s3://b/m", mean_value="[1]")
    assert refused.value.hint == "did you mean `mean_values`?"


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("input_format", "keras", "did you mean `keras.keras` or `keras.h5`?"),
        ("input_format", "saved_model", "did you mean `tensorflow.saved_model`?"),
        ("input_format", "tf", "without it, it is `auto`"),
        ("data_type", "int8", "fewer bits are `weights`: `int8`"),
        (
            "batch",
            "$(params.batch)",
            "Tekton and Kubernetes leave what they do not know: declare the parameter",
        ),
        ("batch", "{{inputs.batch}}", "FuseML wants one space inside the braces"),
    ],
)
def test_the_hint_is_what_to_write_instead(name: str, value: str, hint: str) -> None:
    with pytest.raises(RequestError) as refused:
        request(input_model="s3://b/m", **{name: value})
    assert hint in (refused.value.hint or "")


def test_explicit_parameters_win_over_extra_args() -> None:
    made = request(input_model="s3://b/m", batch="2", extra_args="--batch 8 --scale=255")
    assert made.parameters["batch"] == Given("2", "flag")
    assert made.parameters["scale"] == Given("255", "extra_args")
    assert made.arguments.batch == 2


def test_a_secret_in_the_url_does_not_reach_a_message() -> None:
    with pytest.raises(RequestError) as refused:
        request(input_model="https://user:hunter2@host/m.onnx?X-Amz-Signature=hunter2")
    assert "hunter2" not in f"{refused.value.message} {refused.value.hint}"


@given(
    st.dictionaries(
        st.sampled_from([parameter.name for parameter in PARAMETERS if parameter.kind is not Kind.URL]),
        st.text(max_size=20),
        max_size=4,
    )
)
def test_any_value_is_taken_or_refused_with_a_reason(values: dict[str, str]) -> None:
    try:
        request(input_model="s3://bucket/model", **values)
    except ConverterError as error:
        assert error.exit_code == 2
        assert error.message
