"""`extra_args`: Model Optimizer's command line inside one text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovms_converter.errors import RequestError
from ovms_converter.optimizer.command_line import parse_extra_args


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", {}),
        ("--batch 4 --scale=2.5", {"batch": "4", "scale": "2.5"}),
        (
            "-b 4 -s=2 -ms [1,2,3] -n net",
            {"batch": "4", "scale": "2", "mean_values": "[1,2,3]", "model_name": "net"},
        ),
        ("-b4", {"batch": "4"}),
        ("--rev --static", {"reverse_input_channels": "true", "static_shape": "true"}),
        ("--compress_to_fp16=False", {"compress_to_fp16": "False"}),
        ("--reverse_input_channels True --silent", {"reverse_input_channels": "True", "silent": "true"}),
        ("""--layout "x(?n?)" --input 'a b[1 2]'""", {"layout": "x(?n?)", "input": "a b[1 2]"}),
        (
            "--freeze_placeholder_with_value 'a->[1 2],b->False'",
            {"freeze_placeholder_with_value": "a->[1 2],b->False"},
        ),
        ("--disable-nhwc-to-nchw --mean-values=[1]", {"disable_nhwc_to_nchw": "true", "mean_values": "[1]"}),
        ("--scale -1.5", {"scale": "-1.5"}),
        ("--batch 1 --batch 2", {"batch": "2"}),
        (
            "--nhwc_to_nchw --signature two --rename a=b",
            {"nhwc_to_nchw": "true", "signature": "two", "rename": "a=b"},
        ),
        ("  --log_level   DEBUG\n--progress ", {"log_level": "DEBUG", "progress": "true"}),
    ],
)
def test_reads_what_argparse_read(text: str, values: dict[str, str]) -> None:
    assert parse_extra_args(text) == values


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("--no_such_option 1", "`--no_such_option` in `extra_args` is no argument", "convert --help"),
        ("--mean_value [1]x --bach 3", "`--bach` in `extra_args`", "`batch`"),
        ("--reverse_input_chanels", "is no argument", "`reverse_input_channels`"),
        ("--disable_", "could be `--disable_nhwc_to_nchw`", "whole name"),
        ("--scale", "`--scale` in `extra_args` has no value", "--scale 255"),
        ("--scale --batch 1", "`--scale` in `extra_args` has no value", "--scale"),
        ("--silent maybe", "`silent` is `maybe`", "true"),
        ("--input 'x", "quote without its partner", "close"),
        ("stray", "`stray` in `extra_args` belongs to no argument", "quotes"),
        ("--batch 1 stray", "`stray`", "quotes"),
        ("'--batch 1'", "`--batch 1` in `extra_args` is no argument", "leave them out"),
        ("-x 1", "`-x` in `extra_args`", "convert --help"),
        ("--", "is no argument", "convert --help"),
        ("--=1", "is no argument", "convert --help"),
        ("--input_model m.onnx", "cannot stand in `extra_args`", "`input_model`"),
        ("-w m.onnx", "cannot stand in `extra_args`", "`input_model`"),
        ("-o /out", "`--output_dir` cannot be honoured", "`output_model`"),
        ("--saved_model_dir d", "`--saved_model_dir` cannot be honoured", "`input_model`"),
        ("--verify off", "`--verify` in `extra_args` is no argument", "of its own"),
        ("--extensions e", "`--extensions` cannot be honoured", "Python"),
        ("--input_proto p", "`--input_proto` cannot be honoured", "ONNX"),
        ("-h", "`--help` cannot be honoured", "--help"),
    ],
)
def test_refusals_name_the_argument_and_what_to_do(text: str, message: str, hint: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse_extra_args(text)

    assert message in caught.value.message
    assert caught.value.hint is not None
    assert hint in caught.value.hint


@given(st.text() | st.text(st.sampled_from("-=sbm '\"\\ rate1[]()")))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        values = parse_extra_args(text)
    except RequestError:
        return
    assert all(isinstance(value, str) for value in values.values())
