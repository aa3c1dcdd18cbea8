"""The engine with real models: what is written, what is told."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from engine_rig import children, convert, dense, job, names_in, value, write
from ovms_converter.engine.job import Port
from ovms_converter.errors import ConverterError, ModelError, RequestError
from ovms_converter.events import Event, Stage, StageFinished, StageStarted


def test_a_model_becomes_one_pair_of_files_with_the_stem_as_their_name(tmp_path: Path) -> None:
    model = dense(tmp_path / "source" / "net.onnx")
    result = convert(job(model, tmp_path / "out", stem="served"), tmp_path / "scratch")
    assert names_in(tmp_path / "out") == ["served.bin", "served.xml"]
    assert (result.xml, result.bin) == (tmp_path / "out/served.xml", tmp_path / "out/served.bin")
    assert result.inputs == (Port("x", "f32", "[?,4]"),)
    assert result.outputs == (Port("y", "f32", "[?,4]"),)
    assert "run with a batch of 1 and of 2" in result.verified


def test_the_stages_are_told_in_their_order(tmp_path: Path) -> None:
    events: list[Event] = []
    convert(job(dense(tmp_path / "m.onnx"), tmp_path / "out"), tmp_path / "scratch", listener=events.append)
    stages = [
        (type(event), event.stage) for event in events if isinstance(event, StageStarted | StageFinished)
    ]
    assert stages == [
        (StageStarted, Stage.CONVERT),
        (StageFinished, Stage.CONVERT),
        (StageStarted, Stage.VERIFY),
        (StageFinished, Stage.VERIFY),
    ]


def test_nothing_is_run_when_verification_is_off(tmp_path: Path) -> None:
    events: list[Event] = []
    one = job(dense(tmp_path / "m.onnx"), tmp_path / "out", verify="off")
    result = convert(one, tmp_path / "scratch", listener=events.append)
    assert result.verified == "not verified: switched off"
    assert not [event for event in events if isinstance(event, StageStarted) and event.stage is Stage.VERIFY]


def test_scratch_is_empty_afterwards(tmp_path: Path) -> None:
    convert(job(dense(tmp_path / "m.onnx"), tmp_path / "out"), tmp_path / "scratch")
    assert names_in(tmp_path / "scratch") == []


def test_a_relative_path_is_one_of_the_callers_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dense(tmp_path / "m.onnx")
    monkeypatch.chdir(tmp_path)
    convert(job(Path("m.onnx"), Path("out")), Path("scratch"))
    assert names_in(tmp_path / "out") == ["model.bin", "model.xml"]


def test_a_model_without_weights_gets_a_bin_that_is_not_empty(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    ends = [value(name, TensorProto.FLOAT, [2]) for name in ("x", "y")]
    result = convert(
        job(write(tmp_path / "m.onnx", nodes, ends[:1], ends[1:]), tmp_path / "out"), tmp_path / "s"
    )
    assert result.bin.read_bytes() == b"\0"


def test_fp16_halves_the_weights(tmp_path: Path) -> None:
    model = dense(tmp_path / "m.onnx", width=64)
    full = convert(job(model, tmp_path / "full"), tmp_path / "s")
    half = convert(job(model, tmp_path / "half", data_type="FP16"), tmp_path / "s")
    assert (full.bin.stat().st_size, half.bin.stat().st_size) == (64 * 64 * 4, 64 * 64 * 2)


@pytest.mark.parametrize("data_type", ["", "FP16"])
def test_the_same_model_gives_the_same_bytes_from_another_place_and_another_process(
    tmp_path: Path, data_type: str
) -> None:
    digests = set()
    for place in ("here", "a much longer/place there"):
        model = dense(tmp_path / place / "m.onnx", layers=3)
        result = convert(job(model, tmp_path / place / "out", data_type=data_type), tmp_path / place / "s")
        digests.add(tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in (result.xml, result.bin)))
    assert len(digests) == 1


def test_the_file_tells_its_own_name_and_no_path(tmp_path: Path) -> None:
    result = convert(job(dense(tmp_path / "m.onnx"), tmp_path / "out", batch="3"), tmp_path / "s")
    assert str(tmp_path) not in result.xml.read_text()
    assert '<net name="model"' in result.xml.read_text()


def test_a_length_that_fits_the_model_is_found(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["r"]),
        helper.make_node("ReduceSum", ["r"], ["y"], keepdims=0),
    ]
    model = write(
        tmp_path / "m.onnx",
        nodes,
        [value("x", TensorProto.FLOAT, ["N", "L"])],
        [value("y", TensorProto.FLOAT, [])],
        {"shape": np.array([-1, 16])},
    )
    result = convert(job(model, tmp_path / "out"), tmp_path / "s")
    assert result.verified.startswith("loaded, compiled and run")


def test_a_model_that_fits_no_guessed_length_is_published_with_a_note(tmp_path: Path) -> None:
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    model = write(
        tmp_path / "m.onnx",
        nodes,
        [value("x", TensorProto.FLOAT, [1, "L"])],
        [value("y", TensorProto.FLOAT, [13, 17])],
        {"shape": np.array([13, 17])},
    )
    result = convert(job(model, tmp_path / "out"), tmp_path / "s")
    assert result.verified.startswith("loaded and compiled; not run")
    assert "every guessed input" in result.notes[0]


def test_a_batch_that_is_only_declared_free_is_told(tmp_path: Path) -> None:
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    model = write(
        tmp_path / "m.onnx",
        nodes,
        [value("x", TensorProto.FLOAT, ["N", 4])],
        [value("y", TensorProto.FLOAT, [1, 4])],
        {"shape": np.array([1, 4])},
    )
    result = convert(job(model, tmp_path / "out"), tmp_path / "s")
    assert result.verified.endswith("with a batch of 1")
    assert any("batch" in note for note in result.notes)


def test_an_error_of_the_child_comes_back_as_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(RequestError) as caught:
        convert(job(dense(tmp_path / "m.onnx"), tmp_path / "out", output="nothere"), tmp_path / "s")
    assert "nothere" in caught.value.message
    assert caught.value.parameter == "output"


@pytest.mark.parametrize("content", [b"", b"\x08\x08\x12garbage" * 20, b"\0" * 4096, b"{}"])
def test_bytes_that_are_no_model_are_a_model_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(ModelError) as caught:
        convert(job(tmp_path / "m.onnx", tmp_path / "out"), tmp_path / "s")
    assert caught.value.exit_code == 5
    assert "\n" not in caught.value.message


def test_a_truncated_model_is_a_model_error_wherever_it_is_cut(tmp_path: Path) -> None:
    whole = dense(tmp_path / "whole.onnx", width=32).read_bytes()
    for length in (1, len(whole) // 2, len(whole) - 1):
        (tmp_path / "m.onnx").write_bytes(whole[:length])
        with pytest.raises(ConverterError) as caught:
            convert(job(tmp_path / "m.onnx", tmp_path / f"out{length}"), tmp_path / "s")
        assert caught.value.exit_code == 5


def test_the_child_sees_no_credential_and_needs_no_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    monkeypatch.setenv("FUSEML_TOKEN", "canary")
    monkeypatch.setenv("HOME", "/nonexistent")
    environments: list[bytes] = []

    def look(event: Event) -> None:
        if isinstance(event, StageStarted):
            environments.extend(Path(f"/proc/{pid}/environ").read_bytes() for pid in children())

    convert(job(dense(tmp_path / "m.onnx"), tmp_path / "out"), tmp_path / "s", listener=look)
    assert environments
    assert not any(b"canary" in environment for environment in environments)
    assert any(str(tmp_path / "s").encode() in environment for environment in environments)


def test_it_is_found_when_run_from_a_source_tree(tmp_path: Path) -> None:
    import ovms_converter

    root = Path(ovms_converter.__file__).parent.parent
    dense(tmp_path / "m.onnx")
    code = (
        "from pathlib import Path\nfrom engine_rig import children, convert, job\n"
        "print(convert(job(Path('m.onnx'), Path('out')), Path('s')).xml)"
    )
    environ = {"PYTHONPATH": os.pathsep.join([os.path.relpath(root, tmp_path), str(Path(__file__).parent)])}
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environ, capture_output=True, text=True
    )
    assert run.stdout == "out/model.xml\n", run.stderr
