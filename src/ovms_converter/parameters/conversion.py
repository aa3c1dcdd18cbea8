"""The parameters that say what becomes of the model: most are Model Optimizer's."""

from ovms_converter.parameters.parameter import Group, Kind, Parameter, optimizer_argument

__all__ = ["PRECISION", "PREPROCESSING", "SHAPES"]

SHAPES = (
    optimizer_argument(
        "input", Kind.TEXT, Group.SHAPES,
        "The model's inputs, each with an optional shape, type or fixed value. "
        "A name inside the model cuts it there: `node`, `0:node` (its first input) or `node:0` (its "
        "first output).",
        example="image[1,3,224,224]{f32},is_training->False",
        differs="an input that the outputs need and that is not listed is an error unless `input` only gives "
        "fixed values; 2024 kept it silently. A type is converted before the graph, which keeps its own and "
        "that of its outputs; 2024 gave it to the graph, or refused it. The inputs of a cut model are in the "
        "order of `input`",
    ),
    optimizer_argument(
        "input_shape", Kind.TEXT, Group.SHAPES,
        "The shape of every input in the model's own order, or in the order of `input`. "
        "A dimension is a number, `?` for any, or a range such as `1..10`.",
        example="[1,3,224,224],[1,?]",
        differs="spaces may stand for commas, and `[]` is a scalar",
    ),
    optimizer_argument(
        "output", Kind.TEXT, Group.SHAPES,
        "The outputs that are kept, by tensor or operation name; `node:1` is the second output of a node.",
        example="prob,features:1",
        differs="the outputs are in the order of `output`, and none may be named twice. Operations inside a "
        "TensorFlow graph work as well, where 2024 wrote a model without outputs. Inputs that no output "
        "needs go; 2024 kept those of a frozen graph",
    ),
    optimizer_argument(
        "batch", Kind.INTEGER, Group.SHAPES,
        "The batch size of every input. It replaces a first dimension that is unknown, 0 or 1, "
        "or the dimension `N` of `layout`.",
        short=("b",), example="1",
        differs="an input whose `layout` has no `N` has no batch; 2024 set its first dimension",
    ),
    optimizer_argument(
        "static_shape", Kind.FLAG, Group.SHAPES,
        "Compute now whatever depends on the shapes alone. The result must not be reshaped later.",
        default="false", example="true",
    ),
    optimizer_argument(
        "freeze_placeholder_with_value", Kind.TEXT, Group.SHAPES,
        "Inputs that become constants.", example="is_training->False,threshold->[0.5]",
        differs="a value must have as many elements as its input, where 2024 read beyond it; commas may "
        "stand for spaces",
    ),
    optimizer_argument(
        "saved_model_tags", Kind.TEXT, Group.SHAPES,
        "The tags of the graph to take from a SavedModel that holds several. `serve` by default.",
        example="serve,gpu",
        differs="the tags must be exactly those of one graph; 2024 took any graph with one of them",
    ),
    Parameter(
        "signature", Kind.TEXT, Group.SHAPES,
        "The signature to take from a SavedModel. `serving_default`, or the only one, by default.",
        example="serving_default", optimizer=True,
        differs="new",
    ),
    Parameter(
        "rename", Kind.TEXT, Group.SHAPES, "New names for inputs and outputs of the result.",
        example="StatefulPartitionedCall:0=scores,x=image", optimizer=True,
        differs="new",
    ),
)  # fmt: skip

PREPROCESSING = (
    optimizer_argument(
        "mean_values", Kind.TEXT, Group.PREPROCESSING,
        "Values subtracted from the inputs, one for each channel or one for all.",
        short=("ms",), example="data[123.675,116.28,103.53]",
        differs="several lists without names are refused unless their order cannot matter: "
        "Model Optimizer sorts them by their first number. Channels that their number does not tell are "
        "where the framework has them, as in 2021; 2024 asked for `layout`",
    ),
    optimizer_argument(
        "scale_values", Kind.TEXT, Group.PREPROCESSING,
        "Values that the inputs are divided by, one for each channel or one for all, after `mean_values`.",
        example="data[58.395,57.12,57.375]",
        differs="as `mean_values`; a zero is refused",
    ),
    optimizer_argument(
        "scale", Kind.NUMBER, Group.PREPROCESSING,
        "The number that every input is divided by, after `mean_values`.", short=("s",), example="255",
        differs="0 is refused; 2021 divided by it and 2024 ignored it",
    ),
    optimizer_argument(
        "reverse_input_channels", Kind.FLAG, Group.PREPROCESSING,
        "Swap RGB and BGR: reverse the channels of every input that has three, before `mean_values`.",
        default="false", example="true",
        differs="an input in which two dimensions could be the channels has them where its framework "
        "puts them",
    ),
    optimizer_argument(
        "layout", Kind.TEXT, Group.PREPROCESSING,
        "The layout of the inputs and outputs, and after `->` the layout that they shall have. "
        "`?` is any dimension, `...` any number of them.",
        example="image(nhwc->nchw),prob(nc)",
    ),
    optimizer_argument(
        "source_layout", Kind.TEXT, Group.PREPROCESSING, "The layout that inputs and outputs have in the "
        "model.",
        example="image(nhwc)",
    ),
    optimizer_argument(
        "target_layout", Kind.TEXT, Group.PREPROCESSING, "The layout that inputs and outputs shall have.",
        example="image(nchw)",
    ),
    Parameter(
        "nhwc_to_nchw", Kind.FLAG, Group.PREPROCESSING,
        "Turn the image inputs and outputs of a TensorFlow model channels-first, as Model Optimizer 2021 "
        "did.",
        default="false", example="true", optimizer=True, differs="new: 2021 did it unless told not to",
    ),
    optimizer_argument(
        "disable_nhwc_to_nchw", Kind.FLAG, Group.PREPROCESSING,
        "Keep the layout of a TensorFlow model. It is kept anyway, unless `nhwc_to_nchw` is given.",
        default="false", example="true", differs="already true by default, as in 2022 and later",
    ),
)  # fmt: skip

PRECISION = (
    optimizer_argument(
        "data_type", Kind.TEXT, Group.PRECISION,
        "The type of the weights: `FP16` or `half` stores them in half precision, `FP32` or `float` as they "
        "are in the model, which is the default.",
        choices=("FP16", "FP32", "half", "float"), example="FP16",
        differs="inputs and outputs keep their types; 2021 wrote FP16 inputs, which clients fed FP32 all "
        "the same",
    ),
    optimizer_argument(
        "compress_to_fp16", Kind.FLAG, Group.PRECISION, "The same as `data_type` `FP16`.", example="true",
        differs="off unless asked for; 2024 compresses by default",
    ),
    optimizer_argument(
        "transform", Kind.TEXT, Group.PRECISION,
        "Transformations to apply: `LowLatency2`, `MakeStateful` or `Pruning`, with their arguments. "
        "The weights are held in memory meanwhile.",
        example="LowLatency2[use_const_initializer=False]",
    ),
)  # fmt: skip
