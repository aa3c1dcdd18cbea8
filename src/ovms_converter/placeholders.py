"""What a workflow system should have replaced in a value and has not."""

import re

from ovms_converter.errors import RequestError

__all__ = ["advice", "check_filled_in", "placeholder_in"]

_PLACEHOLDER = re.compile(r"\{\{.*?\}\}|\$\(.*?\)|\$\{.*?\}", re.DOTALL)
"""`{{ name }}` is FuseML's and Argo's, `$(name)` Tekton's and Kubernetes', `${name}` a shell's."""


def check_filled_in(name: str, value: str, *, parameter: str | None = None) -> None:
    """Raise `RequestError` if the value of `name`, a parameter or a variable, still holds a placeholder."""
    left = placeholder_in(value)
    if left:
        raise RequestError(
            f"`{name}` still holds the placeholder `{left}`", hint=advice(left), parameter=parameter
        )


def placeholder_in(text: str) -> str | None:
    """The first placeholder that is left in a text, None if there is none."""
    left = _PLACEHOLDER.search(text)
    return left[0] if left else None


def advice(placeholder: str) -> str:
    """Who should have filled it in."""
    if placeholder.startswith("{{"):
        return (
            "no workflow filled it in: check the name; FuseML wants one space inside the braces: `{{ name }}`"
        )
    if placeholder.startswith("$("):
        return "Tekton and Kubernetes leave what they do not know: declare the parameter, result or variable"
    return "no shell filled it in: write the value itself"
