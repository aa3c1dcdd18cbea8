"""From a model on disk to an openvino Model that does what was asked: the steps in their order.

The front ends are used directly and no common transformations run over the weights, which so stay mapped from
the source: memory does not grow with the model. `static_shape` and `transform` are the exceptions.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ovms_converter.errors import ModelError, RequestError
from ovms_converter.optimizer import boosters, shapes
from ovms_converter.optimizer.arguments import OptimizerArguments
from ovms_converter.optimizer.classical.precision import walks_trees
from ovms_converter.optimizer.ends import Ends, arrange, check_served, ends_of, name_ends
from ovms_converter.optimizer.layouts import resolve_layouts
from ovms_converter.optimizer.native import READ_IT_ELSEWHERE, Model, native_errors, ov
from ovms_converter.optimizer.native_source import FRAMEWORKS, NativeSource
from ovms_converter.optimizer.nesting import check_nesting
from ovms_converter.optimizer.onnx_source import OnnxSource
from ovms_converter.optimizer.output_shapes import narrow_output_shapes
from ovms_converter.optimizer.plan import make_plan
from ovms_converter.optimizer.preprocessing import channels_first_ends, preprocess
from ovms_converter.optimizer.renaming import renamed
from ovms_converter.optimizer.repairs import GRAPH_REPAIRS, REPAIRS
from ovms_converter.optimizer.saved_model_source import SavedModelSource, read_frozen_graph
from ovms_converter.optimizer.source import CHANNELS_LAST, GraphSource, Plan
from ovms_converter.optimizer.suggestions import counted, listed
from ovms_converter.optimizer.transforms import apply_transformations, fold_shapes

__all__ = ["FORMATS", "Conversion", "convert", "open_model"]

_CUT = "if the model runs in its own framework, `--input` and `--output` can leave out the part that fails"

FORMATS = ("onnx", "tensorflow.saved_model", "tensorflow.frozen", *FRAMEWORKS, *boosters.FORMATS)
"""The formats that `convert` reads."""


@dataclass(frozen=True)
class Conversion:
    """A converted model, with exactly one name for each input and output, ready to be saved.

    It reads its weights from the source and from `scratch`, which must stay where they are until it is saved.
    `notes` are warnings and hints for the user, each once; `repairs` names those that were needed.
    """

    model: Model
    compress_to_fp16: bool
    notes: tuple[str, ...]
    repairs: tuple[str, ...] = ()


def convert(model: Path, format: str, arguments: OptimizerArguments, scratch: Path) -> Conversion:
    """Convert a model of one of `FORMATS`; `scratch` is a directory for small files beside it.

    Raises `RequestError` for what does not fit the model, `ModelError` for what is wrong with the model
    itself.
    """
    source = open_model(model, format, arguments)
    plan = make_plan(source, arguments)
    try:
        converted, ends = _read(source, plan, arguments, scratch)
    except ModelError as error:
        raise _blame(source, plan, arguments, scratch, error) from None
    check_nesting(converted)
    layouts = resolve_layouts(arguments, source, ends)
    notes = [
        *(source.notes if isinstance(source, OnnxSource) else ()),
        *_fixed_inputs(source, plan, ends),
        *_only_for_saved_models(format, arguments),
        *_layout_hint(source, converted, ends, arguments),
    ]
    converted, told = preprocess(converted, source, arguments, ends, layouts, plan)
    if arguments.static_shape:
        fold_shapes(converted)
    name_ends(converted, ends)
    if arguments.transform:
        apply_transformations(converted, arguments.transform)
        ends = ends_of(converted)
    converted = narrow_output_shapes(converted)
    repairs = _repair(source, converted, arguments)
    name_ends(converted, _public_names(arguments, source, ends))
    notes = [
        *notes,
        *told,
        *check_served(converted),
        *(f"OpenVINO would {each.fault}: repaired" for each in REPAIRS if each.name in repairs),
    ]
    half = arguments.half_precision
    if half and walks_trees(converted):
        half = False
        notes.append("the constants stay FP32: FP16 would move the thresholds of the trees")
    return Conversion(converted, half, tuple(dict.fromkeys(notes)), repairs)


def _repair(source: GraphSource, model: Model, arguments: OptimizerArguments) -> tuple[str, ...]:
    """Repair the graph; the names of all repairs, those of the source included."""
    if arguments.repairs == "off":
        return ()
    found = set(source.repairs) if isinstance(source, OnnxSource) else set()
    with native_errors("the graph cannot be repaired"):
        found |= {each.name for each in GRAPH_REPAIRS if each.apply(model)}
    return tuple(sorted(found))


def _fixed_inputs(source: GraphSource, plan: Plan, ends: Ends) -> list[str]:
    """What is told of inputs that a TensorFlow graph has a default for, which OpenVINO makes their value."""
    if plan.outputs or plan.cuts or plan.listed or plan.frozen:
        return []
    names = [tensor.name for tensor in source.inputs if tensor.name not in ends.inputs]
    return [f"the model takes {', '.join(names)} no more: fixed to the default value"] if names else []


def open_model(model: Path, format: str, arguments: OptimizerArguments) -> GraphSource:
    """What the names that a user types mean in a model of one of `FORMATS`; weights are not read.

    Raises `RequestError` for what does not fit the model, `ModelError` for what is wrong with it.
    """
    if not model.exists():
        raise ModelError(f"there is no model at `{model.name}`")
    source: GraphSource
    if format == "onnx":
        source = OnnxSource(model, repair=arguments.repairs != "off")
    elif format in boosters.FORMATS:
        source = boosters.BoosterSource(model)
    elif format == "tensorflow.frozen":
        source = read_frozen_graph(model)
    elif format == "tensorflow.saved_model":
        source = SavedModelSource(model, arguments)
    elif format in FRAMEWORKS:
        source = NativeSource(model, FRAMEWORKS[format])
    else:
        raise ModelError(
            f"models of the format `{format}` cannot be converted", hint=f"formats are {listed(FORMATS)}"
        )
    if arguments.framework not in (None, source.framework):
        raise RequestError(
            f"`framework` is `{arguments.framework}`, and the model is of the format `{format}`",
            hint="leave it out; the format is recognised by its content",
            parameter="framework",
        )
    return source


def _read(
    source: GraphSource, plan: Plan, arguments: OptimizerArguments, scratch: Path
) -> tuple[Model, Ends]:
    """Load and convert with everything that must be set before a front end converts."""
    prepared = source.prepare(plan, scratch)
    with native_errors("the model cannot be read", hint=READ_IT_ELSEWHERE):
        if isinstance(source, NativeSource):
            input_model = source.edited(plan)
            finish = input_model.convert
        else:
            front_end = (
                source.front_end()
                if isinstance(source, OnnxSource)
                else ov.frontend.FrontEndManager().load_by_framework(source.framework)
            )
            input_model = front_end.load(str(prepared))
            finish = partial(front_end.convert, input_model)
        shapes.set_shapes(input_model, source, plan)
        shapes.freeze(input_model, source, plan)
    if arguments.batch is not None:
        places = [source.name_of_place(place.get_names()) for place in input_model.get_inputs()]
        outputs = plan.outputs or tuple(tensor.name for tensor in source.outputs)
        layouts = resolve_layouts(arguments, source, Ends(tuple(places), tuple(outputs)))
        shapes.set_batch(input_model, source, plan, arguments.batch, layouts)
    with native_errors("the model cannot be converted", hint=_CUT):
        return arrange(finish(), source, plan)


def _blame(
    source: GraphSource, plan: Plan, arguments: OptimizerArguments, scratch: Path, error: ModelError
) -> ModelError | RequestError:
    """Whose fault is it? If the model converts as it is, it is what was asked for that does not fit."""
    asked = [
        name
        for name, given in (
            ("input_shape", arguments.input_shape),
            ("batch", arguments.batch),
            ("freeze_placeholder_with_value", plan.frozen),
            ("input", plan.inputs),
            ("output", plan.outputs),
        )
        if given
    ]
    if not asked:
        return error
    plain = OptimizerArguments(saved_model_tags=arguments.saved_model_tags, signature=arguments.signature)
    try:
        _read(source, Plan(), plain, scratch)
    except ModelError:
        return error
    cause = _misfit(source, plan) or error.message.partition(": ")[2] or error.message
    return RequestError(
        f"the model does not convert with this `{asked[0]}`: {cause}",
        hint=f"without it, it does; the model's inputs are {', '.join(map(str, source.inputs[:12]))}",
        parameter=asked[0],
    )


def _misfit(source: GraphSource, plan: Plan) -> str | None:
    """Which shape is not as the model declares it, and where; None if all are."""
    declared = {tensor.name: tensor for tensor in source.inputs}
    for planned in plan.inputs:
        tensor, shape = declared.get(planned.point.name), planned.shape
        if tensor is None or tensor.shape is None or shape is None:
            continue
        rank = len(shape.dimensions)
        if rank != len(tensor.shape):
            return f"`{shape}` has {counted(rank, 'dimension')}, the input {tensor} has {len(tensor.shape)}"
        pairs = zip(shape.dimensions, tensor.shape, strict=True)
        other = [
            str(at)
            for at, (given, own) in enumerate(pairs)
            if own is not None and not given.low <= own <= (own if given.high is None else given.high)
        ]
        if other:
            return f"`{shape}` is not the input {tensor} at position {', '.join(other)} (from 0)"
    return None


def _public_names(arguments: OptimizerArguments, source: GraphSource, ends: Ends) -> Ends:
    """The names after `rename`; those that are now if the server shall map them."""
    after = renamed(arguments.rename, source, ends)
    if not arguments.mapping_config:
        return after
    unknown = [old for old, _ in arguments.rename if old not in (*ends.inputs, *ends.outputs)]
    if unknown:
        raise RequestError(
            f"`rename` names `{unknown[0]}`, which is no name in the result, so no server can map it",
            hint=f"there are {listed((*ends.inputs, *ends.outputs))}",
            parameter="rename",
        )
    return ends


def _only_for_saved_models(format: str, arguments: OptimizerArguments) -> list[str]:
    if format == "tensorflow.saved_model":
        return []
    given = {"signature": arguments.signature, "saved_model_tags": arguments.saved_model_tags}
    return [f"{name} changes nothing: it is for SavedModels" for name, value in given.items() if value]


def _layout_hint(source: GraphSource, model: Model, ends: Ends, arguments: OptimizerArguments) -> list[str]:
    if source.framework not in CHANNELS_LAST:
        kept = "it is for TensorFlow" if source.framework != "onnx" else "ONNX models are channels-first"
        return [f"nhwc_to_nchw changes nothing: {kept}"] * arguments.nhwc_to_nchw
    if source.framework != "tf" or arguments.nhwc_to_nchw or arguments.disable_nhwc_to_nchw:
        return []
    turned = channels_first_ends(model, ends)
    if not turned:
        return []
    return [
        f"Model Optimizer 2021 would have turned {', '.join(turned)} channels-first (NCHW); "
        "here the layout stays as it is, and `nhwc_to_nchw` turns it"
    ]
