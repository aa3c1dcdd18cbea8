"""What a model says about itself, for a person to read: its own words first, MLflow's where it has none."""

from dataclasses import replace

from ovms_converter.formats.base import Files, ModelDescription, SourceModel
from ovms_converter.formats.registry import format_named, open_tree
from ovms_converter.formats.signature import signature_specs

__all__ = ["describe"]


def describe(files: Files, model: SourceModel) -> ModelDescription:
    """Inputs, outputs, operations and size of a recognised model, from few and small reads.

    Formats that are only recognised have no more than MLflow's signature. What is told of
    others is what would be published; `unknown` types, ranks that are None and ends that are left out are
    those that only a conversion learns. Raises `CorruptModelError`.
    """
    tree = open_tree(files)
    if any(path not in tree for path in model.needs):
        tree.show_published()
    row = format_named(model.format)
    found = row.describe(tree, model)
    if model.mlflow is None:
        return found
    notes = [f"logged by MLflow {model.mlflow.mlflow_version or 'before 1.27'}"]
    signature = model.mlflow.signature
    # What is published of a model that can be converted has names and types of its own.
    if signature and not row.convertible:
        found = replace(
            found, inputs=signature_specs(signature, "inputs"), outputs=signature_specs(signature, "outputs")
        )
        notes.append("inputs and outputs are those of MLflow's signature")
    return replace(found, notes=(*found.notes, *notes))
