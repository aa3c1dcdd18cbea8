"""A model of a format that OpenVINO does not read, turned by its own library into one that it reads."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from ovms_converter.engine.job import ConversionJob
from ovms_converter.frameworks.base import ExportJob

__all__ = ["Source", "export_job", "exported"]


@dataclass(frozen=True)
class Source:
    """What `optimizer.conversion` reads, and lines for the user about how it was made."""

    model: Path
    format: str
    notes: tuple[str, ...] = ()


def export_job(job: ConversionJob, output: Path) -> ExportJob:
    """What a framework is asked; `output` is an empty directory."""
    return ExportJob(
        format=job.format,
        model=job.model,
        output=output,
        signature=job.signature,
        example=job.example,
        versions=job.versions,
        arguments=job.arguments.to_values(),
        trusted=job.trusted,
    )


def exported(job: ConversionJob, scratch: Path) -> Source:
    """Export the model below `scratch`. Raises as `frameworks.process.export` does."""
    from ovms_converter.frameworks import process

    output = Path(tempfile.mkdtemp(prefix="exported-", dir=scratch))
    found = process.export(export_job(job, output))
    return Source(found.path, found.format, found.notes)
