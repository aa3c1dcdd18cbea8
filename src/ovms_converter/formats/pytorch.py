"""PyTorch's archives, told apart by the names in their ZIP directory; and bare weights of any framework."""

from collections.abc import Iterator

from ovms_converter.formats.refused import Finding, Refused, file_match
from ovms_converter.formats.tree import Sample, Tree

__all__ = ["FORMATS"]


def _members(sample: Sample) -> set[str]:
    """The names below an archive's one top directory."""
    return {name.partition("/")[2] for name in sample.zip_names}


def _export(sample: Sample) -> str | None:
    names = _members(sample)
    if "archive_format" in names and any(name.startswith("models/") for name in names):
        return "it is a ZIP archive with `archive_format` and `models/`"
    if "serialized_exported_program.json" in {*names, *sample.zip_names}:
        return "it is a ZIP archive with `serialized_exported_program.json`"
    return None


def _torchscript(sample: Sample) -> str | None:
    names = _members(sample)
    found = "constants.pkl" in names and any(name.startswith("code/") for name in names)
    return "it is a ZIP archive with `constants.pkl` and `code/`" if found else None


def _pickled(sample: Sample) -> str | None:
    return "it is a ZIP archive with `data.pkl` and no code" if "data.pkl" in _members(sample) else None


def _transformers(tree: Tree) -> Iterator[Finding]:
    for config in tree.named("config.json"):
        directory = config.path.rpartition("/")[0]
        here = [path for path in tree.below(directory) if path.rpartition("/")[0] == directory]
        weights = [
            path for path in here if path.endswith((".safetensors", "pytorch_model.bin", ".index.json"))
        ]
        if weights:
            yield (
                directory,
                (config.path, *weights),
                f"it has `config.json` beside `{weights[0].rpartition('/')[2]}`",
            )


def _safetensors(sample: Sample) -> str | None:
    head = sample.head
    length = int.from_bytes(head[:8], "little")
    found = head[8:9] == b"{" and 2 <= length <= 100_000_000 and head[9:10] in b'" }'
    return "it starts with a safetensors header" if found and len(head) > 9 else None


FORMATS = (
    Refused(
        "transformers",
        "a Hugging Face model directory",
        _transformers,
        "run `optimum-cli export onnx --model <directory> onnx/` and convert `onnx/`",
    ),
    Refused(
        "pytorch.export",
        "a PyTorch exported program (`torch.export`)",
        file_match(_export),
        'run `torch.onnx.export(torch.export.load("model.pt2"), dynamo=True).save("model.onnx")` and '
        "convert that file",
        suffixes=(".pt2",),
    ),
    Refused(
        "pytorch.torchscript",
        "a TorchScript program",
        file_match(_torchscript),
        'run `torch.onnx.export(torch.jit.load("model.pt"), (example,), "model.onnx", dynamo=False)` '
        "and convert that file",
        suffixes=(".pt", ".pts", ".ptl", ".torchscript"),
    ),
    Refused(
        "pytorch.pickle",
        "a pickled PyTorch model or state dictionary",
        file_match(_pickled),
        'run `torch.onnx.export(model, (example,), "model.onnx", dynamo=True)` where it was trained',
        "which runs its author's code when it is opened and is not converted",
        suffixes=(".pth", ".ckpt"),
    ),
    Refused(
        "safetensors",
        "a safetensors file",
        file_match(_safetensors),
        "it belongs to a model whose code knows the graph: load it there and export ONNX",
        "which holds weights and no graph",
        suffixes=(".safetensors",),
    ),
)
