"""Libraries that a machine may have and yet not be able to load."""

import importlib
from types import ModuleType

import pytest


def library_or_skip(name: str) -> ModuleType:
    """The module; skips a test where it is missing, or what it needs of the system (LightGBM: libgomp)."""
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:
        pytest.skip(f"{name} cannot be loaded here: {error}")
