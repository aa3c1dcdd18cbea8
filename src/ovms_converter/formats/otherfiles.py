"""Files of other runtimes: TensorFlow's other forms, PaddlePaddle's new one, Core ML, GGUF."""

from collections.abc import Callable, Iterator

from ovms_converter.formats.refused import Finding, Refused, file_match, magic
from ovms_converter.formats.tree import Sample, Tree

__all__ = ["FORMATS"]


def _paddle_pir(tree: Tree) -> Iterator[Finding]:
    """Programs as JSON: a file may end so for any reason, so its weights or its own words must tell."""
    for path in tree.paths:
        if not path.endswith(".json"):
            continue
        weights = f"{path.removesuffix('.json')}.pdiparams"
        if weights in tree:
            yield path, (path, weights), "it has `.pdiparams` beside `.json`"
        elif tree.probing and _PIR in tree.sample(path).head[:200]:
            yield path, (path,), "its JSON says `pir`"


def _checkpoint(tree: Tree) -> Iterator[Finding]:
    for path in tree.paths:
        shard = f"{path.removesuffix('.index')}.data-00000-of-"
        if path.endswith(".index") and any(other.startswith(shard) for other in tree.paths):
            base = path.removesuffix(".index")
            files = tuple(other for other in tree.paths if other.startswith(f"{base}."))
            yield path, files, "it has a checkpoint's `.index` and `.data`"


def _mlpackage(tree: Tree) -> Iterator[Finding]:
    for manifest in tree.named("Manifest.json"):
        directory = manifest.path.rpartition("/")[0]
        members = tree.below(directory)
        if any("com.apple.CoreML" in path for path in members):
            yield directory, members, "it has `Manifest.json` with `Data/com.apple.CoreML`"


def _coreml(sample: Sample) -> str | None:
    named = sample.suffix == ".mlmodel" and sample.head[:1] == b"\x08" and sample.head[2:3] == b"\x12"
    return "it is a Core ML specification" if named else None


def _text_saved_model(tree: Tree) -> Iterator[Finding]:
    for sample in tree.named("saved_model.pbtxt"):
        yield sample.path, (sample.path,), "its name is `saved_model.pbtxt`"


def _by_suffix(*suffixes: str) -> Callable[[Tree], Iterator[Finding]]:
    def match(sample: Sample) -> str | None:
        return f"its name ends in `{sample.suffix}`" if sample.suffix in suffixes else None

    return file_match(match)


_PIR = b'"pir"'

_PADDLE = (
    "run `paddle2onnx --model_dir . --model_filename <model file> --params_filename <params file> "
    "--save_file model.onnx` and convert that file"
)

FORMATS = (
    Refused(
        "tensorflow.text_saved_model",
        "a SavedModel in text form",
        _text_saved_model,
        'run `tf.saved_model.save(tf.saved_model.load("<directory>"), "out")` and convert `out`',
    ),
    Refused("paddle.pir", "a PaddlePaddle 3 inference model (PIR)", _paddle_pir, _PADDLE),
    Refused(
        "tensorflow.checkpoint",
        "a TensorFlow checkpoint",
        _checkpoint,
        'build the model, restore it, run `tf.saved_model.save(model, "saved_model")`, and convert that '
        "directory",
        "which holds weights and no graph",
    ),
    Refused(
        "coreml.package",
        "a Core ML package",
        _mlpackage,
        "export the model that it was made from as ONNX and convert that",
    ),
    Refused(
        "ort",
        "an ONNX Runtime (ORT format) model",
        magic(b"ORTM", at=4, called="it has the identifier `ORTM`"),
        "convert the `.onnx` file that it was made from",
    ),
    Refused(
        "gguf",
        "a GGUF file",
        magic(b"GGUF", called="it has the identifier `GGUF`"),
        "run `optimum-cli export openvino --model <the original model> out/`; the server serves its "
        "result directly",
        suffixes=(".gguf",),
    ),
    Refused(
        "coreml",
        "a Core ML model",
        file_match(_coreml),
        "export the model that it was made from as ONNX and convert that",
        suffixes=(".mlmodel",),
    ),
    Refused(
        "numpy",
        "a NumPy array",
        magic(b"\x93NUMPY", called="it has NumPy's header"),
        "give the model's own file or directory",
        "not a model",
    ),
    Refused(
        "caffe",
        "a Caffe model",
        _by_suffix(".caffemodel", ".prototxt"),
        "OpenVINO reads no Caffe since 2024.0: convert it to ONNX with a converter for Caffe",
        suffixes=(".caffemodel", ".prototxt"),
    ),
)
