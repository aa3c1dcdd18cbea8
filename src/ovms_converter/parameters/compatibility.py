"""Arguments of Model Optimizer that change nothing here, or cannot be honoured, each with the reason."""

from ovms_converter.parameters.parameter import Group, Kind, Parameter, Support, optimizer_argument

__all__ = ["COMPATIBILITY"]

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


COMPATIBILITY = (
    optimizer_argument(
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
