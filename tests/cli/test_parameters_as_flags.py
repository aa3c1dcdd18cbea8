"""How parameters get from what was typed and from the environment into a request."""

from collections.abc import Mapping

import pytest

from command_line import CommandLine, FakePipeline
from ovms_converter.parameters import PARAMETERS, Kind, Parameter, Support
from ovms_converter.request import Given

HONOURED = [parameter for parameter in PARAMETERS if parameter.support is Support.HONOURED]
COMMON = {"input_model": ("s3://b/m", "flag"), "output_model": ("s3://b/o", "flag")}
EXCLUSIVE = {"nhwc_to_nchw", "disable_nhwc_to_nchw", "input_model", "output_model", "extra_args"}


NEEDS = {"calibration_data": {"weights": "int8"}}
"""Parameters that make no sense without others."""


@pytest.mark.parametrize(
    "parameter", [row for row in HONOURED if row.name not in EXCLUSIVE], ids=lambda parameter: parameter.name
)
def test_every_parameter_is_a_flag_in_both_spellings_and_a_variable(
    parameter: Parameter, command: CommandLine, fake: FakePipeline
) -> None:
    value = parameter.example
    more = [f"--{name}={text}" for name, text in NEEDS.get(parameter.name, {}).items()]
    common = COMMON | {name: (text, "flag") for name, text in NEEDS.get(parameter.name, {}).items()}
    spellings = [f"--{parameter.name}={value}", f"--{parameter.name.replace('_', '-')}={value}"]
    for spelling in spellings:
        fake.requests.clear()
        assert command("convert", "s3://b/m", "s3://b/o", spelling, *more).err.count("error:") == 0
        assert fake.given == common | {parameter.name: (value, "flag")}
    fake.requests.clear()
    command("convert", "s3://b/m", "s3://b/o", *more, **{f"FUSEML_{parameter.name.upper()}": value})
    assert fake.given == common | {parameter.name: (value, "environment")}


@pytest.mark.parametrize(
    "words",
    [
        ["--static-shape"],
        ["--static_shape"],
        ["--static-shape=true"],
        ["--static-shape", "true"],
        ["--static-shape", "True"],
    ],
)
def test_a_switch_is_on(words: list[str], command: CommandLine, fake: FakePipeline) -> None:
    command("convert", *words, "s3://b/m", "s3://b/o")
    (request,) = fake.requests
    assert request.arguments.static_shape is True


@pytest.mark.parametrize(
    "words", [["--static-shape=false"], ["--static-shape", "false"], ["--static_shape=NO"]]
)
def test_a_switch_turns_off_what_the_environment_turns_on(
    words: list[str], command: CommandLine, fake: FakePipeline
) -> None:
    command("convert", "s3://b/m", "s3://b/o", *words, FUSEML_STATIC_SHAPE="1")
    (request,) = fake.requests
    assert request.arguments.static_shape is False


def test_a_switch_does_not_swallow_a_location(command: CommandLine, fake: FakePipeline) -> None:
    command("convert", "--static-shape", "1", "yes")
    (request,) = fake.requests
    assert (request.input.text, request.output.text) == ("1", "yes")


@pytest.mark.parametrize("value", ["yes", "On", "1", "TRUE", "t", "y"])
def test_the_usual_spellings_of_yes(value: str, command: CommandLine, fake: FakePipeline) -> None:
    command("convert", "s3://b/m", "s3://b/o", FUSEML_STATIC_SHAPE=value)
    (request,) = fake.requests
    assert request.arguments.static_shape is True


@pytest.mark.parametrize(
    "parameter", [row for row in HONOURED if row.kind is Kind.FLAG], ids=lambda row: row.name
)
def test_anything_else_is_refused_by_name(
    parameter: Parameter, command: CommandLine, fake: FakePipeline
) -> None:
    finished = command("convert", "s3://b/m", "s3://b/o", **{parameter.variable: "maybe"})
    assert finished.code == 2
    assert f"error: `{parameter.variable}`: `{parameter.name}` is `maybe`" in finished.err
    assert "`true` or `false`" in finished.err
    assert not fake.requests


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["--input-shape", "[-1,3]"], "input_shape", "[-1,3]"),
        (["--input-shape", "-1,3"], "input_shape", "-1,3"),
        (["--input-shape=[1,3]"], "input_shape", "[1,3]"),
        (["--extra-args", "--disable_nhwc_to_nchw"], "extra_args", "--disable_nhwc_to_nchw"),
        (["--extra-args", "--static_shape --layout=nhwc"], "extra_args", "--static_shape --layout=nhwc"),
        (["--extra-args=--static_shape"], "extra_args", "--static_shape"),
        (["--mean-values", "[1,2,3]"], "mean_values", "[1,2,3]"),
        (["--model-name", "a=b"], "model_name", "a=b"),
    ],
)
def test_values_pass_as_they_are(
    words: list[str], name: str, value: str, command: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, str] = {}

    def remember(given: Mapping[str, Given]) -> None:
        seen.update({key: item.value for key, item in given.items()})
        raise KeyboardInterrupt

    monkeypatch.setattr("ovms_converter.request.build_request", remember)
    assert command("convert", *words, "s3://b/m").code == 130
    assert seen == {"input_model": "s3://b/m", name: value}


def test_flags_win_over_the_environment(command: CommandLine, fake: FakePipeline) -> None:
    command("convert", "s3://b/m", "--batch", "2", FUSEML_BATCH="1", FUSEML_OUTPUT_MODEL="s3://b/o")
    assert fake.given == {
        "input_model": ("s3://b/m", "flag"),
        "output_model": ("s3://b/o", "environment"),
        "batch": ("2", "flag"),
    }


def test_an_empty_flag_is_not_given(command: CommandLine, fake: FakePipeline) -> None:
    command("convert", "s3://b/m", "--output-model", "", "--batch=", "--scale", " ", FUSEML_BATCH="4")
    assert fake.given == {"input_model": ("s3://b/m", "flag"), "batch": ("4", "environment")}


def test_the_environment_alone_is_enough(command: CommandLine, fake: FakePipeline) -> None:
    finished = command("convert", FUSEML_INPUT_MODEL="s3://b/m")
    assert (finished.code, finished.out) == (0, "s3://b/m\n")
    assert fake.given == {"input_model": ("s3://b/m", "environment")}


def test_locations_may_be_flags(command: CommandLine, fake: FakePipeline) -> None:
    assert command("convert", "--input-model=s3://b/m", "--output_model", "s3://b/o").out == "s3://b/o\n"


def test_the_pipeline_gets_the_credentials(command: CommandLine, fake: FakePipeline) -> None:
    command("convert", "s3://b/m", AWS_ACCESS_KEY_ID="key")
    assert fake.environ["AWS_ACCESS_KEY_ID"] == "key"


@pytest.mark.parametrize(
    ("argv", "message", "hint"),
    [
        (["convert", "--bacth", "1"], "there is no option `--bacth`", "did you mean `--batch`?"),
        (["convert", "--batch"], "`--batch` needs a value", "--help"),
        (["convert", "--batch", "--scale", "2"], "`--batch` needs a value", "--help"),
        (["convert", "-b", "2"], "there is no option `-b`", "write `--batch`"),
        (["convert", "a", "--input-model", "b"], "`INPUT_MODEL` is given twice", "--help"),
        (["convert", "a", "b", "c"], "unexpected extra argument (c)", "--help"),
        (["convrt"], "there is no command `convrt`; did you mean `convert`?", "--help"),
        (["s3://b/m", "out"], "there is no command `s3://b/m`", "`ovms-converter convert INPUT_MODEL"),
        (["report", "a", "r.html"], "unexpected extra argument (r.html)", "`--output` names the file"),
        (["help"], "there is no command `help`; there are convert, inspect", "`ovms-converter --help`"),
        (["--quiet", "convert"], "there is no option `--quiet`", "it is one of `ovms-converter convert`"),
        (
            ["inspect", "--input_shape", "[1]", "a"],
            "there is no option `--input_shape`",
            "of `ovms-converter conv",
        ),
        (
            ["doctor", "--result-file", "x", "a"],
            "there is no option `--result-file`",
            "of `ovms-converter conv",
        ),
        (["lint", "--foo", "a"], "there is no option `--foo`", "`ovms-converter lint --help` lists"),
        (["verify", "--timeout", "1h", "a"], "'1h' is not a valid number of seconds above 0", "--help"),
        (["convert"], "no input model was given", "FUSEML_INPUT_MODEL"),
        (["convert", "--log-format", "xml", "a"], "'xml' is not one of 'text', 'json'", "--help"),
        (["convert", "s3://b/{{x}}"], "`input_model` still holds the placeholder `{{x}}`", "one space"),
        (["convert", "s3://b/m", "--batch", "two"], "batch", ""),
        (["convert", "--quiet=5", "a"], "does not take a value", "--help"),
    ],
)
def test_what_is_wrong_in_the_command_line_is_told(
    argv: list[str], message: str, hint: str, command: CommandLine, fake: FakePipeline
) -> None:
    finished = command(*argv)
    error, *rest = finished.err.splitlines()
    assert finished.code == 2
    assert finished.out == ""
    assert error.startswith("error: ")
    assert message in error
    assert all(line.startswith("hint: ") for line in rest)
    assert hint in "".join(rest)
    assert not fake.requests


def test_a_wrong_value_from_the_environment_names_its_variable(command: CommandLine) -> None:
    finished = command("convert", **{"FUSEML_INPUT-MODEL": "s3://b/$(params.model)"})
    assert finished.code == 2
    assert finished.err.startswith("error: `FUSEML_INPUT-MODEL`: ")
    assert "`$(params.model)`" in finished.err


def test_a_wrong_flag_does_not_blame_the_environment(command: CommandLine) -> None:
    finished = command("convert", "s3://b/m", "--batch", "two", FUSEML_BATCH="1")
    assert finished.code == 2
    assert "FUSEML" not in finished.err


def test_everything_after_two_hyphens_is_a_location(command: CommandLine, fake: FakePipeline) -> None:
    command("convert", "--", "--strange", "--batch")
    (request,) = fake.requests
    assert (request.input.text, request.output.text) == ("--strange", "--batch")
