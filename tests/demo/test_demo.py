"""`ovms-converter demo`, as it is run by somebody who has just installed the package."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ovms_converter.demo.digits import classify, digits


def run_demo(environ: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "ovms_converter", "demo"],
        capture_output=True,
        text=True,
        env=os.environ | environ,
        check=False,
    )


def test_it_publishes_a_model_that_reads_digits_and_leaves_nothing(tmp_path: Path) -> None:
    done = run_demo({"TMPDIR": str(tmp_path), "HTTP_PROXY": "http://127.0.0.1:9", "AWS_PROFILE": "somebody"})
    assert done.returncode == 0, done.stderr
    assert "s3://demo/models/digits\n" in done.stdout
    for name in ("1/conversion.json", "1/saved_model.bin", "1/saved_model.xml"):
        assert f"    {name} " in done.stdout
    assert all(f"it is a {digit.label} (" in done.stdout for digit in digits())
    assert "image  f32 [1,8,8,1]" in done.stderr
    assert "HTTP/1.1" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "moto.py").write_text("raise ImportError")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    done = run_demo({"PYTHONPATH": path})
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1] == "hint: pip install 'ovms-converter[demo]'"


def test_the_model_in_the_package_is_small_and_tells_nothing_of_its_makers() -> None:
    import ovms_converter.demo

    root = Path(ovms_converter.demo.__file__).parent / "model"
    files = [path for path in root.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 300_000
    content = b"".join(path.read_bytes() for path in files)
    for place in (b"/home/", b"/root/", b"/tmp/", b"/work/", b"/Users/", b"site-packages"):
        assert place not in content


def test_a_model_that_does_not_run_is_told(tmp_path: Path) -> None:
    from ovms_converter.errors import InternalError

    (tmp_path / "broken.xml").write_text("<net/>")
    with pytest.raises(InternalError, match="does not run"):
        classify(tmp_path / "broken.xml")
