"""How fast the links of a test are, as the program takes them."""

import pytest

from ovms_converter.storage import large_file, transfer


def set_outrun(monkeypatch: pytest.MonkeyPatch, *, outrun: bool) -> None:
    """Whether all bytes pass for so fast that their SHA-256 is left for later, or none, on any machine."""
    for module in (large_file, transfer):
        monkeypatch.setattr(module, "OUTRUNS", 0 if outrun else float("inf"))
