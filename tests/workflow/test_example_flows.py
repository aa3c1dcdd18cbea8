"""The examples for Tekton, Argo, Kubeflow and KServe: what they run, and that it runs."""

import re
from pathlib import Path

import pytest
import yaml

from command_line import CommandLine
from example_flows import EXAMPLES, FLOWS, TARGET, kubeflow_tasks, read
from ovms_converter import __version__
from ovms_converter.errors import NotFoundError, RequestError, UnavailableError
from ovms_converter.parameters import PARAMETERS
from ovms_converter.placeholders import placeholder_in
from servers import S3Bucket

ROOT = EXAMPLES.parent
MODEL = ROOT / "tests" / "data" / "mlflow" / "3.18.0-onnx-single" / "model"
TABLE = {parameter.name: parameter for parameter in PARAMETERS}
CREDENTIALS = ("S3_ENDPOINT", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")

every_system = pytest.mark.parametrize("system", FLOWS)


@every_system
def test_a_model_is_converted_and_its_url_reaches_the_next_step(
    system: str, s3: S3Bucket, command: CommandLine, tmp_path: Path
) -> None:
    s3.put_tree("run42/model", MODEL)
    url, result = s3.url("run42/ovms"), tmp_path / "outputs" / "model-url"
    flow = FLOWS[system](s3.url("run42/model"), url)
    program, *argv = flow.convert(result)
    done = command(*argv, **s3.environ())
    assert (program, done.code, done.out) == ("ovms-converter", 0, f"{url}\n"), done.err
    assert result.read_bytes() == url.encode()
    assert "run42/ovms/1/conversion.json" in s3.keys("run42/ovms")
    assert "[1,4]" in done.err
    program, *argv = flow.check(result.read_text())
    done = command(*argv, **s3.environ())
    assert (program, done.code) == ("ovms-converter", 0), done.err


@every_system
def test_a_conversion_that_fails_says_so_by_its_exit_code_and_leaves_no_result(
    system: str, s3: S3Bucket, command: CommandLine, tmp_path: Path
) -> None:
    flow = FLOWS[system](s3.url("nothing"), s3.url("ovms"))
    done = command(*flow.convert(tmp_path / "model-url")[1:], **s3.environ())
    assert (done.code, done.out) == (NotFoundError.exit_code, "")
    assert not (tmp_path / "model-url").exists()


@every_system
def test_every_argument_is_a_parameter_and_every_parameter_an_argument(system: str) -> None:
    container = FLOWS[system]().converter
    *flags, (last, _) = (argument.removeprefix("--").split("=", 1) for argument in container.args)
    assert last == "result-file"
    assert [flag.replace("-", "_") for flag, _ in flags] == list(container.parameters)
    for name, (_, value) in zip(container.parameters, flags, strict=True):
        assert name in TABLE
        placeholder = placeholder_in(value)
        assert placeholder == value
        assert re.search(rf"\b{name}\b", placeholder)


@every_system
def test_parameters_that_are_left_out_count_as_not_given(system: str) -> None:
    parameters = FLOWS[system]().converter.parameters
    assert [name for name, default in parameters.items() if default is None] in (
        ["input_model"],
        ["input_model", "output_model"],
    )
    for name, default in parameters.items():
        assert default in (None, "", TABLE[name].default)


@every_system
def test_everything_is_filled_in(system: str) -> None:
    flow = FLOWS[system]()
    for argument in (*flow.convert(Path("/results/url")), *flow.check(TARGET)):
        assert placeholder_in(argument) is None


@every_system
def test_what_is_not_filled_in_is_refused_by_name(system: str, command: CommandLine, tmp_path: Path) -> None:
    container = FLOWS[system]().converter
    *argv, _ = (*container.command[1:], *container.args)
    done = command(*argv, f"--result-file={tmp_path / 'url'}")
    assert done.code == RequestError.exit_code
    assert "`input_model` still holds the placeholder" in done.err


@every_system
def test_the_image_and_the_credentials_are_those_of_the_guides(system: str) -> None:
    flow = FLOWS[system]()
    for container in (flow.converter, flow.checker):
        assert container.image == f"ovms-converter:{__version__}"
        assert container.secrets == ["store-credentials"]
    guides = (ROOT / "docs" / "guides" / "container.md").read_text()
    assert "secretRef: {name: store-credentials}" in guides


def test_the_secrets_keys_are_variables_of_the_store() -> None:
    reference = (ROOT / "docs" / "reference" / "storage-variables.md").read_text()
    for task in kubeflow_tasks():
        assert task.variables == {name: name for name in CREDENTIALS}
    for name in CREDENTIALS:
        assert f"`{name}`" in reference
        for path in ("tekton/task.yaml", "argo/workflow.yaml"):
            assert name in (EXAMPLES / path).read_text()


def test_tekton_reads_the_result_that_the_task_declares() -> None:
    task, run = read("tekton/task.yaml"), read("tekton/pipelinerun.yaml")["spec"]["pipelineSpec"]
    (result,) = task["spec"]["results"]
    (step,) = task["spec"]["steps"]
    assert step["args"][-1] == f"--result-file=$(results.{result['name']}.path)"
    assert run["results"] == [{"name": result["name"], "value": f"$(tasks.convert.results.{result['name']})"}]
    assert "workspaces" not in task["spec"]


def test_argo_reads_the_file_that_the_step_writes_in_its_volume() -> None:
    templates = {template["name"]: template for template in read("argo/workflow.yaml")["spec"]["templates"]}
    (output,) = templates["convert"]["outputs"]["parameters"]
    container = templates["convert"]["container"]
    assert container["args"][-1] == f"--result-file={output['valueFrom']['path']}"
    assert any(
        Path(output["valueFrom"]["path"]).is_relative_to(mount["mountPath"])
        for mount in container["volumeMounts"]
    )


def test_argo_repeats_nothing_but_what_is_worth_it() -> None:
    templates = {template["name"]: template for template in read("argo/workflow.yaml")["spec"]["templates"]}
    strategy = templates["convert"]["retryStrategy"]
    condition = re.fullmatch(r"asInt\(lastRetry\.exitCode\) == (\d+)", strategy["expression"])
    assert condition
    assert int(condition[1]) == UnavailableError.exit_code
    assert "retryPolicy" not in strategy
    assert int(strategy["limit"]) > 0
    assert [name for name, template in templates.items() if "retryStrategy" in template] == ["convert"]


def test_kubeflow_caches_nothing() -> None:
    """The same URL may be another model by now."""
    assert [task.cached for task in kubeflow_tasks()] == [False, False]


def test_a_root_that_is_read_only_comes_with_a_scratch_volume() -> None:
    (step,) = read("tekton/task.yaml")["spec"]["steps"]
    volumes = read("tekton/task.yaml")["spec"]["volumes"]
    templates = {template["name"]: template for template in read("argo/workflow.yaml")["spec"]["templates"]}
    for container in (step, templates["convert"]["container"]):
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["volumeMounts"] == [{"name": volumes[0]["name"], "mountPath": "/tmp"}]
    assert volumes == read("argo/workflow.yaml")["spec"]["volumes"] == [{"name": "scratch", "emptyDir": {}}]


def test_kserve_serves_what_the_others_publish() -> None:
    model = read("kserve/inferenceservice.yaml")["spec"]["predictor"]["model"]
    # KServe copies by bare prefix: without the slash, a sibling would come along.
    assert model["storageUri"] == f"{TARGET}/"
    assert (model["modelFormat"], model["runtime"]) == ({"name": "openvino"}, "kserve-openvino")
    # Servers from 2026.3 on have no other.
    assert model["protocolVersion"] == "v2"


def test_the_guide_names_every_example() -> None:
    guide = (ROOT / "docs" / "guides" / "pipelines.md").read_text()
    for path in EXAMPLES.rglob("*.*"):
        if path.suffix in (".yaml", ".py"):
            assert path.name in guide or f"examples/{path.parent.name})" in guide, path


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.yaml")), ids=lambda path: path.name)
def test_no_key_stands_twice_in_an_example(path: Path) -> None:
    """YAML's own reader takes the last one silently."""
    root = yaml.compose(path.read_text())
    nodes = [root]
    for node in nodes:
        if isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in node.value]
            assert len(keys) == len(set(keys)), keys
            nodes += [value for _, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            nodes += node.value
