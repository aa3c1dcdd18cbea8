"""How the inputs and outputs of a PyTorch program are called when it is published, whoever asks.

An inspection tells it from the archive's text, an export from the opened program; both use these rules.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ovms_converter.formats.base import TensorSpec
from ovms_converter.formats.signature import signature_specs

__all__ = ["Dims", "Signed", "asked_outputs", "output_names", "signed_inputs", "signed_names"]

Dims = tuple[int | str | None, ...]


@dataclass(frozen=True)
class Signed:
    """MLflow's inputs in the program's order.

    `named`  whether they have names of their own, which are published
    `typed`  whether they are tensors: MLflow turns columns of any type into float32 for PyTorch
    """

    specs: tuple[TensorSpec, ...]
    named: bool
    typed: bool

    def name(self, position: int, own: str) -> str:
        """The public name of the program's input `own`."""
        return self.specs[position].name if self.named else own

    def shape(self, position: int, own: Dims | None) -> Dims | None:
        """The program's shape, narrowed by MLflow's where that fits; MLflow's if the program has none."""
        given = self.specs[position].shape
        if given is None or own is None:
            return own if given is None else given
        if len(given) != len(own):
            return own
        sizes = list(zip(given, own, strict=True))
        if any(isinstance(one, int) and isinstance(other, int) and one != other for one, other in sizes):
            return own
        return tuple(one if isinstance(one, int) else other for one, other in sizes)


def signed_names(signature: Mapping[str, Any] | None) -> frozenset[str]:
    """The names in MLflow's signature: arguments so called are taken even if they may be left out."""
    entries = (signature or {}).get("inputs") or ()
    return frozenset(str(entry["name"]) for entry in entries if isinstance(entry, dict) and entry.get("name"))


def signed_inputs(own: Sequence[str], signature: Mapping[str, Any] | None) -> Signed | None:
    """MLflow's inputs by name, or else by position; None if there are not as many as the program's."""
    if not signature:
        return None
    specs = signature_specs(signature, "inputs")
    entries = [entry for entry in signature.get("inputs") or () if isinstance(entry, dict)]
    if len(specs) != len(own) or not specs:
        return None
    typed = len(entries) == len(specs) and "tensor-spec" in entries[0]
    named = typed and all(entry.get("name") for entry in entries)
    if named and {spec.name for spec in specs} == set(own):
        by_name = {spec.name: spec for spec in specs}
        specs = tuple(by_name[name] for name in own)
    return Signed(specs, named, typed)


def asked_outputs(signature: Mapping[str, Any] | None) -> tuple[str, ...]:
    """The names of the outputs in MLflow's signature, if all have one."""
    entries = (signature or {}).get("outputs") or ()
    named = all(isinstance(entry, dict) and entry.get("name") for entry in entries)
    return tuple(spec.name for spec in signature_specs(signature or {}, "outputs")) if named else ()


def output_names(
    keys: Sequence[str | None], inputs: Collection[str], own: Sequence[str], asked: Sequence[str]
) -> list[str]:
    """A name for every output: MLflow's, the key in a dictionary, the program's own, or its number.

    `asked` are taken if there are as many as outputs, and so are `own`. No name is one of the `inputs`, and
    none is there twice.
    """
    if len(asked) == len(keys):
        own, keys = asked, [None] * len(keys)
    elif len(own) != len(keys):
        own = [""] * len(keys)
    taken = set(inputs)
    names = []
    for position, (key, other) in enumerate(zip(keys, own, strict=True)):
        name = key or other or f"output_{position}"
        if name in taken:
            name = next(
                each
                for each in (f"output_{position}", f"{name}_{position}", f"{name}_output")
                if each not in taken
            )
        taken.add(name)
        names.append(name)
    return names
