"""Directories of Hugging Face's libraries are refused with the command line that exports just them."""

import json

import pytest

from formats_helpers import MemoryFiles, onnx_bytes
from ovms_converter import formats
from ovms_converter.errors import UnsupportedModelError
from ovms_converter.formats.describe import describe

WEIGHTS = (80).to_bytes(8, "little") + b'{"w":{"dtype":"F32"}}'


def directory(config: object, weights: str = "model.safetensors", prefix: str = "") -> dict[str, bytes]:
    return {
        f"{prefix}config.json": json.dumps(config).encode(),
        f"{prefix}{weights}": WEIGHTS,
        f"{prefix}tokenizer.json": b"{}",
    }


def refusal(files: dict[str, bytes]) -> UnsupportedModelError:
    with pytest.raises(UnsupportedModelError) as caught:
        formats.recognise(MemoryFiles(files))
    assert caught.value.exit_code == 5
    return caught.value


ONNX = [
    ("BertForSequenceClassification", "bert", "text-classification"),
    ("Wav2Vec2ForSequenceClassification", "wav2vec2", "audio-classification"),
    ("RobertaForTokenClassification", "roberta", "token-classification"),
    ("DistilBertForQuestionAnswering", "distilbert", "question-answering"),
    ("BertForMaskedLM", "bert", "fill-mask"),
    ("BertModel", "bert", "feature-extraction"),
    ("CLIPModel", "clip", "zero-shot-image-classification"),
    ("CLIPTextModelWithProjection", "clip_text_model", "feature-extraction"),
    ("ViTForImageClassification", "vit", "image-classification"),
    ("DetrForObjectDetection", "detr", "object-detection"),
    ("Owlv2ForObjectDetection", "owlv2", "zero-shot-object-detection"),
    ("SegformerForSemanticSegmentation", "segformer", "semantic-segmentation"),
    ("Wav2Vec2ForCTC", "wav2vec2", "automatic-speech-recognition"),
]
OPENVINO = [
    ("LlamaForCausalLM", "llama", "text-generation-with-past"),
    ("GPT2LMHeadModel", "gpt2", "text-generation-with-past"),
    ("T5ForConditionalGeneration", "t5", "text2text-generation-with-past"),
    ("MarianMTModel", "marian", "text2text-generation-with-past"),
    ("WhisperForConditionalGeneration", "whisper", "automatic-speech-recognition-with-past"),
    ("VisionEncoderDecoderModel", "vision-encoder-decoder", "image-to-text-with-past"),
]


@pytest.mark.parametrize(("architecture", "kind", "task"), ONNX)
@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin", "tf_model.h5"])
def test_a_model_of_one_graph_is_exported_as_onnx(
    architecture: str, kind: str, task: str, weights: str
) -> None:
    error = refusal(directory({"architectures": [architecture], "model_type": kind}, weights))
    assert error.message.startswith(
        f"the model is a Hugging Face model directory of `{architecture}` ({task}), which holds weights"
    )
    assert error.hint is not None
    assert f"`optimum-cli export onnx --model <directory> --task {task} onnx/`" in error.hint
    assert error.hint.endswith("and convert `onnx/`")


@pytest.mark.parametrize(("architecture", "kind", "task"), OPENVINO)
def test_a_model_that_generates_goes_to_the_server_itself(architecture: str, kind: str, task: str) -> None:
    error = refusal(directory({"architectures": [architecture], "model_type": kind}))
    assert error.hint is not None
    assert f"`optimum-cli export openvino --model <directory> --task {task} out/`" in error.hint
    assert "the server takes its result as it is" in error.hint


def test_a_model_of_pictures_and_texts_is_told_by_its_parts() -> None:
    config = {"architectures": ["LlavaForConditionalGeneration"], "vision_config": {}, "text_config": {}}
    assert "--task image-text-to-text out/" in (refusal(directory(config)).hint or "")


@pytest.mark.parametrize("config", [{}, [], {"architectures": "Bert"}, {"architectures": [3]}, None])
def test_what_tells_no_architecture_is_asked_for_its_task(config: object) -> None:
    assert "--task <task> onnx/`, with the task that the model is for" in (
        refusal(directory(config)).hint or ""
    )


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"architectures": ["A\\nB"]}'])
def test_a_damaged_configuration_upsets_nobody(damage: bytes) -> None:
    error = refusal({**directory({}), "config.json": damage})
    assert "a Hugging Face model directory" in error.message
    assert error.message.isprintable()


def test_code_of_the_author_and_quantized_weights_are_noted() -> None:
    config = {
        "architectures": ["FooForCausalLM"],
        "auto_map": {"AutoModel": "foo.Foo"},
        "quantization_config": {"quant_method": "gptq"},
        "transformers_version": "4.41.0",
    }
    files = MemoryFiles(directory(config))
    found = describe(files, formats.identify(formats.open_tree(files)))
    assert found.producer == "transformers 4.41.0"
    assert "--trust-remote-code" in found.notes[0]
    assert "its weights are quantized (gptq)" in found.notes[2]


def test_directories_of_other_libraries() -> None:
    timm = refusal(directory({"architecture": "resnet50", "pretrained_cfg": {}}))
    assert "a directory of timm, `resnet50`" in timm.message
    assert "--task image-classification --library-name timm" in (timm.hint or "")
    sentences = refusal({**directory({"architectures": ["BertModel"]}), "modules.json": b"[]"})
    assert "--task feature-extraction --library-name sentence_transformers" in (sentences.hint or "")
    adapter = {"adapter_config.json": b'{"base_model_name_or_path": "a/b", "peft_type": "LORA"}'}
    peft = refusal({**adapter, "adapter_model.safetensors": WEIGHTS})
    assert "an adapter of PEFT (LORA) for `a/b`" in peft.message
    assert "merge_and_unload" in (peft.hint or "")
    pipeline = {"model_index.json": b'{"_class_name": "FluxPipeline"}', "unet/diffusion.safetensors": WEIGHTS}
    diffusers = refusal({**pipeline, **directory({}, prefix="text_encoder/")})
    assert "a pipeline of Diffusers, `FluxPipeline`, which is several models" in diffusers.message
    assert "`optimum-cli export openvino --model <directory> out/`" in (diffusers.hint or "")


def test_what_a_trainer_leaves_beside_a_model_is_no_model_of_its_own() -> None:
    files = directory({"architectures": ["BertModel"]})
    files |= dict.fromkeys(["optimizer.pt", "training_args.bin", "rng_state.pth"], b"\x80\x02}q\0.")
    assert "`BertModel`" in refusal(files).message


def test_an_exported_graph_beside_the_weights_is_the_model() -> None:
    files = {**directory({"architectures": ["BertModel"]}), "onnx/model.onnx": onnx_bytes()}
    assert formats.recognise(MemoryFiles(files)).path == "onnx/model.onnx"


def mlflow(**flavor: object) -> dict[str, bytes]:
    return {"MLmodel": json.dumps({"flavors": {"transformers": flavor}, "mlflow_version": "2.22.1"}).encode()}


@pytest.mark.parametrize("place", ["model", "pipeline"])
def test_mlflows_layouts_name_the_directory_and_the_task_that_was_recorded(place: str) -> None:
    recorded = {"task": "sentiment-analysis", "instance_type": "TextClassificationPipeline"}
    files = mlflow(**recorded, **({"model_binary": "model"} if place == "model" else {}))
    files |= directory({"architectures": ["BertForSequenceClassification"]}, prefix=f"{place}/")
    files["components/tokenizer/tokenizer.json"] = b"{}"
    error = refusal(files)
    assert error.message.startswith(f"`{place}` is a Hugging Face model directory of")
    assert f"--model {place} --task text-classification onnx/" in (error.hint or "")
    stored = MemoryFiles(files)
    found = describe(stored, formats.identify(formats.open_tree(stored)))
    assert "copy what is in `components/tokenizer` beside the weights" in found.notes[1]


def test_mlflows_reference_to_a_model_on_the_hub_is_no_broken_artifact() -> None:
    error = refusal(mlflow(task="summarization", source_model_name="t5-small", source_model_revision="0ab1"))
    assert "a reference to the Hugging Face model `t5-small` at revision `0ab1`" in error.message
    assert "`optimum-cli export openvino --model t5-small --task text2text-generation-with-past out/`" in (
        error.hint or ""
    )
    assert "`save_pretrained=True`" in (error.hint or "")


def test_mlflows_sentence_transformers() -> None:
    flavor = {"flavors": {"sentence_transformers": {"data": "model.sentence_transformer"}}}
    files = {"MLmodel": json.dumps(flavor).encode()}
    files |= directory({"architectures": ["BertModel"]}, prefix="model.sentence_transformer/")
    files["model.sentence_transformer/modules.json"] = b"[]"
    assert "a directory of Sentence Transformers of `BertModel`" in refusal(files).message
