"""PyTorch's archives, told apart, described and checked without PyTorch."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from formats_helpers import DATA, MemoryFiles
from ovms_converter import formats
from ovms_converter.errors import CorruptModelError, ModelError, UnsupportedModelError
from ovms_converter.formats.archives import DAMAGE
from ovms_converter.formats.describe import describe
from ovms_converter.formats.framework import FrameworkFormat
from ovms_converter.formats.torch_archive import harmless_copy
from ovms_converter.formats.torch_code import read_forward
from ovms_converter.formats.torch_program import foreign_texts, stripped

ARTIFACTS = DATA / "formats" / "mlflow"
EXPORTED = ARTIFACTS / "3.18.0-pytorch-default" / "data" / "model.pt2"
SCRIPTED = ARTIFACTS / "1.30.1-pytorch-script-two" / "data" / "model.pth"
PICKLED = ARTIFACTS / "2.22.1-pytorch-pickle" / "data" / "model.pth"
PROGRAM = "models/model.json"
CALL = "__import__('os').system('true')"

Edit = Callable[[bytes], bytes]


def edited(source: Path, edits: dict[str, Edit | bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """The archive with some records changed, or added if they are given as bytes."""
    with zipfile.ZipFile(source) as archive, io.BytesIO() as file:
        root = archive.namelist()[0].partition("/")[0]
        with zipfile.ZipFile(file, "w", method) as copy:
            for info in archive.infolist():
                edit = edits.get(info.filename.partition("/")[2])
                data = archive.read(info)
                copy.writestr(info.filename, edit(data) if callable(edit) else data)
            for name, added in edits.items():
                if isinstance(added, bytes):
                    copy.writestr(f"{root}/{name}", added)
        return file.getvalue()


def program(change: Callable[[Any], None]) -> dict[str, Edit | bytes]:
    def edit(data: bytes) -> bytes:
        value = json.loads(data)
        change(value)
        return json.dumps(value).encode()

    return {PROGRAM: edit}


def size(value: Any) -> None:
    value["graph_module"]["graph"]["tensor_values"]["image"]["sizes"][0]["as_expr"]["expr_str"] = CALL


def operator(value: Any) -> None:
    value["graph_module"]["graph"]["nodes"][0]["target"] = "torch.serialization.os.system"


def file_operator(value: Any) -> None:
    value["graph_module"]["graph"]["nodes"][0]["target"] = "torch.ops.aten.from_file.default"


def tree(value: Any) -> None:
    context = {"default_factory_module": "this", "default_factory_name": "s", "dict_context": []}
    spec = [1, {"type": "collections.defaultdict", "context": context, "children_spec": []}]
    value["graph_module"]["module_call_graph"][0]["signature"]["out_spec"] = json.dumps(spec)


def enumeration(value: Any) -> None:
    context = json.dumps({"__enum__": True, "fqn": "this:s", "name": "x"})
    spec = [1, {"type": "builtins.dict", "context": context, "children_spec": []}]
    value["graph_module"]["module_call_graph"][0]["signature"]["in_spec"] = json.dumps(spec)


def argument(value: Any) -> None:
    value["graph_module"]["module_call_graph"][0]["signature"]["forward_arg_names"] = [f"image={CALL}"]


def node(value: Any) -> None:
    value["graph_module"]["graph"]["inputs"][-1]["as_tensor"]["name"] = f"image={CALL}"


def unpickled(data: bytes) -> bytes:
    config = json.loads(data)
    next(iter(config["config"].values()))["use_pickle"] = True
    return json.dumps(config).encode()


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit",)


def sample(_data: bytes) -> bytes:
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as inner:
            inner.writestr("archive/data.pkl", pickle.dumps(Evil(), 2))
        return file.getvalue()


FOREIGN: dict[str, tuple[dict[str, Edit | bytes], str]] = {
    "a size that is code": (program(size), "expr_str: `__import__"),
    "a function that is no operator": (program(operator), "target: `torch.serialization.os.system`"),
    "an operator that opens files": (program(file_operator), "aten.from_file"),
    "a tree that imports a module": (program(tree), "out_spec"),
    "a tree with an enumeration": (program(enumeration), "in_spec"),
    "an argument that is code": (program(argument), "forward_arg_names"),
    "a node that is code": (program(node), "name: `image=__import__"),
    "a weight that is unpickled": (
        {"data/weights/model_weights_config.json": unpickled},
        "data/weights/weight_0: an object that is unpickled",
    ),
    "sample inputs that import": ({"data/sample_inputs/model.pt": sample}, "imports __builtin__.exec"),
    "compiled code": ({"data/aotinductor/model/x.so": b"\x7fELF"}, "data/aotinductor/model/x.so"),
}


def test_what_mlflow_writes_is_taken_for_harmless() -> None:
    for path in (EXPORTED, SCRIPTED):
        tree = formats.open_tree(formats.LocalFiles(path))
        model = formats.identify(tree)
        row = formats.format_named(model.format)
        assert isinstance(row, FrameworkFormat)
        assert row.runs_code(tree, model) is None
        row.check_trust(tree, model)


@pytest.mark.parametrize("name", FOREIGN)
def test_an_exported_program_is_refused_for(name: str) -> None:
    edits, words = FOREIGN[name]
    tree = formats.open_tree(MemoryFiles({"model.pt2": edited(EXPORTED, edits)}))
    model = formats.identify(tree)
    row = formats.format_named(model.format)
    assert isinstance(row, FrameworkFormat)
    with pytest.raises(UnsupportedModelError) as error:
        row.check_trust(tree, model)
    assert words in error.value.message
    assert "--trust-source" in str(error.value.hint)


@pytest.mark.parametrize("name", FOREIGN)
def test_no_copy_is_made_of(name: str, tmp_path: Path) -> None:
    edits, words = FOREIGN[name]
    (tmp_path / "model.pt2").write_bytes(edited(EXPORTED, edits))
    found = harmless_copy(tmp_path / "model.pt2", tmp_path / "copy.pt2")
    assert any(words in each for each in found)
    assert not (tmp_path / "copy.pt2").exists()


def test_the_copy_has_no_guards_no_samples_and_all_weights(tmp_path: Path) -> None:
    source = tmp_path / "model.pt2"
    source.write_bytes(edited(EXPORTED, program(lambda value: value.update(guards_code=[CALL]))))
    assert harmless_copy(source, tmp_path / "copy.pt2") == ()
    with zipfile.ZipFile(tmp_path / "copy.pt2") as copy, zipfile.ZipFile(EXPORTED) as original:
        text = json.loads(copy.read("model/models/model.json"))
        assert text["guards_code"] == []
        assert not any(each["metadata"] for each in text["graph_module"]["graph"]["nodes"])
        assert copy.read("model/data/sample_inputs/model.pt") == b""
        for name in original.namelist():
            if "/weight_" in name:
                assert copy.read(name) == original.read(name)


@pytest.mark.parametrize(
    "expression",
    [
        "s0",
        "2*s0 + 1",
        "Symbol('s77', positive=True, integer=True)",
        "Add(FloorDiv(s0, Integer(2)), Max(1, s1))",
    ],
)
def test_sizes_that_pytorch_writes_are_taken(expression: str) -> None:
    assert list(foreign_texts({"expr_str": expression})) == []


@pytest.mark.parametrize(
    "expression", ["s0.__class__", "lambda: 0", "open('x')", "[s0]", "x", "s0; s1", "'s0'"]
)
def test_other_sizes_are_not(expression: str) -> None:
    assert len(list(foreign_texts({"expr_str": expression}))) == 1


@given(
    st.recursive(
        st.none() | st.text() | st.integers(),
        lambda each: st.lists(each) | st.dictionaries(st.text(), each),
    )
)
def test_any_json_is_read_to_its_end(value: Any) -> None:
    for text in foreign_texts(stripped(value if isinstance(value, dict) else {"value": value})):
        assert text.isascii()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_archive_never_crashes(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from((EXPORTED, SCRIPTED, PICKLED)))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(len(content) // 2, len(content))) :]
    tree = formats.open_tree(MemoryFiles({path.name: bytes(content)}))
    try:
        model = formats.identify(tree)
        row = formats.format_named(model.format)
        row.confirm(tree, model)
        row.describe(tree, model)
        if isinstance(row, FrameworkFormat):
            row.check_trust(tree, model)
    except ModelError:
        pass


def test_records_that_two_readers_see_differently_are_damage(tmp_path: Path) -> None:
    source = tmp_path / "model.pt2"
    source.write_bytes(edited(EXPORTED, {"Models/Model.JSON": b"{}"}))
    with pytest.raises(CorruptModelError, match=r"Models/Model\.JSON` is there twice"):
        harmless_copy(source, tmp_path / "copy.pt2")


def test_a_compressed_program_is_damage(tmp_path: Path) -> None:
    source = tmp_path / "model.pt2"
    source.write_bytes(edited(EXPORTED, {}, zipfile.ZIP_DEFLATED))
    with pytest.raises((CorruptModelError, *DAMAGE), match="compressed"):
        harmless_copy(source, tmp_path / "copy.pt2")


def test_torchscript_that_opens_files_is_refused() -> None:
    code = {"code/__torch__.py": lambda data: data + b"\n#\n    torch.save(x, 'f')\n"}
    tree = formats.open_tree(MemoryFiles({"model.pt": edited(SCRIPTED, dict(code))}))
    row = formats.format_named("pytorch.torchscript")
    assert isinstance(row, FrameworkFormat)
    with pytest.raises(UnsupportedModelError, match=r"code/__torch__\.py: save"):
        row.check_trust(tree, formats.identify(tree))


def test_a_pickled_module_is_refused_with_what_it_imports() -> None:
    tree = formats.open_tree(formats.LocalFiles(PICKLED))
    row = formats.format_named("pytorch.pickle")
    assert isinstance(row, FrameworkFormat)
    with pytest.raises(UnsupportedModelError, match=r"cloudpickle\.cloudpickle\._make_skeleton_class"):
        row.check_trust(tree, formats.identify(tree))


@pytest.mark.parametrize(
    ("pickled", "words"),
    [
        (b"\x80\x02ccollections\nOrderedDict\nq\0)Rq\1.", "state dictionary or checkpoint"),
        (b"\x80\x02}q\0X\x19\0\0\0pytorch-lightning_versionq\1K\1s.", "Lightning checkpoint"),
    ],
)
def test_weights_without_a_model_are_refused_whatever_is_trusted(pickled: bytes, words: str) -> None:
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("m/data.pkl", pickled)
        files = MemoryFiles({"m.ckpt": file.getvalue()})
    with pytest.raises(UnsupportedModelError, match=f"{words}, which holds weights and no graph"):
        formats.recognise(files, trusted=True)


def test_a_program_of_before_2_8_is_refused_by_name() -> None:
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("version", b"5.3")
            archive.writestr("serialized_exported_program.json", b"{}")
        files = MemoryFiles({"m.pt2": file.getvalue()})
    with pytest.raises(UnsupportedModelError, match=r"before PyTorch 2\.8"):
        formats.recognise(files)


@pytest.mark.parametrize("path", [EXPORTED, SCRIPTED])
def test_without_pytorch_the_command_and_the_recipe_are_told(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(
        UnsupportedModelError, match="needs PyTorch, and torch is not installed here"
    ) as error:
        formats.recognise(formats.LocalFiles(path))
    assert "pip install 'ovms-converter[torch]', or run `torch.onnx.export(" in str(error.value.hint)


def test_an_exported_program_tells_its_ends_and_operations() -> None:
    files = formats.LocalFiles(EXPORTED)
    found = describe(files, formats.identify(formats.open_tree(files)))
    assert [str(spec) for spec in (*found.inputs, *found.outputs)] == [
        "image float32 [s40,3,16,16]",
        "linear float32 [s40,2]",
    ]
    assert found.operations["torch"]["aten.conv2d.default"] == 1
    assert (found.producer, found.parameters) == ("PyTorch 2.13.0+cpu", 514)


def test_torchscript_tells_its_arguments() -> None:
    files = formats.LocalFiles(SCRIPTED)
    found = describe(files, formats.identify(formats.open_tree(files)))
    assert [str(spec) for spec in found.inputs] == ["left unknown [...]", "right unknown [...]"]
    assert [spec.name for spec in found.outputs] == ["output_0", "output_1"]


CLASS = """class Net(Module):
  training : bool
  __annotations__["0"] = __torch__.Linear
  def forward(self: __torch__.Net,
    x: Tensor,
    mask: Optional[Tensor]=None,
    scale: float=1.) -> {}:
    {}
    return {}
  def other(self: __torch__.Net) -> int:
    return 2

class Other(Module):
  def forward(self: __torch__.Other) -> Tensor:
    return torch.zeros([1])
"""


@pytest.mark.parametrize(
    ("kind", "body", "result", "keys"),
    [
        ("Tensor", "y = torch.relu(x)", "y", (None,)),
        ("Tuple[Tensor, int, Tuple[Tensor, Tensor]]", "pass", "(x, 3, (x, x))", (None, None, None)),
        ("Tuple[Tensor, Tensor]", "y = torch.max(x)", "y", (None, None)),
        ("List[Tensor]", "_0 = [x, x]", "_0", (None, None)),
        ("Dict[str, Tensor]", '_0 = {"a": x, "b c": x}', "_0", ("a", "b c")),
        ("Dict[str, Tuple[Tensor, Tensor]]", "pass", '{"a": (x, x)}', (None, None)),
        ("Tuple[Tensor, Dict[str, Tensor]]", '_0 = {"a": x}', "(x, _0)", (None, "a")),
        # a list that is filled as it runs, and a dictionary that depends on the values
        ("List[Tensor]", "_0 = annotate(List[Tensor], [])\n    torch.append(_0, x)", "_0", None),
        (
            "Dict[str, Tensor]",
            '_0 = annotate(Dict[str, Tensor], {})\n    torch._set_item(_0, "a", x)',
            "_0",
            None,
        ),
        (
            "List[Tensor]",
            "if bool(x):\n      _0 = [x]\n    else:\n      _0 = [x, x]",
            "_0",
            None,
        ),
        (
            "List[Tensor]",
            "if bool(x):\n      _0 = [x, x]\n    else:\n      _0 = [x, x]",
            "_0",
            (None, None),
        ),
        ("Optional[Tensor]", "pass", "x", None),
        ("__torch__.Pair", "pass", "__torch__.Pair(x, x)", None),
    ],
)
def test_the_result_of_a_torchscript_program(
    kind: str, body: str, result: str, keys: tuple[str | None, ...] | None
) -> None:
    found = read_forward(CLASS.replace("{}", "%s") % (kind, body, result), "Net")
    assert found is not None
    assert found.outputs == keys
    assert found.taken(frozenset()) == ("x",)
    assert found.taken(frozenset({"mask"})) == ("x", "mask")


@pytest.mark.parametrize("code", ["", "class Net(Module):\n  x : int\n", "class Net(Module):\n" + "(" * 5000])
def test_code_that_is_none_tells_nothing(code: str) -> None:
    assert read_forward(code, "Net") is None


@given(st.text(max_size=200))
def test_no_code_breaks_its_reader(text: str) -> None:
    read_forward("class Net(Module):\n  def forward(self, x: Tensor) -> Tensor:\n    " + text, "Net")


def test_a_number_that_must_be_given_is_no_input() -> None:
    code = "class Net(Module):\n  def forward(self: N, x: Tensor, k: int) -> Tensor:\n    return x\n"
    found = read_forward(code, "Net")
    assert found is not None
    assert found.taken(frozenset()) is None


@pytest.mark.parametrize(
    "text",
    [
        "GreaterThan(Symbol('u0', integer=True), Integer(0))",
        "StrictLessThan(Symbol('s7', integer=True), Integer(9))",
        "Equality(Mod(Symbol('s7', integer=True), Integer(2)), Integer(0))",
    ],
)
def test_comparisons_of_sizes_are_no_code(text: str) -> None:
    assert not list(foreign_texts({"expr_str": text}))
