"""Files of other runtimes: TensorFlow's other forms, PaddlePaddle's new one, Core ML, GGUF and more."""

import posixpath
import re
from collections.abc import Callable, Iterator

from ovms_converter.formats.checkpoint import TABLE
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
    """An index with its shards; one of these alone; a single file of TensorFlow before 0.12."""
    for path in tree.paths:
        shard = f"{path.removesuffix('.index')}.data-00000-of-"
        if path.endswith(".index") and any(other.startswith(shard) for other in tree.paths):
            base = path.removesuffix(".index")
            files = tuple(other for other in tree.paths if other.startswith(f"{base}."))
            yield path, files, "it has a checkpoint's `.index` and `.data`"
    for sample in tree.unclaimed() if len(tree.paths) == 1 else ():
        if _SHARD.search(sample.name):
            yield sample.path, (sample.path,), "it is named as one shard of a checkpoint"
        elif sample.suffix in (".index", ".ckpt") and _ends_as_table(sample):
            yield sample.path, (sample.path,), "it ends as a table of tensors does"
        elif sample.name.endswith(".ckpt.meta"):
            yield sample.path, (sample.path,), "it is named as the graph beside a checkpoint"


def _ends_as_table(sample: Sample) -> bool:
    size = len(sample.head) if sample.size is None else sample.size
    return size > len(TABLE) and sample.read(size - len(TABLE), len(TABLE)) == TABLE


def _tensorflow_js(tree: Tree) -> Iterator[Finding]:
    """Its graph is JSON in which one of two keys comes first, and its weights are beside it."""
    for sample in tree.named("model.json"):
        start = sample.head[:2048]
        if b'"modelTopology"' in start or b'"weightsManifest"' in start:
            directory = posixpath.dirname(sample.path)
            shards = (
                path
                for path in tree.below(directory)
                if posixpath.dirname(path) == directory and _JS_SHARD.search(path)
            )
            yield sample.path, (sample.path, *shards), "its JSON has `modelTopology` or `weightsManifest`"


def _mxnet(tree: Tree) -> Iterator[Finding]:
    for path in tree.paths:
        if path.endswith("-symbol.json"):
            base = path.removesuffix("-symbol.json")
            weights = [
                other for other in tree.paths if re.fullmatch(re.escape(base) + r"-\d+\.params", other)
            ]
            if weights:
                yield path, (path, *weights), "it has `-symbol.json` beside `.params`"


def _mxnet_weights(sample: Sample) -> str | None:
    return "it begins as a list of MXNet's arrays" if sample.head.startswith(_MXNET) else None


def _pmml(sample: Sample) -> str | None:
    return (
        "its XML has the element `PMML`" if re.match(rb"\s*<(?:\?xml[^>]*>\s*<)?PMML", sample.head) else None
    )


def _compiled_coreml(tree: Tree) -> Iterator[Finding]:
    for found in tree.named("coremldata.bin"):
        directory = posixpath.dirname(found.path)
        if directory.endswith(".mlmodelc") or not directory:
            yield directory, tree.below(directory), "it has `coremldata.bin`"


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


def _tensorrt(sample: Sample) -> str | None:
    """Its own start, or an ending: Ultralytics writes metadata before it."""
    if sample.head.startswith((b"ftrt", b"ptrt")):
        return "it starts as a serialized engine does"
    return f"its name ends in `{sample.suffix}`" if sample.suffix in _ENGINES else None


def _by_suffix(*suffixes: str) -> Callable[[Tree], Iterator[Finding]]:
    def match(sample: Sample) -> str | None:
        return f"its name ends in `{sample.suffix}`" if sample.suffix in suffixes else None

    return file_match(match)


_ENGINES = (".engine", ".plan", ".trt")
_PIR = b'"pir"'
_SHARD = re.compile(r"\.data-\d{5}-of-\d{5}$")
_JS_SHARD = re.compile(r"shard\d+of\d+(?:\.bin)?$")
_MXNET = b"\x12\x01" + bytes(14)
"""The number of MXNet's lists of arrays (include/mxnet/ndarray.h), and a reserved one."""

_PADDLE = (
    "run `paddle2onnx --model_dir . --model_filename <model file> --params_filename <params file> "
    "--save_file model.onnx` and convert that file"
)

_MXNET_RECIPE = (
    "OpenVINO reads no MXNet since 2024.0: run `mxnet.onnx.export_model(symbol, params, [shape], [dtype], "
    "'model.onnx')` of MXNet 1.9 and convert that file"
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
        suffixes=(".ckpt",),
    ),
    Refused(
        "tensorflow.js",
        "a TensorFlow.js model",
        _tensorflow_js,
        "convert the SavedModel or Keras file that it was made from; of a graph model `tfjs_graph_converter "
        "--output_format tf_saved_model <directory> out/` (`pip install tfjs-graph-converter`) makes one",
    ),
    Refused(
        "mxnet",
        "an MXNet model",
        _mxnet,
        _MXNET_RECIPE,
    ),
    Refused(
        "coreml.compiled",
        "a compiled Core ML model",
        _compiled_coreml,
        "export the model that it was made from as ONNX and convert that",
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
        "tensorrt",
        "a TensorRT engine",
        file_match(_tensorrt),
        "an engine is compiled for one kind of GPU: convert the `.onnx` file that it was built from",
        suffixes=_ENGINES,
    ),
    Refused(
        "mxnet.params",
        "the parameters of an MXNet model",
        file_match(_mxnet_weights),
        _MXNET_RECIPE,
        "which hold weights and no graph",
        suffixes=(".params",),
    ),
    Refused(
        "darknet",
        "a Darknet model",
        _by_suffix(".weights"),
        "make ONNX of it and of its `.cfg` with a converter for Darknet, and convert that",
        "which holds weights and no graph",
        suffixes=(".weights",),
    ),
    Refused(
        "ncnn",
        "an ncnn model",
        magic(b"7767517\n", b"7767517\r\n", called="it starts with ncnn's number"),
        "export the model that it was made from as ONNX and convert that",
        suffixes=(".param",),
    ),
    Refused(
        "pmml",
        "a PMML document",
        file_match(_pmml),
        "export ONNX where it was trained (`skl2onnx` for scikit-learn, `onnxmltools` for Spark and others) "
        "and convert that",
        suffixes=(".pmml",),
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
