"""A component of Kubeflow Pipelines 2 that converts a model, and a pipeline that hands its URL on.

The Secret `store-credentials` holds the variables of the store as its keys. `pip install kfp kfp-kubernetes`.
"""

from kfp import dsl, kubernetes

IMAGE = "ovms-converter:0.1.0"
CREDENTIALS = {name: name for name in ("S3_ENDPOINT", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}


@dsl.container_component
def convert(
    input_model: str,
    model_url: dsl.OutputPath(str),
    output_model: str = "",
    input_format: str = "auto",
    batch: str = "",
    extra_args: str = "",
):
    """Publish a trained model as a numbered version that OpenVINO Model Server serves.

    An empty value counts as not given; `model_url` receives the URL of the model repository.
    """
    return dsl.ContainerSpec(
        image=IMAGE,
        command=["ovms-converter", "convert"],
        args=[
            f"--input-model={input_model}",
            f"--output-model={output_model}",
            f"--input-format={input_format}",
            f"--batch={batch}",
            f"--extra-args={extra_args}",
            f"--result-file={model_url}",
        ],
    )


@dsl.container_component
def check(model_url: str):
    """Download what was published and run it once more; it stands for whatever needs the URL."""
    return dsl.ContainerSpec(image=IMAGE, command=["ovms-converter", "verify"], args=[model_url])


@dsl.pipeline(name="convert-a-model")
def convert_and_check(
    input_model: str = "s3://models/run42/model", output_model: str = "s3://models/run42/ovms"
):
    """Convert a model and check what was published."""
    converted = convert(input_model=input_model, output_model=output_model, batch="1")
    # The same URL may be another model by now. The converter itself publishes nothing where nothing changed.
    converted.set_caching_options(False)
    checked = check(model_url=converted.outputs["model_url"])
    checked.set_caching_options(False)
    for task in (converted, checked):
        kubernetes.use_secret_as_env(task, "store-credentials", CREDENTIALS)
