"""`ovms-converter verify`: is a published version still what was published?"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from ovms_converter.cli.display import open_display
from ovms_converter.cli.help import help_option, render
from ovms_converter.cli.output import Level, Settings
from ovms_converter.cli.session import Session
from ovms_converter.errors import VerificationError

if TYPE_CHECKING:
    from ovms_converter.recheck import CheckedFile, Recheck

__all__ = ["command"]

_TEXT = """\
Read every file of a published version and compare its size and SHA-256 with
`conversion.json`, the record of its conversion. URL is a model repository, whose
newest finished version is checked, or one version in it: URL/3. Ends with 6 if a
file differs, or if another one lies there that a server would read, and names it."""
_EXAMPLES = (
    "ovms-converter verify s3://models/cifar",
    "ovms-converter verify ./models/net/3 --json",
)
_ADVICE = "publish the model again: `ovms-converter convert --model-version next`"
_OPTIONS = (
    ("--json", "Write one JSON document to stdout"),
    ("-q, --quiet", "Write nothing to stderr but errors"),
    ("-h, --help", "Show this and exit"),
)


class _Verify(click.Command):
    """The command with its help."""

    def get_help(self, ctx: click.Context) -> str:
        """What it compares, and what its end means."""
        return render(
            usage=f"{ctx.command_path} URL [OPTIONS]",
            text=_TEXT,
            examples=_EXAMPLES,
            sections=[("Options", _OPTIONS)],
        )


@click.pass_obj
def _verify(session: Session, /, url: str, document: bool, quiet: bool) -> int:
    output = session.output
    output.settings = Settings(document=document, level=Level.ERROR if quiet else Level.INFO)

    from ovms_converter.recheck import recheck

    with open_display(output) as display:
        checked = recheck(url, environ=session.environ, listener=display)
    if document:
        output.document(output.scrub_fields(_document(checked)))
    else:
        for line in _lines(checked):
            output.result(output.scrub(line))
    if checked.differing:
        first = checked.differing[0]
        more = f" (and {len(checked.differing) - 1} more)" if len(checked.differing) > 1 else ""
        raise VerificationError(
            f"`{first.path}` at `{checked.url}` is not what was published{more}: {first.fault}",
            hint=_ADVICE,
        )
    if checked.intruders:
        raise VerificationError(
            f"`{checked.intruders[0]}` at `{checked.url}` is no part of the version, and a server reads it",
            hint="remove it, and find out who put it there",
        )
    return 0


def _lines(checked: "Recheck") -> Iterator[str]:
    for file in checked.files:
        yield f"{'differs' if file.fault else 'ok':<8} {file.path}  {file.fault or f'sha256:{file.sha256}'}"
    for path in checked.strangers:
        yield f"{'unknown':<8} {path}  not in the record"
    if checked.is_as_published:
        yield f"version {checked.version} is what was published"


def _document(checked: "Recheck") -> dict[str, object]:
    """The check as JSON values."""
    return {
        "url": checked.url,
        "version": checked.version,
        "ok": checked.is_as_published,
        "files": [_file(file) for file in checked.files],
        "unknown_files": list(checked.strangers),
        "fingerprint": checked.record.get("fingerprint"),
    }


def _file(file: "CheckedFile") -> dict[str, object]:
    return {
        "path": file.path,
        "size": file.size,
        "sha256": file.sha256,
        "recorded_size": file.recorded_size,
        "recorded_sha256": file.recorded_sha256,
        "fault": file.fault,
    }


command = _Verify(
    "verify",
    callback=_verify,
    add_help_option=False,
    params=[
        click.Argument(["url"]),
        click.Option(["--json", "document"], is_flag=True),
        click.Option(["-q", "--quiet", "quiet"], is_flag=True),
        help_option(),
    ],
)
