"""Devices that are not there, from configuration: for tests, demonstrations and trying out a scheduler."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from bai_agent.allocation import Allocation
from bai_agent.devices.base import ContainerOptions, DevicePlugin
from bai_jupyter.common.messages import DeviceFacts
from bai_jupyter.common.slots import ResourceSlots, parse_size


class MockPlugin(DevicePlugin):
    """Each entry: ``{"id": "mock-0", "slots": {"mock.device": 1}, "model": …, "mem": "80g", "numa_node": 0}``.

    ``count`` in an entry makes that many, with ``-0``, ``-1`` … after the id. Slots may be any accelerator's, such as
    ``cuda.device``. Raises ``ValueError`` for an entry that is not understood, naming it.
    """

    key = "mock"

    def __init__(self, entries: Sequence[Mapping[str, Any]]) -> None:
        self._devices = [device for entry in entries for device in _read(entry)]
        ids = [device.device_id for device in self._devices]
        if len(set(ids)) < len(ids):
            raise ValueError(f"mock devices need different ids, got {', '.join(ids)}")

    def discover(self) -> list[DeviceFacts]:
        return list(self._devices)

    def options(self, held: Allocation) -> ContainerOptions:
        ids = sorted({device_id for amounts in held.values() for device_id in amounts})
        if not ids:
            return ContainerOptions()
        amounts = {slot: {name: str(amount) for name, amount in of_slot.items()} for slot, of_slot in held.items()}
        return ContainerOptions(env={"MOCK_VISIBLE_DEVICES": ",".join(ids), "BAI_DEVICES": json.dumps(amounts)})


def _read(entry: Mapping[str, Any]) -> list[DeviceFacts]:
    known = {"id", "slots", "model", "mem", "numa_node", "count", "health"}
    if not isinstance(entry, Mapping) or entry.keys() - known or not entry.get("slots"):
        raise ValueError(f"mock device {entry!r}: expected slots and, if you like, {', '.join(sorted(known))}")
    name, count = str(entry.get("id", "mock")), entry.get("count")
    ids = [name] if count is None else [f"{name}-{index}" for index in range(int(count))]
    health = str(entry.get("health", "ok"))
    return [
        DeviceFacts(
            device_id=device_id,
            kind=MockPlugin.key,
            model=str(entry.get("model", "Mock GPU")),
            slots=ResourceSlots.parse(entry["slots"]) if health == "ok" else ResourceSlots(),
            mem_bytes=parse_size(entry["mem"]) if "mem" in entry else None,
            numa_node=None if entry.get("numa_node") is None else int(entry["numa_node"]),
            health=health,
        )
        for device_id in ids
    ]
