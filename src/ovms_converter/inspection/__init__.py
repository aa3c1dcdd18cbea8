"""What is at a URL, and what a conversion would do to it: from its listing and a few small reads.

Imports no openvino, no framework and no numpy, and never loads what it looks at.
"""

from ovms_converter.inspection.examine import inspect
from ovms_converter.inspection.report import Inspection, inspection_document

__all__ = ["Inspection", "inspect", "inspection_document"]
