"""What the environment of a FuseML step is read as."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovms_converter.errors import RequestError
from ovms_converter.parameters import PARAMETERS, Parameter
from ovms_converter.workflow.fuseml import read_environment


@pytest.mark.parametrize("parameter", PARAMETERS, ids=lambda parameter: parameter.name)
def test_every_parameter_is_read_with_both_spellings(parameter: Parameter) -> None:
    underscored = f"FUSEML_{parameter.name.upper()}"
    hyphened = f"FUSEML_{parameter.name.replace('_', '-').upper()}"
    for variable in (underscored, hyphened):
        step = read_environment({variable: "  value\n"})
        assert step.values == {parameter.name: "value"}
        assert step.variables == {parameter.name: variable}
        assert step.warnings == ()


@pytest.mark.parametrize("empty", ["", " ", "\n", "\t \n"])
def test_empty_is_not_given(empty: str) -> None:
    step = read_environment({"FUSEML_BATCH": empty, "FUSEML_NO_SUCH_THING": empty, "TASK_RESULT": empty})
    assert step.values == {}
    assert step.warnings == ()
    assert step.result_file is None


def test_an_unknown_variable_is_warned_about_with_the_nearest_name() -> None:
    step = read_environment({"FUSEML_BACTH": "1", "FUSEML_ZZZZZZZZ": "1"})
    assert step.values == {}
    assert step.warnings == (
        "`FUSEML_BACTH` is not a parameter and is ignored; did you mean `FUSEML_BATCH`?",
        "`FUSEML_ZZZZZZZZ` is not a parameter and is ignored",
    )


def test_the_variables_of_fuseml_itself_are_nobodys_business() -> None:
    step = read_environment(
        {"FUSEML_ENV_WORKFLOW_NAME": "w", "FUSEML_ENV_WORKFLOW_NAMESPACE": "n", "HOME": "/h"}
    )
    assert step.values == {}
    assert step.warnings == ()


def test_two_spellings_may_agree_and_must_not_differ() -> None:
    assert read_environment({"FUSEML_INPUT_MODEL": "a", "FUSEML_INPUT-MODEL": " a "}).values == {
        "input_model": "a"
    }
    with pytest.raises(
        RequestError, match=r"`FUSEML_INPUT-MODEL` and `FUSEML_INPUT_MODEL` .* different"
    ) as caught:
        read_environment({"FUSEML_INPUT_MODEL": "a", "FUSEML_INPUT-MODEL": "b"})
    assert caught.value.parameter == "input_model"


@pytest.mark.parametrize(
    "variable", ["S3_ENDPOINT", "OUTPUT_S3_ENDPOINT", "AWS_SECRET_ACCESS_KEY", "MLFLOW_S3_ENDPOINT_URL"]
)
@pytest.mark.parametrize("left", ["{{extension.url}}", "$(params.url)"])
def test_a_placeholder_left_in_a_credential_is_refused_by_name(variable: str, left: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_environment({variable: left})
    assert caught.value.message == f"`{variable}` still holds the placeholder `{left}`"
    assert ("one space" if left.startswith("{") else "declare") in (caught.value.hint or "")


def test_the_result_goes_where_tekton_looks(tmp_path: Path) -> None:
    assert read_environment({}).result_file is None
    assert read_environment({"TASK_RESULT": "ovms-model-url"}).result_file == Path(
        "/tekton/results/ovms-model-url"
    )
    assert read_environment({"TASK_RESULT": "url"}, tmp_path).result_file == tmp_path / "url"


@pytest.mark.parametrize("name", ["../escape", "a/b", "..", "/etc/passwd", "a b"])
def test_a_result_is_a_plain_name(name: str) -> None:
    with pytest.raises(RequestError, match="TASK_RESULT"):
        read_environment({"TASK_RESULT": name})


@given(st.dictionaries(st.text(st.characters(codec="utf-8", exclude_characters="\0=")), st.text()))
def test_nothing_that_an_environment_can_hold_breaks_it(environ: dict[str, str]) -> None:
    prefixed = {f"FUSEML_{name}": value for name, value in environ.items()}
    try:
        step = read_environment(prefixed)
    except RequestError:
        return
    assert all(value == value.strip() != "" for value in step.values.values())


@pytest.mark.parametrize("name", ["FUSEML_OUTPUT_MODEL", "FUSEML_INPUT_MODEL"])
def test_a_url_that_tekton_cannot_pass_on_is_refused_before_any_work(name: str) -> None:
    url = "s3://b/" + "x" * 3577
    assert read_environment({name: url, "TASK_RESULT": "url"}).result_file
    with pytest.raises(RequestError, match="3585 bytes, which is too long for a result of Tekton"):
        read_environment({name: f"{url}y", "TASK_RESULT": "url"})
    assert read_environment({name: f"{url}y"}).result_file is None
