"""Which accelerator plugins an agent has: ours, those of installed packages, and tables that an admin wrote.

A package offers one under the entry point group ``bai_jupyter.accelerators``: a class that is made with its options (a
mapping) and is a ``DevicePlugin``. It runs in the agent with all the agent's power.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from bai_agent.devices.base import DevicePlugin
from bai_agent.devices.table import TablePlugin
from bai_jupyter.common.errors import BaiError

log = logging.getLogger(__name__)

GROUP = "bai_jupyter.accelerators"
_VENDORS = "bai_agent.devices.vendors"
OURS = {
    "rocm": f"{_VENDORS}.amd:RocmPlugin",
    "gaudi2": f"{_VENDORS}.gaudi:Gaudi2Plugin",
    "gaudi3": f"{_VENDORS}.gaudi:Gaudi3Plugin",
    "tenstorrent": f"{_VENDORS}.tenstorrent:TenstorrentPlugin",
    "warboy": f"{_VENDORS}.furiosa:WarboyPlugin",
    "rngd": f"{_VENDORS}.furiosa:RngdPlugin",
    "atom": f"{_VENDORS}.rebellions:AtomPlugin",
    "atom-plus": f"{_VENDORS}.rebellions:AtomPlusPlugin",
    "atom-max": f"{_VENDORS}.rebellions:AtomMaxPlugin",
    "ipu": f"{_VENDORS}.graphcore:IpuPlugin",
    "hyperaccel-lpu": f"{_VENDORS}.hyperaccel:HyperAccelPlugin",
}
CUDA_OPTIONS = frozenset({"cdi_device", "gds", "rdma"})
CUDA = "cuda"  # made by the agent itself, for it asks the engine how; named here so that it can be blocked


class NotUnderstood(BaiError):
    """What an admin wrote about accelerators names something that there is not."""


def load(
    tables: Sequence[Path],
    allowed: Collection[str],
    blocked: Collection[str],
    options: Mapping[str, Mapping[str, Any]],
) -> list[DevicePlugin]:
    """The plugins that are wanted: all but ``blocked``, or of ``allowed`` alone if it names any; with their options.

    Raises ``NotUnderstood`` for a name that no plugin has, for two of one name, and for an option or a table that is
    not understood. An installed plugin that cannot be imported is left out, and the log says why.
    """
    try:
        return _load(tables, allowed, blocked, options)
    except ValueError as error:
        raise NotUnderstood(str(error)) from error


def _load(
    tables: Sequence[Path],
    allowed: Collection[str],
    blocked: Collection[str],
    options: Mapping[str, Mapping[str, Any]],
) -> list[DevicePlugin]:
    named = [TablePlugin.from_file(path, options) for path in tables]
    found = _entry_points()
    keys = [*found, *(table.key for table in named), CUDA]
    twice = {key for key in keys if keys.count(key) > 1}
    if twice:
        raise ValueError(f"two accelerator plugins are called {', '.join(sorted(twice))}")
    unknown = {*allowed, *blocked, *options} - set(keys)
    if unknown:
        raise ValueError(f"no accelerator plugin {', '.join(sorted(unknown))}. There are: {', '.join(sorted(keys))}")
    wrong = options.get(CUDA, {}).keys() - CUDA_OPTIONS
    if wrong:
        raise ValueError(f"{CUDA}: no option {', '.join(sorted(wrong))}. It has: {', '.join(sorted(CUDA_OPTIONS))}")
    made = [_make(entry, options.get(key, {})) for key, entry in found.items() if is_wanted(key, allowed, blocked)]
    return [
        *(plugin for plugin in made if plugin is not None),
        *(table for table in named if is_wanted(table.key, allowed, blocked)),
    ]


def is_wanted(key: str, allowed: Collection[str], blocked: Collection[str]) -> bool:
    return key not in blocked and (not allowed or key in allowed)


def _entry_points() -> dict[str, EntryPoint]:
    ours = {key: EntryPoint(key, target, GROUP) for key, target in OURS.items()}
    others = {entry.name: entry for entry in entry_points(group=GROUP)}
    if ours.keys() & others.keys():
        raise ValueError(f"two accelerator plugins are called {', '.join(sorted(ours.keys() & others.keys()))}")
    return {**ours, **others}


def _make(entry: EntryPoint, options: Mapping[str, Any]) -> DevicePlugin | None:
    try:
        kind = entry.load()
    except Exception:
        log.exception("accelerator plugin %s (%s) cannot be loaded; going on without it", entry.name, entry.value)
        return None
    plugin: DevicePlugin = kind(options)
    return plugin
