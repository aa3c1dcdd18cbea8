"""What a workflow system should have replaced in a value and has not."""

import re

from ovms_converter.errors import RequestError

__all__ = ["check_filled_in"]

_PLACEHOLDER = re.compile(r"\{\{.*?\}\}|\$\(.*?\)", re.DOTALL)
"""`{{ name }}` as FuseML and Argo write it, `$(name)` as Tekton and Kubernetes do."""


def check_filled_in(name: str, value: str, *, parameter: str | None = None) -> None:
    """Raise `RequestError` if the value of `name`, a parameter or a variable, still holds a placeholder."""
    left = _PLACEHOLDER.search(value)
    if left:
        raise RequestError(
            f"`{name}` still holds the placeholder `{left[0]}`",
            hint="the workflow did not fill it in; FuseML wants one space inside the braces: `{{ name }}`",
            parameter=parameter,
        )
