"""What devices are doing: measured every few seconds in the background, so that no heartbeat waits for a slow tool."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal

from bai_agent.devices.base import Figures
from bai_agent.devices.inventory import Inventory
from bai_jupyter.common.ids import KernelId
from bai_jupyter.common.messages import Heartbeat

log = logging.getLogger(__name__)

_EVERY_S = 5.0
_ENERGY = "energy_j"

EnergyBefore = Callable[[KernelId, str, float], float]
"""Of a kernel, a device and its energy counter now (J): the counter when the kernel got the device."""

_MEANS = frozenset({"util_pct"})  # of several devices; all others are sums


class Meter:
    """``latest``: ``{device id: figures}`` of the last time; empty if that failed. ``shared`` tell of kernels that
    hold parts of devices, what is theirs and not their neighbours'."""

    def __init__(self, inventory: Inventory, energy_before: EnergyBefore, every_s: float = _EVERY_S) -> None:
        self._inventory, self._energy_before, self._every_s = inventory, energy_before, every_s
        self.latest: dict[str, Figures] = {}
        self.shared: list[Callable[[], Mapping[KernelId, Figures]]] = []

    async def run(self) -> None:
        while True:
            try:
                self.latest = await asyncio.to_thread(self._inventory.measure)
            except Exception:
                log.exception("devices cannot be measured")  # an installed plugin's fault
                self.latest = {}
            await asyncio.sleep(self._every_s)

    def heartbeat(
        self, stats: Mapping[str, Mapping[str, float]], held: Mapping[KernelId, Mapping[str, Mapping[str, str]]]
    ) -> Heartbeat:
        """Kernels' ``stats`` with the figures of the devices that they hold, and those of all devices."""
        shared = [tell() for tell in self.shared]
        of_devices = {name: self.of_session(KernelId(name), held.get(KernelId(name), {})) for name in stats}
        of_shares = {
            name: {figure: value for one in shared for figure, value in one.get(KernelId(name), {}).items()}
            for name in stats
        }
        return Heartbeat(
            {name: {**figures, **of_devices[name], **of_shares[name]} for name, figures in stats.items()},
            {device_id: dict(figures) for device_id, figures in self.latest.items()},
        )

    def of_session(self, kernel_id: KernelId, held: Mapping[str, Mapping[str, str]]) -> dict[str, float]:
        """Of devices that a kernel holds whole: what a shared one does is its neighbours' matter too. Energy is what
        they took since the kernel got them."""
        offered = {device.device_id: device.slots for device in self._inventory.devices}
        whole: dict[str, list[Figures]] = {}  # by name: several slots may have the same
        for slot, name in self._inventory.metrics.items():
            whole.setdefault(name, []).extend(
                self._since(kernel_id, device_id, self.latest[device_id])
                for device_id, amount in held.get(slot, {}).items()
                if device_id in self.latest and Decimal(amount) == offered[device_id][slot]
            )
        return {
            f"{name}_{figure}": value for name, devices in whole.items() for figure, value in _together(devices).items()
        }

    def _since(self, kernel_id: KernelId, device_id: str, figures: Figures) -> Figures:
        if _ENERGY not in figures:
            return figures
        now_j = figures[_ENERGY]
        return {**figures, _ENERGY: now_j - self._energy_before(kernel_id, device_id, now_j)}


def _together(devices: Iterable[Figures]) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for figures in devices:
        for name, value in figures.items():
            values.setdefault(name, []).append(value)
    return {name: sum(many) / (len(many) if name in _MEANS else 1) for name, many in values.items()}
