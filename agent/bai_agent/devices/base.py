"""The contract of a device plugin: list what is there, and say what a container needs to use its share.

A plugin never decides who gets what (``allocation.py`` does) and never starts anything (a runtime does).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bai_agent.allocation import Allocation
from bai_jupyter.common.errors import BaiError
from bai_jupyter.common.messages import DeviceFacts


class OptionConflict(BaiError):
    """Two plugins want different values of the same thing."""


@dataclass(frozen=True)
class ContainerOptions:
    """What a container must be given. Plain values: each runtime translates them."""

    env: Mapping[str, str] = field(default_factory=dict)
    nodes: tuple[tuple[str, str, str], ...] = ()  # (host path, path inside, "rwm")
    gpu_ids: tuple[str, ...] = ()  # for the engine's nvidia device request
    groups: tuple[int, ...] = ()  # gids that own the nodes
    cpus: tuple[int, ...] = ()  # cores to pin to; empty: all
    binds: tuple[tuple[str, str, bool], ...] = ()  # (host path, path inside, read only)

    def merge(self, other: "ContainerOptions") -> "ContainerOptions":
        """Both together. Raises ``OptionConflict`` if they set one environment name differently."""
        for name in self.env.keys() & other.env.keys():
            if self.env[name] != other.env[name]:
                raise OptionConflict(f"{name} is set to {self.env[name]!r} and to {other.env[name]!r} by two devices")
        return ContainerOptions(
            env={**self.env, **other.env},
            nodes=tuple(dict.fromkeys((*self.nodes, *other.nodes))),
            gpu_ids=tuple(dict.fromkeys((*self.gpu_ids, *other.gpu_ids))),
            groups=tuple(sorted({*self.groups, *other.groups})),
            cpus=tuple(sorted({*self.cpus, *other.cpus})),
            binds=tuple(dict.fromkeys((*self.binds, *other.binds))),
        )


class DevicePlugin:
    """One kind of device. ``key`` is the ``kind`` of its devices."""

    key: str

    def discover(self) -> list[DeviceFacts]:
        """The devices of this host, in a stable order.

        Ids are stable over a restart (UUID, serial; never a list position). Absent hardware gives an empty list;
        broken hardware a device whose ``health`` is not ``ok`` and whose slots are empty. Never raises. May block.
        """
        raise NotImplementedError

    def options(self, held: Allocation) -> ContainerOptions:
        """What a container needs that holds ``held``: only this plugin's devices, only slots with an amount."""
        raise NotImplementedError
