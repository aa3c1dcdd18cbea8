"""The contract of a FuseML step: `FUSEML_<NAME>` variables in, one Tekton result out.

FuseML upper-cases an input's name and does nothing else, so `input-model` arrives as `FUSEML_INPUT-MODEL`: no
shell can write that name, but it is there. It also sets variables that nobody filled in to the empty string.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ovms_converter.errors import RequestError
from ovms_converter.parameters import PARAMETERS
from ovms_converter.placeholders import check_filled_in

__all__ = ["TEKTON_RESULTS", "StepInputs", "read_environment"]

TEKTON_RESULTS = Path("/tekton/results")
"""Where Tekton reads the results of a step; it makes the directory."""

_PREFIX = "FUSEML_"
_LONGEST_RESULT = 3584
"""Bytes: the 4096 of a termination message without Tekton's own entries."""
_OWN_PREFIX = "FUSEML_ENV_"
_CREDENTIALS = re.compile(r"(OUTPUT_)?(S3_ENDPOINT|AWS_.+)|MLFLOW_S3_ENDPOINT_URL")
_RESULT_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class StepInputs:
    """What the environment asks for.

    `values`       parameter name → text, outer white space stripped, never empty
    `variables`    parameter name → the variable that it came from
    `warnings`     one line each
    `result_file`  where the URL goes, None outside a pipeline
    """

    values: dict[str, str]
    variables: dict[str, str]
    warnings: tuple[str, ...]
    result_file: Path | None


def read_environment(environ: Mapping[str, str], results_directory: Path = TEKTON_RESULTS) -> StepInputs:
    """Read every `FUSEML_<NAME>` and `TASK_RESULT`.

    Raises `RequestError` if a parameter is given twice with different values, if a credential still is a
    placeholder, or if `TASK_RESULT` is no name of a result.
    """
    names = {parameter.variable: parameter.name for parameter in PARAMETERS}
    values: dict[str, str] = {}
    variables: dict[str, str] = {}
    warnings: list[str] = []
    for variable, raw in sorted(environ.items()):
        value = raw.strip()
        if not value:
            continue
        if _CREDENTIALS.fullmatch(variable):
            check_filled_in(variable, value)
        if not variable.startswith(_PREFIX) or variable.startswith(_OWN_PREFIX):
            continue
        name = names.get(variable.replace("-", "_"))
        if name is None:
            warnings.append(_unknown(variable, list(names)))
        elif values.get(name, value) != value:
            raise RequestError(
                f"`{variables[name]}` and `{variable}` are the same parameter and hold different values",
                hint="unset one of the two",
                parameter=name,
            )
        else:
            values[name] = value
            variables[name] = variable
    result_file = _result_file(environ, results_directory)
    if result_file:
        _check_fits(values)
    return StepInputs(values, variables, tuple(warnings), result_file)


def _check_fits(values: Mapping[str, str]) -> None:
    """The URL is the result; Tekton fails a step whose results are longer, after all its work is done."""
    name = "output_model" if values.get("output_model") else "input_model"
    size = len(values.get(name, "").encode(errors="surrogateescape"))
    if size > _LONGEST_RESULT:
        raise RequestError(
            f"`{name}` has {size} bytes, which is too long for a result of Tekton (`TASK_RESULT` is set)",
            hint="all results of a step share 4096 bytes, of which Tekton takes some: use a shorter location",
            parameter=name,
        )


def _unknown(variable: str, known: list[str]) -> str:
    import difflib

    name = variable.removeprefix(_PREFIX).replace("-", "_")
    near = difflib.get_close_matches(name, [other.removeprefix(_PREFIX) for other in known], n=1)
    advice = f"; did you mean `{_PREFIX}{near[0]}`?" if near else ""
    return f"`{variable}` is not a parameter and is ignored{advice}"


def _result_file(environ: Mapping[str, str], directory: Path) -> Path | None:
    name = environ.get("TASK_RESULT", "").strip()
    if not name:
        return None
    if not _RESULT_NAME.fullmatch(name):
        raise RequestError(
            f"`TASK_RESULT` is `{name}`, which is no name of a Tekton result",
            hint="it is the name of one output of the step, such as `ovms-model-url`",
        )
    return directory / name
