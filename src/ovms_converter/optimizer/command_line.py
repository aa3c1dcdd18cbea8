"""`extra_args`: arguments as on Model Optimizer's command line, which was Python's `argparse`.

Accepted, as there: `--name value`, `--name=value`, `-n value`, `-nvalue`, `-n=value`, any unambiguous
beginning of a long name, flags alone or with a value, shell quoting. The last one wins if an argument occurs
twice.
"""

import re
import shlex

from ovms_converter.errors import RequestError
from ovms_converter.optimizer import syntax
from ovms_converter.optimizer.suggestions import did_you_mean, listed
from ovms_converter.parameters import PARAMETERS, Group, Kind, Parameter, Support

__all__ = ["parse_extra_args"]

_LONG = {
    parameter.name: parameter for parameter in PARAMETERS if parameter.optimizer and len(parameter.name) > 1
}
_SHORT = {short: parameter for parameter in PARAMETERS for short in parameter.short}
_NEGATIVE_NUMBER = re.compile(r"-\d+|-\d*\.\d+")


def parse_extra_args(text: str) -> dict[str, str]:
    """The values by parameter name, as text; a flag without a value is `true`.

    Raises `RequestError` for an argument that is unknown, ambiguous, refused or lacks its value.
    """
    try:
        words = shlex.split(text)
    except ValueError:
        raise RequestError(
            "`extra_args` has a quote without its partner",
            hint="close every `'` and `\"`",
            parameter="extra_args",
        ) from None
    values: dict[str, str] = {}
    words.reverse()
    while words:
        parameter, value = _argument(words.pop())
        if value is None and words and not _is_argument(words[-1]):
            value = words.pop()
        if parameter.kind is Kind.FLAG:
            value = "true" if value is None else value
            syntax.parse_flag(value, parameter.name)
        if value is None:
            raise RequestError(
                f"`--{parameter.name}` in `extra_args` has no value",
                hint=f"for example `--{parameter.name} {shlex.quote(parameter.example or 'VALUE')}`",
                parameter=parameter.name,
            )
        values[parameter.name] = value
    return values


def _is_argument(word: str) -> bool:
    """Whether `argparse` would take the word for an argument, not for the value of one."""
    return word.startswith("-") and word != "-" and " " not in word and not _NEGATIVE_NUMBER.fullmatch(word)


def _argument(word: str) -> tuple[Parameter, str | None]:
    """The parameter that a word names, and the value that is written in the same word."""
    if word.startswith("--"):
        name, equals, value = word[2:].partition("=")
        parameter = _long(name.replace("-", "_"))
        inline = value if equals else None
    elif _is_argument(word):
        parameter, inline = _short(word[1:])
    else:
        raise RequestError(
            f"`{word}` in `extra_args` belongs to no argument",
            hint="an argument begins with `--`; put a value that holds spaces in quotes",
            parameter="extra_args",
        )
    if parameter.group is Group.LOCATIONS:
        raise RequestError(
            f"`--{parameter.name}` cannot stand in `extra_args`",
            hint=f"give `{parameter.name}` as a parameter of its own",
            parameter=parameter.name,
        )
    if parameter.support is Support.REFUSED:
        raise RequestError(
            f"`--{parameter.name}` cannot be honoured", hint=parameter.reason, parameter=parameter.name
        )
    return parameter, inline


def _long(name: str) -> Parameter:
    if name in _LONG:
        return _LONG[name]
    found = [known for known in _LONG if name and known.startswith(name)]
    if len(found) == 1:
        return _LONG[found[0]]
    if found:
        raise RequestError(
            f"`--{name}` in `extra_args` could be {listed([f'--{known}' for known in found], 'or')}",
            hint="write the whole name",
            parameter="extra_args",
        )
    raise _unknown(f"--{name}", name)


def _short(letters: str) -> tuple[Parameter, str | None]:
    name, equals, value = letters.partition("=")
    if name in _SHORT:
        return _SHORT[name], value if equals else None
    if letters[0] in _SHORT:
        return _SHORT[letters[0]], letters[1:]
    raise _unknown(f"-{letters}", name)


def _unknown(shown: str, name: str) -> RequestError:
    own = next((known for known in PARAMETERS if known.name == name), None)
    if " " in shown:
        hint = "quotes make one word of it: leave them out"
    elif own is not None:
        hint = f"give `{own.name}` as a parameter of its own"
    else:
        hint = did_you_mean(name, _LONG) or "`ovms-converter convert --help` lists them all"
    return RequestError(
        f"`{shown}` in `extra_args` is no argument of Model Optimizer", hint=hint, parameter="extra_args"
    )
