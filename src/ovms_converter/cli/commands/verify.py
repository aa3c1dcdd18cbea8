"""`ovms-converter verify`: is a published version still what was published?"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ovms_converter.cli.display import open_display
from ovms_converter.cli.failures import error_fields
from ovms_converter.cli.output import Level, Settings
from ovms_converter.cli.reporting import check_report_file, write_report
from ovms_converter.cli.session import Session
from ovms_converter.cli.url_command import UrlCommand
from ovms_converter.errors import VerificationError
from ovms_converter.events import Note

if TYPE_CHECKING:
    from ovms_converter.recheck import CheckedFile, Recheck

__all__ = ["command"]


class _Seconds(click.FloatRange):
    """Seconds, by that name in errors."""

    name = "number of seconds above 0"


_TEXT = """\
Check a published version: every file against the size and SHA-256 that
`conversion.json`, the record of its conversion, tells; with --key its signature;
then load and run it; with --source or --compare, compare it with its source
again. URL is a model repository, whose newest finished version is checked, or one
version in it: URL/3. Ends with 6 if a check fails, and names the file."""
_EXAMPLES = (
    "ovms-converter verify s3://models/cifar",
    "ovms-converter verify ./models/net/3 --no-load --json",
    "ovms-converter verify s3://models/cifar --key cosign.pub",
    "ovms-converter verify s3://models/cifar --source s3://mlflow/1/run42/artifacts/model",
)
_ADVICE = "publish the model again: `ovms-converter convert --model-version next`"
_OPTIONS = (
    ("--load, --no-load", "Load and run it on this machine's CPU, or not [default: --load]"),
    ("--key KEY", "Check the signature with this public key: a PEM file, or env:NAME"),
    ("--source URL", "Compare it with its source, which is at this place"),
    ("--compare", "Compare it with its source at the place that the record tells"),
    ("--trust-source", "Let code in that source run, as `convert --trust-source` does"),
    ("--timeout SECONDS", "How long loading or comparing may take [default: 3600]"),
    ("--attestation FILE", "Write its provenance (in-toto, SLSA) once all is well, - for stdout"),
    ("--json", "Write one JSON document to stdout"),
    ("-q, --quiet", "Write nothing to stderr but errors"),
)


@click.pass_obj
def _verify(
    session: Session, /, url: str, document: bool, quiet: bool, attestation: Path | None, **checks: Any
) -> int:
    output = session.output
    output.settings = Settings(document=document, level=Level.ERROR if quiet else Level.INFO)
    to_stdout = attestation == Path("-")
    if to_stdout and document:
        raise click.UsageError("`--attestation -` and `--json` both write to stdout: name a file")
    if attestation and not to_stdout:
        check_report_file(attestation)

    from ovms_converter.recheck import Checks, recheck

    with open_display(output) as display:
        checked = recheck(url, environ=session.environ, listener=display, checks=Checks(**checks))
        for note in checked.run.notes if checked.run else ():
            display(Note("warning", note))
    fault = _fault(checked)
    if document:
        output.document(output.scrub_fields(_document(checked, fault)))
    elif not to_stdout:
        for line in _lines(checked):
            output.result(output.scrub(line))
    if fault:
        raise fault
    if attestation:
        text = json.dumps(checked.statement, indent=1, ensure_ascii=False)
        if to_stdout:
            output.result(text)
        else:
            write_report(attestation, text + "\n")
    return 0


def _fault(checked: "Recheck") -> VerificationError | None:
    """The first thing that is wrong, if anything is."""
    if checked.differing:
        first = checked.differing[0]
        more = f" (and {len(checked.differing) - 1} more)" if len(checked.differing) > 1 else ""
        return VerificationError(
            f"`{first.path}` at `{checked.url}` is not what was published{more}: {first.fault}",
            hint=_ADVICE,
        )
    if checked.intruders:
        return VerificationError(
            f"`{checked.intruders[0]}` at `{checked.url}` is no part of the version, and a server reads it",
            hint="remove it, and find out who put it there",
        )
    if checked.signature and checked.signature.faults:
        path, fault = checked.signature.faults[0]
        return VerificationError(
            f"the signature of version {checked.version} at `{checked.url}` does not hold: `{path}`: {fault}",
            hint="use only what was signed with a key that you trust",
        )
    if checked.run and checked.run.fault:
        graph = next(file.path for file in checked.files if file.path.endswith(".xml"))
        return VerificationError(f"`{graph}` at `{checked.url}`: {checked.run.fault}", hint=_ADVICE)
    return None


def _lines(checked: "Recheck") -> Iterator[str]:
    for file in checked.files:
        yield f"{'differs' if file.fault else 'ok':<8} {file.path}  {file.fault or f'sha256:{file.sha256}'}"
    for path in checked.strangers:
        yield f"{'unknown':<8} {path}  not in the record"
    signature = checked.signature
    if signature:
        for path, fault in signature.faults:
            yield f"{'fails':<8} {path}  {fault}"
        if not signature.faults and signature.checked:
            yield f"{'signed':<8} {signature.path}  with the key sha256:{signature.key}"
        elif not signature.faults:
            yield f"{'signed':<8} {signature.path}  not checked: `--key` names the public key"
    if checked.run:
        yield f"{'fails' if checked.run.fault else 'runs':<8} {checked.run.fault or checked.run.text}"
        for figures in checked.run.figures:
            yield (
                f"{'':<8} {figures.name}  max abs {figures.max_abs:.3g}, max rel {figures.max_rel:.3g}, "
                f"cosine {figures.cosine:.9f}"
            )
    if checked.is_good:
        yield f"version {checked.version} is what was published"


def _document(checked: "Recheck", fault: VerificationError | None) -> dict[str, object]:
    """The check as JSON values."""
    signature, run = checked.signature, checked.run
    return {
        "url": checked.url,
        "version": checked.version,
        "ok": checked.is_good,
        "files": [_file(file) for file in checked.files],
        "unknown_files": list(checked.strangers),
        "fingerprint": checked.record.get("fingerprint"),
        "signature": signature
        and {
            "path": signature.path,
            "key": signature.key,
            "checked": signature.checked,
            "faults": [{"path": path, "fault": fault} for path, fault in signature.faults],
        },
        "run": run
        and {
            "text": run.text,
            "fault": run.fault,
            "comparison": [asdict(figures) for figures in run.figures],
            "notes": list(run.notes),
        },
        "error": error_fields(fault) if fault else None,
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


command = UrlCommand(
    "verify",
    _verify,
    text=_TEXT,
    examples=_EXAMPLES,
    options=_OPTIONS,
    params=[
        click.Option(["--load/--no-load"], default=True),
        click.Option(["--key"]),
        click.Option(["--source"]),
        click.Option(["--compare"], is_flag=True),
        click.Option(["--trust-source"], is_flag=True),
        click.Option(["--timeout"], type=_Seconds(min=0, min_open=True), default=3600.0),
        click.Option(["--attestation"], type=click.Path(path_type=Path)),
        click.Option(["--json", "document"], is_flag=True),
        click.Option(["-q", "--quiet", "quiet"], is_flag=True),
    ],
)
