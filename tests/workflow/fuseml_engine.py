"""What FuseML and Tekton make of a workflow's step: its container's environment.

FuseML replaces `{{ name }}`, with exactly one space inside the braces, by what it knows, and by nothing if it
knows nothing; the value arrives through a Tekton parameter, `$(params.name)`, as text.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

_EXPRESSION = re.compile(r"\{\{ ([^{} ]+) \}\}")


@dataclass(frozen=True)
class Cluster:
    """What a cluster knows when a step starts.

    `results`     output of an earlier step, `step.output` → text
    `extensions`  name of an extension → its variables, all of which the step gets
    """

    workflow_name: str
    results: Mapping[str, str]
    extensions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def text_of(value: object) -> str:
    """A scalar of the YAML as the text that FuseML sends."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | str):
        return str(value)
    raise TypeError(f"FuseML takes no {type(value).__name__} here: {value!r}")


def find_step(path: Path, name: str) -> tuple[dict[str, Any], dict[str, str]]:
    """A step of a workflow file, or of a list of steps, and the defaults of the workflow's inputs."""
    document = yaml.safe_load(path.read_text())
    workflow = {"steps": document} if isinstance(document, list) else document
    defaults = {item["name"]: text_of(item.get("default")) for item in workflow.get("inputs", ())}
    (step,) = (step for step in workflow["steps"] if step["name"] == name)
    return step, defaults


def step_environment(step: Mapping[str, Any], inputs: Mapping[str, str], cluster: Cluster) -> dict[str, str]:
    """The environment of a step's container, in the order in which FuseML sets it."""
    known = {f"inputs.{name}": value for name, value in inputs.items()}
    for place, value in cluster.results.items():
        name, _, output = place.partition(".")
        known[f"steps.{name}.outputs.{output}"] = value
    for extension, variables in cluster.extensions.items():
        known |= {f"extensions.{extension}.cfg.{name}": value for name, value in variables.items()}

    def filled_in(value: object) -> str:
        return _EXPRESSION.sub(lambda found: known.get(found.group(1), ""), text_of(value))

    environ = {
        f"FUSEML_{item['name'].upper()}": filled_in(item["value"])
        for item in step["inputs"]
        if "codeset" not in item
    }
    environ |= [("TASK_RESULT", item["name"]) for item in step["outputs"]]
    environ |= {
        "FUSEML_ENV_WORKFLOW_NAMESPACE": "fuseml-workloads",
        "FUSEML_ENV_WORKFLOW_NAME": cluster.workflow_name,
    }
    for extension in step["extensions"]:
        environ |= cluster.extensions[extension["name"]]
    return environ | {item["name"]: filled_in(item["value"]) for item in step["env"]}
