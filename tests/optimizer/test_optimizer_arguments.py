"""The arguments as one value: contradictions, refusals, no-ops, and canonical text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovms_converter.errors import RequestError
from ovms_converter.optimizer.arguments import OptimizerArguments
from ovms_converter.parameters import PARAMETERS, Group, Kind, Parameter, Support, by_name


def parse(**values: str) -> OptimizerArguments:
    return OptimizerArguments.parse(values)


def test_nothing_given_is_the_default_and_empty_counts_as_not_given() -> None:
    assert parse() == parse(batch="", input=" ", static_shape="") == OptimizerArguments()
    assert OptimizerArguments().to_values() == {}


def test_the_examples_of_the_table_are_legal_and_canonical_text_reads_back() -> None:
    for parameter in PARAMETERS:
        if not parameter.optimizer or parameter.support is Support.REFUSED or not parameter.example:
            continue
        arguments = parse(**{parameter.name: parameter.example})
        assert OptimizerArguments.parse(arguments.to_values()) == arguments
        if parameter.group is not Group.LOCATIONS and parameter.name != "model_name":
            assert arguments != OptimizerArguments(), parameter.name


def test_shapes_of_input_shape_go_to_the_entries_of_input() -> None:
    arguments = parse(input="a,b{i32}", input_shape="[1,2],[?,3..4]")

    assert arguments.to_values() == {"input": "a[1,2],b[?,3..4]{i32}"}


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"batch": "2", "input_shape": "[1,3]"}, "`input_shape` and `batch` are both given"),
        ({"batch": "2", "input": "x[1,3]"}, "`batch` and `input` are both given"),
        ({"batch": "2", "input": "x", "input_shape": "[1,3]"}, "`input_shape` and `batch` are both given"),
        ({"input": "x[1]", "input_shape": "[1]"}, "given in both `input` and `input_shape`"),
        ({"input": "x,y", "input_shape": "[1]"}, "names 2 inputs and `input_shape` gives 1 shape"),
        ({"scale": "2", "scale_values": "[1,2,3]"}, "`scale` and `scale_values` are both given"),
        ({"scale": "0"}, "`scale` divides by zero"),
        ({"scale_values": "[1,0,3]"}, "`scale_values` divides by zero"),
        ({"layout": "nhwc", "target_layout": "nchw"}, "`layout` and `target_layout` are both given"),
        ({"layout": "nhwc", "source_layout": "nchw"}, "`layout` and `source_layout` are both given"),
        ({"nhwc_to_nchw": "1", "disable_nhwc_to_nchw": "on"}, "are both given"),
        ({"data_type": "FP16", "compress_to_fp16": "false"}, "`data_type` and `compress_to_fp16`"),
        ({"data_type": "int8"}, "`data_type` is `int8`"),
        ({"log_level": "LOUD"}, "`log_level` is `LOUD`"),
        ({"mean_values": "[4,5,6],[1,2,3]"}, "would sort by their first number"),
        ({"mean_values": "a[1,2,3]", "scale_values": "a[1,2]"}, "3 mean and 2 scale"),
        ({"input": "b[3]->[1 2]"}, "gets 2 values, but its shape is `[3]`"),
        ({"input": "b[?]->[1 2]"}, "its shape `[?]` must be fixed too"),
        ({"input": "a->1", "freeze_placeholder_with_value": "a->2"}, "`a` has two values"),
        ({"framework": "caffe"}, "`framework` is `caffe`"),
        ({"no_such": "1"}, "there is no parameter `no_such`"),
        ({"bach": "1"}, "there is no parameter `bach`"),
    ],
)
def test_contradictions_are_refused_before_any_work(values: dict[str, str], told: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse(**values)

    assert told in caught.value.message
    assert caught.value.parameter in {*values, "input"}


def test_lists_without_names_that_are_in_order_anyway_are_fine() -> None:
    assert len(parse(mean_values="[1,2,3],[4,5,6]").mean_values) == 2


@pytest.mark.parametrize(
    "parameter", [p for p in PARAMETERS if p.support is Support.REFUSED], ids=lambda p: p.name
)
def test_what_cannot_be_honoured_says_why(parameter: Parameter) -> None:
    value = "true" if parameter.kind is Kind.FLAG else "x"
    with pytest.raises(RequestError) as caught:
        parse(**{parameter.name: value})

    assert caught.value.parameter == parameter.name
    assert caught.value.hint == " ".join(parameter.reason.split())


def test_no_ops_are_remembered_once_and_flags_that_are_off_are_not() -> None:
    arguments = parse(silent="yes", disable_fusing="False", finegrain_fusing="conv.*")

    assert arguments.no_ops == (("finegrain_fusing", "conv.*"), ("silent", "true"))
    assert OptimizerArguments.parse(arguments.to_values()) == arguments


@pytest.mark.parametrize(
    ("values", "half"),
    [
        ({}, False),
        ({"data_type": "FP16"}, True),
        ({"data_type": "half"}, True),
        ({"data_type": "float"}, False),
        ({"compress_to_fp16": "true"}, True),
        ({"compress_to_fp16": "0"}, False),
        ({"data_type": "FP16", "compress_to_fp16": "true"}, True),
    ],
)
def test_half_precision_only_if_asked_for(values: dict[str, str], half: bool) -> None:
    assert parse(**values).half_precision is half


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({}, ()),
        ({"silent": "true", "progress": "1", "scale": "2"}, ("progress", "silent")),
        ({"disable_nhwc_to_nchw": "true", "silent": "no"}, ("disable_nhwc_to_nchw",)),
        ({"mapping_config": "true"}, ("mapping_config",)),
        ({"mapping_config": "true", "rename": "x=image"}, ()),
    ],
)
def test_what_changes_nothing_is_told(values: dict[str, str], names: tuple[str, ...]) -> None:
    assert parse(**values).without_effect == names


honoured = [p.name for p in PARAMETERS if p.optimizer and p.support is not Support.REFUSED]


@given(
    st.dictionaries(st.sampled_from(honoured), st.sampled_from([p.example for p in PARAMETERS if p.example]))
)
def test_any_combination_is_read_back_or_refused(values: dict[str, str]) -> None:
    try:
        arguments = OptimizerArguments.parse(values)
    except RequestError as error:
        assert error.parameter in by_name()
        return
    assert OptimizerArguments.parse(arguments.to_values()) == arguments


def test_every_parameter_tells_what_it_is() -> None:
    for parameter in PARAMETERS:
        assert parameter.help.endswith(".")
        assert bool(parameter.reason) is (parameter.support is not Support.HONOURED)
        assert not parameter.choices or parameter.default in ("", *parameter.choices)
