"""The converter's step of the workflows in `examples/fuseml`: a real artifact, a real S3 server."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fuseml_engine import Cluster, find_step, step_environment
from servers import S3Bucket

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "fuseml"
ARTIFACTS = ROOT / "tests" / "data" / "mlflow"
KERAS = ARTIFACTS / "1.20.2-keras-tf-trained" / "model"
IMAGES = ARTIFACTS / "1.20.2-tensorflow-cnn" / "model"
MODEL = "1/0e3f8d7c2b4a49f1/artifacts/model"

RUN_STEP = """
import sys
from pathlib import Path
from ovms_converter.cli.app import execute
sys.exit(execute(["convert"], results_directory=Path(sys.argv[1])))
"""


def run_step(environ: dict[str, str], results: Path) -> "subprocess.CompletedProcess[str]":
    """`ovms-converter convert` with an environment and a directory of Tekton's."""
    results.mkdir()
    return subprocess.run(
        [sys.executable, "-c", RUN_STEP, str(results)],
        env={name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
        | environ,
        capture_output=True,
        text=True,
        check=False,
    )


def credentials(s3: S3Bucket) -> dict[str, str]:
    """What FuseML's MLflow extension sets: it knows nothing of `S3_ENDPOINT`."""
    return {
        "MLFLOW_S3_ENDPOINT_URL": s3.endpoint,
        "AWS_ACCESS_KEY_ID": s3.server.access_key,
        "AWS_SECRET_ACCESS_KEY": s3.server.secret_key,
    }


def assert_published(
    done: "subprocess.CompletedProcess[str]", results: Path, s3: S3Bucket
) -> dict[str, object]:
    """The contract: exactly the URL in the result and on stdout, exactly one version; gives its record."""
    url = s3.url(f"{MODEL}/ovms")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{url}\n"
    assert [path.name for path in results.iterdir()] == ["ovms-model-url"]
    assert (results / "ovms-model-url").read_bytes() == url.encode()
    assert sorted(s3.keys(f"{MODEL}/ovms")) == [
        f"{MODEL}/ovms/1/{name}" for name in ("conversion.json", "saved_model.bin", "saved_model.xml")
    ]
    assert s3.server.secret_key not in done.stderr
    record: dict[str, object] = json.loads(s3.get(f"{MODEL}/ovms/1/conversion.json"))
    return record


def test_the_tutorial_run(s3: S3Bucket, tmp_path: Path) -> None:
    """The environment of FuseML's tutorial, variable by variable."""
    s3.put_tree(MODEL, KERAS)
    environ = {
        "FUSEML_INPUT_MODEL": s3.url(MODEL),
        "FUSEML_OUTPUT_MODEL": f"{s3.url(MODEL)}/ovms",
        "FUSEML_INPUT_FORMAT": "auto",
        "FUSEML_OUTPUT_FORMAT": "openvino",
        "FUSEML_BATCH": "1",
        "FUSEML_EXTRA_ARGS": "--disable_nhwc_to_nchw",
        "FUSEML_VERBOSE": "false",
        "TASK_RESULT": "ovms-model-url",
        "FUSEML_ENV_WORKFLOW_NAMESPACE": "fuseml-workloads",
        "FUSEML_ENV_WORKFLOW_NAME": "mlflow-multi-e2e",
        "S3_ENDPOINT": s3.endpoint,
    } | credentials(s3)
    done = run_step(environ, tmp_path / "results")
    record = assert_published(done, tmp_path / "results", s3)
    assert record["inputs"] == [{"name": "features", "type": "f32", "shape": "[1,4]"}]
    assert record["outputs"] == [{"name": "probs", "type": "f32", "shape": "[1,3]"}]
    assert "FUSEML_" not in done.stderr


@pytest.mark.parametrize(
    ("example", "artifact", "shape"),
    [
        ("converter-step.yaml", KERAS, "[1,4]"),
        ("converter-step.yaml", IMAGES, "[1,16,16,3]"),
        ("mlflow-multi-e2e.yaml", KERAS, "[1,4]"),
        ("mlflow-multi-e2e.yaml", IMAGES, "[1,16,16,3]"),
        ("mlflow-ovms-e2e.yaml", KERAS, "[1,4]"),
        ("mlflow-ovms-e2e.yaml", IMAGES, "[1,3,16,16]"),
    ],
)
def test_an_example_runs(example: str, artifact: Path, shape: str, s3: S3Bucket, tmp_path: Path) -> None:
    s3.put_tree(MODEL, artifact)
    step, defaults = find_step(EXAMPLES / example, "converter")
    cluster = Cluster(
        workflow_name=example.removesuffix(".yaml"),
        results={"trainer.mlflow-model-url": s3.url(MODEL)},
        extensions={"mlflow-store": credentials(s3)},
    )
    done = run_step(step_environment(step, defaults, cluster), tmp_path / "results")
    record = assert_published(done, tmp_path / "results", s3)
    inputs = record["inputs"]
    assert isinstance(inputs, list)
    assert [item["shape"] for item in inputs] == [shape]


@pytest.mark.parametrize("example", ["mlflow-ovms-e2e.yaml", "mlflow-multi-e2e.yaml"])
def test_the_predictor_can_read_what_the_converter_writes(example: str) -> None:
    """IR 11 needs a server of 2022.1, and one from 2024.0 on refuses the predictor's own plugin_config."""
    workflow = yaml.safe_load((EXAMPLES / example).read_text())
    (predictor,) = (step for step in workflow["steps"] if "ovms-predictor" in step["image"])
    inputs = {item["name"]: item.get("value") for item in predictor["inputs"]}
    assert inputs["model"] == "{{ steps.converter.outputs.ovms-model-url }}"
    assert (2022, 1) <= tuple(map(int, inputs["ovms_image_tag"].split("."))) <= (2026, 2)
    assert json.loads(inputs["plugin_config"]) == {"NUM_STREAMS": "1"}
    assert inputs["layout"] in ("NCHW", "NHWC", "")


def test_an_expression_that_fuseml_does_not_know_is_refused(s3: S3Bucket, tmp_path: Path) -> None:
    environ = {"FUSEML_INPUT_MODEL": "{{steps.trainer.outputs.url}}", "TASK_RESULT": "url"} | credentials(s3)
    done = run_step(environ, tmp_path / "results")
    assert done.returncode == 2
    assert done.stderr.startswith("error: `FUSEML_INPUT_MODEL`: ")
    assert list((tmp_path / "results").iterdir()) == []


def test_a_step_that_fails_writes_no_result(s3: S3Bucket, tmp_path: Path) -> None:
    environ = {"FUSEML_INPUT_MODEL": s3.url("nothing/here"), "TASK_RESULT": "url", "S3_ENDPOINT": ""}
    done = run_step(environ | credentials(s3), tmp_path / "results")
    assert (done.returncode, done.stdout) == (3, "")
    assert "nothing/here" in done.stderr
    assert list((tmp_path / "results").iterdir()) == []
    assert s3.keys() == []
