"""Write the pages of `docs/reference` from the tables of parameters and variables and the tree of errors.

python tools/make_reference.py
"""

import inspect
import re
from pathlib import Path

from ovms_converter import errors
from ovms_converter.parameters import PARAMETERS, Group, Kind, Parameter, Support
from ovms_converter.storage.variables import UNUSED, VARIABLES, About

REFERENCE = Path(__file__).parent.parent / "docs" / "reference"
MADE = "<!-- Made by tools/make_reference.py: change the source, then run it again. -->\n"

KINDS = {
    Kind.TEXT: "text",
    Kind.URL: "URL or path",
    Kind.FLAG: "yes or no",
    Kind.INTEGER: "whole number",
    Kind.NUMBER: "number",
}

PARAMETERS_HEAD = """\
# Parameters

Every parameter has one name. It is a flag of `ovms-converter convert` (`--mean-values` and `--mean_values`
are the same), a variable of a pipeline's step (`FUSEML_MEAN_VALUES`), and a keyword of
`ovms_converter.convert` (`mean_values=`).

- A flag wins over a variable, a variable over the default. A value that is empty counts as not given.
- A yes-or-no flag alone means yes. Its value is written behind `=` (`--static-shape=false`), or as a separate
  word if that is `true` or `false`. Usual spellings are `true`, `yes`, `on`, `1` and `false`, `no`, `off`,
  `0`; anything else is refused.
- Arguments of Model Optimizer may also stand in `extra_args`, spelled as on its own command line, one-letter
  flags included. A parameter that is given itself wins over the same one in `extra_args`.
"""

CODES_HEAD = """\
# Exit codes

A command ends with one of these. Below 70 it says in one line what happened (`error:`) and, where something
helps, in another what to do (`hint:`), both on stderr. With `--json` stdout holds the same as fields:
`{"error": {"kind", "message", "hint", "exit_code", "parameter"}}`; `inspect`, `lint` and `verify` tell what
they found beside it. A [JSON Schema](output.schema.json) describes the documents of all commands.

| code | kind | meaning |
|---|---|---|
| 0 | | done: the URL is on stdout, and in the result file if one was asked for |
"""

CODES_TAIL = """\

4 is worth another try as it is, and so is `already-exists` unless `model_version` names the number: another
run published it first, this one left nothing behind, and the next try takes the next number. The others fail
again until something changes.

If the model was published and then the result file cannot be written, the URL is still on stdout, the summary
is shown, and the code is 3. The directory of that file is made, and checked, before any work begins.

A reader of stdout or stderr that goes away (`| head`) is no error.
"""

VARIABLES_HEAD = """# Storage variables

Which of several counts, and for which side, is in [storage and credentials](../guides/storage.md);
`ovms-converter doctor URL` tells it for a location. In a row of several names the first that is set counts;
one that is set but empty counts as not set. Names with `OUTPUT_` before them count for the destination alone.
"""


def parameters_page() -> str:
    """The reference of parameters."""
    parts = [MADE, PARAMETERS_HEAD]
    for group in Group:
        rows = [parameter for parameter in PARAMETERS if parameter.group is group]
        honoured = [parameter for parameter in rows if parameter.support is Support.HONOURED]
        parts.append(f"\n## {group.value}\n")
        parts.extend(entry(parameter) for parameter in honoured)
    parts.append("\n## Accepted, changes nothing\n\n| argument | why |\n|---|---|\n")
    parts.extend(row(parameter) for parameter in PARAMETERS if parameter.support is Support.NO_OP)
    parts.append(
        "\n## Refused\n\nEach ends in exit code 2 with its reason.\n\n| argument | why |\n|---|---|\n"
    )
    parts.extend(row(parameter) for parameter in PARAMETERS if parameter.support is Support.REFUSED)
    return "".join(parts)


def entry(parameter: Parameter) -> str:
    """A parameter that does something."""
    facts = [KINDS[parameter.kind]]
    if parameter.choices:
        facts.append("one of " + ", ".join(f"`{choice}`" for choice in parameter.choices))
    if parameter.default:
        facts.append(f"default `{parameter.default}`")
    if parameter.example and parameter.kind is not Kind.FLAG:
        facts.append(f"for example `{parameter.example}`")
    if parameter.optimizer and parameter.kind is not Kind.URL:
        short = "".join(f", `-{letter}`" for letter in parameter.short)
        facts.append(f"legal in `extra_args`{short}")
    text = f"\n### `{parameter.name}`\n\n{parameter.help}\n\n{'; '.join(facts)}.\n"
    if parameter.differs == "new":
        text += "\nModel Optimizer has no such argument.\n"
    elif parameter.differs:
        text += f"\nDifference from Model Optimizer: {parameter.differs}.\n"
    return text


def row(parameter: Parameter) -> str:
    """An argument of Model Optimizer that has no effect or is refused."""
    return f"| `{parameter.name}` | {parameter.reason.replace('|', chr(92) + '|')} |\n"


def storage_variables_page() -> str:
    """The reference of storage's environment variables."""
    parts = [MADE, VARIABLES_HEAD]
    for about in About:
        parts.append(f"\n## {about.value}\n\n| variable | meaning |\n|---|---|\n")
        for variable in VARIABLES:
            if variable.about is about:
                names = ", ".join(f"`{name}`" for name in variable.names)
                own = " (`OUTPUT_…` for the destination)" if variable.output else ""
                parts.append(f"| {names} | {variable.meaning}{own} |\n")
    parts.append("\n## Read by other programs, not by this one\n\n| variable | why |\n|---|---|\n")
    parts.extend(f"| {names} | {why} |\n" for names, why in UNUSED)
    return "".join(parts)


def exit_codes_page() -> str:
    """The reference of exit codes."""
    rows = []
    for code, kind, text in sorted(_errors(), key=lambda item: item[0]):
        rows.append(f"| {code} | `{kind}` | {text} |\n")
    rows.append(
        "| 130, 143 | `interrupted` | stopped by SIGINT or SIGTERM; nothing was published after it |\n"
    )
    return MADE + CODES_HEAD + "".join(rows) + CODES_TAIL


def _errors() -> list[tuple[int, str, str]]:
    classes = [
        getattr(errors, name)
        for name in errors.__all__
        if name not in ("ConverterError", "InterruptedRunError")
    ]
    return [
        (kind.exit_code, kind.kind, re.sub(r"\.$", "", (inspect.getdoc(kind) or "").splitlines()[0]).lower())
        for kind in sorted(classes, key=lambda kind: (kind.exit_code, len(kind.__mro__)))
    ]


def main() -> None:
    """Write all pages."""
    REFERENCE.mkdir(parents=True, exist_ok=True)
    (REFERENCE / "parameters.md").write_text(parameters_page())
    (REFERENCE / "storage-variables.md").write_text(storage_variables_page())
    (REFERENCE / "exit-codes.md").write_text(exit_codes_page())


if __name__ == "__main__":
    main()
