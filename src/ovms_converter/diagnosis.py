"""Can a request's two locations be reached, and with which settings? Nothing that is written stays."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from ovms_converter.errors import ConverterError
from ovms_converter.repository import ModelRepository
from ovms_converter.request import ConversionRequest
from ovms_converter.storage import explain, open_destination, open_source
from ovms_converter.storage.base import Side
from ovms_converter.storage.location import Location

__all__ = ["Choice", "Diagnosis", "diagnose"]


@dataclass(frozen=True)
class Choice:
    """A setting that counts: its name, its value without any secret, and where the value came from."""

    name: str
    value: str
    origin: str


@dataclass(frozen=True)
class Diagnosis:
    """One location: what counts for it, and what was found there, or the error that came instead."""

    location: str
    side: str
    choices: tuple[Choice, ...]
    finding: str
    error: ConverterError | None


def diagnose(request: ConversionRequest, environ: Mapping[str, str]) -> Iterator[Diagnosis]:
    """Look at the source, then at the destination. What a location raises is in the result."""

    def source() -> str:
        entries = open_source(request.input, environ).list().entries
        if not entries:
            return "it can be read, and nothing is there"
        return f"it can be read: {len(entries)} file{'s' if len(entries) > 1 else ''}"

    def destination() -> str:
        opened = open_destination(request.output, environ, request.input)
        opened.check_writable()
        versions = [str(version.number) for version in ModelRepository(opened).versions()]
        return (
            f"it can be written, and holds version {', '.join(versions)}" if versions else "it can be written"
        )

    yield _look(request.input, environ, Side.INPUT, source)
    yield _look(request.output, environ, Side.OUTPUT, destination)


def _look(location: Location, environ: Mapping[str, str], side: Side, check: Callable[[], str]) -> Diagnosis:
    choices: tuple[Choice, ...] = ()
    try:
        choices = tuple(
            Choice(setting.name, str(setting), setting.origin) for setting in explain(location, environ, side)
        )
        return Diagnosis(str(location), side.value, choices, check(), None)
    except ConverterError as error:
        return Diagnosis(str(location), side.value, choices, "", error)
