"""Intel Gaudi 2 and 3 with the ``habanalabs`` driver. Devices come from sysfs, figures from Intel's library if there.

Nodes are found by the number in the driver's names, never by a place in a list: numbers may have gaps, and change over
a restart. Devices are therefore known by their PCI address, and chosen by their module in the box.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bai_agent.devices.accelerator import AcceleratorPlugin, Card
from bai_agent.devices.base import Figures

_CLASS = "/sys/class/accel"
_VENDOR = "1da3"


class _GaudiPlugin(AcceleratorPlugin):
    memlock = True
    caps = ("IPC_LOCK",)
    visible_env = {"HABANA_VISIBLE_MODULES": "module"}
    models: Mapping[str, str]

    def candidates(self) -> Iterator[str]:
        return (name for name, _ in self.entries(_CLASS, r"accel(\d+)"))

    def read(self, candidate: str) -> Card | None:
        """Other vendors' accelerators are in the same class."""
        folder, number = f"{_CLASS}/{candidate}/device", int(candidate.removeprefix("accel"))
        if not self.at(f"{folder}/pci_addr").exists():
            return None
        pci = self.text(f"{folder}/pci_addr")
        vendor, device = self.pci_ids(pci)
        if vendor != _VENDOR or device not in self.models:
            return None
        return Card(
            device_id=f"{self.key}-{pci}",
            model=f"Intel {self.models[device]}",
            number=number,
            nodes=(f"/dev/accel/accel{number}", f"/dev/accel/accel_controlD{number}", *self._verbs(pci)),
            slot=f"{self.key}.device",
            pci=pci,
            attributes={"module": self.text(f"{folder}/module_id")},
        )

    def measure(self) -> Mapping[str, Figures]:
        if not self.cards:
            return {}
        try:
            library = _library()
            library.hlmlInit()
        except Exception:  # noqa: BLE001 - it is not installed, or finds no driver; its errors have no common parent
            return {}
        try:
            told = {card.device_id: _figures(library, card) for card in self.cards.values() if card.health == "ok"}
            return {device_id: figures for device_id, figures in told.items() if figures}
        finally:
            library.hlmlShutdown()

    def _verbs(self, pci: str) -> tuple[str, ...]:
        with contextlib.suppress(FileNotFoundError):
            names = self.entries(f"/sys/bus/pci/devices/{pci}/infiniband_verbs", r"uverbs(\d+)")
            return tuple(f"/dev/infiniband/{name}" for name, _ in names)
        return ()


class Gaudi2Plugin(_GaudiPlugin):
    key = "gaudi2"
    metrics = {"gaudi2.device": "gaudi2"}
    models = {"1020": "Gaudi 2", "1021": "Gaudi 2 (HL-288)"}


class Gaudi3Plugin(_GaudiPlugin):
    key = "gaudi3"
    metrics = {"gaudi3.device": "gaudi3"}
    models = {"1060": "Gaudi 3", "1063": "Gaudi 3 (HL-338)"}


def _library() -> Any:
    import pyhlml  # Intel's own package, which no agent must have

    return pyhlml


def _figures(library: Any, card: Card) -> Figures:
    """As far as the library tells them. Memory counts as use: frameworks hold a Gaudi without keeping it busy."""
    faults = (library.HLMLError, AttributeError)  # an older library lacks some of these
    try:
        handle = library.hlmlDeviceGetHandleByPCIBusID(card.pci)
    except faults:
        return {}
    asked: dict[str, Callable[[], float]] = {
        "mem_used_bytes": lambda: library.hlmlDeviceGetMemoryInfo(handle).used,
        "mem_total_bytes": lambda: library.hlmlDeviceGetMemoryInfo(handle).total,
        "util_pct": lambda: library.hlmlDeviceGetUtilizationRates(handle).aip,
        "power_w": lambda: library.hlmlDeviceGetPowerUsage(handle) / 1000,
        "energy_j": lambda: library.hlmlDeviceGetTotalEnergyConsumption(handle) / 1000,
    }
    figures = {}
    for name, ask in asked.items():
        with contextlib.suppress(*faults):
            figures[name] = float(ask())
    return figures
