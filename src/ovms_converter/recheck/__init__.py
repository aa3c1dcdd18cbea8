"""Re-checks a published version.

check.py    all checks in their order, and what they found
files.py    is every file still what the record of its conversion says?
running.py  does it load and run, and does it compute what its source computes?
"""

from ovms_converter.recheck.check import Checks, Recheck, recheck
from ovms_converter.recheck.files import CheckedFile
from ovms_converter.recheck.running import Run

__all__ = ["CheckedFile", "Checks", "Recheck", "Run", "recheck"]
