"""The one table of parameters: flags, environment variables, keywords, `--help` and the reference come "
"from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

__all__ = ["PARAMETERS", "Group", "Kind", "Parameter", "Support", "by_name"]


class Kind(Enum):
    """How a value is written."""

    TEXT = "TEXT"
    URL = "URL"
    FLAG = "BOOL"
    INTEGER = "INT"
    NUMBER = "NUMBER"


class Group(Enum):
    """The heading under which `--help` and the reference show a parameter."""

    LOCATIONS = "Locations and formats"
    SHAPES = "Inputs, outputs and shapes"
    PREPROCESSING = "Preprocessing and layout"
    PRECISION = "Precision and transformations"
    RESULT = "Result"
    COMPATIBILITY = "Model Optimizer compatibility"


class Support(Enum):
    """What becomes of a parameter that was given."""

    HONOURED = "honoured"
    NO_OP = "accepted, changes nothing"
    REFUSED = "refused"


@dataclass(frozen=True)
class Parameter:
    """One parameter, under one name everywhere.

    `name`      as in FuseML and Model Optimizer: snake case; the flag also takes `-` for `_`
    `optimizer` True if it acts as an argument of Model Optimizer does, so it is legal inside `extra_args`
    `short`     Model Optimizer's one-letter flags, legal inside `extra_args` only
    `reason`    for NO_OP and REFUSED: why, and what to do instead
    `differs`   how it differs from `mo`, for the reference; "" if it does not
    """

    name: str
    kind: Kind
    group: Group
    help: str
    default: str = ""
    choices: tuple[str, ...] = ()
    example: str = ""
    optimizer: bool = False
    short: tuple[str, ...] = ()
    support: Support = Support.HONOURED
    reason: str = ""
    differs: str = ""

    @property
    def variable(self) -> str:
        """The name of the environment variable in FuseML's steps."""
        return f"FUSEML_{self.name.upper()}"

    @property
    def flag(self) -> str:
        """The flag on the command line."""
        return f"--{self.name.replace('_', '-')}"


_NO_GRAPH_SWITCH = (
    "it switched an optimisation of Model Optimizer's own graph; OpenVINO optimises when it loads the model"
)
_PYTHON_EXTENSIONS = (
    "it loads Python code into Model Optimizer, which OpenVINO no longer has; replace the operations "
    "in the source model, or cut them off with `input` and `output`"
)
_NO_CAFFE = "OpenVINO no longer reads Caffe models; convert the model to ONNX first"
_NO_MXNET = "OpenVINO no longer reads MXNet models; convert the model to ONNX first"
_NO_KALDI = "OpenVINO no longer reads Kaldi models; convert the model to ONNX first"
_NO_TF1_FILES = (
    "only SavedModels and frozen graphs are read; export the model with `tf.saved_model.save` or the "
    "TensorFlow 1 `SavedModelBuilder` first"
)


def _optimizer(
    name: str, kind: Kind, group: Group, text: str, *, short: tuple[str, ...] = (), default: str = "",
    choices: tuple[str, ...] = (), example: str = "", differs: str = "",
) -> Parameter:  # fmt: skip
    """An argument of Model Optimizer that is honoured."""
    return Parameter(name, kind, group, text, default, choices, example, True, short, differs=differs)


def _no_op(name: str, text: str, reason: str, kind: Kind = Kind.FLAG, default: str = "") -> Parameter:
    """An argument of Model Optimizer whose absence changes no result."""
    example = "true" if kind is Kind.FLAG else ""
    return Parameter(
        name, kind, Group.COMPATIBILITY, text, default, (), example, True, (), Support.NO_OP, reason,
        "accepted, changes nothing",
    )  # fmt: skip


def _refused(
    name: str, text: str, reason: str, kind: Kind = Kind.TEXT, short: tuple[str, ...] = ()
) -> Parameter:
    """An argument of Model Optimizer that cannot be honoured."""
    return Parameter(
        name, kind, Group.COMPATIBILITY, text, "", (), "", True, short, Support.REFUSED, reason, "refused"
    )  # fmt: skip


_LOCATIONS = (
    Parameter(
        "input_model", Kind.URL, Group.LOCATIONS,
        "The model: a file, a SavedModel directory or an MLflow artifact, on this machine or in a store.",
        example="s3://models/run42/artifacts/model", optimizer=True, short=("w", "m"),
        differs="a URL or a path, a file or a directory; not legal inside `extra_args`",
    ),
    Parameter(
        "output_model", Kind.URL, Group.LOCATIONS,
        "Where the model repository goes; a numbered version is written below it. The input's location "
        "by default.",
        example="s3://models/run42/artifacts/model/ovms",
    ),
    Parameter(
        "input_format", Kind.TEXT, Group.LOCATIONS,
        "What the model is. It is recognised by its content if this is not given.",
        default="auto",
        choices=(
            "auto", "mlflow", "onnx", "tensorflow.saved_model", "tflite", "paddle", "tensorflow.frozen",
            "openvino.ir", "keras.keras", "keras.h5", "pytorch.export", "pytorch.torchscript",
            "pytorch.pickle", "xgboost", "lightgbm",
            "sklearn.skops", "sklearn.pickle", "sklearn.cloudpickle", "sklearn.joblib", "xgboost.pkl",
            "lightgbm.skops", "lightgbm.pkl",
        ),
        example="onnx",
    ),
    Parameter(
        "output_format", Kind.TEXT, Group.LOCATIONS,
        "What is written: OpenVINO's own format, or the input's own format, which copies the model as it is.",
        default="openvino",
        choices=("openvino", "onnx", "tensorflow.saved_model", "tflite", "paddle"),
        example="openvino",
    ),
    Parameter(
        "trust_source", Kind.FLAG, Group.LOCATIONS,
        "Run code that is part of the model (pickles, Keras Lambda layers), in a process without network and "
        "credentials. Models that need it are refused otherwise.",
        default="false", example="true",
    ),
)  # fmt: skip

_SHAPES = (
    _optimizer(
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
    _optimizer(
        "input_shape", Kind.TEXT, Group.SHAPES,
        "The shape of every input in the model's own order, or in the order of `input`. "
        "A dimension is a number, `?` for any, or a range such as `1..10`.",
        example="[1,3,224,224],[1,?]",
        differs="spaces may stand for commas, and `[]` is a scalar",
    ),
    _optimizer(
        "output", Kind.TEXT, Group.SHAPES,
        "The outputs that are kept, by tensor or operation name; `node:1` is the second output of a node.",
        example="prob,features:1",
        differs="the outputs are in the order of `output`, and none may be named twice. Operations inside a "
        "TensorFlow graph work as well, where 2024 wrote a model without outputs. Inputs that no output "
        "needs go; 2024 kept those of a frozen graph",
    ),
    _optimizer(
        "batch", Kind.INTEGER, Group.SHAPES,
        "The batch size of every input. It replaces a first dimension that is unknown, 0 or 1, "
        "or the dimension `N` of `layout`.",
        short=("b",), example="1",
        differs="an input whose `layout` has no `N` has no batch; 2024 set its first dimension",
    ),
    _optimizer(
        "static_shape", Kind.FLAG, Group.SHAPES,
        "Compute now whatever depends on the shapes alone. The result must not be reshaped later.",
        default="false", example="true",
    ),
    _optimizer(
        "freeze_placeholder_with_value", Kind.TEXT, Group.SHAPES,
        "Inputs that become constants.", example="is_training->False,threshold->[0.5]",
        differs="a value must have as many elements as its input, where 2024 read beyond it; commas may "
        "stand for spaces",
    ),
    _optimizer(
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

_PREPROCESSING = (
    _optimizer(
        "mean_values", Kind.TEXT, Group.PREPROCESSING,
        "Values subtracted from the inputs, one for each channel or one for all.",
        short=("ms",), example="data[123.675,116.28,103.53]",
        differs="several lists without names are refused unless their order cannot matter: "
        "Model Optimizer sorts them by their first number. Channels that their number does not tell are "
        "where the framework has them, as in 2021; 2024 asked for `layout`",
    ),
    _optimizer(
        "scale_values", Kind.TEXT, Group.PREPROCESSING,
        "Values that the inputs are divided by, one for each channel or one for all, after `mean_values`.",
        example="data[58.395,57.12,57.375]",
        differs="as `mean_values`; a zero is refused",
    ),
    _optimizer(
        "scale", Kind.NUMBER, Group.PREPROCESSING,
        "The number that every input is divided by, after `mean_values`.", short=("s",), example="255",
        differs="0 is refused; 2021 divided by it and 2024 ignored it",
    ),
    _optimizer(
        "reverse_input_channels", Kind.FLAG, Group.PREPROCESSING,
        "Swap RGB and BGR: reverse the channels of every input that has three, before `mean_values`.",
        default="false", example="true",
        differs="an input in which two dimensions could be the channels has them where its framework "
        "puts them",
    ),
    _optimizer(
        "layout", Kind.TEXT, Group.PREPROCESSING,
        "The layout of the inputs and outputs, and after `->` the layout that they shall have. "
        "`?` is any dimension, `...` any number of them.",
        example="image(nhwc->nchw),prob(nc)",
    ),
    _optimizer(
        "source_layout", Kind.TEXT, Group.PREPROCESSING, "The layout that inputs and outputs have in the "
        "model.",
        example="image(nhwc)",
    ),
    _optimizer(
        "target_layout", Kind.TEXT, Group.PREPROCESSING, "The layout that inputs and outputs shall have.",
        example="image(nchw)",
    ),
    Parameter(
        "nhwc_to_nchw", Kind.FLAG, Group.PREPROCESSING,
        "Turn the image inputs and outputs of a TensorFlow model channels-first, as Model Optimizer 2021 "
        "did.",
        default="false", example="true", optimizer=True, differs="new: 2021 did it unless told not to",
    ),
    _optimizer(
        "disable_nhwc_to_nchw", Kind.FLAG, Group.PREPROCESSING,
        "Keep the layout of a TensorFlow model. It is kept anyway, unless `nhwc_to_nchw` is given.",
        default="false", example="true", differs="already true by default, as in 2022 and later",
    ),
)  # fmt: skip

_PRECISION = (
    _optimizer(
        "data_type", Kind.TEXT, Group.PRECISION,
        "The type of the weights: `FP16` or `half` stores them in half precision, `FP32` or `float` as they "
        "are in the model, which is the default.",
        choices=("FP16", "FP32", "half", "float"), example="FP16",
        differs="inputs and outputs keep their types; 2021 wrote FP16 inputs, which clients fed FP32 all "
        "the same",
    ),
    _optimizer(
        "compress_to_fp16", Kind.FLAG, Group.PRECISION, "The same as `data_type` `FP16`.", example="true",
        differs="off unless asked for; 2024 compresses by default",
    ),
    _optimizer(
        "transform", Kind.TEXT, Group.PRECISION,
        "Transformations to apply: `LowLatency2`, `MakeStateful` or `Pruning`, with their arguments. "
        "The weights are held in memory meanwhile.",
        example="LowLatency2[use_const_initializer=False]",
    ),
)  # fmt: skip

_RESULT = (
    _optimizer(
        "model_name", Kind.TEXT, Group.RESULT,
        "The name of the written files. `saved_model`, or the name of the ONNX file, by default.",
        short=("n",), example="resnet50",
    ),
    Parameter(
        "model_version", Kind.TEXT, Group.RESULT,
        "The version to publish: a number, `next`, or `auto`, which publishes nothing if the newest one "
        "is the same.",
        default="auto", example="3",
    ),
    Parameter(
        "keep", Kind.INTEGER, Group.RESULT,
        "How many versions are kept: after a new one was published, older ones are removed, the lowest "
        "first. All by default.",
        example="5",
    ),
    Parameter(
        "sign", Kind.TEXT, Group.RESULT,
        "Sign the version with this private key: the path of a PEM file, or `env:NAME` for a variable that "
        "holds its text.",
        example="env:SIGNING_KEY",
    ),
    Parameter(
        "dry_run", Kind.FLAG, Group.RESULT,
        "Do everything but publish, and tell what would be published.",
        default="false", example="true",
    ),
    Parameter(
        "verify", Kind.TEXT, Group.RESULT,
        "How the result is checked before it is published: not at all, by running it once, "
        "or by comparing it with its source.",
        default="auto", choices=("off", "load", "compare", "auto"), example="load",
    ),
    Parameter(
        "verify_data", Kind.URL, Group.RESULT,
        "A `.npz` with an array for each input of the result, on which it is verified as well; arrays "
        "`output:NAME` are what it shall compute of them.",
        example="s3://models/run42/data.npz",
    ),
    Parameter(
        "tolerance", Kind.NUMBER, Group.RESULT,
        "How far the result may be from its source where `verify` compares them, relative to the source's "
        "values: the root mean square with `weights`, otherwise each number. It follows from the precision "
        "by default.",
        example="0.001",
    ),
    Parameter(
        "benchmark", Kind.FLAG, Group.RESULT,
        "Time how fast the source and the result load and answer on this machine, and tell it in the "
        "summary, in `--json` and in the report.",
        default="false", example="true",
    ),
    Parameter(
        "weights", Kind.TEXT, Group.RESULT,
        "Compress weights to 8 or 4 bits with NNCF, without any data. They keep their precision by default.",
        choices=("int8", "int4"), example="int8",
    ),
    Parameter(
        "calibration_data", Kind.URL, Group.RESULT,
        "A `.npz` with an array of samples for each input: with `weights` `int8`, what the model computes "
        "with becomes 8 bits too, in ranges that these samples show.",
        example="s3://models/run42/samples.npz",
    ),
    Parameter(
        "timeout", Kind.NUMBER, Group.RESULT,
        "Seconds that conversion and verification may take together.",
        default="3600", example="600",
    ),
    Parameter(
        "memory_limit", Kind.TEXT, Group.RESULT,
        "Memory that conversion and verification may take: bytes, or a number with a unit (`MB`, `MiB`, "
        "`GB`, `GiB`). Weights that are mapped from files do not count. No limit by default.",
        example="4GiB",
    ),
    Parameter(
        "repairs", Kind.TEXT, Group.RESULT,
        "Whether operations with which OpenVINO is known to compute wrong numbers are replaced by others "
        "that mean the same.",
        default="on", choices=("on", "off"), example="off", optimizer=True, differs="new",
    ),
    Parameter(
        "mapping_config", Kind.FLAG, Group.RESULT,
        "Leave the names in the model and let OpenVINO Model Server map them: the names of `rename` go into "
        "a `mapping_config.json` beside it.",
        default="false", example="true", optimizer=True, differs="new",
    ),
    Parameter(
        "verbose", Kind.FLAG, Group.RESULT, "Log more: the same as `log_level` `DEBUG`.",
        default="false", example="true",
    ),
    _optimizer(
        "log_level", Kind.TEXT, Group.RESULT, "How much is logged.",
        default="INFO", choices=("CRITICAL", "ERROR", "WARN", "WARNING", "INFO", "DEBUG", "NOTSET"),
        example="DEBUG", differs="in capitals or not; `ERROR` is the default of Model Optimizer",
    ),
    Parameter(
        "extra_args", Kind.TEXT, Group.RESULT,
        "Further Model Optimizer arguments as on its command line. Parameters that are given themselves "
        "win over it.",
        example="--layout nhwc --transform LowLatency2",
    ),
)  # fmt: skip

_COMPATIBILITY = (
    _optimizer(
        "framework", Kind.TEXT, Group.COMPATIBILITY,
        "The framework that the model was made with; the conversion stops if it is another one.",
        choices=("tf", "onnx", "tflite", "paddle"), example="onnx",
        differs="caffe, mxnet, kaldi and pytorch are refused",
    ),
    _no_op("silent", "Print nothing but errors.", "use the flag `--quiet` of the command line"),
    _no_op("progress", "Show the progress.", "progress is shown whenever the output is a terminal"),
    _no_op("stream_output", "Show the progress in lines.", "progress is in lines whenever the output is "
    "no terminal"),
    _no_op("disable_fusing", "Do not fuse linear operations.", _NO_GRAPH_SWITCH),
    _no_op("disable_gfusing", "Do not fuse grouped convolutions.", _NO_GRAPH_SWITCH),
    _no_op("disable_resnet_optimization", "Do not optimise ResNet.", _NO_GRAPH_SWITCH),
    _no_op("finegrain_fusing", "Operations that are not fused.", _NO_GRAPH_SWITCH, Kind.TEXT),
    _no_op("enable_concat_optimization", "Optimise concatenations.", _NO_GRAPH_SWITCH),
    _no_op(
        "move_to_preprocess", "Move mean values to the old pre-processing section.",
        "the section no longer exists; mean values are part of the model, with the same result",
    ),
    _no_op("generate_deprecated_IR_V7", "Write IR version 7.", "only the current IR version can be written"),
    _no_op("keep_shape_ops", "Keep operations on shapes.", "they are kept unless `static_shape` is given"),
    _no_op("legacy_ir_generation", "Write the IR with the old code.", "there is one IR writer"),
    _no_op("disable_weights_compression", "Do not compress weights.", "weights are compressed only for "
    "`data_type` `FP16`"),
    _no_op("use_new_frontend", "Use the new front end.", "there is no other"),
    _no_op("share_weights", "Map the weights instead of copying them.", "they are always mapped"),
    _refused(
        "use_legacy_frontend", "Use the Python front end of Model Optimizer.",
        "OpenVINO no longer has it; leave the argument out", Kind.FLAG,
    ),
    _refused("saved_model_dir", "The SavedModel directory.", "give the directory as `input_model`"),
    _refused("output_dir", "Where to write.", "give the destination as `output_model`", short=("o",)),
    _refused("extensions", "Directories or libraries with extensions.", _PYTHON_EXTENSIONS),
    _refused("transformations_config", "A file that describes transformations.", _PYTHON_EXTENSIONS),
    _refused("tensorflow_custom_operations_config_update", "A file of operations.", _PYTHON_EXTENSIONS),
    _refused("tensorflow_use_custom_operations_config", "A file of operations.", _PYTHON_EXTENSIONS),
    _refused(
        "tensorflow_object_detection_api_pipeline_config", "The pipeline of an object detection model.",
        "object detection SavedModels convert without it; leave the argument out",
    ),
    _refused("tensorflow_custom_layer_libraries", "Libraries of operations.", _PYTHON_EXTENSIONS),
    _refused("tensorboard_logdir", "Where to write a graph for TensorBoard.", "look at the source model "
    "with TensorBoard or Netron"),
    _refused("input_checkpoint", "A TensorFlow 1 checkpoint.", _NO_TF1_FILES),
    _refused("input_meta_graph", "A TensorFlow 1 meta graph.", _NO_TF1_FILES),
    _refused("input_model_is_text", "The graph is a text file.", _NO_TF1_FILES, Kind.FLAG),
    _refused(
        "example_input", "A sample input for tracing PyTorch models.",
        "PyTorch programs need shapes only: `input_shape`",
    ),
    _refused("example_output", "A sample output of a Paddle model.", "leave the argument out; it is for "
    "Paddle objects in Python"),
    _refused("version", "Print the version.", "use `ovms-converter --version`", Kind.FLAG),
    _refused("help", "Print the help.", "use `ovms-converter convert --help`", Kind.FLAG, short=("h",)),
    _refused("input_proto", "Caffe: the prototxt file.", _NO_CAFFE, short=("d",)),
    _refused("caffe_parser_path", "Caffe: the parser.", _NO_CAFFE),
    _refused("k", "Caffe: the custom layers mapping.", _NO_CAFFE, short=("k",)),
    _refused("mean_file", "Caffe: a file of mean values.", _NO_CAFFE, short=("mf",)),
    _refused("mean_file_offsets", "Caffe: offsets in the mean file.", _NO_CAFFE, short=("mo",)),
    _refused("disable_omitting_optional", "Caffe: keep optional attributes.", _NO_CAFFE, Kind.FLAG),
    _refused("enable_flattening_nested_params", "Caffe: flatten nested attributes.", _NO_CAFFE, Kind.FLAG),
    _refused("input_symbol", "MXNet: the symbol file.", _NO_MXNET),
    _refused("nd_prefix_name", "MXNet: the prefix of the parameter files.", _NO_MXNET),
    _refused("pretrained_model_name", "MXNet: the pre-trained model.", _NO_MXNET),
    _refused("save_params_from_nd", "MXNet: save the parameters.", _NO_MXNET, Kind.FLAG),
    _refused("legacy_mxnet_model", "MXNet: an old model.", _NO_MXNET, Kind.FLAG),
    _refused("enable_ssd_gluoncv", "MXNet: a GluonCV SSD model.", _NO_MXNET, Kind.FLAG),
    _refused("counts", "Kaldi: the counts file.", _NO_KALDI),
    _refused("remove_output_softmax", "Kaldi: remove the last softmax.", _NO_KALDI, Kind.FLAG),
    _refused("remove_memory", "Kaldi: remove the memory layer.", _NO_KALDI, Kind.FLAG),
)  # fmt: skip

PARAMETERS: tuple[Parameter, ...] = (
    *_LOCATIONS, *_SHAPES, *_PREPROCESSING, *_PRECISION, *_RESULT, *_COMPATIBILITY,
)  # fmt: skip
"""Every parameter, in the order of `--help` and the reference."""

_BY_NAME: Mapping[str, Parameter] = MappingProxyType({parameter.name: parameter for parameter in PARAMETERS})


def by_name() -> Mapping[str, Parameter]:
    """Every parameter by its name, in the order of the table."""
    return _BY_NAME
