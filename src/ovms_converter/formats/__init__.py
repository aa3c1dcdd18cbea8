"""What is this tree? One module a format, and the registry of them.

Knows nothing of networks, numpy or openvino. The modules of all formats are imported when one of the names
here is first asked for: the converter process, which knows the format of its model, asks for none.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ovms_converter.formats.recognition import companions, identify, recognise
    from ovms_converter.formats.registry import FORMATS, INPUT_FORMATS, format_named, open_tree
    from ovms_converter.formats.tree import LocalFiles, stands_for_directory

__all__ = [
    "FORMATS",
    "INPUT_FORMATS",
    "LocalFiles",
    "companions",
    "format_named",
    "identify",
    "open_tree",
    "recognise",
    "stands_for_directory",
]

_MODULES = ("recognition", "registry", "tree")


def __getattr__(name: str) -> object:
    """A name of `__all__`, from the module that has it."""
    if name in __all__:
        for module in _MODULES:
            found = vars(importlib.import_module(f"{__name__}.{module}"))
            if name in found:
                return found[name]
    raise AttributeError(f"module `{__name__}` has no attribute `{name}`")
