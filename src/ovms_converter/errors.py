"""Every error that is raised on purpose, and the exit code that a command ends with.

    ConverterError
    ├── RequestError                 2   the request is wrong: nothing was started
    ├── LocationError                3   a location refuses: the same try will fail again
    │   ├── NotFoundError
    │   ├── AccessDeniedError
    │   └── AlreadyExistsError           somebody else published this version first
    ├── UnavailableError             4   a location does not answer after retries: worth another try
    ├── ModelError                   5   the model cannot be read or converted
    │   ├── CorruptModelError            the bytes are not what they claim to be
    │   ├── UnsupportedModelError        a format or operation that cannot become OpenVINO IR
    │   └── AmbiguousModelError          several models or signatures, and none was chosen
    ├── VerificationError            6   the result does not load, run or compute what the source computes
    ├── ResourceError                7   out of memory or disk
    ├── InternalError               70   a bug of this program
    └── InterruptedRunError    130/143   SIGINT or SIGTERM

An error tells what happened (`message`, one line) and, where there is one, the command or option that helps
(`hint`, one line). Anything below 70 is shown without a traceback.
"""

from typing import ClassVar

__all__ = [
    "AccessDeniedError",
    "AlreadyExistsError",
    "AmbiguousModelError",
    "ConverterError",
    "CorruptModelError",
    "InternalError",
    "InterruptedRunError",
    "LocationError",
    "ModelError",
    "NotFoundError",
    "RequestError",
    "ResourceError",
    "UnavailableError",
    "UnsupportedModelError",
    "VerificationError",
]


class ConverterError(Exception):
    """The base of all errors of this package; it is never raised itself.

    `kind` is a stable word for programs that read `--json`; `exit_code` is what a command ends with.
    """

    kind: ClassVar[str] = "error"
    exit_code: int = 70

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        self.message = " ".join(message.split())
        self.hint = " ".join(hint.split()) if hint else None
        super().__init__(self.message)


class RequestError(ConverterError):
    """What was asked for is wrong: an unknown name, a bad shape, a placeholder left in a value.

    `parameter` is the name as the user knows it, if one parameter is at fault.
    """

    kind = "request"
    exit_code = 2

    def __init__(self, message: str, *, hint: str | None = None, parameter: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.parameter = parameter


class LocationError(ConverterError):
    """A source or destination answered, and the answer is no."""

    kind = "location"
    exit_code = 3


class NotFoundError(LocationError):
    """There is no such object, prefix, bucket, file or host path."""

    kind = "not-found"


class AccessDeniedError(LocationError):
    """The credentials are missing or wrong, or do not allow this."""

    kind = "access-denied"


class AlreadyExistsError(LocationError):
    """Something that must be new is there already: another run was faster."""

    kind = "already-exists"


class UnavailableError(ConverterError):
    """A location did not answer, or broke off, more often than the retries allow."""

    kind = "unavailable"
    exit_code = 4


class ModelError(ConverterError):
    """The model cannot be read or converted."""

    kind = "model"
    exit_code = 5


class CorruptModelError(ModelError):
    """The bytes are truncated, damaged or not what their name says."""

    kind = "corrupt-model"


class UnsupportedModelError(ModelError):
    """The model was recognised, and it is nothing that can be converted here."""

    kind = "unsupported-model"


class AmbiguousModelError(ModelError):
    """There is more than one model or signature, and the request does not choose."""

    kind = "ambiguous-model"


class VerificationError(ConverterError):
    """The model does not load or run, or computes something else; a version is not as published."""

    kind = "verification"
    exit_code = 6


class ResourceError(ConverterError):
    """Memory or disk ran out."""

    kind = "resources"
    exit_code = 7


class InternalError(ConverterError):
    """A bug of this program: it is shown with its traceback and asks for a report."""

    kind = "internal"
    exit_code = 70


class InterruptedRunError(ConverterError):
    """The run was stopped by a signal; nothing was published after it."""

    kind = "interrupted"

    def __init__(self, signal_number: int) -> None:
        super().__init__("interrupted" if signal_number == 2 else "stopped by a signal")
        self.exit_code = 128 + signal_number
