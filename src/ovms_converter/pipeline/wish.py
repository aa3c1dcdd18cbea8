"""All that is asked for: the request, the key that signs, and the files beside the model that it names."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ovms_converter.assurance import Wanted
from ovms_converter.errors import RequestError
from ovms_converter.formats.base import SourceModel
from ovms_converter.jobs import as_logged, programs
from ovms_converter.provenance import PrivateKey
from ovms_converter.record import Circumstances, digest, request_digest
from ovms_converter.request import ConversionRequest
from ovms_converter.verification_data import fetch_data

__all__ = ["Wish"]


@dataclass(frozen=True)
class Wish:
    """What decides a result beside its source, and how well it is to be verified.

    `asked`    the request as it was made
    `request`  what becomes of it once the model is known: MLflow notes tags and signatures
    `format`   the model's, once it is known
    `data`, `calibration`  `verify_data` and `calibration_data` on this machine, once they are
    """

    asked: ConversionRequest
    request: ConversionRequest
    key: PrivateKey | None
    format: str | None = None
    data: Path | None = None
    calibration: Path | None = None

    @classmethod
    def of(cls, request: ConversionRequest, environ: Mapping[str, str]) -> "Wish":
        """What a request wishes for. Raises `RequestError` if the key cannot be used."""
        return cls(request, request, PrivateKey.load(request.sign, environ) if request.sign else None)

    def with_files(self, environ: Mapping[str, str], work: Path) -> "Wish":
        """Bring the files that the request names beside the model; see `fetch_data`."""
        data = calibration = None
        if self.asked.verify_data:
            data = fetch_data(self.asked.verify_data, environ, work / "data", "verify_data")
        if self.asked.calibration_data:
            place = work / "calibration"
            calibration = fetch_data(self.asked.calibration_data, environ, place, "calibration_data")
        return replace(self, data=data, calibration=calibration)

    def for_model(self, model: SourceModel) -> "Wish":
        """The same, now that it is known what is converted.

        Raises `RequestError` if it is to be published as it is, in a format that it does not have.
        """
        wanted = self.asked.output_format
        if wanted not in ("openvino", model.format):
            raise RequestError(
                f"`output_format` is `{wanted}`, and the model is `{model.format}`",
                hint=f"convert to `openvino`, or publish the model as it is with `{model.format}`",
                parameter="output_format",
            )
        request = replace(self.request, arguments=as_logged(self.request.arguments, model))
        return replace(self, request=request, format=model.format)

    @property
    def circumstances(self) -> Circumstances:
        """What decides the result beside the source and the parameters."""
        return Circumstances(
            programs(self.request, self.format),
            signer=self.key.fingerprint if self.key else None,
            calibration=digest(self.calibration) if self.calibration else None,
        )

    @property
    def digest(self) -> str:
        """What was asked for, whatever the source is; see `request_digest`."""
        return request_digest(self.asked, replace(self.circumstances, programs=programs(self.asked, None)))

    @property
    def data_digest(self) -> str | None:
        """SHA-256 of `verify_data`."""
        return digest(self.data) if self.data else None

    @property
    def wanted(self) -> Wanted:
        """How well the result is to be verified."""
        return Wanted.of(self.asked, self.data_digest)
