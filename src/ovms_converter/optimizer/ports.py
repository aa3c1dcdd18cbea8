"""Port numbers in names, as Model Optimizer writes them."""

__all__ = ["split_port"]


def split_port(name: str) -> tuple[int | None, str, int | None]:
    """`0:node` is input 0 of `node`, `node:1` its output 1: input port, node, output port."""
    first, colon, rest = name.partition(":")
    if colon and first.isascii() and first.isdigit():
        return int(first), rest, None
    rest, colon, last = name.rpartition(":")
    if colon and last.isascii() and last.isdigit():
        return None, rest, int(last)
    return None, name, None
