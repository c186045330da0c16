"""All devices of this agent, over all plugins."""

from collections.abc import Sequence

from bai_agent.allocation import Allocation
from bai_agent.devices.base import ContainerOptions, DevicePlugin
from bai_jupyter.common.messages import DeviceFacts
from bai_jupyter.common.slots import ResourceSlots


class Inventory:
    """What ``discover`` found. A device belongs to the plugin that listed it."""

    def __init__(self, plugins: Sequence[DevicePlugin]) -> None:
        self._found = [(plugin, plugin.discover()) for plugin in plugins]

    @property
    def devices(self) -> list[DeviceFacts]:
        return [device for _, devices in self._found for device in devices]

    @property
    def slots(self) -> ResourceSlots:
        """The agent's total: what healthy devices offer."""
        return sum((device.slots for device in self.devices if device.health == "ok"), ResourceSlots())

    def options(self, held: Allocation) -> ContainerOptions:
        """What a container needs that holds ``held``."""
        merged = ContainerOptions()
        for plugin, devices in self._found:
            ids = {device.device_id for device in devices}
            of_plugin = {
                slot: {device_id: amount for device_id, amount in amounts.items() if device_id in ids}
                for slot, amounts in held.items()
            }
            merged = merged.merge(plugin.options({slot: amounts for slot, amounts in of_plugin.items() if amounts}))
        return merged
