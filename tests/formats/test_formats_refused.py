"""Everything that is no ONNX and no SavedModel: named in the error, with what would work instead."""

import gzip
import io
import json
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from formats_helpers import DATA, MemoryFiles, onnx_bytes
from ovms_converter import formats
from ovms_converter.errors import AmbiguousModelError, CorruptModelError, ModelError, UnsupportedModelError
from ovms_converter.formats.describe import describe
from ovms_converter.parameters import by_name

ARTIFACTS = DATA / "formats/mlflow"
GARBAGE = b"\xf7\xff\x11\x80\x80" * 50
HDF5 = b"\x89HDF\r\n\x1a\n" + b"\0" * 64


def archive(*names: str) -> bytes:
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as written:
            for name in names:
                written.writestr(name, b"content")
        return file.getvalue()


def tarball() -> bytes:
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w") as written:
            written.addfile(tarfile.TarInfo("model.onnx"))
        return file.getvalue()


CASES: list[tuple[str, str, bytes, str]] = [
    # format, file name, content, words of the hint
    ("keras.weights", "m.weights.h5", HDF5, "load the weights"),
    (
        "pytorch.legacy",
        "m.pt",
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02",
        "torch.onnx.export(model",
    ),
    ("safetensors", "m.safetensors", (80).to_bytes(8, "little") + b'{"w":{"dtype":"F32"}}', "export ONNX"),
    ("sklearn.pickle", "m.pkl", b"\x80\x04\x95\0\0\x8c\x10sklearn.pipeline", "--trust-source"),
    ("sklearn.cloudpickle", "m.pkl", b"\x80\x05\x95\x8c\x17cloudpickle.x sklearn.x", "--trust-source"),
    ("sklearn.joblib", "m.joblib", b"x\x9c" + GARBAGE, "--trust-source"),
    ("pickle", "m.pkl", pickle.dumps({"weights": [1.0]}), "export it"),
    ("catboost", "m.cbm", b"CBM1" + GARBAGE, "format='onnx'"),
    ("ort", "m.ort", b"\x1c\0\0\0ORTM" + GARBAGE, ".onnx"),
    ("gguf", "m.gguf", b"GGUF\3\0\0\0" + GARBAGE, "optimum-cli"),
    (
        "tensorflow.text_saved_model",
        "saved_model.pbtxt",
        b"saved_model_schema_version: 1",
        "tf.saved_model.save",
    ),
    ("coreml", "m.mlmodel", b"\x08\x04\x12\x10" + GARBAGE, "ONNX"),
    ("caffe", "m.caffemodel", GARBAGE, "2024.0"),
    ("tensorrt", "m.engine", GARBAGE, "`.onnx` file that it was built from"),
    ("tensorrt", "m.plan", b"ftrt" + GARBAGE, "`.onnx` file that it was built from"),
    ("mxnet.params", "m-0000.params", b"\x12\x01" + bytes(30), "MXNet 1.9"),
    ("darknet", "yolov3.weights", GARBAGE, "`.cfg`"),
    ("ncnn", "m.param", b"7767517\n75 83\nInput data", "ONNX"),
    ("pmml", "m.pmml", b'<?xml version="1.0"?>\n<PMML version="4.4">', "skl2onnx"),
    (
        "tensorflow.checkpoint",
        "m.ckpt",
        GARBAGE + struct.pack("<Q", 0xDB4775248B80FB57),
        "tf.saved_model.save",
    ),
    ("archive.zip", "m.zip", archive("model.onnx"), "unpack"),
    ("archive.tar", "m.tar", tarball(), "unpack"),
    ("archive.gzip", "m.tar.gz", gzip.compress(b"model", mtime=0), "unpack"),
    ("archive.zstd", "m.tar.zst", b"\x28\xb5\x2f\xfd" + GARBAGE, "unpack"),
    ("archive.xz", "m.xz", b"\xfd7zXZ\0" + GARBAGE, "unpack"),
    ("archive.bzip2", "m.bz2", b"BZh9" + GARBAGE, "unpack"),
    ("archive.7z", "m.7z", b"7z\xbc\xaf\x27\x1c" + GARBAGE, "unpack"),
    ("numpy", "m.npy", b"\x93NUMPY\1\0" + GARBAGE, "model's own file"),
    ("text", "model", b"Hello, this is a note about the model.", "model's own file"),
]

BROKEN: list[tuple[str, str, bytes, str]] = [
    ("empty", "model.onnx", b"", "did not finish"),
    (
        "git-lfs",
        "model.onnx",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        "git lfs pull",
    ),
    ("dvc", "model.onnx", b"outs:\n- md5: 4d7a\n  path: model.onnx\n", "dvc pull"),
    ("html", "model.onnx", b"\n<!DOCTYPE html>\n<html><title>Sign in</title>", "log-in or error page"),
    ("store-error", "model.onnx", b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>', "again"),
    ("archive.truncated", "m.keras", archive("metadata.json", "config.json")[:60], "upload it again"),
]


@pytest.mark.parametrize(("name", "path", "data", "advice"), CASES)
def test_a_format_is_refused_by_name_with_advice(name: str, path: str, data: bytes, advice: str) -> None:
    for tree in ({path: data}, {f"sub/{path}": data, "sub/README.md": b"# text", "sub/LICENSE": b"free"}):
        with pytest.raises(UnsupportedModelError) as caught:
            formats.recognise(MemoryFiles(tree))
        assert formats.identify(formats.open_tree(MemoryFiles(tree))).format == name
        assert f"`{next(iter(tree))}` is {formats.format_named(name).title}" in caught.value.message
        assert advice in (caught.value.hint or "")
        if name in ("numpy", "text", "tensorflow.checkpoint"):
            break


@pytest.mark.parametrize(("name", "path", "data", "advice"), BROKEN)
def test_what_is_no_model_is_told_as_what_it_is(name: str, path: str, data: bytes, advice: str) -> None:
    with pytest.raises(CorruptModelError) as caught:
        formats.recognise(MemoryFiles({path: data}))
    assert f"`{path}` is {formats.format_named(name).title}" in caught.value.message
    assert advice in (caught.value.hint or "")


def test_a_pointer_in_place_of_a_graph_or_behind_an_mlmodel_is_seen() -> None:
    pointer = BROKEN[1][2]
    for tree in (
        {"saved_model.pb": pointer, "variables/variables.index": pointer},
        {"MLmodel": b"flavors: {onnx: {data: m.onnx}}", "m.onnx": pointer},
    ):
        with pytest.raises(CorruptModelError, match="is a Git LFS pointer, not the model itself"):
            formats.recognise(MemoryFiles(tree))


@pytest.mark.parametrize(
    ("name", "path", "names"),
    [
        ("transformers", "model", ["model/config.json", "model/model.safetensors", "model/tokenizer.json"]),
        ("transformers", "", ["config.json", "pytorch_model.bin"]),
        (
            "tensorflow.checkpoint",
            "ckpt-1.index",
            ["ckpt-1.index", "ckpt-1.data-00000-of-00001", "checkpoint"],
        ),
        ("tensorflow.checkpoint", "m.data-00000-of-00002", ["m.data-00000-of-00002"]),
        ("tensorflow.checkpoint", "model.ckpt.meta", ["model.ckpt.meta"]),
        ("mxnet", "net-symbol.json", ["net-symbol.json", "net-0010.params"]),
        ("coreml.compiled", "m.mlmodelc", ["m.mlmodelc/coremldata.bin", "m.mlmodelc/model.espresso.net"]),
        ("paddle.pir", "inference.json", ["inference.json", "inference.pdiparams"]),
        (
            "coreml.package",
            "m.mlpackage",
            ["m.mlpackage/Manifest.json", "m.mlpackage/Data/com.apple.CoreML/m"],
        ),
    ],
)
def test_formats_of_several_files(name: str, path: str, names: list[str]) -> None:
    files = MemoryFiles(dict.fromkeys(names, GARBAGE))
    found = formats.identify(formats.open_tree(files))
    assert (found.format, found.path) == (name, path)
    with pytest.raises(UnsupportedModelError, match="which"):
        formats.recognise(files)


@pytest.mark.parametrize("key", ["modelTopology", "weightsManifest"])
def test_tensorflow_js_is_told_by_what_its_json_says(key: str) -> None:
    graph = b'{"format":"layers-model","%s":[]}' % key.encode()
    files = MemoryFiles(
        {"web/model.json": graph, "web/group1-shard1of1.bin": GARBAGE, "web/index.html": b"<html>"}
    )
    with pytest.raises(UnsupportedModelError, match=r"`web/model\.json` is a TensorFlow\.js model") as caught:
        formats.recognise(files)
    assert "tfjs_graph_converter" in (caught.value.hint or "")
    assert formats.identify(formats.open_tree(files)).needs == ("web/group1-shard1of1.bin", "web/model.json")


@pytest.mark.parametrize(
    ("paths", "given"),
    [
        (["1/model.onnx", "2/model.onnx", "10/model.onnx"], "10/model.onnx"),
        (["a/1/model.onnx", "b/1/model.onnx"], "a/1/model.onnx"),
    ],
)
def test_of_several_versions_the_newest_is_named_as_what_to_give(paths: list[str], given: str) -> None:
    with pytest.raises(AmbiguousModelError) as caught:
        formats.recognise(MemoryFiles(dict.fromkeys(paths, onnx_bytes())))
    assert f"such as `<input_model>/{given}`" in (caught.value.hint or "")


def test_a_model_in_a_tritons_repository_is_found() -> None:
    files = MemoryFiles({"config.pbtxt": b'platform: "onnxruntime_onnx"', "1/model.onnx": onnx_bytes()})
    assert formats.recognise(files).path == "1/model.onnx"


def test_a_repository_of_a_server_is_not_taken_for_the_note_beside_it() -> None:
    graph = b'<?xml version="1.0"?><net name="x" version="11"></net>'
    repository = {"config.json": b'{"model_config_list":[]}', "a/1/m.xml": graph, "a/1/m.bin": b"1"}
    found = formats.recognise(MemoryFiles(repository))
    assert found.path == "a/1/m.xml"
    assert describe(MemoryFiles(repository), found).format == "openvino.ir"
    with pytest.raises(AmbiguousModelError, match="there are 2 models"):
        formats.recognise(MemoryFiles({**repository, "b/1/m.xml": graph, "b/1/m.bin": b"1"}))


def test_every_format_has_a_name_of_its_own_and_one_line_of_advice() -> None:
    names = [found.name for found in formats.FORMATS]
    assert len(names) == len(set(names))
    convertible = [found.name for found in formats.FORMATS if found.convertible]
    native = [found.name for found in formats.FORMATS if found.convertible and not hasattr(found, "library")]
    assert native == [
        "onnx",
        "tensorflow.saved_model",
        "tflite",
        "paddle",
        "tensorflow.frozen",
        "openvino.ir",
        "xgboost",
        "lightgbm",
    ]
    choices = by_name()["input_format"].choices
    assert sorted(choices) == sorted(formats.INPUT_FORMATS)
    assert sorted(choices) == sorted(("auto", "mlflow", *convertible))


def test_a_model_that_can_be_converted_goes_before_those_that_cannot() -> None:
    files = MemoryFiles(
        {"m.pkl": pickle.dumps(1), "m.onnx": onnx_bytes(), "m.h5": HDF5, "export.zip": archive("a")}
    )
    assert formats.recognise(files).path == "m.onnx"


def test_several_models_none_convertible_are_listed_with_their_formats() -> None:
    files = MemoryFiles({"a.weights.h5": HDF5, "b.pkl": pickle.dumps(1)})
    with pytest.raises(UnsupportedModelError) as caught:
        formats.recognise(files)
    assert "`a.weights.h5 (keras.weights)`, `b.pkl (pickle)`" in caught.value.message


def test_an_asked_for_format_that_cannot_be_had_is_refused_as_what_it_is() -> None:
    with pytest.raises(UnsupportedModelError, match="is a Python pickle"):
        formats.recognise(MemoryFiles({"m.pkl": pickle.dumps(1)}), "onnx")


def test_a_directory_without_a_model_lists_what_is_there() -> None:
    with pytest.raises(UnsupportedModelError, match=r"no model among 2 files: `LICENSE`, `README\.md`"):
        formats.recognise(MemoryFiles({"README.md": b"# hi", "LICENSE": b"free"}))


def test_unknown_bytes_are_shown() -> None:
    with pytest.raises(UnsupportedModelError, match="starts with the bytes `f7 ff 11 80 80 f7 ff 11`"):
        formats.recognise(MemoryFiles({"model": GARBAGE}))


def test_nothing_of_a_pickle_runs(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    evil = b"\x80\x02cos\nsystem\nX%c\0\0\0touch %sq\0\x85R." % (len(f"touch {marker}"), str(marker).encode())
    with pytest.raises(ModelError):
        formats.recognise(MemoryFiles({"model.pkl": evil}))
    assert not marker.exists()


def test_real_archives_are_told_apart_without_their_mlmodel() -> None:
    expected = json.loads((ARTIFACTS / "expected.json").read_text())
    for name, entry in expected.items():
        if entry["format"].startswith(("keras.", "pytorch.", "xgboost", "sklearn.skops", "lightgbm")):
            path = DATA / name / entry["path"]
            found = formats.identify(formats.open_tree(formats.LocalFiles(path)))
            assert found.format == entry["format"], path
