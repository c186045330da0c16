"""Where devices are on the PCI bus, as the kernel's tree of folders in sysfs says."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from bai_jupyter.common.messages import PCI_PATH

_PLACE = re.compile(r"pci[0-9a-f]{4}:[0-9a-f]{2}|[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")


def upstream(address: str | None, sysfs: Path) -> tuple[str, ...]:
    """The host bridge and the bridges above a device, the device's own last; empty if nothing is known of it."""
    folder = sysfs / "bus/pci/devices" / (address or "none")
    if not folder.exists():
        return ()
    return tuple(name for name in folder.resolve().parent.parts if _PLACE.fullmatch(name))


def path_attribute(address: str | None, sysfs: Path) -> dict[str, str]:
    """``{PCI_PATH: …}`` of a device, or nothing."""
    above = upstream(address, sysfs)
    return {PCI_PATH: "/".join(above)} if above else {}


def adapters(sysfs: Path) -> dict[str, tuple[str, ...]]:
    """RDMA adapters of this host, ``{"mlx5_0": bridges above it}``."""
    folder = sysfs / "class/infiniband"
    names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    return {name: upstream((folder / name / "device").resolve().name, sysfs) for name in names}


def nearest(above: Sequence[str], choices: Mapping[str, Sequence[str]]) -> list[str]:
    """Those that have the deepest bridge in common with a device, in their order. None is near what is nowhere."""
    depths = {name: _common(above, other) for name, other in choices.items()}
    deepest = max(depths.values(), default=0)
    return [name for name, depth in depths.items() if depth == deepest > 0]


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    pairs = [left == right for left, right in zip(one, other, strict=False)]
    return pairs.index(False) if False in pairs else len(pairs)
