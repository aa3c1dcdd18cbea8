"""What Tekton, Argo and Kubeflow make of the workflows in `examples`: command lines of containers."""

import re
import runpy
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import yaml

EXAMPLES = Path(__file__).parents[2] / "examples"
SOURCE, TARGET = "s3://models/run42/model", "s3://models/run42/ovms"
"""What the examples convert, and where to."""


@dataclass(frozen=True)
class Container:
    """One step: its command line before anything is filled in, and what it gets beside it.

    `parameters`  what the step takes → its default, None if it must be given
    `secrets`     the Secrets whose keys are variables
    """

    image: str
    command: list[str]
    args: list[str]
    parameters: dict[str, str | None]
    secrets: list[str]


@dataclass(frozen=True)
class Flow:
    """The two steps of an example.

    `convert`  where the URL shall go → the command line of the first step, for the values of `fill_in`
    `check`    the URL → the command line of the second step
    """

    converter: Container
    checker: Container
    convert: Callable[[Path], list[str]]
    check: Callable[[str], list[str]]


def read(path: str) -> dict[str, Any]:
    """A YAML document of the examples."""
    document: dict[str, Any] = yaml.safe_load((EXAMPLES / path).read_text())
    return document


def fill_in(expression: str, known: Mapping[str, str]) -> Callable[[str], str]:
    """Replaces what a system knows; what it does not know stays, as it does in Tekton and Argo."""
    return lambda text: re.sub(expression, lambda found: known.get(found[1], found[0]), text)


def _named(items: list[dict[str, Any]], value: str = "value") -> dict[str, Any]:
    return {item["name"]: item.get(value) for item in items}


def _kubernetes(container: Mapping[str, Any], parameters: dict[str, str | None]) -> Container:
    secrets = [source["secretRef"]["name"] for source in container["envFrom"]]
    return Container(container["image"], container["command"], container["args"], parameters, secrets)


def tekton(source: str = SOURCE, target: str = TARGET) -> Flow:
    """The PipelineRun, with the Task that it refers to."""
    task, run = read("tekton/task.yaml"), read("tekton/pipelinerun.yaml")["spec"]
    given = _named(run["params"])
    assert given == {"input_model": SOURCE, "output_model": TARGET}
    assert list(_named(run["pipelineSpec"]["params"])) == list(given)
    first, second = run["pipelineSpec"]["tasks"]
    assert (first["taskRef"], first["name"]) == ({"name": task["metadata"]["name"]}, "convert")

    def steps(spec: dict[str, Any]) -> Container:
        (step,) = spec["steps"]
        return _kubernetes(step, _named(spec["params"], "default"))

    converter, checker = steps(task["spec"]), steps(second["taskSpec"])
    in_pipeline = {"params.input_model": source, "params.output_model": target}

    def rendered(step: Container, asked: Mapping[str, Any], known: dict[str, str]) -> list[str]:
        outer = fill_in(r"\$\((.*?)\)", in_pipeline | known)
        values = step.parameters | {name: outer(value) for name, value in _named(asked["params"]).items()}
        inner = {f"params.{name}": value for name, value in values.items() if value is not None}
        return [*step.command, *map(fill_in(r"\$\((.*?)\)", inner | known), step.args)]

    (result,) = task["spec"]["results"]
    return Flow(
        converter,
        checker,
        lambda path: rendered(converter, first, {f"results.{result['name']}.path": str(path)}),
        lambda url: rendered(checker, second, {f"tasks.convert.results.{result['name']}": url}),
    )


def argo(source: str = SOURCE, target: str = TARGET) -> Flow:
    """The Workflow."""
    workflow = read("argo/workflow.yaml")["spec"]
    assert _named(workflow["arguments"]["parameters"]) == {"input_model": SOURCE, "output_model": TARGET}
    templates = {template["name"]: template for template in workflow["templates"]}
    ((first,), (second,)) = templates[workflow["entrypoint"]]["steps"]
    in_workflow = {"workflow.parameters.input_model": source, "workflow.parameters.output_model": target}

    def container(step: Mapping[str, Any]) -> Container:
        template = templates[step["template"]]
        return _kubernetes(template["container"], _named(template["inputs"]["parameters"]))

    def rendered(step: Mapping[str, Any], known: dict[str, str]) -> list[str]:
        of_template = container(step)
        outer = fill_in(r"\{\{(.*?)\}\}", in_workflow | known)
        asked = _named(step["arguments"]["parameters"])
        values = of_template.parameters | {name: outer(value) for name, value in asked.items()}
        inner = {f"inputs.parameters.{name}": value for name, value in values.items() if value is not None}
        return [*of_template.command, *map(fill_in(r"\{\{(.*?)\}\}", inner), of_template.args)]

    (output,) = templates[first["template"]]["outputs"]["parameters"]
    place = output["valueFrom"]["path"]

    def convert(path: Path) -> list[str]:
        """The volume of the container is the directory of `path` here."""
        return [argument.replace(f"={place}", f"={path}") for argument in rendered(first, {})]

    said = f"steps.{first['name']}.outputs.parameters.{output['name']}"
    return Flow(container(first), container(second), convert, lambda url: rendered(second, {said: url}))


@dataclass
class _Task:
    """A component that a pipeline calls: what with, and what it is given besides."""

    function: Callable[..., Any]
    inputs: dict[str, str]
    outputs: dict[str, str]
    cached: bool = True
    secrets: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)

    def set_caching_options(self, enable: bool) -> None:
        self.cached = enable

    def container(self, **values: str) -> Container:
        """The container, filled in with the task's inputs, defaults and `values`."""
        spec = self.function(**self.inputs | values)
        parameters = {
            name: None if item.default is item.empty else item.default
            for name, item in signature(self.function).parameters.items()
            if name not in self.outputs
        }
        return Container(spec.image, spec.command, spec.args, parameters, self.secrets)


def kubeflow_tasks(source: str = SOURCE, target: str = TARGET) -> tuple[_Task, _Task]:
    """The tasks of the pipeline, by a stand-in for `kfp` with the names that it uses."""
    tasks: list[_Task] = []

    def component(function: Callable[..., Any]) -> Callable[..., _Task]:
        def call(**inputs: str) -> _Task:
            outputs = {
                name: f"{{{{{function.__name__}.{name}}}}}"
                for name, item in signature(function).parameters.items()
                if item.annotation == "an output"
            }
            tasks.append(_Task(function, inputs, outputs))
            return tasks[-1]

        return call

    def use_secret_as_env(task: _Task, secret_name: str, secret_key_to_env: dict[str, str]) -> None:
        task.secrets.append(secret_name)
        task.variables |= secret_key_to_env

    kfp: Any = ModuleType("kfp")
    kfp.dsl = SimpleNamespace(
        container_component=component,
        pipeline=lambda name: lambda function: function,
        OutputPath=lambda _type: "an output",
        ContainerSpec=SimpleNamespace,
    )
    kfp.kubernetes = SimpleNamespace(use_secret_as_env=use_secret_as_env)
    with mock.patch.dict(sys.modules, {"kfp": kfp}):
        pipeline = runpy.run_path(str(EXAMPLES / "kubeflow" / "pipeline.py"))["convert_and_check"]
    defaults = {name: item.default for name, item in signature(pipeline).parameters.items()}
    assert defaults == {"input_model": SOURCE, "output_model": TARGET}
    pipeline(input_model=source, output_model=target)
    first, second = tasks
    return first, second


def kubeflow(source: str = SOURCE, target: str = TARGET) -> Flow:
    """The pipeline; Kubeflow hands over the path of each output as the argument of its name."""
    first, second = kubeflow_tasks(source, target)
    (output,) = first.outputs

    def line(container: Container) -> list[str]:
        return [*container.command, *container.args]

    def check(url: str) -> list[str]:
        values = {name: value.replace(first.outputs[output], url) for name, value in second.inputs.items()}
        return line(second.container(**values))

    # What is not filled in: every parameter as Kubeflow writes it into the compiled pipeline.
    names = signature(first.function).parameters
    unfilled = {name: f"{{{{$.inputs.parameters['{name}']}}}}" for name in names}
    return Flow(
        first.container(**unfilled),
        second.container(),
        lambda path: line(first.container(**{output: str(path)})),
        check,
    )


FLOWS = {"tekton": tekton, "argo": argo, "kubeflow": kubeflow}
