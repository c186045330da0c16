"""Which devices a kernel gets. Pure: no I/O, no clock, no randomness.

A slot is one of three shapes, told from the devices that offer it:

- *pooled* (``mem``, and ``cpu`` unless cores are pinned): one device offers all of it; a request takes part of it;
- *exclusive* (``*.device``, MIG): each device offers exactly 1; a request takes whole devices;
- *fractional* (``*.shares``): in steps of 0.01; a request up to one device's amount comes from one device.

Pinned cores are devices that offer 1 ``cpu`` each; kernels may share a core, so a request may take pieces of several.
A device that offers more than one accelerator slot (a GPU as ``cuda.device`` and as ``cuda.shares``) is in use under
one of them at a time, or its memory would be promised twice.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from bai_jupyter.common.errors import BaiError
from bai_jupyter.common.messages import PCI_PATH, DeviceFacts
from bai_jupyter.common.parts import cut
from bai_jupyter.common.slots import ResourceSlots, is_fractional, rounded_up

Allocation = Mapping[str, Mapping[str, Decimal]]
"""``{slot: {device id: amount}}``: what one kernel holds."""

_ZERO = Decimal(0)


class NoRoom(BaiError):
    """A slot cannot be given. ``free`` is what is left of it on this agent, over all its devices."""

    def __init__(self, slot: str, asked: Decimal, free: Decimal, total: Decimal) -> None:
        self.slot, self.asked, self.free, self.total = slot, asked, free, total
        super().__init__(f"{slot}: {asked} asked, {free} of {total} free, and not where one kernel could use it")


def allocate(
    requested: ResourceSlots, devices: Sequence[DeviceFacts], held: Iterable[Allocation], *, evenly: bool = False
) -> dict[str, dict[str, Decimal]]:
    """Choose devices for ``requested``, given what other kernels hold.

    Amounts are in the slot's unit (cores, bytes, devices); a fraction is rounded up to 0.01. Prefers few devices, then
    one NUMA node (the one already chosen for an earlier slot), then one PCI switch, then the fullest device, so that
    whole ones stay free; with ``evenly`` the emptiest, so that sessions disturb each other least. Raises ``NoRoom`` for
    the first slot that does not fit; then nothing is given. Equal input, equal answer.
    """
    usable = [device for device in devices if device.health == "ok"]
    use = _Use(held)
    chosen: dict[str, dict[str, Decimal]] = {}
    # Accelerators first: cores can follow them to their NUMA node, not the other way round.
    for slot in sorted(requested, key=lambda name: (name in ("cpu", "mem"), name)):
        nodes = _nodes_of(chosen, usable)
        chosen[slot] = _allocate_slot(slot, requested[slot], usable, use, nodes, evenly=evenly)
        use.add({slot: chosen[slot]})
    return chosen


def part_of(held: Mapping[str, Decimal], amount: Decimal) -> dict[str, Decimal] | None:
    """So much of what a kernel holds of one slot, the first devices first; ``None`` if that is less."""
    part: dict[str, Decimal] = {}
    for device_id, has in held.items():
        if amount > 0:
            part[device_id] = min(has, amount)
            amount -= part[device_id]
    return part if amount <= 0 else None


class _Use:
    """Sum of what is held: ``{device id: {slot: amount}}``."""

    def __init__(self, held: Iterable[Allocation]) -> None:
        self._amounts: dict[str, dict[str, Decimal]] = {}
        for allocation in held:
            self.add(allocation)

    def add(self, allocation: Allocation) -> None:
        for slot, amounts in allocation.items():
            for device_id, amount in amounts.items():
                of_device = self._amounts.setdefault(device_id, {})
                of_device[slot] = of_device.get(slot, _ZERO) + amount

    def room(self, device: DeviceFacts, slot: str) -> Decimal:
        used = self._amounts.get(device.device_id, {})
        if any(amount > 0 for name, amount in used.items() if name != slot):
            return _ZERO
        return max(_ZERO, device.slots[slot] - used.get(slot, _ZERO))


def _allocate_slot(
    slot: str, asked: Decimal, devices: Sequence[DeviceFacts], use: _Use, nodes: set[int], *, evenly: bool
) -> dict[str, Decimal]:
    offering = [device for device in devices if slot in device.slots]
    room = {device.device_id: use.room(device, slot) for device in offering}
    amount = rounded_up(slot, asked)
    if slot == "cpu":
        given = _pick_pieces(amount, offering, room, nodes)
    elif is_fractional(slot) or any(device.slots[slot] != 1 for device in offering):
        given = _pick_parts(amount, offering, room, slot, nodes, evenly=evenly)
    else:
        given = _pick_whole(amount, offering, room, nodes)
    if given is None:
        total = sum((device.slots[slot] for device in offering), _ZERO)
        raise NoRoom(slot, asked, sum(room.values(), _ZERO), total)
    return given


def _pick_whole(
    amount: Decimal, offering: Sequence[DeviceFacts], room: Mapping[str, Decimal], nodes: set[int]
) -> dict[str, Decimal] | None:
    free = [device for device in offering if room[device.device_id] == 1]
    if len(free) < amount:
        return None
    return {device.device_id: Decimal(1) for device in _by_place(free, int(amount), nodes)[: int(amount)]}


def _pick_pieces(
    amount: Decimal, offering: Sequence[DeviceFacts], room: Mapping[str, Decimal], nodes: set[int]
) -> dict[str, Decimal] | None:
    """The emptiest cores first, near ones before others; pieces where no whole one is left."""
    ordered = sorted(offering, key=lambda item: (_is_far(item, nodes), -room[item.device_id], item.device_id))
    given: dict[str, Decimal] = {}
    for device in ordered:
        piece = min(amount, room[device.device_id])
        if piece > 0:
            given[device.device_id] = piece
            amount -= piece
    return given if amount == 0 else None


def _pick_parts(
    amount: Decimal,
    offering: Sequence[DeviceFacts],
    room: Mapping[str, Decimal],
    slot: str,
    nodes: set[int],
    *,
    evenly: bool,
) -> dict[str, Decimal] | None:
    """From one device if one has the room; else whole devices and one part."""
    ordered = sorted(offering, key=lambda device: device.device_id)
    by_place = _by_place(ordered, len(ordered), nodes)
    parts = cut(
        amount,
        [device.slots[slot] for device in ordered],
        [room[device.device_id] for device in ordered],
        evenly=evenly,
        far=[_is_far(device, nodes) for device in ordered],
        whole_first=[ordered.index(device) for device in by_place],
    )
    return None if parts is None else {ordered[index].device_id: part for index, part in parts.items()}


def _by_place(devices: Sequence[DeviceFacts], wanted: int, near: set[int], depth: int = 0) -> list[DeviceFacts]:
    """Devices ordered so that the first ``wanted`` are close together: on few NUMA nodes, those in ``near`` first, and
    below few bridges of the PCI bus."""
    if all(len(_place(device)) <= depth for device in devices):
        return sorted(devices, key=lambda device: device.device_id)
    groups: dict[str, list[DeviceFacts]] = {}
    for device in devices:
        groups.setdefault(next(iter(_place(device)[depth:]), ""), []).append(device)

    def rank(name: str) -> tuple[bool, bool, int, str]:
        size = len(groups[name])
        # A group that holds all of it comes first, the tightest of these; otherwise the largest.
        is_far = depth == 0 and bool(near) and name not in map(str, near)
        return (is_far, size < wanted, size if size >= wanted else -size, name)

    ordered: list[DeviceFacts] = []
    for name in sorted(groups, key=rank):
        ordered += _by_place(groups[name], max(1, wanted - len(ordered)), near, depth + 1)
    return ordered


def _place(device: DeviceFacts) -> tuple[str, ...]:
    """The NUMA node, then what is above it on the PCI bus, as far as they are known."""
    node = "" if device.numa_node is None else str(device.numa_node)
    path = device.attributes.get(PCI_PATH, "")
    return (node, *path.split("/")) if path else (node,)


def _is_far(device: DeviceFacts, near: set[int]) -> bool:
    return bool(near) and device.numa_node is not None and device.numa_node not in near


def _nodes_of(chosen: Mapping[str, Mapping[str, Decimal]], devices: Sequence[DeviceFacts]) -> set[int]:
    ids = {device_id for amounts in chosen.values() for device_id in amounts}
    return {device.numa_node for device in devices if device.device_id in ids and device.numa_node is not None}
