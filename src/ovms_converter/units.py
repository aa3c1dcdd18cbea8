"""Numbers as a person reads them."""

__all__ = ["duration", "milliseconds", "rate", "size"]


def size(count: float) -> str:
    """Bytes in decimal units, as disks and object stores count them: `0 B`, `308 kB`, `1.07 GB`."""
    if count < 1000:
        return f"{count:.0f} B"
    for unit in ("kB", "MB", "GB", "TB"):
        count /= 1000
        if count < 999.5 or unit == "TB":
            break
    digits = 2 if count < 9.995 else 1 if count < 99.95 else 0
    return f"{count:.{digits}f} {unit}"


def rate(count: int, seconds: float) -> str:
    """Bytes per second; "" where the time is too short to tell, as for a local file that stays in place."""
    return f"{size(count / seconds)}/s" if seconds >= 0.05 else ""


def duration(seconds: float) -> str:
    """`0.42 s`, `12.3 s`, `2 min 05 s`, `1 h 02 min`."""
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def milliseconds(seconds: float) -> str:
    """A short time: `0.042 ms`, `1.37 ms`, `250 ms`."""
    count = 1000 * seconds
    digits = 3 if count < 0.1 else 2 if count < 10 else 1 if count < 100 else 0
    return f"{count:.{digits}f} ms"
