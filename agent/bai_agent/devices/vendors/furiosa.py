"""Furiosa Warboy and RNGD with Furiosa's drivers. Only sysfs is read, and of RNGD power by Furiosa's library if there.

Inside, devices count from 0. A device's nodes begin with ``npu<N>``, and no digit follows: ``npu1`` is not ``npu10``.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from bai_agent.devices.accelerator import AcceleratorPlugin, Card
from bai_agent.devices.base import Figures

_PLATFORM = "FuriosaAI"
IO_URING = ("io_uring_enter", "io_uring_register", "io_uring_setup")


class _FuriosaPlugin(AcceleratorPlugin):
    sysfs: str
    entry: str  # of the class in sysfs, with the number as its group
    dev: str  # the folder of the nodes
    product: str

    def candidates(self) -> Iterator[str]:
        return (name for name, _ in self.entries(self.sysfs, self.entry))

    def read(self, candidate: str) -> Card | None:
        folder = f"{self.sysfs}/{candidate}"
        if self.text(f"{folder}/platform_type") != _PLATFORM:
            return None  # another product behind the same driver class
        match = re.fullmatch(self.entry, candidate)
        assert match is not None
        number = int(match[1])
        return Card(
            device_id=self.text(f"{folder}/device_uuid"),
            model=f"Furiosa {self.product}",
            number=number,
            nodes=self.nodes_in(self.dev, rf"npu{number}(?!\d).*"),
            slot=f"{self.key}.device",
            pci=self.text(f"{folder}/busname"),
            mem_bytes=self.memory(number),
            attributes={"serial": self.text(f"{folder}/device_sn"), "type": self.text(f"{folder}/device_type")},
        )

    def memory(self, number: int) -> int | None:  # noqa: ARG002 - for those that tell
        return None


class WarboyPlugin(_FuriosaPlugin):
    key, product = "warboy", "Warboy"
    metrics = {"warboy.device": "warboy"}
    sysfs, entry, dev = "/sys/class/npu_mgmt", r"npu(\d+)_mgmt", "/dev"
    rename = (r"^/dev/npu(\d+)", "/dev/npu{n}")


class RngdPlugin(_FuriosaPlugin):
    """Its runtime works through io_uring, which engines may refuse: three calls are allowed, and nothing else."""

    key, product = "rngd", "RNGD"
    metrics = {"rngd.device": "rngd"}
    sysfs, entry, dev = "/sys/class/rngd_mgmt", r"rngd!npu(\d+)mgmt", "/dev/rngd"
    rename = (r"^/dev/rngd/npu(\d+)", "/dev/rngd/npu{n}")
    syscalls = IO_URING
    _cycles: Mapping[int, tuple[int, int]] = {}  # of each device when it was measured last: all, and those with work

    def memory(self, number: int) -> int | None:
        try:
            facts = self._read_pe(f"rngd!npu{number}pe0", "alloc_status")
        except OSError:
            return None
        return facts["dram_capacity"] + facts["shared_capacity"]

    def figures(self, card: Card) -> Figures:
        """Memory is that of the whole card, as its first processing element tells; load is since the last time."""
        facts = self._read_pe(f"rngd!npu{card.number}pe0", "alloc_status")
        figures = {
            "mem_used_bytes": float(facts["dram_usage"] + facts["shared_usage"]),
            "mem_total_bytes": float(facts["dram_capacity"] + facts["shared_capacity"]),
        }
        before, now = self._cycles.get(card.number), self._count(card.number)
        self._cycles = {**self._cycles, card.number: now}
        if before is not None and now[0] > before[0] and now[1] >= before[1]:  # else counters began anew
            figures["util_pct"] = min(100.0, 100.0 * (now[1] - before[1]) / (now[0] - before[0]))
        return figures

    def measure(self) -> Mapping[str, Figures]:
        watts = _watts() if self.cards else {}
        power = {device_id: {"power_w": watts[device_id]} for device_id in watts}
        return {device_id: {**figures, **power.get(device_id, {})} for device_id, figures in super().measure().items()}

    def _count(self, number: int) -> tuple[int, int]:
        elements = [name for name, _ in self.entries(self.sysfs, rf"rngd!npu{number}pe(\d+)")]
        counts = [self._read_pe(name, "metrics") for name in elements]
        return sum(one["CycleCount"] for one in counts), sum(one["TaskCycleCount"] for one in counts)

    def _read_pe(self, element: str, file: str) -> dict[str, int]:
        """Lines such as ``dram_capacity: 0xbc0003000``."""
        text = self.text(f"{self.sysfs}/{element}/{file}")
        return {name: int(value, 0) for name, value in re.findall(r"^\s*(\w+):\s+(0x[0-9a-fA-F]+|\d+)", text, re.M)}


def _library() -> Any:
    import furiosa_smi_py  # Furiosa's own package, which no agent must have

    return furiosa_smi_py


def _watts() -> dict[str, float]:
    """``{uuid: power}`` of the devices that the library tells of."""
    found: dict[str, float] = {}
    with contextlib.suppress(Exception):  # it is not installed, or finds no driver; its errors have no common parent
        library = _library()
        library.init()
        for device in library.list_devices():
            with contextlib.suppress(Exception):
                found[device.device_info().uuid()] = float(device.power_consumption())
    return found
