"""The contract of a device plugin: list what is there, and say what a container needs to use its share.

A plugin never decides who gets what (``allocation.py`` does) and never starts anything (a runtime does).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from bai_agent.allocation import Allocation
from bai_jupyter.common.errors import BaiError
from bai_jupyter.common.messages import DeviceFacts

T = TypeVar("T")

Figures = Mapping[str, float]
"""What was measured of one device, as far as its source tells: ``util_pct`` (0 to 100), ``mem_used_bytes``,
``mem_total_bytes``, ``power_w``, and ``energy_j``, which only grows."""


class OptionConflict(BaiError):
    """Two plugins want different values of the same thing."""


class DeviceFault(BaiError):
    """``device`` was assigned and cannot be used; ``cause`` is part of a sentence that users read."""

    def __init__(self, device: str, cause: str) -> None:
        self.device, self.cause = device, cause
        super().__init__(f"{device}: {cause}")


@dataclass(frozen=True)
class ContainerOptions:
    """What a container must be given. Plain values: each runtime translates them."""

    env: Mapping[str, str] = field(default_factory=dict)
    nodes: tuple[tuple[str, str, str], ...] = ()  # (host path, path inside, "rwm")
    gpu_ids: tuple[str, ...] = ()  # for the engine's nvidia device request
    groups: tuple[int, ...] = ()  # gids that own the nodes
    cpus: tuple[int, ...] = ()  # cores to pin to; empty: all
    binds: tuple[tuple[str, str, bool], ...] = ()  # (host path, path inside, read only)
    cdi: tuple[str, ...] = ()  # qualified names, such as amd.com/gpu=0
    caps: tuple[str, ...] = ()  # capabilities, such as IPC_LOCK
    memlock: bool = False  # memory may be locked without limit
    syscalls: tuple[str, ...] = ()  # allowed beside those that the engine allows by itself
    shm_bytes: int = 0  # /dev/shm holds at least this
    host_ipc: bool = False  # shares the host's IPC namespace: an admin's choice, never a plugin's
    networks: tuple[str, ...] = ()  # of the engine, joined beside the agent's own

    def merge(self, other: "ContainerOptions") -> "ContainerOptions":
        """Both together. Raises ``OptionConflict`` if they set a variable, or fill a path inside, differently."""
        for name in self.env.keys() & other.env.keys():
            if self.env[name] != other.env[name]:
                raise OptionConflict(f"{name} is set to {self.env[name]!r} and to {other.env[name]!r} by two devices")
        merged = ContainerOptions(
            env={**self.env, **other.env},
            nodes=_once(self.nodes, other.nodes),
            gpu_ids=_once(self.gpu_ids, other.gpu_ids),
            groups=tuple(sorted({*self.groups, *other.groups})),
            cpus=tuple(sorted({*self.cpus, *other.cpus})),
            binds=_once(self.binds, other.binds),
            cdi=_once(self.cdi, other.cdi),
            caps=tuple(sorted({*self.caps, *other.caps})),
            memlock=self.memlock or other.memlock,
            syscalls=tuple(sorted({*self.syscalls, *other.syscalls})),
            shm_bytes=max(self.shm_bytes, other.shm_bytes),
            host_ipc=self.host_ipc or other.host_ipc,
            networks=_once(self.networks, other.networks),
        )
        _expect_one_source_each((*merged.nodes, *merged.binds))
        return merged

    def without_cdi(self) -> "ContainerOptions":
        return replace(self, cdi=())


def _once(one: tuple[T, ...], other: tuple[T, ...]) -> tuple[T, ...]:
    return tuple(dict.fromkeys((*one, *other)))


def _expect_one_source_each(placed: Iterable[tuple[str, str, object]]) -> None:
    sources: dict[str, tuple[str, object]] = {}
    for host, inside, how in placed:
        first = sources.setdefault(inside, (host, how))
        if first != (host, how):
            raise OptionConflict(f"{inside} is to be {first[0]} ({first[1]}) and {host} ({how}) for two devices")


class DevicePlugin:
    """One kind of device. ``key`` is the ``kind`` of its devices."""

    key: str
    metrics: Mapping[str, str] = {}
    """``{slot: how the figures of its devices are called}``: ``{"tt-n300.device": "tt_n300"}``."""
    isolated = True
    """Each session has a container, and so a cgroup, of its own. The agent says so before ``discover``."""

    def discover(self) -> list[DeviceFacts]:
        """The devices of this host, in a stable order.

        Ids are stable over a restart (UUID, serial; never a list position). Absent hardware gives an empty list;
        broken hardware a device whose ``health`` is not ``ok`` and whose slots are empty. Never raises. May block.
        """
        raise NotImplementedError

    def options(self, held: Allocation) -> ContainerOptions:
        """What a container needs that holds ``held``: only this plugin's devices, only slots with an amount."""
        raise NotImplementedError

    def prepare(self, held: Allocation, folder: Path) -> ContainerOptions:
        """Make ``held`` ready for a new container, and say what it needs. May block, and may be done again.

        ``folder`` is this plugin's own for this kernel: it may be missing, is not seen inside, and is deleted with the
        kernel. Raises ``DeviceFault``.
        """
        del folder
        return self.options(held)

    def release(self, held: Allocation) -> None:
        """The container is gone. Undo what ``prepare`` did beyond ``folder``. May block, and may be done again."""

    def measure(self) -> Mapping[str, Figures]:
        """``{device id: figures}`` of those that tell any. Never raises. May block for a few seconds."""
        return {}
