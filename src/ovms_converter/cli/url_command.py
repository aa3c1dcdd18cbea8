"""Commands that look at one URL: what they share."""

from collections.abc import Callable, Sequence

import click

from ovms_converter.cli.help import help_option, render

__all__ = ["UrlCommand"]


class UrlCommand(click.Command):
    """A command with one argument, a URL or a path, and its help.

    `text` tells what it does and what its end means; `options` are rows of its help for `params`: spelling
    and effect.
    """

    def __init__(
        self,
        name: str,
        callback: Callable[..., int],
        *,
        text: str,
        examples: Sequence[str],
        options: Sequence[tuple[str, str]],
        params: Sequence[click.Parameter],
    ) -> None:
        super().__init__(
            name,
            callback=callback,
            add_help_option=False,
            params=[click.Argument(["url"]), *params, help_option()],
        )
        self._text = text
        self._examples = examples
        self._options = (*options, ("-h, --help", "Show this and exit"))

    def get_help(self, ctx: click.Context) -> str:
        """Arguments, options, examples."""
        return render(
            usage=f"{ctx.command_path} URL [OPTIONS]",
            text=self._text,
            examples=self._examples,
            sections=[("Options", self._options)],
        )
