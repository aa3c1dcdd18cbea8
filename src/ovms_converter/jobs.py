"""What is asked of the child process for a request, once its model is here, and which programs do it."""

from dataclasses import replace
from pathlib import Path

from ovms_converter.engine.job import ConversionJob
from ovms_converter.formats.base import SourceModel
from ovms_converter.formats.framework import FrameworkFormat, example_of, versions_of
from ovms_converter.formats.registry import FORMATS
from ovms_converter.optimizer.arguments import OptimizerArguments
from ovms_converter.request import ConversionRequest
from ovms_converter.storage.base import FetchedTree

__all__ = ["as_logged", "conversion_job", "programs"]


def conversion_job(
    request: ConversionRequest, model: SourceModel, tree: FetchedTree, output: Path
) -> ConversionJob:
    """The conversion of `model`, as it lies in `tree`, into the directory `output`."""
    example = example_of(model) or ""
    return ConversionJob(
        format=model.format,
        model=tree.root / model.path,
        arguments=request.arguments,
        stem=request.model_name or model.stem,
        output=output,
        verify=request.verify,
        tolerance=request.tolerance,
        signature=model.mlflow.signature if model.mlflow else None,
        example=tree.root / example if example in model.needs else None,
        versions=versions_of(model.mlflow),
        trusted=request.trust_source,
        weights=request.weights,
        benchmark=request.benchmark,
    )


def as_logged(arguments: OptimizerArguments, model: SourceModel) -> OptimizerArguments:
    """The arguments with the tags and the signature that MLflow 1.x noted, where the request names none."""
    noted = model.mlflow.flavors.get("tensorflow", {}) if model.mlflow else {}
    tags, signature = noted.get("meta_graph_tags"), noted.get("signature_def_key")
    if not arguments.saved_model_tags and isinstance(tags, list):
        arguments = replace(arguments, saved_model_tags=tuple(map(str, tags)))
    if not arguments.signature and isinstance(signature, str):
        arguments = replace(arguments, signature=signature)
    return arguments


def programs(request: ConversionRequest, model_format: str | None) -> dict[str, str]:
    """The versions of the packages that make the result, by name, read without importing them.

    Those of a library that exports the model are among them, if its format is known.
    """
    # Imported when the child is on its way already: everything before delays it.
    from importlib.metadata import packages_distributions, version

    names = {"openvino", *(("nncf",) if request.weights else ())}
    found = next((row for row in FORMATS if row.name == model_format), None)
    if isinstance(found, FrameworkFormat):
        packages = packages_distributions()
        names |= {package for module in found.modules for package in packages.get(module, ())}
    return {name: version(name) for name in sorted(names)}
