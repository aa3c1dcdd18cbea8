"""A container's memory limit ends in an error that says so, before the kernel kills whoever could say it."""

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from engine_rig import value, write
from ovms_converter.engine.container import container

MIB = 1 << 20


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_second_version(tmp_path: Path) -> None:
    proc = tree(tmp_path / "proc", {"self/cgroup": "0::/\n"})
    stat = "anon 70\nfile 30\ninactive_file 20\nactive_file 5\n"
    root = tree(tmp_path / "sys", {"memory.max": "1000\n", "memory.current": "100\n", "memory.stat": stat})
    found = container(root, proc)
    assert found is not None
    assert (found.limit, found.in_use()) == (1000, 75)
    assert not found.is_full(875)
    assert found.is_full(876)


def test_the_tightest_group_around_counts(tmp_path: Path) -> None:
    proc = tree(tmp_path / "proc", {"self/cgroup": "0::/pod/step\n"})
    limits = {"pod/step/memory.max": "max\n", "pod/memory.max": "500\n", "memory.max": "900\n"}
    found = container(tree(tmp_path / "sys", limits), proc)
    assert found is not None
    assert found.limit == 500


def test_first_version_with_the_group_mounted_as_the_root(tmp_path: Path) -> None:
    """Docker without a namespace of control groups: the path is the host's, the mount the container's."""
    proc = tree(tmp_path / "proc", {"self/cgroup": "5:cpu,cpuacct:/docker/1\n4:memory:/docker/1\n0::/\n"})
    files = {
        "memory/memory.limit_in_bytes": "1000\n",
        "memory/memory.usage_in_bytes": "300\n",
        "memory/memory.stat": "total_inactive_file 100\ntotal_active_file 50\n",
    }
    found = container(tree(tmp_path / "sys", files), proc)
    assert found is not None
    assert (found.limit, found.in_use()) == (1000, 150)


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"memory.max": "max\n"},
        {"memory.max": "garbage"},
        {"memory/memory.limit_in_bytes": "9223372036854771712\n"},
    ],
)
def test_no_limit(tmp_path: Path, files: dict[str, str]) -> None:
    proc = tree(tmp_path / "proc", {"self/cgroup": "4:memory:/a\n0::/a\n"})
    assert container(tree(tmp_path / "sys", files), proc) is None


def test_a_system_without_control_groups(tmp_path: Path) -> None:
    assert container(tmp_path / "sys", tmp_path / "proc") is None


@pytest.fixture
def small_container() -> Iterator[Path]:
    """A real control group of 400 MiB; needs a kernel and a user that may make one."""
    line = next(
        (line for line in Path("/proc/self/cgroup").read_text().splitlines() if ":memory:" in line), "::"
    )
    parents = [Path("/sys/fs/cgroup/memory") / line.split(":", 2)[2].strip("/"), Path("/sys/fs/cgroup")]
    for parent in parents:
        group = parent / f"ovms-converter-test-{os.getpid()}"
        limit = "memory.limit_in_bytes" if parent is parents[0] else "memory.max"
        try:
            group.mkdir()
            (group / limit).write_text(str(400 * MIB))
        except OSError:
            with contextlib.suppress(OSError):
                group.rmdir()
            continue
        yield group
        group.rmdir()
        return
    pytest.skip("no control group can be made here")


def converted_in(group: Path, model: Path, out: Path) -> "subprocess.CompletedProcess[str]":
    program = (
        f"import os; open({str(group / 'cgroup.procs')!r}, 'w').write(str(os.getpid()));"
        "from ovms_converter.cli import main; main()"
    )
    command = [sys.executable, "-c", program, "convert", str(model), str(out), "--verify", "load"]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def large(path: Path, parts: int, size: int) -> Path:
    """A model that multiplies a small input to `parts` tensors of `size` MiB, all alive at its end."""
    nodes, results = [], []
    for index in range(parts):
        nodes.append(helper.make_node("Tile", ["x", f"n{index}"], [f"t{index}"]))
        nodes.append(helper.make_node("Sin", [f"t{index}"], [f"s{index}"]))
        results.append(f"s{index}")
    nodes.append(helper.make_node("Concat", results, ["y"], axis=0))
    weights = {f"n{index}": np.array([size, 1]) for index in range(parts)}
    ends = [value("x", TensorProto.FLOAT, [1024, 256]), value("y", TensorProto.FLOAT, None)]
    return write(path, nodes, ends[:1], ends[1:], weights)


def test_a_model_too_large_for_its_container_ends_with_figures(tmp_path: Path, small_container: Path) -> None:
    """Whether the watch or the kernel is first."""
    ended = converted_in(small_container, large(tmp_path / "m.onnx", 64, 32), tmp_path / "out")
    assert ended.returncode == 7, ended.stderr
    assert "memory ran out" in ended.stderr
    assert re.search(r"the container('s 419 MB are in use| has 419 MB)", ended.stderr)
    assert "hint: give the container more memory" in ended.stderr
    assert not (tmp_path / "out").exists()


def test_a_model_that_fits_its_container_is_left_alone(tmp_path: Path, small_container: Path) -> None:
    ended = converted_in(small_container, large(tmp_path / "m.onnx", 2, 8), tmp_path / "out")
    assert ended.returncode == 0, ended.stderr
