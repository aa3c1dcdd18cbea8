"""`mapping_config.json`: OpenVINO Model Server shows other names than the model has."""

from collections.abc import Iterable

__all__ = ["mapping_config"]


def mapping_config(
    renames: Iterable[tuple[str, str]], inputs: Iterable[str], outputs: Iterable[str]
) -> dict[str, dict[str, str]]:
    """The content of the file, for a model that keeps the names of its `inputs` and `outputs`.

    Format: https://docs.openvino.ai/2024/openvino-workflow/model-server/ovms_docs_models_repository.html
    """
    new = dict(renames)
    return {
        kind: {name: new[name] for name in names if name in new}
        for kind, names in (("inputs", inputs), ("outputs", outputs))
    }
