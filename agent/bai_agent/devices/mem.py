"""Main memory, as one pool. The container's limit is set by the runtime from the slot itself."""

import os

from bai_agent.allocation import Allocation
from bai_agent.devices.base import ContainerOptions, DevicePlugin
from bai_jupyter.common.messages import DeviceFacts
from bai_jupyter.common.slots import ResourceSlots


class MemPlugin(DevicePlugin):
    """``reserved_bytes`` stay with the host."""

    key = "mem"

    def __init__(self, reserved_bytes: int) -> None:
        self._reserved_bytes = reserved_bytes

    def discover(self) -> list[DeviceFacts]:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        offered = max(0, total - self._reserved_bytes)
        return [DeviceFacts("mem", self.key, "memory", ResourceSlots({"mem": offered}), mem_bytes=total)]

    def options(self, held: Allocation) -> ContainerOptions:  # noqa: ARG002 - nothing to give but the limit
        return ContainerOptions()
