"""What OpenVINO cannot convert is told with its nodes, and before the weights are fetched."""

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ovms_converter.coverage import onnx_operations
from ovms_converter.formats.wire import Message
from served import run_command

SHAPE = ["N", 256]


def tensor(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE)


def write(path: Path, nodes: Sequence[onnx.NodeProto], functions: Sequence[onnx.FunctionProto] = ()) -> Path:
    """A model from `x` to `y` whose one weight, `w`, is in a file of its own."""
    weights = numpy_helper.from_array(np.ones((256, 256), np.float32), "w")
    graph = helper.make_graph(list(nodes), "graph", [tensor("x")], [tensor("y")], [weights])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=functions)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path


def product() -> onnx.NodeProto:
    return helper.make_node("MatMul", ["x", "w"], ["h"], name="product")


@contextlib.contextmanager
def web(directory: Path) -> Iterator[tuple[str, list[str]]]:
    """A web server of a directory: its URL, and what it was asked for."""
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            super().do_GET()

        def log_message(self, format: str, *args: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(directory)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_weights_stay_where_they_are(tmp_path: Path) -> None:
    wobble = helper.make_node("Wobble", ["h"], ["y"], name="last", domain="own")
    write(tmp_path / "model/m.onnx", [product(), wobble])
    with web(tmp_path) as (url, asked):
        done = run_command("convert", f"{url}/model/", str(tmp_path / "out"), environ=os.environ)
    assert done.returncode == 5
    assert "OpenVINO has no operation for `own.Wobble` (1: `last`), which `m.onnx` needs" in done.stderr
    assert "hint: it is an operator of its author's own" in done.stderr
    assert "/model/m.onnx" in asked
    assert "/model/weights.bin" not in asked


def test_a_cut_leaves_it_out(tmp_path: Path) -> None:
    wobble = helper.make_node("Wobble", ["h"], ["y"], name="last", domain="own")
    model = write(tmp_path / "model/m.onnx", [product(), wobble])
    done = run_command("convert", str(model), str(tmp_path / "out"), "--output", "h", environ=os.environ)
    assert done.returncode == 0, done.stderr


def operations(nodes: Sequence[onnx.NodeProto], functions: Sequence[onnx.FunctionProto] = ()) -> set[str]:
    graph = helper.make_graph(list(nodes), "graph", [tensor("x")], [tensor("y")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], functions=functions)
    found = onnx_operations(Message(memoryview(model.SerializeToString())), needed=True)
    return {operation for _, operation in found.counts}


def test_only_what_the_outputs_need_counts() -> None:
    dead = helper.make_node("Wobble", ["x"], ["z"], domain="own")
    assert operations([helper.make_node("Relu", ["x"], ["y"]), dead]) == {"Relu"}


def test_a_graph_inside_needs_what_it_takes_from_around_it() -> None:
    inner = helper.make_graph([helper.make_node("Neg", ["outer"], ["r"])], "branch", [], [tensor("r")])
    nodes = [
        helper.make_node("Abs", ["x"], ["outer"]),
        helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner),
    ]
    assert operations(nodes) == {"Abs", "If", "Neg"}


@pytest.mark.parametrize(("called", "expected"), [(True, {"Twice", "Wobble"}), (False, {"Relu"})])
def test_functions_count_if_they_are_called(called: bool, expected: set[str]) -> None:
    body = [helper.make_node("Wobble", ["a"], ["b"], domain="other")]
    twice = helper.make_function("own", "Twice", ["a"], ["b"], body, [helper.make_opsetid("other", 1)])
    node = helper.make_node(
        *(("Twice",) if called else ("Relu",)), ["x"], ["y"], domain="own" if called else ""
    )
    assert operations([node], [twice]) == expected
