"""The parameters of a run: where from and where to, what is published, and how it is verified."""

from ovms_converter.parameters.parameter import Group, Kind, Parameter, optimizer_argument

__all__ = ["LOCATIONS", "RESULT"]

LOCATIONS = (
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

RESULT = (
    optimizer_argument(
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
    optimizer_argument(
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
