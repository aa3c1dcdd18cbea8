"""Which graph and which signature of a SavedModel is meant."""

from collections.abc import Sequence

from ovms_converter.errors import AmbiguousModelError, ModelError, RequestError
from ovms_converter.formats.saved_model import MetaGraph, Signature
from ovms_converter.optimizer.suggestions import did_you_mean, listed

__all__ = ["DEFAULT_SIGNATURE", "choose_meta_graph", "choose_signature"]

DEFAULT_SIGNATURE = "serving_default"


def choose_meta_graph(metas: Sequence[MetaGraph], tags: tuple[str, ...]) -> MetaGraph:
    """The meta graph with exactly these tags; without tags the one of `serve`, or the only one."""
    available = listed((",".join(meta.tags) or "(none)" for meta in metas), "and")
    wanted = set(tags) or {"serve"}
    found = [meta for meta in metas if set(meta.tags) == wanted]
    if found:
        return found[0]
    if tags:
        raise RequestError(
            f"the SavedModel has no graph with exactly the tags `{','.join(tags)}`",
            hint=f"it has {available}",
            parameter="saved_model_tags",
        )
    if len(metas) == 1:
        return metas[0]
    raise AmbiguousModelError(
        f"the SavedModel has {len(metas)} graphs and none for serving: {available}",
        hint="choose one with `saved_model_tags`",
    )


def choose_signature(meta: MetaGraph, name: str | None) -> Signature:
    """The signature of this name; without one `serving_default`, or the only one with outputs."""
    signatures = {each.name: each for each in meta.signatures if not each.name.startswith("__saved_model_")}
    usable = [each for each in signatures.values() if each.outputs]
    if name is not None:
        if name in signatures:
            return signatures[name]
        raise RequestError(
            f"the SavedModel has no signature `{name}`",
            hint=did_you_mean(name, signatures) or f"it has {listed(signatures) or 'none'}",
            parameter="signature",
        )
    if DEFAULT_SIGNATURE in signatures:
        return signatures[DEFAULT_SIGNATURE]
    if len(usable) == 1:
        return usable[0]
    if not usable:
        raise ModelError(
            "the SavedModel has no signature, so its inputs and outputs are unknown",
            hint="export it with one: `tf.saved_model.save(model, path, signatures=model.call)`",
        )
    raise AmbiguousModelError(
        f"the SavedModel has {len(usable)} signatures and none is `{DEFAULT_SIGNATURE}`: "
        f"{listed(each.name for each in usable)}",
        hint=f"choose one with `--signature`, for example `--signature {usable[0].name}`",
    )
