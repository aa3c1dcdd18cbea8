"""Everything that was asked for, checked before any work starts, and frozen."""

import difflib
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ovms_converter.errors import RequestError
from ovms_converter.optimizer.arguments import OptimizerArguments
from ovms_converter.optimizer.command_line import parse_extra_args
from ovms_converter.optimizer.scanner import whole_number
from ovms_converter.optimizer.suggestions import did_you_mean, listed
from ovms_converter.optimizer.syntax import parse_flag, parse_number
from ovms_converter.parameters import PARAMETERS, Kind, Parameter, Support, by_name
from ovms_converter.placeholders import check_filled_in
from ovms_converter.storage.location import Location

__all__ = ["ConversionRequest", "Given", "build_request"]

_SCHEMES_BESIDE = ("s3", "gs", "az", "file")
"""Schemes of sources beside which versions go if no destination is given."""
_SCHEMES_OUT = (*_SCHEMES_BESIDE, "http", "https")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MAX_VERSION = (1 << 63) - 1
_MEMORY = re.compile(
    r"(?P<number>[0-9]{1,18}(\.[0-9]{1,9})?) ?(?P<unit>|[kmgt]i?b?|b)", re.IGNORECASE | re.ASCII
)
_MEMORY_UNITS = {"": 1, "b": 1} | {
    f"{letter}{rest}": base**power
    for power, letter in enumerate("kmgt", start=1)
    for base, rest in ((1000, ""), (1000, "b"), (1024, "i"), (1024, "ib"))
}
"""Bytes in a unit, by its name in small letters: Kubernetes' and the usual ones."""
_LEAST_MEMORY = 1 << 20
"""Bytes; a smaller limit is a unit forgotten."""
_FILE_STEM = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+ -]*")
_OPTIMIZER_NAMES = frozenset(parameter.name for parameter in PARAMETERS if parameter.optimizer)


@dataclass(frozen=True)
class Given:
    """A value as text, and where it came from: "flag", "environment", "argument" or "extra_args"."""

    value: str
    origin: str


@dataclass(frozen=True)
class ConversionRequest:
    """A request that is complete and free of contradictions, as far as that shows without the model.

    `input_format`   a format's name or "auto"
    `output_format`  "openvino", or the input's own format: then the files are published as they are
    `model_name`     stem of the published files, None for the source's own
    `model_version`  "auto", "next" or a number as text
    `keep`           how many versions are left after publishing, None for all
    `sign`           the private key's path, or `env:NAME`; None to publish without a signature
    `dry_run`        True if nothing is published
    `trust_source`   True if code out of the model may run, without network and credentials
    `verify`         "auto", "off", "load" or "compare"
    `verify_data`    a `.npz` of inputs to verify with, None for seeded ones
    `tolerance`      largest relative error of a comparison, None for what the precision suggests
    `timeout`        seconds that conversion and verification may take
    `benchmark`      whether load and answers of source and result are timed
    `weights`        "int8" or "int4" to compress weights, None to leave them
    `calibration_data`  a `.npz` of samples, with which activations become 8 bits too, None for none
    `memory_limit`   bytes of private memory that they may take, None for no limit
    `parameters`     what was given, by name, for the record
    """

    input: Location
    output: Location
    input_format: str
    output_format: str
    arguments: OptimizerArguments
    model_name: str | None
    model_version: str
    verify: str
    verify_data: Location | None
    benchmark: bool
    weights: str | None
    calibration_data: Location | None
    tolerance: float | None
    timeout: float
    memory_limit: int | None
    keep: int | None
    sign: str | None
    dry_run: bool
    trust_source: bool
    parameters: Mapping[str, Given]


def build_request(given: Mapping[str, Given]) -> ConversionRequest:
    """Check what was given and fill in the defaults; an empty value counts as not given.

    Raises `RequestError` that names the parameter at fault.
    """
    known = by_name()
    stripped = {name: Given(item.value.strip(), item.origin) for name, item in given.items()}
    values = {name: item for name, item in stripped.items() if item.value}
    for name, item in values.items():
        _check_text(_known(name, known), item.value)
    if "extra_args" in values:
        for name, value in parse_extra_args(values["extra_args"].value).items():
            values.setdefault(name, Given(value, "extra_args"))
    for name, item in values.items():
        _check_value(known[name], item.value)

    def value_of(name: str) -> str:
        return values[name].value if name in values else known[name].default

    source = _source(values)
    return ConversionRequest(
        input=source,
        output=_destination(values, source),
        input_format=value_of("input_format"),
        output_format=value_of("output_format"),
        arguments=OptimizerArguments.parse(
            {name: item.value for name, item in values.items() if name in _OPTIMIZER_NAMES}
        ),
        model_name=_stem(value_of("model_name")),
        model_version=_version(value_of("model_version")),
        verify=value_of("verify"),
        verify_data=_verify_data(value_of("verify_data"), value_of("verify")),
        benchmark=parse_flag(value_of("benchmark"), "benchmark"),
        weights=_weights(value_of("weights"), value_of("output_format")),
        calibration_data=_calibration_data(value_of("calibration_data"), value_of("weights")),
        tolerance=_tolerance(value_of("tolerance"), value_of("verify")),
        timeout=_above_zero(value_of("timeout"), "timeout"),
        memory_limit=_memory(value_of("memory_limit")),
        keep=_keep(value_of("keep")),
        sign=value_of("sign") or None,
        dry_run=parse_flag(value_of("dry_run"), "dry_run"),
        trust_source=parse_flag(value_of("trust_source"), "trust_source"),
        parameters=MappingProxyType(values),
    )


def _known(name: str, known: Mapping[str, Parameter]) -> Parameter:
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    raise RequestError(
        f"there is no parameter `{name}`",
        hint=f"did you mean `{near[0]}`?" if near else "`ovms-converter convert --help` lists them all",
        parameter=name,
    )


def _check_text(parameter: Parameter, value: str) -> None:
    check_filled_in(parameter.name, value, parameter=parameter.name)
    if _CONTROL.search(value):
        raise RequestError(
            f"`{parameter.name}` holds a line break or another control character inside",
            hint="an earlier step may have written its result with a newline in the middle of this value",
            parameter=parameter.name,
        )


def _check_value(parameter: Parameter, value: str) -> None:
    if parameter.support is Support.REFUSED:
        raise RequestError(
            f"`{parameter.name}` cannot be honoured: {parameter.reason}",
            parameter=parameter.name,
        )
    if parameter.choices and not parameter.optimizer and value not in parameter.choices:
        choices = ", ".join(f"`{choice}`" for choice in parameter.choices)
        raise RequestError(
            f"`{parameter.name}` is `{value}`; it is one of {choices}",
            hint=_nearest_choice(parameter, value),
            parameter=parameter.name,
        )
    if parameter.kind is Kind.FLAG:
        parse_flag(value, parameter.name)


def _nearest_choice(parameter: Parameter, value: str) -> str:
    parts = [choice for choice in parameter.choices if value.lower() in choice.lower().split(".")]
    if parts:
        return f"did you mean {listed(parts, 'or')}?"
    known = f"for example `{parameter.example}`"
    if parameter.default:
        known = f"without it, it is `{parameter.default}`"
    return did_you_mean(value, parameter.choices) or known


def _stem(value: str) -> str | None:
    if not value:
        return None
    if not _FILE_STEM.fullmatch(value) or value != value.strip():
        raise RequestError(
            f"`model_name` is `{value}`; it names files, so it holds letters, digits, `.`, `_`, `-`",
            hint="for example `--model-name resnet50`; it begins with a letter, a digit or `_`",
            parameter="model_name",
        )
    return value


def _keep(value: str) -> int | None:
    if not value:
        return None
    number = whole_number(value)
    if not number:
        raise RequestError(
            f"`keep` is `{value}`; it is a whole number above 0",
            hint="`--keep 1` leaves nothing but the newest version; leave it out to keep all",
            parameter="keep",
        )
    return number


def _version(value: str) -> str:
    """The wanted version. A server takes the names of directories for signed numbers of 64 bits."""
    if value not in ("auto", "next") and not 0 < (whole_number(value) or 0) <= _MAX_VERSION:
        raise RequestError(
            f"`model_version` is `{value}`; it is `auto`, `next` or a whole number above 0",
            hint="OpenVINO Model Server takes only directories named by a whole number above 0 for versions, "
            "and none that needs more than 64 bits",
            parameter="model_version",
        )
    return value


def _above_zero(value: str, name: str) -> float:
    number = parse_number(value, name)
    if number <= 0:
        raise RequestError(
            f"`{name}` is `{value}`; it is a number above 0",
            hint=f"for example `{by_name()[name].example}`",
            parameter=name,
        )
    return number


def _verify_data(value: str, verify: str) -> Location | None:
    if not value:
        return None
    if verify == "off":
        raise RequestError(
            "`verify_data` is given, and `verify` is `off`, which runs nothing",
            hint="leave one of them out",
            parameter="verify_data",
        )
    return Location.parse(value)


def _weights(value: str, output_format: str) -> str | None:
    if not value:
        return None
    if output_format != "openvino":
        raise RequestError(
            f"`weights` is given, and `output_format` is `{output_format}`, which publishes them as they are",
            hint="leave one of them out",
            parameter="weights",
        )
    if importlib.util.find_spec("nncf") is None:
        raise RequestError(
            f"`weights` is `{value}`, which needs NNCF, and that is not installed",
            hint="pip install 'ovms-converter[nncf]'",
            parameter="weights",
        )
    return value


def _calibration_data(value: str, weights: str) -> Location | None:
    if not value:
        return None
    if weights != "int8":
        raise RequestError(
            f"`calibration_data` is given, and `weights` is {f'`{weights}`' if weights else 'not'}",
            hint="activations become 8 bits with `--weights int8`",
            parameter="calibration_data",
        )
    return Location.parse(value)


def _tolerance(value: str, verify: str) -> float | None:
    if not value:
        return None
    if verify in ("off", "load"):
        raise RequestError(
            f"`tolerance` is given, and `verify` is `{verify}`, which compares nothing",
            hint="compare with `--verify compare`, or leave `tolerance` out",
            parameter="tolerance",
        )
    return _above_zero(value, "tolerance")


def _memory(value: str) -> int | None:
    if not value:
        return None
    match = _MEMORY.fullmatch(value)
    size = int(float(match["number"]) * _MEMORY_UNITS[match["unit"].lower()]) if match else 0
    if size < 1:
        raise RequestError(
            f"`memory_limit` is `{value}`; it is a number of bytes, or a number and a unit such as `MiB`",
            hint="for example `4GiB`, `4Gi` or `512MB`",
            parameter="memory_limit",
        )
    if size < _LEAST_MEMORY:
        raise RequestError(
            f"`memory_limit` is `{value}`, which is {size:,} bytes: no conversion does with so little",
            hint="a number without a unit counts bytes; write for example `4GiB`",
            parameter="memory_limit",
        )
    return size


def _source(values: Mapping[str, Given]) -> Location:
    if "input_model" not in values:
        raise RequestError(
            "no input model was given",
            hint="give it as the first argument (`INPUT_MODEL OUTPUT_MODEL`), or set `FUSEML_INPUT_MODEL`",
            parameter="input_model",
        )
    return Location.parse(values["input_model"].value)


def _destination(values: Mapping[str, Given], source: Location) -> Location:
    if "output_model" in values:
        location = Location.parse(values["output_model"].value)
    elif source.scheme in _SCHEMES_BESIDE:
        location = source
    else:
        raise RequestError(
            f"no output model was given, and nothing is published beside `{source}`",
            hint="give a second location: a directory, s3://, gs://, az://, or an http(s):// that takes PUT",
            parameter="output_model",
        )
    if location.scheme not in _SCHEMES_OUT:
        raise RequestError(
            f"nothing can be published at `{location}`",
            hint="give a directory, s3://, gs:// or az://, or an http(s):// that takes PUT",
            parameter="output_model",
        )
    return location
