"""A large file through a connection that is cut again and again: it arrives, in memory that stays small."""

import hashlib
import random
import subprocess
import sys
from pathlib import Path

import pytest

from http_servers import Page, run_faulty

PROGRAM = """
import re, resource, sys
from pathlib import Path
from ovms_converter.storage import open_source
from ovms_converter.storage.location import Location
source = open_source(Location.parse(sys.argv[1]), {})
(entry,) = source.list().entries
(file,) = source.fetch([entry.path], Path(sys.argv[2]), lambda count: None).files
status = Path("/proc/self/status")
if status.exists():  # here ru_maxrss may still be the parent's
    peak = int(re.search(r"VmHWM:\\s*(\\d+)", status.read_text())[1])
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
print(file.sha256, file.size, peak)
"""


@pytest.mark.slow
@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no-ranges"])
def test_a_large_file_arrives_through_cuts_in_bounded_memory(tmp_path: Path, ranges: bool) -> None:
    body = random.Random(3).randbytes(4 << 20) * 64
    with run_faulty() as site:
        # Without ranges every try begins anew: one cut is enough.
        page = (
            Page(body, cut_after=8 << 20) if ranges else Page(body, cut_after=100 << 20, cuts=2, ranges=False)
        )
        site.pages["/model.onnx"] = page
        command = [sys.executable, "-c", PROGRAM, site.url("/model.onnx"), str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    digest, size, peak = done.stdout.split()
    assert (digest, int(size)) == (hashlib.sha256(body).hexdigest(), len(body))
    assert int(peak) < 100 << 10, "kB of resident memory"
    if ranges:
        assert len(site.asked) > 20
