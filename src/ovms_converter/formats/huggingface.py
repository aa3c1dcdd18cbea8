"""Directories of Hugging Face's libraries: what model they hold, and how Optimum exports it.

Optimum tells the task of a model on the hub, and not that of a local directory: there `--task` must be given.
Source of the tasks: https://huggingface.co/docs/optimum-onnx/onnx/overview, `optimum-cli export onnx --help`.
"""

import json
import posixpath
from collections.abc import Iterator, Mapping

from ovms_converter.formats.base import SourceModel
from ovms_converter.formats.refused import Finding, Refused, Told, nothing
from ovms_converter.formats.tree import Tree
from ovms_converter.formats.words import shown

__all__ = ["FORMATS"]

_CONFIG = 1 << 20
"""Bytes of a configuration that are read."""

_WEIGHTS = (".safetensors", ".index.json", ".msgpack")
_WEIGHT_NAMES = ("pytorch_model.bin", "tf_model.h5")

_SPEECH = frozenset(
    {"data2vec-audio", "hubert", "sew", "sew-d", "unispeech", "unispeech-sat", "wav2vec2", "wav2vec2-bert",
     "wav2vec2-conformer", "wavlm"}
)  # fmt: skip
"""Types of models whose `ForSequenceClassification` is about sound."""

_DICTATION = frozenset({"moonshine", "speech-encoder-decoder", "speech_to_text", "whisper"})

_TASKS = (
    ("ForSequenceClassification", "text-classification"),
    ("ForTokenClassification", "token-classification"),
    ("ForQuestionAnswering", "question-answering"),
    ("ForMultipleChoice", "multiple-choice"),
    ("ForMaskedLM", "fill-mask"),
    ("ForPreTraining", "feature-extraction"),
    ("ForMaskedImageModeling", "masked-im"),
    ("ForImageClassification", "image-classification"),
    ("ForImageClassificationWithTeacher", "image-classification"),
    ("ForZeroShotImageClassification", "zero-shot-image-classification"),
    ("ForObjectDetection", "object-detection"),
    ("ForSemanticSegmentation", "semantic-segmentation"),
    ("ForInstanceSegmentation", "image-segmentation"),
    ("ForUniversalSegmentation", "image-segmentation"),
    ("ForSegmentation", "image-segmentation"),
    ("ForDepthEstimation", "depth-estimation"),
    ("ForImageSuperResolution", "image-to-image"),
    ("ForCTC", "automatic-speech-recognition"),
    ("ForAudioClassification", "audio-classification"),
    ("ForAudioFrameClassification", "audio-frame-classification"),
    ("ForXVector", "audio-xvector"),
    ("ForCausalLM", "text-generation-with-past"),
    ("LMHeadModel", "text-generation-with-past"),
    ("ForSeq2SeqLM", "text2text-generation-with-past"),
    ("MTModel", "text2text-generation-with-past"),
    ("ForSpeechSeq2Seq", "automatic-speech-recognition-with-past"),
    ("VisionEncoderDecoderModel", "image-to-text-with-past"),
    ("SpeechEncoderDecoderModel", "automatic-speech-recognition-with-past"),
    ("ForImageTextToText", "image-text-to-text"),
    ("ForTextToSpeech", "text-to-audio"),
    ("CLIPModel", "zero-shot-image-classification"),
    ("SiglipModel", "zero-shot-image-classification"),
    ("Model", "feature-extraction"),
    ("ModelWithProjection", "feature-extraction"),
)
"""How the name of an architecture ends → Optimum's task."""

_ZERO_SHOT_DETECTORS = frozenset({"grounding-dino", "owlv2", "owlvit"})

_PIPELINES = {
    "ner": "token-classification",
    "sentiment-analysis": "text-classification",
    "summarization": "text2text-generation",
    "translation": "text2text-generation",
    "zero-shot-classification": "text-classification",
    "text-to-speech": "text-to-audio",
    "llm/v1/chat": "text-generation",
    "llm/v1/completions": "text-generation",
    "llm/v1/embeddings": "feature-extraction",
}
"""Names of pipelines as MLflow records them → Optimum's task, where these are two."""

_GENERATES = (
    "text-generation",
    "text2text-generation",
    "automatic-speech-recognition-with-past",
    "image-to-text",
    "image-text-to-text",
    "text-to-audio",
)
"""Tasks whose models are several graphs, or are called once for each token."""

_PAST = ("text-generation", "text2text-generation", "image-to-text")

_LISTED = 8

_ONNX = "`pip install 'optimum-onnx[onnxruntime]'`"
_INTEL = "`pip install 'optimum-intel[openvino]'`"


def _directories(tree: Tree, name: str) -> Iterator[tuple[str, list[str]]]:
    """Directories with a file of that name, and what is directly in them."""
    for found in tree.named(name):
        directory = posixpath.dirname(found.path)
        yield directory, [path for path in tree.below(directory) if posixpath.dirname(path) == directory]


def _transformers(tree: Tree) -> Iterator[Finding]:
    for directory, here in _directories(tree, "config.json"):
        weights = [path for path in here if path.endswith((*_WEIGHTS, *_WEIGHT_NAMES))]
        if weights:
            config = posixpath.join(directory, "config.json")
            name = posixpath.basename(weights[0])
            yield directory, (config, *weights), f"it has `config.json` beside `{name}`"


def _adapters(tree: Tree) -> Iterator[Finding]:
    for directory, here in _directories(tree, "adapter_config.json"):
        weights = [path for path in here if posixpath.basename(path).startswith("adapter_model.")]
        if weights:
            name = posixpath.basename(weights[0])
            yield directory, tuple(here), f"it has `adapter_config.json` beside `{name}`"


def _diffusers(tree: Tree) -> Iterator[Finding]:
    for directory, _ in _directories(tree, "model_index.json"):
        yield directory, tree.below(directory), "it has `model_index.json`"


def _configuration(tree: Tree, model: SourceModel, name: str = "config.json") -> Mapping[str, object]:
    path = posixpath.join(model.path, name)
    if path not in tree:
        return {}
    try:
        found = json.loads(tree.files.read(path, 0, _CONFIG))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _text(values: Mapping[str, object], key: str) -> str:
    value = values.get(key)
    return value if isinstance(value, str) else ""


def _task(architecture: str, config: Mapping[str, object]) -> str:
    """Optimum's name for what an architecture does; "" if it does not tell."""
    kind = _text(config, "model_type")
    if architecture.endswith("ForConditionalGeneration"):
        if kind in _DICTATION:
            return "automatic-speech-recognition-with-past"
        return "image-text-to-text" if "vision_config" in config else "text2text-generation-with-past"
    task = next((task for ending, task in _TASKS if architecture.endswith(ending)), "")
    if task == "text-classification" and kind in _SPEECH:
        return "audio-classification"
    if task == "object-detection" and kind in _ZERO_SHOT_DETECTORS:
        return "zero-shot-object-detection"
    return task


def _recorded_task(model: SourceModel) -> str:
    """The task that MLflow recorded, in Optimum's words."""
    if model.mlflow is None:
        return ""
    task = _text(model.mlflow.flavors.get("transformers", {}), "task")
    task = _PIPELINES.get("translation" if task.startswith("translation") else task, task)
    return f"{task}-with-past" if task in _PAST else task


def _place(model: SourceModel) -> str:
    """What a command line has for the directory."""
    return model.path if model.path and " " not in model.path and model.path.isprintable() else "<directory>"


def _look(tree: Tree, model: SourceModel) -> Told:
    """The architecture, its task, and a command line for it."""
    config = _configuration(tree, model)
    timm = _text(config, "architecture")
    if timm and "architectures" not in config:
        return Told(
            f"a directory of timm, {shown(timm)}",
            _recipe(model, "image-classification", " --library-name timm"),
        )
    named = config.get("architectures")
    architectures = [name for name in named if isinstance(name, str)] if isinstance(named, list) else []
    architecture = architectures[0] if architectures else ""
    sentences = posixpath.join(model.path, "modules.json") in tree
    task = "feature-extraction" if sentences else _recorded_task(model) or _task(architecture, config)
    options = " --library-name sentence_transformers" if sentences else ""
    options += " --trust-remote-code" if "auto_map" in config else ""
    title = "a Hugging Face model directory"
    if sentences:
        title = "a directory of Sentence Transformers"
    title += f" of {shown(architecture)}" if architecture else ""
    title += f" ({task.removesuffix('-with-past')})" if task else ""
    notes = (*_notes(config), *_components(tree, model))
    return Told(title, _recipe(model, task, options), _producer(config), notes)


def _recipe(model: SourceModel, task: str, options: str) -> str:
    if task.startswith(_GENERATES):
        return (
            f"run `optimum-cli export openvino --model {_place(model)} --task {task}{options} out/` "
            f"({_INTEL}): the server takes its result as it is"
        )
    command = f"optimum-cli export onnx --model {_place(model)} --task {task or '<task>'}{options} onnx/"
    asked = "" if task else ", with the task that the model is for"
    return f"run `{command}`{asked} ({_ONNX}) and convert `onnx/`"


def _producer(config: Mapping[str, object]) -> str | None:
    version = _text(config, "transformers_version")
    return f"transformers {version}" if version and len(version) < 40 and version.isprintable() else None


def _notes(config: Mapping[str, object]) -> Iterator[str]:
    if "auto_map" in config:
        yield "its code is its author's, and beside it: `--trust-remote-code` runs that"
    quantized = config.get("quantization_config")
    if isinstance(quantized, dict):
        method = _text(quantized, "quant_method") or "an unknown method"
        yield f"its weights are quantized ({method}): export the model that it was made from"


def _components(tree: Tree, model: SourceModel) -> Iterator[str]:
    """Where MLflow has put the tokenizer: Optimum looks for it beside the weights."""
    if model.mlflow is None:
        return
    components = posixpath.join(model.mlflow.directory, "components")
    names = sorted({path.removeprefix(f"{components}/").partition("/")[0] for path in tree.below(components)})
    if names:
        listed = ", ".join(shown(f"components/{name}") for name in names[:_LISTED])
        yield f"copy what is in {listed} beside the weights before the export, where Optimum looks for it"


def _look_at_reference(_tree: Tree, model: SourceModel) -> Told:
    """The name of a model on the hub, which MLflow stored in place of the model; Optimum knows its task."""
    flavor = model.mlflow.flavors.get("transformers", {}) if model.mlflow else {}
    name, revision = _text(flavor, "source_model_name"), _text(flavor, "source_model_revision")
    usable = name if name.isprintable() and " " not in name else "<name>"
    at = f" at revision {shown(revision)}" if revision else ""
    task = _recorded_task(model)
    program = "openvino" if task.startswith(_GENERATES) else "onnx"
    options = f" --task {task}" if task else ""
    return Told(
        f"a reference to the Hugging Face model {shown(name)}{at}",
        f"run `optimum-cli export {program} --model {usable}{options} out/` "
        f"({_INTEL if program == 'openvino' else _ONNX}), or log the model with `save_pretrained=True`",
    )


def _look_at_adapter(tree: Tree, model: SourceModel) -> Told:
    config = _configuration(tree, model, "adapter_config.json")
    base, kind = _text(config, "base_model_name_or_path"), _text(config, "peft_type")
    of = f" for {shown(base)}" if base else ""
    return Told(
        f"an adapter of PEFT{f' ({kind})' if kind.isalnum() else ''}{of}",
        "load it with `peft`, run `model.merge_and_unload().save_pretrained(...)`, and export that directory "
        "with `optimum-cli export onnx` or `optimum-cli export openvino`",
    )


def _look_at_pipeline(tree: Tree, model: SourceModel) -> Told:
    kind = _text(_configuration(tree, model, "model_index.json"), "_class_name")
    return Told(
        f"a pipeline of Diffusers{f', {shown(kind)}' if kind else ''}",
        f"run `optimum-cli export openvino --model {_place(model)} out/` ({_INTEL}): the server takes its "
        "result as it is",
    )


_EXPORT = "export it with `optimum-cli export onnx` or `optimum-cli export openvino`"

FORMATS = (
    Refused(
        "diffusers",
        "a pipeline of Diffusers",
        _diffusers,
        _EXPORT,
        "which is several models",
        look=_look_at_pipeline,
    ),
    Refused(
        "peft",
        "an adapter of PEFT",
        _adapters,
        _EXPORT,
        "which changes the weights of another model",
        look=_look_at_adapter,
    ),
    Refused(
        "transformers",
        "a Hugging Face model directory",
        _transformers,
        _EXPORT,
        "which holds weights and no graph",
        look=_look,
    ),
    Refused(
        "transformers.reference",
        "a reference to a Hugging Face model",
        nothing,
        _EXPORT,
        "which holds no weights",
        look=_look_at_reference,
    ),
)
