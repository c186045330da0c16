"""What a kernel should run on, decided from everything that may say so. Pure.

Highest wins, key by key: start keyword (``bai_preset=…``) > metadata of a trusted notebook > ``BAI_*`` environment >
the kernelspec's configuration > the user's last choice for that image. What nobody says is left to the manager: preset
and policy. Whether a notebook is trusted is known to the Jupyter server, which passes on nothing of one that is not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bai_jupyter.choice import CHOICE_KEYS, folders_of, read_choice, request_of
from bai_jupyter.client import SessionRequest

_KEYS = (*CHOICE_KEYS, "environ")


@dataclass(frozen=True)
class KernelOptions:
    """``image`` and ``kernelspec`` (its name inside the image) are always known; the rest may be left out."""

    image: str
    kernelspec: str
    preset: str | None = None
    resources: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[str, ...] = ()
    session: str | None = None  # join this one instead of starting another
    resource_group: str | None = None
    project: str | None = None
    environ: Mapping[str, str] = field(default_factory=dict)

    def request(self, name: str) -> SessionRequest:
        """The session to ask for, called ``name``."""
        return replace(request_of(vars(self), name), environ=self.environ)

    def mounting(self, folder: str) -> "KernelOptions":
        """The same, with that folder among the mounts."""
        return self if folder in folders_of(self.mounts) else replace(self, mounts=(*self.mounts, folder))


def sources_of(
    keywords: Mapping[str, Any], environ: Mapping[str, str], config: Mapping[str, Any]
) -> list[Mapping[str, Any]]:
    """Everything that may say something, highest first. ``keywords`` are those of ``start_kernel`` in ``bai_``.

    Two of them come from the Jupyter server: ``bai_metadata``, a trusted notebook's choice, and ``bai_last_choices``,
    the user's by image. Raises ``ValueError`` for a key nobody knows and ``BadRequest`` for a choice that is none.
    """
    given = {name.removeprefix("bai_"): value for name, value in keywords.items()}
    metadata = read_choice(given.pop("metadata", {}))
    last_choices = given.pop("last_choices", {})
    if unknown := [f"bai_{key}" for key in given if key not in _KEYS]:
        known = ", ".join(f"bai_{key}" for key in _KEYS)
        raise ValueError(f"{', '.join(unknown)}: no such start option. There are {known}.")
    from_environ = {key: environ.get(f"BAI_{key.upper()}") for key in _KEYS}
    sources = [given, metadata, from_environ, config]
    return [*sources, last_choices.get(_said("image", sources), {})]


def resolve(sources: Sequence[Mapping[str, Any]]) -> KernelOptions:
    """Put the sources together, highest first. Raises ``ValueError`` for a value that cannot be read, naming it."""
    chosen = {key: value for key in _KEYS if (value := _said(key, sources))}
    if not chosen.get("image"):
        raise ValueError("The kernelspec names no image. Write it again: bai kernelspec install")
    chosen.setdefault("kernelspec", "python3")
    # Amounts go over a preset. Those of a lower source were not said about this preset and must not change it.
    naming = next((place for place, source in enumerate(sources) if source.get("preset")), len(sources))
    chosen["resources"] = _pairs("resources", _said("resources", sources[: naming + 1]) or {})
    chosen["environ"] = _pairs("environ", chosen.get("environ") or {})
    mounts = chosen.get("mounts") or ()
    chosen["mounts"] = tuple(mounts.split(",") if isinstance(mounts, str) else mounts)
    return KernelOptions(**chosen)


def _said(key: str, sources: Sequence[Mapping[str, Any]]) -> Any:
    return next((source[key] for source in sources if source.get(key)), None)


def _pairs(key: str, value: "str | Mapping[str, Any]") -> dict[str, str]:
    """``"cpu=2,mem=4g"`` or a mapping."""
    if not isinstance(value, str):
        return {str(name): str(amount) for name, amount in value.items()}
    pairs = [part.partition("=") for part in value.split(",")]
    if not all(name and separator for name, separator, _ in pairs):
        raise ValueError(f"{key}: {value!r} is not NAME=VALUE[,NAME=VALUE…]")
    return {name.strip(): amount.strip() for name, _, amount in pairs}
