"""Writing the IR: reproducible, one pair of files, and read back."""

from dataclasses import dataclass
from pathlib import Path

import openvino as ov

from ovms_converter.engine import death
from ovms_converter.engine.job import ConversionJob, Port
from ovms_converter.errors import InternalError, ModelError, VerificationError
from ovms_converter.optimizer.native import cause_of

__all__ = ["Written", "read_back", "save"]

_VOLATILE = ("conversion_parameters", "legacy_frontend")
"""Entries of a model's `rt_info` that hold paths, or depend on how often a conversion ran."""


@dataclass(frozen=True)
class Written:
    """The pair of files on disk, and the ports that reading them back shows."""

    xml: Path
    bin: Path
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


def save(model: ov.Model, job: ConversionJob, *, compress_to_fp16: bool) -> Written:
    """Write `<stem>.xml` and `<stem>.bin` and read them back.

    The bytes depend on the model, the stem and the version of openvino only: the model's own name is the
    stem, generated node names are numbered anew, and nothing tells a path or a time. Weights are written
    tensor by tensor from the mapped source, so memory does not grow with them.

    Raises:
        ResourceError: the disk is full.
        ModelError: openvino cannot write the model.
        InternalError: what was written is not what was asked for.
    """
    job.output.mkdir(parents=True, exist_ok=True)
    xml, weights = job.output / f"{job.stem}.xml", job.output / f"{job.stem}.bin"
    model.set_friendly_name(job.stem)
    rt_info = model.get_rt_info()
    for key in _VOLATILE:
        if key in rt_info:
            del rt_info[key]
    _number_generated_names(model)
    try:
        ov.save_model(model, str(xml), compress_to_fp16=compress_to_fp16)
    except RuntimeError as error:
        full = death.of_exception(error, f"writing `{xml.name}`")
        raise full or ModelError(f"openvino cannot write the model: {cause_of(error)}") from error
    if weights.stat().st_size == 0:
        # KServe's downloader skips empty objects, and the server then misses the file.
        weights.write_bytes(b"\0")
    written = read_back(job)
    if len(written.inputs) != len(model.inputs) or len(written.outputs) != len(model.outputs):
        raise InternalError("the written IR has other inputs or outputs than the model")
    return written


def _number_generated_names(model: ov.Model) -> None:
    """Give nodes that have no name of their own one that depends on their place in the graph alone.

    OpenVINO's generated names count all nodes that this process ever made.
    """
    nodes = model.get_ordered_ops()
    taken = {node.get_friendly_name() for node in nodes if node.get_friendly_name() != node.get_name()}
    for index, node in enumerate(nodes):
        if node.get_friendly_name() != node.get_name():
            continue
        name = f"{node.get_type_name()}_{index}"
        while name in taken:
            name += "_"
        taken.add(name)
        node.set_friendly_name(name)


def read_back(job: ConversionJob) -> Written:
    """The pair of files that `save` wrote for a job, now or long ago.

    Raises:
        ResourceError: memory ran out.
        VerificationError: openvino cannot read it.
        InternalError: its inputs or outputs are not named as `save` leaves them.
    """
    xml, weights = job.output / f"{job.stem}.xml", job.output / f"{job.stem}.bin"
    try:
        read = ov.Core().read_model(str(xml))
    except RuntimeError as error:
        resources = death.of_exception(error, f"reading `{xml.name}` back")
        raise resources or VerificationError(
            f"the written IR cannot be read back: {cause_of(error)}"
        ) from error
    inputs, outputs = _ports(read.inputs, "input"), _ports(read.outputs, "output")
    if not outputs:
        raise InternalError("the converted model has no outputs")
    return Written(xml, weights, inputs, outputs)


def _ports(ports: "list[ov.Output]", kind: str) -> tuple[Port, ...]:
    found: list[Port] = []
    for port in ports:
        names = sorted(port.get_names())
        if len(names) != 1:
            raise InternalError(f"an {kind} of the written IR has {len(names)} names: {', '.join(names)}")
        shape = str(port.get_partial_shape())
        found.append(Port(names[0], port.get_element_type().get_type_name(), shape))
    duplicates = {port.name for port in found if sum(other.name == port.name for other in found) > 1}
    if duplicates:
        raise InternalError(f"several {kind}s of the written IR are named `{min(duplicates)}`")
    return tuple(found)
