"""Models that TensorFlow writes for the tests, in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

__all__ = ["made_by"]


def made_by(maker: Path, directory: Path) -> Path:
    """Run a program that writes models into `directory`; where TensorFlow is missing, the test is skipped."""
    pytest.importorskip("tensorflow", reason="TensorFlow has no package for this platform")
    done = subprocess.run([sys.executable, maker, directory], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return directory
