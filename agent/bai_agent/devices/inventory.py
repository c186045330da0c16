"""All devices of this agent, over all plugins."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bai_agent.allocation import Allocation
from bai_agent.devices.base import ContainerOptions, DevicePlugin, Figures
from bai_jupyter.common.messages import DeviceFacts
from bai_jupyter.common.parts import STRATEGY
from bai_jupyter.common.slots import ResourceSlots


class Inventory:
    """What ``discover`` found. A device belongs to the plugin that listed it.

    Devices in ``mask``, by id or PCI address, stay with the host. ``strategy`` is how this agent chooses among several,
    which it tells of those that it hands out in parts. ``prepare``, ``release`` and ``measure`` may block.
    """

    def __init__(
        self, plugins: Sequence[DevicePlugin], mask: Collection[str] = (), strategy: str = "", *, isolated: bool = True
    ) -> None:
        self._found: list[tuple[DevicePlugin, list[DeviceFacts]]] = []
        for plugin in plugins:
            plugin.isolated = isolated
            offered = [device for device in plugin.discover() if not _names(device) & set(mask)]
            self._found.append((plugin, [_with_strategy(device, strategy) for device in offered]))

    @property
    def devices(self) -> list[DeviceFacts]:
        return [device for _, devices in self._found for device in devices]

    @property
    def slots(self) -> ResourceSlots:
        """The agent's total: what healthy devices offer."""
        return sum((device.slots for device in self.devices if device.health == "ok"), ResourceSlots())

    @property
    def metrics(self) -> Mapping[str, str]:
        """``{slot: how figures of its devices are called}``, over all plugins."""
        return {slot: name for plugin, _ in self._found for slot, name in plugin.metrics.items()}

    def options(self, held: Allocation) -> ContainerOptions:
        """What a container needs that holds ``held``."""
        return self._merged(held, lambda plugin, of_plugin: plugin.options(of_plugin))

    def prepare(self, held: Allocation, folder: Path) -> ContainerOptions:
        """The same for a new container, with all made ready. ``folder`` is the kernel's for this.

        Raises ``DeviceFault`` and ``OptionConflict``.
        """
        return self._merged(held, lambda plugin, of_plugin: plugin.prepare(of_plugin, folder / plugin.key))

    def release(self, held: Allocation) -> None:
        """Undo ``prepare``; the container is gone."""
        for plugin, of_plugin in self._shares(held):
            if of_plugin:
                plugin.release(of_plugin)

    def measure(self) -> dict[str, Figures]:
        """``{device id: figures}`` of the devices that are offered."""
        figures = {name: of_device for plugin, _ in self._found for name, of_device in plugin.measure().items()}
        return {device.device_id: figures[device.device_id] for device in self.devices if device.device_id in figures}

    def _merged(
        self, held: Allocation, ask: Callable[[DevicePlugin, Allocation], ContainerOptions]
    ) -> ContainerOptions:
        merged = ContainerOptions()
        for plugin, of_plugin in self._shares(held):
            merged = merged.merge(ask(plugin, of_plugin))
        return merged

    def _shares(self, held: Allocation) -> Iterator[tuple[DevicePlugin, Allocation]]:
        """What of ``held`` is each plugin's."""
        for plugin, devices in self._found:
            ids = {device.device_id for device in devices}
            of_plugin = {
                slot: {device_id: amount for device_id, amount in amounts.items() if device_id in ids}
                for slot, amounts in held.items()
            }
            yield plugin, {slot: amounts for slot, amounts in of_plugin.items() if amounts}


def _with_strategy(device: DeviceFacts, strategy: str) -> DeviceFacts:
    if not strategy or not any(slot.endswith(".shares") for slot in device.slots):
        return device
    return replace(device, attributes={**device.attributes, STRATEGY: strategy})


def _names(device: DeviceFacts) -> set[str]:
    return {device.device_id, device.attributes.get("pci", device.device_id)}
