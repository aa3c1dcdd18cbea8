"""OpenVINO's exceptions as one line."""

__all__ = ["cause"]

_LONGEST = 300


def cause(error: BaseException) -> str:
    """The line of an exception's text that tells what is wrong, without OpenVINO's files and conditions."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("Exception from ", "Check '"))]
    line = (telling or lines or [type(error).__name__])[0]
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
