"""`--help` as a person reads it: what to type first, then every parameter under its heading."""

import textwrap
from collections.abc import Iterable, Sequence

import click

from ovms_converter.cli.session import Session
from ovms_converter.parameters import PARAMETERS, Group, Kind, Parameter, Support

__all__ = ["Section", "help_option", "parameter_sections", "render"]

_WIDTH = 80
_COLUMN = 25

Section = tuple[str, Sequence[tuple[str, str]]]
"""A heading and its rows: what to write, and what it does. A row without the second part is running text."""


def help_option() -> click.Option:
    """`-h` and `--help`, written to the command's own stdout."""
    return click.Option(
        ["-h", "--help"], is_flag=True, is_eager=True, expose_value=False, callback=_show_help
    )


def parameter_sections() -> list[Section]:
    """The parameters that do something, by group; then only the names of those that change nothing."""
    sections: list[Section] = []
    for group in Group:
        rows = [
            (_spelling(parameter), _effect(parameter))
            for parameter in PARAMETERS
            if parameter.group is group and parameter.support is Support.HONOURED
        ]
        if rows:
            sections.append((group.value, rows))
    ignored = [parameter.flag for parameter in PARAMETERS if parameter.support is Support.NO_OP]
    if ignored:
        sections.append(
            ("Accepted for Model Optimizer's sake; they change nothing", [(", ".join(ignored), "")])
        )
    return sections


def render(*, usage: str, text: str, examples: Iterable[str], sections: Iterable[Section]) -> str:
    """The whole help text of a command, at most 80 columns wide."""
    blocks = [f"Usage: {usage}", _wrapped(text)]
    blocks.append("\n".join(["Examples:", *(f"  {example}" for example in examples)]))
    for heading, rows in sections:
        blocks.append("\n".join([f"{heading}:", *(_row(term, effect) for term, effect in rows)]))
    return "\n\n".join(blocks)


def _row(term: str, effect: str) -> str:
    """A term and its effect beside it, or below it if the term is long; without an effect, running text."""
    if not effect:
        return _wrapped(term, "  ")
    column = " " * _COLUMN
    text = _wrapped(effect, column)
    head = f"  {term}"
    if len(head) + 2 > _COLUMN:
        return f"{head}\n{text}"
    return head.ljust(_COLUMN) + text[_COLUMN:]


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(
        " ".join(text.split()),
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )


def _show_help(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        ctx.ensure_object(Session).output.result(ctx.get_help())
        ctx.exit()


def _spelling(parameter: Parameter) -> str:
    return parameter.flag if parameter.kind is Kind.FLAG else f"{parameter.flag} {parameter.kind.value}"


def _effect(parameter: Parameter) -> str:
    facts = [", ".join(parameter.choices)] if parameter.choices else []
    if parameter.default and parameter.kind is not Kind.FLAG:
        facts.append(f"default: {parameter.default}")
    return f"{parameter.help} [{'; '.join(facts)}]" if facts else parameter.help
