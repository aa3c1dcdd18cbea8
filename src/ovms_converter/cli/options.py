"""The table of parameters as options of the command line.

Every option takes one value, given as `--name value` or `--name=value`. An option that is a yes or no may
stand alone, which means yes; a value of its own is written behind `=`, or as a bare `true` or `false` (the
two words that Model Optimizer takes). So `--static-shape s3://bucket/model` is a switch and a location.
"""

from collections.abc import Iterator, Mapping, Sequence

import click

from ovms_converter.parameters import PARAMETERS, Kind

__all__ = ["ParameterCommand", "given_flags"]

_POSITIONAL = ("input_model", "output_model")
_PREFIX = "parameter_"
_FREE_TEXT = ("extra_args",)
_OPTIONS = tuple(parameter for parameter in PARAMETERS if parameter.name != "help")


class ParameterCommand(click.Command):
    """A command with an option for every parameter, and arguments for the two locations."""

    def __init__(self, name: str, **settings: object) -> None:
        super().__init__(name, **settings)  # type: ignore[arg-type]
        self.params[:0] = [
            *(click.Argument([name], required=False) for name in _POSITIONAL),
            *(click.Option([parameter.flag, _PREFIX + parameter.name]) for parameter in _OPTIONS),
        ]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put switches and values in the one form `--name=value`, then let click do the rest."""
        return super().parse_args(ctx, list(self._normalised(ctx, args)))

    def _normalised(self, ctx: click.Context, args: Sequence[str]) -> Iterator[str]:
        switches = {parameter.flag for parameter in _OPTIONS if parameter.kind is Kind.FLAG}
        free = {f"--{name.replace('_', '-')}" for name in _FREE_TEXT}
        valued = {
            spelling
            for option in self.params
            if isinstance(option, click.Option) and not option.is_flag
            for spelling in option.opts
        } - switches
        known = switches | valued
        rest = list(args)
        while rest:
            word = rest.pop(0)
            if word == "--":
                yield from (word, *rest)
                return
            name, equals, value = word.partition("=")
            name = name.replace("_", "-")
            if not word.startswith("--"):
                yield word
            elif name in switches and not equals:
                value = rest.pop(0) if rest and rest[0].lower() in ("true", "false") else "true"
                yield f"{name}={value}"
            elif name in valued and not equals:
                if not rest or (name not in free and rest[0].partition("=")[0].replace("_", "-") in known):
                    raise click.BadOptionUsage(name, f"`{name}` needs a value", ctx)
                yield f"{name}={rest.pop(0)}"
            else:
                yield name + equals + value


def given_flags(values: Mapping[str, object]) -> dict[str, str]:
    """What was typed, by parameter name; what is empty counts as not given.

    Raises `click.UsageError` if a location is given both as an argument and as an option.
    """
    given = {
        parameter.name: str(values[_PREFIX + parameter.name]).strip()
        for parameter in _OPTIONS
        if values[_PREFIX + parameter.name] is not None
    }
    for name in _POSITIONAL:
        argument = values[name]
        if argument is None:
            continue
        if given.get(name):
            flag = f"--{name.replace('_', '-')}"
            raise click.UsageError(
                f"the location `{name.upper()}` is given twice: as an argument and as `{flag}`"
            )
        given[name] = str(argument).strip()
    return {name: value for name, value in given.items() if value}
