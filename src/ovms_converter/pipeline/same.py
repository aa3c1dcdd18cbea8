"""The same again: is the newest version what this run would make, and verified as well as it is asked now?"""

from collections.abc import Callable, Sequence
from pathlib import Path

from ovms_converter._version import __version__
from ovms_converter.acquisition import Acquisition, SourceState
from ovms_converter.assurance import Assurance
from ovms_converter.errors import VerificationError
from ovms_converter.formats.base import SourceModel
from ovms_converter.jobs import programs
from ovms_converter.pipeline.wish import Wish
from ovms_converter.record import digest, fingerprint, reads_more_than_the_source
from ovms_converter.repository import Finished, ModelRepository
from ovms_converter.repository.versions import mapping_of
from ovms_converter.storage.base import FetchedFile

__all__ = ["as_failure_of", "is_verified_enough", "known_by_bytes", "known_by_store"]


def known_by_store(wish: Wish, repository: ModelRepository, acquisition: Acquisition) -> Finished | None:
    """The newest version, if the source's store tells by ETags alone that it would come out again.

    None as well if that does not settle it: what was verified less well, or with data of which only the name
    is known, is left to `known_by_bytes`.
    """
    request = wish.asked
    if request.model_version != "auto" or not request.input.is_remote:
        return None
    if request.verify_data or reads_more_than_the_source(request):
        return None
    found = repository.newest()
    if found is None or found.record.get("request") != wish.digest or not is_verified_enough(found, wish):
        return None
    source = mapping_of(found.record.get("source"))
    made_by = {"ovms_converter": __version__, **programs(request, source.get("format"))}
    state = SourceState.parse(source.get("state"))
    if found.record.get("versions") != made_by or state is None or not acquisition.is_still(state):
        return None
    return found


def known_by_bytes(
    wish: Wish, repository: ModelRepository, model: SourceModel, files: Callable[[], Sequence[FetchedFile]]
) -> Finished | None:
    """The newest version, if it came from the same bytes and parameters by the same programs.

    `files` gives the source's files with their digests; it may have to wait for them.
    """
    if wish.request.model_version != "auto" or not repository.versions():
        return None
    return repository.find(fingerprint(wish.request, model, files(), wish.circumstances))


def is_verified_enough(found: Finished, wish: Wish) -> bool:
    """Whether a version was verified at least as strongly as is asked now."""
    return Assurance.parse(found.record.get("assurance")).satisfies(wish.wanted)


def as_failure_of(found: Finished, error: VerificationError, directory: Path) -> VerificationError:
    """The error of a verification, as that of the version that was published after a weaker one.

    `directory` holds the result that failed, perhaps in part.
    """
    paths = {name: directory / name for name in found.record["files"]}
    same = all(
        path.is_file() and digest(path) == found.record["files"][name].get("sha256")
        for name, path in paths.items()
    )
    what = "holds the same bytes" if same else "was made from the same source"
    number = found.version.number
    still = f"version {number} is still there: remove it if no server shall serve it"
    return VerificationError(
        f"version {number}, which {what} and was verified less when it was published, does not pass: "
        f"{error.message}",
        hint=f"{error.hint}; {still}" if error.hint else still,
    )
