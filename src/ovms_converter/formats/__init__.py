"""What is this tree? One module a format, and the registry of them.

Knows nothing of networks, numpy or openvino.
"""

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
