"""What devices are doing: measured every few seconds in the background, so that no heartbeat waits for a slow tool."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from decimal import Decimal

from bai_agent.devices.base import Figures
from bai_agent.devices.inventory import Inventory
from bai_jupyter.common.ids import KernelId
from bai_jupyter.common.messages import Heartbeat

log = logging.getLogger(__name__)

_EVERY_S = 5.0
_MEANS = frozenset({"util_pct"})  # of several devices; all others are sums


class Meter:
    """``latest``: ``{device id: figures}`` of the last time; empty if that failed."""

    def __init__(self, inventory: Inventory, every_s: float = _EVERY_S) -> None:
        self._inventory, self._every_s = inventory, every_s
        self.latest: dict[str, Figures] = {}

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
        of_devices = {name: self.of_session(held.get(KernelId(name), {})) for name in stats}
        return Heartbeat(
            {name: {**figures, **of_devices[name]} for name, figures in stats.items()},
            {device_id: dict(figures) for device_id, figures in self.latest.items()},
        )

    def of_session(self, held: Mapping[str, Mapping[str, str]]) -> dict[str, float]:
        """Of devices that a kernel holds whole: what a shared one does is its neighbours' matter too."""
        offered = {device.device_id: device.slots for device in self._inventory.devices}
        found: dict[str, float] = {}
        for slot, name in self._inventory.metrics.items():
            whole = [
                self.latest[device_id]
                for device_id, amount in held.get(slot, {}).items()
                if device_id in self.latest and Decimal(amount) == offered[device_id][slot]
            ]
            found |= {f"{name}_{figure}": value for figure, value in _together(whole).items()}
        return found


def _together(devices: Iterable[Figures]) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for figures in devices:
        for name, value in figures.items():
            values.setdefault(name, []).append(value)
    return {name: sum(many) / (len(many) if name in _MEANS else 1) for name, many in values.items()}
