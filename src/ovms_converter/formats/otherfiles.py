"""Files of other runtimes: TensorFlow's other forms, TFLite, PaddlePaddle, OpenVINO IR, Core ML, GGUF."""

import re
from collections.abc import Callable, Iterator

from ovms_converter.errors import CorruptModelError
from ovms_converter.formats.refused import Finding, Refused, file_match, magic
from ovms_converter.formats.tree import Sample, Tree
from ovms_converter.formats.wire import LENGTH, Message, fields

__all__ = ["FORMATS", "IR"]

_WORD = re.compile(rb"[A-Za-z_.>][A-Za-z0-9_.>\\/\-]*")


def _first_message(head: bytes) -> Message | None:
    """The message that a file begins with as field 1, as far as the head holds it whole."""
    try:
        first = next(fields(memoryview(head)), None)
        return Message(first.data) if first and first.number == 1 and first.wire_type == LENGTH else None
    except CorruptModelError:
        return None


def _frozen(sample: Sample) -> str | None:
    node = _first_message(sample.head)
    if node is None:
        return None
    try:
        name, operation = node.text(1), node.text(2)
    except CorruptModelError:
        return None
    found = all(_WORD.fullmatch(word.encode()) for word in (name, operation))
    return f"it is a graph whose first node is `{name}` ({operation})" if found else None


def _paddle(suffix: str) -> Callable[[Tree], Iterator[Finding]]:
    """Program files; the JSON form counts only beside its weights, as any other file may end in `.json`."""

    def search(tree: Tree) -> Iterator[Finding]:
        for path in tree.paths:
            weights = f"{path.removesuffix(suffix)}.pdiparams"
            if path.endswith(suffix) and weights in tree:
                yield path, (path, weights), f"it has `.pdiparams` beside `{suffix}`"
            elif path.endswith(suffix) and suffix == ".pdmodel":
                yield path, (path,), f"its name ends in `{suffix}`"

    return search


def _checkpoint(tree: Tree) -> Iterator[Finding]:
    for path in tree.paths:
        shard = f"{path.removesuffix('.index')}.data-00000-of-"
        if path.endswith(".index") and any(other.startswith(shard) for other in tree.paths):
            base = path.removesuffix(".index")
            files = tuple(other for other in tree.paths if other.startswith(f"{base}."))
            yield path, files, "it has a checkpoint's `.index` and `.data`"


def _ir(tree: Tree) -> Iterator[Finding]:
    for path in tree.paths:
        if path.endswith(".xml") and tree.sample(path).head.lstrip()[:200].find(b"<net") >= 0:
            weights = f"{path.removesuffix('.xml')}.bin"
            yield path, (path, weights) if weights in tree else (path,), "its XML begins with `<net>`"


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


_PADDLE = (
    "run `paddle2onnx --model_dir . --model_filename <model file> --params_filename <params file> "
    "--save_file model.onnx` and convert that file"
)

IR = Refused(
    "openvino.ir",
    "OpenVINO IR already",
    _ir,
    "put the `.xml` and `.bin` into a numbered directory, such as `<output>/1/`; the server reads them as "
    "they are",
    "which needs no conversion",
)

FORMATS = (
    Refused(
        "tensorflow.text_saved_model",
        "a SavedModel in text form",
        _text_saved_model,
        'run `tf.saved_model.save(tf.saved_model.load("<directory>"), "out")` and convert `out`',
    ),
    Refused("paddle", "a PaddlePaddle inference model", _paddle(".pdmodel"), _PADDLE),
    Refused("paddle.pir", "a PaddlePaddle 3 inference model (PIR)", _paddle(".json"), _PADDLE),
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
    IR,
    Refused(
        "tflite",
        "a TensorFlow Lite model",
        magic(b"TFL3", at=4, called="it has the identifier `TFL3`"),
        "convert the SavedModel that it was made from, or run `python -m tf2onnx.convert --tflite "
        "model.tflite "
        "--output model.onnx`",
        suffixes=(".tflite", ".lite"),
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
        "tensorflow.frozen",
        "a frozen TensorFlow graph",
        file_match(_frozen),
        "convert the SavedModel that it was made from, or run `python -m tf2onnx.convert --graphdef model.pb "
        "--inputs x:0 --outputs y:0 --output model.onnx`",
        suffixes=(".pb", ".pbtxt"),
    ),
    Refused(
        "caffe",
        "a Caffe model",
        _by_suffix(".caffemodel", ".prototxt"),
        "OpenVINO reads no Caffe since 2024.0: convert it to ONNX with a converter for Caffe",
        suffixes=(".caffemodel", ".prototxt"),
    ),
)
