"""Runs that are killed at every point: what a server sees meanwhile, and what the next run does."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from killing import AT_OPERATION, convert_command, gate_before, run_to_its_end
from ovms_converter.recheck import Checks, recheck
from ovms_reader import DirectoryFiles, OvmsReader, S3Files
from servers import S3Bucket
from signing_keys import new_pair

ARTIFACT = Path(__file__).parent.parent / "data" / "mlflow" / "1.30.1-onnx"
MODEL = ARTIFACT / "model" / "model.onnx"


def computes_what_the_source_computes(number: int, model: Any) -> None:
    computed = model(dict(np.load(ARTIFACT / "reference_input.npz")))
    for name, expected in np.load(ARTIFACT / "reference_output.npz").items():
        np.testing.assert_allclose(computed[name], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_server_never_loads_half_of_what_is_killed_on_a_file_system(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    base = home / "served"
    counted = tmp_path / "count"

    def run(stop_at: int) -> "subprocess.CompletedProcess[str]":
        own = [sys.executable, "-c", AT_OPERATION, str(home), str(stop_at), str(counted)]
        return run_to_its_end([*own, *convert_command(str(MODEL), str(base), "--model-version", "next")[3:]])

    assert run(0).returncode == 0
    operations = int(counted.read_text())
    assert operations >= 10
    with OvmsReader(DirectoryFiles(base), tmp_path / "server", computes_what_the_source_computes) as server:
        for point in range(1, operations + 1):
            before = sorted(path.name for path in base.iterdir() if path.name.isdigit())
            killed = run(point)
            assert killed.returncode == -9, (point, killed.stderr)
            done = run(0)
            assert done.returncode == 0, (point, done.stderr)
            left = [path.name for path in (*home.iterdir(), *base.iterdir()) if path.name.startswith(".")]
            assert not left, f"killed before operation {point}"
            numbers = sorted(int(path.name) for path in base.iterdir())
            assert numbers == list(range(1, len(numbers) + 1))
            assert len(before) < len(numbers)

    assert not server.wrong
    assert server.served[-1] == numbers[-1]


@pytest.mark.slow
def test_a_run_that_is_killed_after_any_stage_leaves_nothing_to_the_next(tmp_path: Path) -> None:
    """The child process that converts ends with its parent, and its files go with the next run."""
    base = tmp_path / "served"
    command = convert_command(str(MODEL), str(base), "--log-format", "json", "--model-version", "next")
    done = run_to_its_end(command)
    stages = [line["stage"] for line in map(json.loads, done.stderr.splitlines()) if "stage" in line]
    assert stages == ["recognise", "fetch", "convert", "verify", "publish"]
    with OvmsReader(DirectoryFiles(base), tmp_path / "server", computes_what_the_source_computes) as server:
        for stage in stages:
            process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
            with process:
                assert process.stderr
                next(line for line in process.stderr if json.loads(line).get("stage") == stage)
                process.kill()
            assert run_to_its_end(command).returncode == 0
            assert all(path.name.isdigit() for path in base.iterdir()), stage
            assert not [path for path in tmp_path.iterdir() if path.name.startswith(".ovms-")], stage
    assert not server.wrong


@pytest.mark.slow
@pytest.mark.parametrize(("passes", "signed"), [(0.0, False), (0.5, True), (1.0, False)])
def test_a_server_never_loads_half_of_what_is_killed_in_a_store(
    s3: S3Bucket, tmp_path: Path, passes: float, signed: bool
) -> None:
    port = int(s3.endpoint.rpartition(":")[2])
    url = s3.url("served")
    private, public = new_pair(tmp_path)
    command = convert_command(str(MODEL), url, *(("--sign", str(private)) if signed else ()))
    with gate_before(port) as gate:
        through_gate = s3.environ() | {"S3_ENDPOINT": f"http://127.0.0.1:{gate.port}"}
        assert run_to_its_end(command, through_gate).returncode == 0
        requests = len(gate.requests)
    assert requests >= 10
    with OvmsReader(S3Files(s3, "served"), tmp_path / "server", computes_what_the_source_computes) as server:
        for point in range(1, requests + 1):
            # Another parameter: otherwise the version that is there already would be reported.
            changed = [*command, "--model-name", f"model{point}"]
            killed = killed_at(changed, port, point, passes, s3.environ())
            done = run_to_its_end(changed, s3.environ())
            assert done.returncode == 0, (point, killed, done.stderr)
            keys = s3.keys("served/")
            finished = {key.split("/")[1] for key in keys if key.endswith(".xml")}
            assert {key.split("/")[1] for key in keys if "probe" not in key} == finished, (point, killed)

    assert not server.wrong
    assert str(server.served[-1]) == max(finished, key=int)
    for number in sorted(finished) if signed else ():
        checks = Checks(key=str(public))
        assert recheck(f"{url}/{number}", environ=s3.environ(), checks=checks).is_good


def killed_at(command: list[str], port: int, point: int, passes: float, environ: dict[str, str]) -> str:
    """Run a command whose requests go through a gate, and kill it at one of them; returns the request."""
    processes: list[subprocess.Popen[bytes]] = []
    with gate_before(port, point, passes, lambda: processes[0].kill()) as gate:
        processes.append(
            subprocess.Popen(
                command,
                env=os.environ | environ | {"S3_ENDPOINT": f"http://127.0.0.1:{gate.port}"},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
        code = processes[0].wait(120)
        last = gate.requests[-1]
    assert code == -9, (point, last)
    return last


def test_reader_loads_what_is_there_and_reports_what_is_wrong(tmp_path: Path) -> None:
    done = run_to_its_end(convert_command(str(MODEL), str(tmp_path / "served")))
    assert done.returncode == 0, done.stderr
    (xml,) = tmp_path.glob("served/1/*.xml")
    weights = xml.with_suffix(".bin")
    reader = OvmsReader(
        DirectoryFiles(tmp_path / "served"), tmp_path / "s", computes_what_the_source_computes
    )
    reader.poll()
    assert (reader.served, reader.wrong) == ([1], [])

    half = tmp_path / "served" / "2.partial"
    half.mkdir()
    reader.poll()
    assert (reader.served, reader.wrong) == ([1], [])

    (tmp_path / "served" / "2").mkdir()
    (tmp_path / "served" / "2" / xml.name).write_bytes(xml.read_bytes())
    (tmp_path / "served" / "2" / weights.name).write_bytes(weights.read_bytes()[:-4])
    reader.poll()
    assert reader.served == [1]
    assert reader.wrong

    other = bytearray(weights.read_bytes())
    other[:4] = np.float32(3.5).tobytes()
    reader.wrong.clear()
    (tmp_path / "served" / "2" / weights.name).write_bytes(other)
    reader.poll()
    assert reader.served == [1]
    assert "version 2" in reader.wrong[0]
