"""What a kernel should run on, decided from everything that may say so. Pure.

Highest wins, key by key: start keyword (``bai_preset=…``) > ``BAI_*`` environment > the kernelspec's configuration.
What nobody says is left to the manager: preset and policy.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from bai_jupyter.client import SessionRequest

_KEYS = ("image", "kernelspec", "preset", "resources", "mounts", "session", "resource_group", "environ")
HOME_FOLDER = "home"
_NOT_IN_NAMES = re.compile(r"[^\w.-]+", re.ASCII)


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
    environ: Mapping[str, str] = field(default_factory=dict)

    def request(self, name: str) -> SessionRequest:
        """The session to ask for, called ``name``."""
        return SessionRequest(
            name=name,
            image=self.image,
            resources=self.resources or None,
            preset=self.preset,
            mounts=self.mounts,
            resource_group=self.resource_group,
            environ=self.environ,
        )


def resolve(keywords: Mapping[str, Any], environ: Mapping[str, str], config: Mapping[str, Any]) -> KernelOptions:
    """Put the sources together. ``keywords`` are those of ``start_kernel`` that begin with ``bai_``.

    Raises ``ValueError`` for a key nobody knows and for a value that cannot be read, naming it.
    """
    unknown = [name for name in keywords if name.removeprefix("bai_") not in _KEYS]
    if unknown:
        known = ", ".join(f"bai_{key}" for key in _KEYS)
        raise ValueError(f"{', '.join(unknown)}: no such start option. There are {known}.")
    chosen: dict[str, Any] = {}
    for key in _KEYS:
        for value in (keywords.get(f"bai_{key}"), environ.get(f"BAI_{key.upper()}"), config.get(key)):
            if value:
                chosen[key] = value
                break
    if not chosen.get("image"):
        raise ValueError("The kernelspec names no image. Write it again: bai kernelspec install")
    chosen.setdefault("kernelspec", "python3")
    for key in ("resources", "environ"):
        chosen[key] = _pairs(key, chosen.get(key) or {})
    mounts = chosen.get("mounts") or ()
    chosen["mounts"] = tuple(mounts.split(",") if isinstance(mounts, str) else mounts)
    return KernelOptions(**chosen)


def _pairs(key: str, value: "str | Mapping[str, Any]") -> dict[str, str]:
    """``"cpu=2,mem=4g"`` or a mapping."""
    if not isinstance(value, str):
        return {str(name): str(amount) for name, amount in value.items()}
    pairs = [part.partition("=") for part in value.split(",")]
    if not all(name and separator for name, separator, _ in pairs):
        raise ValueError(f"{key}: {value!r} is not NAME=VALUE[,NAME=VALUE…]")
    return {name.strip(): amount.strip() for name, _, amount in pairs}


def notebook_path(cwd: str | None, home_root: str | None) -> str | None:
    """The notebook's folder relative to the home vfolder's root here; ``None`` if it does not lie inside it."""
    if not cwd or not home_root:
        return None
    try:
        return str(PurePosixPath(cwd).relative_to(home_root))
    except ValueError:
        return None


def session_name(kernel_id: str, notebook: str | None) -> str:
    """One session per kernel, named for its notebook so that people know it again; the same in every server."""
    stem = _NOT_IN_NAMES.sub("-", PurePosixPath(notebook or "").stem)[:40].strip("-._")
    return f"{stem or 'kernel'}-{kernel_id[:8]}"
