"""TensorFlow as the reference: SavedModels, frozen graphs and TFLite, whole, cut and with arguments."""

import importlib.util
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import ovms_converter
from engine_rig import convert, job
from ovms_converter.engine.job import ConversionJob
from ovms_converter.engine.worker import exporting, save, verify
from ovms_converter.engine.worker.extras import missing_extra
from ovms_converter.errors import ModelError, UnsupportedModelError, VerificationError
from ovms_converter.frameworks.base import ExportJob
from ovms_converter.frameworks.process import FrameworkProcess, run_reference
from ovms_converter.optimizer.conversion import convert as read
from tensorflow_models import made_by

MAKER = Path(__file__).parent / "make_tensorflow_models.py"
FORMATS = {".pb": "tensorflow.frozen", ".tflite": "tflite"}
IMAGE = np.ones((2, 6, 6, 3), np.float32)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_by(MAKER, tmp_path_factory.mktemp("tensorflow"))


def asked(path: Path, directory: Path, verify: str = "compare", **arguments: str) -> ConversionJob:
    one = job(path, directory, verify=verify, **arguments)
    return replace(one, format=FORMATS.get(path.suffix, one.format))


CASES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "a SavedModel": ("image", {}),
    "another signature": ("image", {"signature": "mean"}),
    "a filled table": ("table", {}),
    "FP16": ("image", {"data_type": "FP16"}),
    "turned channels-first": (
        "image",
        {"nhwc_to_nchw": "true", "reverse_input_channels": "true", "mean_values": "image[1,2,3]"},
    ),
    "a new layout": ("image", {"layout": "image(nhwc->nchw)", "scale_values": "image[2,4,8]"}),
    "a fixed input": ("image", {"input": "image,gain->2"}),
    "new names": ("image", {"rename": "image=pixels,scores=probabilities"}),
    "cut before the end": ("image", {"output": "convolved"}),
    "cut behind the start": ("image", {"input": "convolved,gain", "output": "scores"}),
    "a frozen graph": ("frozen.pb", {}),
    "a frozen graph, cut": ("frozen.pb", {"output": "convolved", "scale": "3"}),
    "TFLite": ("float.tflite", {}),
    "TFLite, turned": ("float.tflite", {"nhwc_to_nchw": "true"}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_result_is_compared_with_tensorflow(case: str, models: Path, tmp_path: Path) -> None:
    name, arguments = CASES[case]
    result = convert(asked(models / name, tmp_path / "out", **arguments), tmp_path / "s")
    assert result.verified.startswith("equal to TensorFlow 2."), result.notes
    assert result.verified.endswith(" with a batch of 1 and 2")
    assert len(result.comparison) == len(result.outputs)


def test_auto_compares_a_small_savedmodel(models: Path, tmp_path: Path) -> None:
    result = convert(asked(models / "image", tmp_path / "out", "auto"), tmp_path / "s")
    assert result.verified.startswith("equal to TensorFlow 2.")


def test_variables_that_only_began_with_others_are_read_from_those(tmp_path: Path) -> None:
    """Keras 3 in a `tf.Module` restores copies of the variables that its graph reads."""
    pytest.importorskip("tensorflow", reason="TensorFlow has no package for this platform")
    model = Path(ovms_converter.__file__).parent / "demo" / "model" / "tf2model"
    result = convert(job(model, tmp_path / "out", verify="compare"), tmp_path / "s")
    assert result.verified.startswith("equal to TensorFlow 2."), result.notes


def test_a_changed_weight_is_seen(models: Path, tmp_path: Path) -> None:
    one = asked(models / "image", tmp_path / "out")
    converted = read(one.model, one.format, one.arguments, tmp_path)
    written = save.save(converted.model, one, compress_to_fp16=False)
    weights = bytearray(written.bin.read_bytes())
    first = np.random.default_rng(3).standard_normal((3, 3, 3, 5), dtype=np.float32).tobytes()[:4]
    weights[weights.index(first) + 3] ^= 0x80  # its sign
    written.bin.write_bytes(weights)
    with pytest.raises(VerificationError, match="something else than its source"):
        verify.verify(written, one, exporting.Source(one.model, one.format))


def test_auto_goes_on_where_tensorflow_has_too_little_memory(models: Path, tmp_path: Path) -> None:
    one = asked(models / "image", tmp_path / "out", "auto")
    result = convert(one, tmp_path / "s", memory_limit=300 << 20)
    assert result.verified.startswith("loaded, compiled and run")
    assert any("was not compared with its source: " in note for note in result.notes)


def test_a_quantized_model_is_not_compared(models: Path, tmp_path: Path) -> None:
    with pytest.raises(VerificationError, match="quantized, and where a value lies between two steps"):
        convert(asked(models / "quantized.tflite", tmp_path / "out"), tmp_path / "s")
    result = convert(asked(models / "quantized.tflite", tmp_path / "auto", "auto"), tmp_path / "s")
    assert result.verified.startswith("loaded, compiled and run")


def test_a_graph_that_writes_files_is_not_run(models: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="`WriteFile`, which may do more than compute"):
        run_reference(
            ExportJob("tensorflow.saved_model", models / "writing", tmp_path), {"x": np.ones((1, 4))}
        )
    assert not (models / "written.txt").exists()


def test_a_process_serves_many_inputs_and_survives_those_that_do_not_fit(
    models: Path, tmp_path: Path
) -> None:
    source = ExportJob("tensorflow.saved_model", models / "image", tmp_path)
    with FrameworkProcess(source, "run") as process:
        one = process.run({"image": IMAGE, "gain": np.float32(1)})
        with pytest.raises(ModelError, match="TensorFlow cannot open `image`"):
            process.run({"image": IMAGE[:, :2], "gain": np.float32(1)})
        two = process.run({"image": IMAGE, "gain": np.float32(2)})
    np.testing.assert_allclose(two["scores"], 2 * one["scores"])


def test_without_tensorflow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert missing_extra("tensorflow.saved_model") == "tensorflow"
    assert missing_extra("onnx") == "verify"
    assert missing_extra("paddle") is None
