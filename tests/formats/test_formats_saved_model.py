"""SavedModel: directory, variables, signatures; incomplete ones are refused before OpenVINO sees them."""

import shutil
from pathlib import Path

import pytest

from formats_helpers import DATA, MemoryFiles
from ovms_converter import formats
from ovms_converter.errors import AmbiguousModelError, CorruptModelError
from ovms_converter.formats.base import ModelDescription
from ovms_converter.formats.checkpoint import read_checkpoint
from ovms_converter.formats.describe import describe
from ovms_converter.formats.saved_model import Signature, describe_saved_model, read_saved_model
from ovms_converter.formats.tensorflow import serving_signature
from ovms_converter.formats.wire import bytes_field, read_varint

KERAS = DATA / "mlflow/1.20.2-keras-tf-trained/model/data/model"
TWO = DATA / "mlflow/1.30.1-keras-tf-two/model/data/model"
MODULE = DATA / "mlflow/2.22.1-tensorflow-module-signature/model/tf2model"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A SavedModel to damage."""
    return Path(shutil.copytree(KERAS, tmp_path / "model"))


@pytest.mark.parametrize("root", [KERAS, TWO, MODULE])
def test_a_directory_is_recognised_and_whole(root: Path) -> None:
    files = formats.LocalFiles(root)
    found = formats.recognise(files)
    assert (found.format, found.path, found.stem) == ("tensorflow.saved_model", "", "saved_model")
    assert found.needs == (
        "saved_model.pb",
        "variables/variables.data-00000-of-00001",
        "variables/variables.index",
    )
    assert formats.companions(root, found, files) == ()


def test_the_graph_file_stands_for_its_directory() -> None:
    assert formats.stands_for_directory("a/b/saved_model.pb")
    assert formats.stands_for_directory("MLmodel")
    assert not formats.stands_for_directory("model.onnx")
    assert formats.recognise(formats.LocalFiles(KERAS / "saved_model.pb")).needs == (
        formats.recognise(formats.LocalFiles(KERAS)).needs
    )


def test_a_model_in_a_sub_directory_keeps_its_path() -> None:
    found = formats.recognise(formats.LocalFiles(KERAS.parent.parent), "tensorflow.saved_model")
    assert found.path == "data/model"


def test_two_models_in_one_tree_are_listed() -> None:
    contents = {
        path.relative_to(KERAS).as_posix(): path.read_bytes() for path in KERAS.rglob("*") if path.is_file()
    }
    files = MemoryFiles({f"{name}/{path}": data for name in ("b", "a") for path, data in contents.items()})
    with pytest.raises(AmbiguousModelError, match="there are 2 models: `a`, `b`"):
        formats.recognise(files)


def test_one_onnx_and_one_saved_model_can_be_chosen_by_format() -> None:
    onnx = (DATA / "mlflow/1.30.1-onnx/model/model.onnx").read_bytes()
    contents = {
        path.relative_to(KERAS).as_posix(): path.read_bytes() for path in KERAS.rglob("*") if path.is_file()
    }
    files = MemoryFiles({**{f"tf/{path}": data for path, data in contents.items()}, "m.onnx": onnx})
    with pytest.raises(AmbiguousModelError) as caught:
        formats.recognise(files)
    assert caught.value.hint is not None
    assert "`input_format` (onnx or tensorflow.saved_model)" in caught.value.hint
    assert formats.recognise(files, "onnx").path == "m.onnx"
    assert formats.recognise(files, "tensorflow.saved_model").path == "tf"


def test_a_missing_index_is_named_if_there_are_variables(copy: Path) -> None:
    (copy / "variables/variables.index").unlink()
    found = formats.recognise(formats.LocalFiles(copy))
    with pytest.raises(
        CorruptModelError, match=r"has \d+ variables, and `variables/variables\.index` is missing"
    ):
        formats.companions(copy, found)


def test_a_missing_data_file_is_named_before_anything_is_fetched(copy: Path) -> None:
    (copy / "variables/variables.data-00000-of-00001").unlink()
    with pytest.raises(CorruptModelError, match=r"`variables/variables\.data-00000-of-00001` is missing"):
        formats.recognise(formats.LocalFiles(copy))


def test_a_missing_shard_among_several_is_named(copy: Path) -> None:
    (copy / "variables/variables.index").write_bytes(b"garbled")
    data = copy / "variables/variables.data-00000-of-00001"
    data.rename(copy / "variables/variables.data-00001-of-00003")
    with pytest.raises(CorruptModelError, match=r"`variables/variables\.data-00000-of-00003` is missing"):
        formats.recognise(formats.LocalFiles(copy))


def test_a_truncated_data_file_names_the_variable(copy: Path) -> None:
    data = copy / "variables/variables.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:100])
    found = formats.recognise(formats.LocalFiles(copy))
    with pytest.raises(
        CorruptModelError, match=r"`variables/variables\.data-00000-of-00001` is truncated: variable `"
    ):
        formats.companions(copy, found)


@pytest.mark.parametrize("kept", [10, 1000, 60_000])
def test_a_truncated_graph_is_one_line_before_anything_is_fetched(copy: Path, kept: int) -> None:
    graph = copy / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:kept])
    with pytest.raises(CorruptModelError, match=r"^`saved_model\.pb` is truncated or damaged: "):
        formats.recognise(formats.LocalFiles(copy))


def test_a_graph_of_unknown_size_is_not_taken_for_a_truncated_one() -> None:
    contents = {
        path.relative_to(KERAS).as_posix(): path.read_bytes() for path in KERAS.rglob("*") if path.is_file()
    }
    assert formats.recognise(MemoryFiles(contents, sizes_known=False)).format == "tensorflow.saved_model"


def test_a_damaged_index_is_named(copy: Path) -> None:
    index = copy / "variables/variables.index"
    index.write_bytes(index.read_bytes()[:-1] + b"\0")
    found = formats.recognise(formats.LocalFiles(copy))
    with pytest.raises(CorruptModelError, match=r"`variables/variables\.index` is truncated or damaged"):
        formats.companions(copy, found)


def test_a_compressed_index_is_left_to_openvino(copy: Path) -> None:
    index = copy / "variables/variables.index"
    data = bytearray(index.read_bytes())
    whole = read_checkpoint(memoryview(bytes(data)))
    footer = memoryview(data)[-48:]
    _, at = read_varint(footer, 0)
    _, at = read_varint(footer, at)
    offset, at = read_varint(footer, at)
    size, _ = read_varint(footer, at)
    data[offset + size] = 1
    index.write_bytes(data)
    assert whole is not None
    assert read_checkpoint(memoryview(data)) is None
    assert formats.companions(copy, formats.recognise(formats.LocalFiles(copy))) == ()


def test_recognising_reads_little() -> None:
    contents = {
        path.relative_to(KERAS).as_posix(): path.read_bytes() for path in KERAS.rglob("*") if path.is_file()
    }
    files = MemoryFiles(contents)
    formats.recognise(files)
    assert files.bytes_read < 20_000 < len(contents["saved_model.pb"])


def signature_of(root: Path) -> Signature:
    found = serving_signature(read_saved_model(memoryview((root / "saved_model.pb").read_bytes())))
    assert found is not None
    return found


def test_signatures_tags_and_operations_are_read() -> None:
    found = describe_saved_model(memoryview((TWO / "saved_model.pb").read_bytes()))
    assert [graph.tags for graph in found.meta_graphs] == [("serve",)]
    assert found.tensorflow_version == "2.8.4"
    assert found.operations["VarHandleOp"] > 0
    signature = signature_of(TWO)
    assert [str(spec) for spec in signature.inputs] == ["left float32 [?,4]", "right float32 [?,4]"]
    assert [str(spec) for spec in signature.outputs] == ["score float32 [?,1]", "sum float32 [?,2]"]
    assert signature.input_tensors["left"] == "serving_default_left:0"
    assert signature.method == "tensorflow/serving/predict"


def test_a_file_without_a_meta_graph_is_no_saved_model() -> None:
    with pytest.raises(CorruptModelError, match="no meta graph"):
        read_saved_model(memoryview(b"\x08\x01"))


def test_dimensions_of_a_signature() -> None:
    def shape(*sizes: int) -> bytes:
        dims = [
            bytes_field(2, b"\x08" + (b"\xff" * 9 + b"\x01" if size < 0 else bytes([size]))) for size in sizes
        ]
        return b"".join(dims)

    def info(shape_proto: bytes | None) -> bytes:
        content = bytes_field(1, "t:0") + b"\x10\x01"
        return content + bytes_field(3, shape_proto) if shape_proto is not None else content

    shapes = {"a": shape(-1, 3), "b": shape(), "c": b"\x18\x01", "d": None, "e": bytes_field(2, b"")}
    entries = b"".join(bytes_field(1, bytes_field(1, k) + bytes_field(2, info(v))) for k, v in shapes.items())
    signature = bytes_field(5, bytes_field(1, "serving_default") + bytes_field(2, entries))
    graphs = read_saved_model(memoryview(bytes_field(2, signature)))
    found = {spec.name: spec.shape for spec in graphs[0].signatures[0].inputs}
    assert found == {"a": (None, 3), "b": (), "c": None, "d": None, "e": (0,)}


def test_the_checkpoint_lists_every_variable_with_its_place() -> None:
    found = read_checkpoint(memoryview((MODULE / "variables/variables.index").read_bytes()))
    assert found is not None
    assert found.shards == 1
    weights = {stored.name: stored for stored in found.tensors if not stored.name.startswith("_")}
    assert all(stored.type == "float32" for stored in weights.values())
    assert (
        sum(stored.size for stored in found.tensors)
        <= (MODULE / "variables/variables.data-00000-of-00001").stat().st_size
    )


def described(root: Path) -> ModelDescription:
    """What the files themselves tell of a model."""
    files = formats.LocalFiles(root)
    return describe(files, formats.identify(formats.open_tree(files)))


def test_variables_that_keras_3_stores_twice_count_once() -> None:
    root = DATA / "mlflow/2.22.1-keras-exported/model/data/model"
    stored = read_checkpoint(memoryview((root / "variables/variables.index").read_bytes()))
    assert stored is not None
    floats = sum(each.size for each in stored.tensors if each.type == "float32")
    assert described(root).parameter_bytes == floats / 2 > 0


def test_where_the_graph_does_not_tell_the_checkpoint_is_counted(copy: Path) -> None:
    known = described(copy)
    graph = copy / "saved_model.pb"
    graph.write_bytes(graph.read_bytes().replace(b"VarHandleOp", b"VarHandleXy"))
    assert described(copy).parameters == known.parameters
