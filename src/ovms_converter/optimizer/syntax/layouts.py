"""Layouts, and what they shall become."""

from ovms_converter.optimizer.scanner import NAME_ENDS, Scanner
from ovms_converter.optimizer.values import Layout, LayoutChange

__all__ = ["parse_layouts"]


def parse_layouts(text: str, parameter: str) -> tuple[LayoutChange, ...]:
    """`image(nhwc->nchw),prob[n,c]`: layouts; `->` is for `layout` only."""
    scanner = Scanner(text, parameter)
    changes = scanner.items(lambda: _layout_item(scanner))
    if parameter != "layout" and any(change.target for change in changes):
        raise scanner.error(
            "an arrow belongs into `layout`", "give `layout` instead, or both sides on their own"
        )
    scanner.check_named((change.name for change in changes), "layout has the name of its input or output")
    return changes


def _layout_item(scanner: Scanner) -> LayoutChange:
    word = scanner.until(NAME_ENDS)
    if scanner.take("("):
        inner = scanner.until(("[", ")", "->"))
        change = _layout_change(scanner, inner)
        scanner.expect(")")
        return LayoutChange(word, change.source, change.target)
    if scanner.text.startswith("[", scanner.at):
        change = _layout_change(scanner, "")
        return LayoutChange(word, change.source, change.target)
    return _layout_change(scanner, word)


def _layout_change(scanner: Scanner, word: str) -> LayoutChange:
    source = _layout(scanner, word)
    target = _layout(scanner, scanner.until(NAME_ENDS)) if scanner.take("->") else None
    if source is None and target is None:
        raise scanner.error("a layout is missing")
    return LayoutChange("", source, target)


def _layout(scanner: Scanner, word: str) -> Layout | None:
    """The layout whose letters were read already, or the bracketed one that comes next, or None."""
    dimensions: list[str] = []
    if not word and scanner.take("["):
        dimensions = [part.strip() for part in scanner.until(("]",)).split(",")]
        scanner.expect("]")
        if not all(dimensions):
            raise scanner.error("a dimension of the layout has no name")
    while word:
        first = "..." if word.startswith("...") else word[0]
        dimensions.append(first)
        word = word[len(first) :]
    for dimension in dimensions:
        if dimension not in ("?", "...") and not (
            dimension.isascii() and dimension.replace("_", "a").isalnum()
        ):
            raise scanner.error(f"`{dimension}` is no dimension of a layout: write letters, `?` or `...`")
    named = [dimension.upper() for dimension in dimensions]
    scanner.check_different(dimension for dimension in named if dimension != "?")
    return Layout(tuple(named)) if named else None
