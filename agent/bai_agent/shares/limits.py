"""What a session may hold of each GPU, and how that is written down for it. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from bai_agent.allocation import Allocation
from bai_jupyter.common.messages import DeviceFacts

CUDA, ROCM = "cuda.shares", "rocm.shares"
_CUDA = "cuda."


@dataclass(frozen=True)
class Limit:
    """``total_bytes`` of a GPU are the session's; of these ``reserved_bytes`` are for contexts, which NVIDIA's driver
    takes for each process without asking."""

    device_id: str
    total_bytes: int
    reserved_bytes: int = 0
    slot: str = CUDA


@dataclass(frozen=True)
class Rule:
    """How much memory a share of NVIDIA's is. ``unit_bytes`` 0: a GPU is 1.00 of its own, as AMD's always are."""

    unit_bytes: int = 0
    reserved_bytes: int = 0


def limits_of(held: Allocation, devices: Iterable[DeviceFacts], rule: Rule) -> list[Limit]:
    """The limits of a kernel that holds ``held``, by device id; none if it holds no shares of real GPUs."""
    known = {device.device_id: device for device in devices}
    memory = {device_id: device.mem_bytes or 0 for device_id, device in known.items()}
    made_up = {device_id for device_id, device in known.items() if device.kind == "mock"}
    return [
        Limit(device_id, _bytes(share, unit_bytes or memory.get(device_id, 0)), reserved_bytes, slot)
        for slot, unit_bytes, reserved_bytes in ((CUDA, rule.unit_bytes, rule.reserved_bytes), (ROCM, 0, 0))
        for device_id, share in sorted(held.get(slot, {}).items())
        if device_id not in made_up
    ]


def _bytes(share: Decimal, unit_bytes: int) -> int:
    return int(share * unit_bytes)


def shim_text(limits: Sequence[Limit]) -> str:
    """The file ``limits`` of the preload library."""
    return "".join(f"{limit.device_id} {limit.total_bytes} {limit.reserved_bytes}\n" for limit in limits)


def resource_text(held: Allocation, devices: Iterable[DeviceFacts], limits: Sequence[Limit]) -> str:
    """What the container is told of its GPUs, under Backend.AI's names; empty if it has none.

    Each value is ``index:what`` with commas between, where the index is the GPU's inside the container (they are in
    the order of their ids there). Memory is in bytes and processors in cores; both are of the GPU where nothing less
    was given. Cores are not enforced: sessions take turns.
    """
    facts = {device.device_id: device for device in devices}
    given = {
        device_id: (slot, amount)
        for slot, amounts in held.items()
        if slot.startswith(_CUDA)
        for device_id, amount in amounts.items()
        if device_id in facts
    }
    if not given:
        return ""
    limited = {limit.device_id: limit.total_bytes for limit in limits}
    ids = sorted(given)
    memory = [limited.get(device_id, facts[device_id].mem_bytes or 0) for device_id in ids]
    cores = [_cores(facts[device_id], *given[device_id]) for device_id in ids]
    values = {
        "CUDA_GLOBAL_DEVICE_IDS": _joined(ids),
        "CUDA_MEMORY_LIMITS": _joined(memory),
        "CUDA_PROCESSOR_LIMITS": _joined(cores),
        "CUDA_RESOURCE_VIRTUALIZED": str(int(bool(limits))),
    }
    return "".join(f"{name}={value}\n" for name, value in values.items())


def _cores(device: DeviceFacts, slot: str, amount: Decimal) -> int:
    cores = int(device.attributes.get("cores", "0"))
    return int(cores * amount / device.slots[slot]) if slot == CUDA and device.slots[slot] else cores


def _joined(values: Iterable[object]) -> str:
    return ",".join(f"{index}:{value}" for index, value in enumerate(values))
