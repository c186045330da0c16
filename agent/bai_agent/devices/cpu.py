"""CPU cores, as one pool or, with pinning, one device each."""

import os
from decimal import Decimal
from pathlib import Path

from bai_agent.allocation import Allocation
from bai_agent.devices.base import ContainerOptions, DevicePlugin
from bai_jupyter.common.messages import DeviceFacts
from bai_jupyter.common.slots import ResourceSlots

POOL = "cpu"


class CpuPlugin(DevicePlugin):
    """``reserved`` cores stay with the host. With ``pin``, kernels are pinned to the cores they hold."""

    key = "cpu"

    def __init__(self, reserved: Decimal, pin: bool, sysfs: Path = Path("/sys")) -> None:
        self._reserved, self._pin, self._sysfs = reserved, pin, sysfs

    def discover(self) -> list[DeviceFacts]:
        cores = sorted(os.sched_getaffinity(0))
        if not self._pin:
            offered = max(Decimal(0), len(cores) - self._reserved)
            return [DeviceFacts(POOL, self.key, "CPU", ResourceSlots({"cpu": offered}))]
        kept_by_host = int(self._reserved.to_integral_value(rounding="ROUND_CEILING"))
        return [
            DeviceFacts(f"cpu{core}", self.key, "CPU core", ResourceSlots({"cpu": 1}), numa_node=self._numa_node(core))
            for core in cores[kept_by_host:]
        ]

    def options(self, held: Allocation) -> ContainerOptions:
        cores = {device_id.removeprefix("cpu") for device_id in held.get("cpu", {})} - {""}
        return ContainerOptions(cpus=tuple(sorted(int(core) for core in cores)))

    def _numa_node(self, core: int) -> int | None:
        nodes = list((self._sysfs / f"devices/system/cpu/cpu{core}").glob("node[0-9]*"))
        return int(nodes[0].name.removeprefix("node")) if nodes else None
