"""What all commands of one process share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ovms_converter.cli.output import Output

__all__ = ["Session"]


@dataclass
class Session:
    """The surroundings of one command.

    `results_directory` is where Tekton wants results; `variables` tells which parameter came from which
    environment variable, as soon as that is known, so that errors can name it.
    """

    environ: Mapping[str, str]
    results_directory: Path
    output: Output
    variables: Mapping[str, str] = field(default_factory=dict)
