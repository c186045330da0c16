"""Container Device Interface: vendors' files that say what a device needs, read by us for engines that cannot.

Devices have qualified names, such as ``amd.com/gpu=0``. What a file wants run beside a container (its hooks) is told
and not run: a tool that it prepares may then be missing something.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bai_agent.devices.base import ContainerOptions, DeviceFault

FOLDERS = ("/etc/cdi", "/var/run/cdi")
"""The later one goes first: what is made at each start overrides what was put in by hand."""


@dataclass(frozen=True)
class Resolved:
    """``hooks`` are the command lines that were not run."""

    options: ContainerOptions
    hooks: tuple[str, ...]


def resolve(names: Iterable[str], sysroot: Path = Path("/")) -> Resolved:
    """What containers with these devices need. Reads files.

    Raises ``DeviceFault`` for a name that no file has, or that two files of one folder have, and ``OptionConflict``.
    """
    folders = [_read_folder(sysroot / folder.lstrip("/")) for folder in reversed(FOLDERS)]
    options, hooks = ContainerOptions(), list[str]()
    for name in names:
        spec, device = _find(name, folders)
        for part in (spec.get("containerEdits"), device.get("containerEdits")):
            options = options.merge(_options_of(part or {}))
            hooks += [" ".join([hook["path"], *hook.get("args", [])[1:]]) for hook in (part or {}).get("hooks") or []]
    return Resolved(options, tuple(dict.fromkeys(hooks)))


Spec = Mapping[str, Any]


def _read_folder(folder: Path) -> list[Spec]:
    """Its files that can be read as specifications; others are somebody else's."""
    found: list[Spec] = []
    for file in sorted(folder.glob("*")) if folder.is_dir() else ():
        if file.suffix not in (".json", ".yaml", ".yml"):
            continue
        try:
            spec = json.loads(file.read_text()) if file.suffix == ".json" else yaml.safe_load(file.read_text())
        except (OSError, ValueError, yaml.YAMLError):
            continue
        if isinstance(spec, dict) and isinstance(spec.get("devices"), list):
            found.append(spec)
    return found


def _find(name: str, folders: Iterable[Iterable[Spec]]) -> tuple[Spec, Mapping[str, Any]]:
    kind, _, short = name.partition("=")
    for specs in folders:
        found = [
            (spec, device)
            for spec in specs
            if spec.get("kind") == kind
            for device in spec["devices"]
            if str(device.get("name")) == short
        ]
        if len(found) == 1:
            return found[0]
        if found:
            raise DeviceFault(name, "two files of one folder describe it")
    raise DeviceFault(name, f"no file in {' or '.join(FOLDERS)} describes it")


def _options_of(edits: Mapping[str, Any]) -> ContainerOptions:
    return ContainerOptions(
        env=dict(item.split("=", 1) for item in edits.get("env") or [] if "=" in item),
        nodes=tuple(
            (node.get("hostPath") or node["path"], node["path"], node.get("permissions") or "rwm")
            for node in edits.get("deviceNodes") or []
        ),
        binds=tuple(
            (mount["hostPath"], mount["containerPath"], "ro" in (mount.get("options") or []))
            for mount in edits.get("mounts") or []
        ),
        groups=tuple(int(gid) for gid in edits.get("additionalGids") or []),
    )
