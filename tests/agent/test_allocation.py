"""Which devices a kernel gets: examples, and that nothing is ever promised twice."""

from dataclasses import replace
from decimal import Decimal

import pytest
from bai_agent.allocation import NoRoom, allocate, part_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bai_jupyter.common.messages import DeviceFacts
from bai_jupyter.common.slots import ResourceSlots


def device(name: str, numa: int | None = None, health: str = "ok", **slots: str) -> DeviceFacts:
    amounts = {slot.replace("_", "."): Decimal(amount) for slot, amount in slots.items()}
    return DeviceFacts(name, "mock", "m", ResourceSlots(amounts), numa_node=numa, health=health)


def ask(**slots: str) -> ResourceSlots:
    return ResourceSlots({slot.replace("_", "."): Decimal(amount) for slot, amount in slots.items()})


HOST = [device("cpu", cpu="8"), device("mem", mem="1000")]
GPUS = [device(f"gpu-{index}", numa=index // 2, cuda_device="1") for index in range(4)]


def test_pools_are_shared() -> None:
    first = allocate(ask(cpu="2.5", mem="300"), HOST, [])
    assert first == {"cpu": {"cpu": Decimal("2.5")}, "mem": {"mem": Decimal(300)}}
    rest = allocate(ask(cpu="5.5", mem="700"), HOST, [first])
    for more in (ask(cpu="0.01"), ask(mem="1")):
        with pytest.raises(NoRoom):
            allocate(more, HOST, [first, rest])


def test_less_is_a_part_of_what_a_kernel_has() -> None:
    held = {"cpu0": Decimal(1), "cpu1": Decimal("0.5")}
    assert part_of(held, Decimal("1.2")) == {"cpu0": Decimal(1), "cpu1": Decimal("0.2")}
    assert part_of(held, Decimal("1.5")) == held
    assert part_of(held, Decimal("0.4")) == {"cpu0": Decimal("0.4")}
    assert part_of(held, Decimal("1.51")) is None


def test_whole_devices_are_given_once() -> None:
    first = allocate(ask(cuda_device="1"), GPUS, [])
    second = allocate(ask(cuda_device="3"), GPUS, [first])
    assert set(first["cuda.device"]).isdisjoint(second["cuda.device"])
    with pytest.raises(NoRoom) as caught:
        allocate(ask(cuda_device="1"), GPUS, [first, second])
    assert (caught.value.slot, caught.value.free, caught.value.total) == ("cuda.device", 0, 4)


def test_devices_of_one_numa_node_go_together() -> None:
    taken = {"cuda.device": {"gpu-0": Decimal(1)}}
    assert set(allocate(ask(cuda_device="2"), GPUS, [taken])["cuda.device"]) == {"gpu-2", "gpu-3"}
    # A single one comes from the node that is broken up already.
    assert set(allocate(ask(cuda_device="1"), GPUS, [taken])["cuda.device"]) == {"gpu-1"}


def test_devices_below_one_switch_go_together_and_whole_switches_stay_free() -> None:
    """Two NUMA nodes of two switches with two GPUs each; ids that say nothing of it."""
    place = {"a": (0, "s0"), "b": (1, "s2"), "c": (0, "s1"), "d": (1, "s3"), "e": (0, "s1"), "f": (1, "s2")}
    place |= {"g": (0, "s0"), "h": (1, "s3")}
    gpus = [
        replace(device(name, numa=node, cuda_device="1"), attributes={"pci_path": f"pci0000:{node}0/{switch}"})
        for name, (node, switch) in place.items()
    ]

    def chosen(count: str, *taken: str) -> set[str]:
        held = {"cuda.device": {name: Decimal(1) for name in taken}}
        return set(allocate(ask(cuda_device=count), gpus, [held])["cuda.device"])

    assert chosen("2") == {"a", "g"}
    assert chosen("2", "a", "b") == {"c", "e"}  # a whole switch, not what is left of two
    assert chosen("1", "a") == {"g"}  # of the switch that is broken up already
    assert chosen("3", "a") == {"c", "e", "g"}
    assert chosen("6") == {"a", "c", "e", "g", "b", "f"}


def test_pinned_cores_follow_the_accelerator() -> None:
    cores = [device(f"cpu{core}", numa=core // 4, cpu="1") for core in range(8)]
    taken = {"cuda.device": {"gpu-0": Decimal(1), "gpu-1": Decimal(1)}}
    given_ = allocate(ask(cuda_device="1", cpu="2"), [*cores, *GPUS], [taken])
    assert set(given_["cuda.device"]) == {"gpu-2"}
    assert set(given_["cpu"]) <= {"cpu4", "cpu5", "cpu6", "cpu7"}


def test_a_share_fits_one_device_and_fills_the_fullest() -> None:
    gpus = [device(f"g{index}", cuda_shares="1") for index in range(2)]
    taken = {"cuda.shares": {"g1": Decimal("0.5")}}
    assert allocate(ask(cuda_shares="0.3"), gpus, [taken]) == {"cuda.shares": {"g1": Decimal("0.30")}}
    both = {"cuda.shares": {"g0": Decimal("0.6"), "g1": Decimal("0.6")}}
    with pytest.raises(NoRoom):  # 0.8 are free, but no single device has them
        allocate(ask(cuda_shares="0.8"), gpus, [both])


def test_evenly_takes_the_emptiest() -> None:
    gpus = [device(f"g{index}", cuda_shares="1") for index in range(3)]
    taken = {"cuda.shares": {"g0": Decimal("0.2"), "g1": Decimal("0.1"), "g2": Decimal("0.3")}}
    assert set(allocate(ask(cuda_shares="0.3"), gpus, [taken])["cuda.shares"]) == {"g2"}
    assert set(allocate(ask(cuda_shares="0.3"), gpus, [taken], evenly=True)["cuda.shares"]) == {"g1"}


def test_mig_instances_are_given_whole() -> None:
    instances = [device(f"MIG-{index}", **{"cuda_mig-1g": "1"}) for index in range(2)]
    first = allocate(ask(**{"cuda_mig-1g": "1"}), instances, [])
    assert first == {"cuda.mig-1g": {"MIG-0": 1}}
    with pytest.raises(NoRoom):
        allocate(ask(**{"cuda_mig-1g": "2"}), instances, [first])


def test_more_than_one_device_of_shares_is_whole_ones_and_a_rest() -> None:
    gpus = [device(f"g{index}", cuda_shares="1") for index in range(3)]
    given_ = allocate(ask(cuda_shares="2.25"), gpus, [])["cuda.shares"]
    assert sorted(given_.values()) == [Decimal("0.25"), 1, 1]


def test_a_share_is_rounded_up_to_the_quantum() -> None:
    assert allocate(ask(cuda_shares="0.333"), [device("g", cuda_shares="1")], []) == {
        "cuda.shares": {"g": Decimal("0.34")}
    }


def test_a_card_in_use_as_a_whole_offers_no_shares() -> None:
    card = device("g", cuda_device="1", cuda_shares="1")
    whole = allocate(ask(cuda_device="1"), [card], [])
    with pytest.raises(NoRoom):
        allocate(ask(cuda_shares="0.1"), [card], [whole])


def test_a_broken_device_is_not_given() -> None:
    with pytest.raises(NoRoom):
        allocate(ask(cuda_device="1"), [device("g", health="fell off the bus", cuda_device="1")], [])


def test_an_unknown_slot_is_refused_by_name() -> None:
    with pytest.raises(NoRoom, match=r"tpu\.device: 1 asked, 0 of 0 free"):
        allocate(ask(tpu_device="1"), HOST, [])


_FRACTIONS = st.integers(1, 250).map(lambda cents: Decimal(cents) / 100)


@st.composite
def _requests(draw: st.DrawFn) -> ResourceSlots:
    names = draw(st.sets(st.sampled_from(["cpu", "mem", "cuda.device", "cuda.shares", "ipu.device"]), min_size=1))
    amounts = {"cuda.shares": _FRACTIONS, "cpu": _FRACTIONS, "mem": st.integers(1, 500)}
    return ResourceSlots({name: draw(amounts.get(name, st.integers(1, 3))) for name in sorted(names)})


@st.composite
def _hosts(draw: st.DrawFn) -> list[DeviceFacts]:
    numa = st.sampled_from([None, 0, 1])
    pinned = draw(st.booleans())
    host = [device("mem", mem="1000")]
    host += [device(f"c{i}", numa=i % 2, cpu="1") for i in range(4)] if pinned else [device("cpu", cpu="4")]
    for index in range(draw(st.integers(0, 5))):
        kinds = draw(
            st.sampled_from([{"cuda_device": "1"}, {"cuda_shares": "1"}, {"cuda_device": "1", "cuda_shares": "1"}])
        )
        host.append(device(f"g{index}", numa=draw(numa), health=draw(st.sampled_from(["ok", "ok", "broken"])), **kinds))
    host += [device(f"i{index}", numa=draw(numa), ipu_device="1") for index in range(draw(st.integers(0, 3)))]
    return host


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # other programs may have the cores
@given(_hosts(), st.lists(st.tuples(_requests(), st.booleans()), max_size=12), st.booleans())
def test_nothing_is_promised_twice(
    host: list[DeviceFacts], steps: list[tuple[ResourceSlots, bool]], evenly: bool
) -> None:
    devices = {item.device_id: item for item in host}
    held: list[dict[str, dict[str, Decimal]]] = []
    for request, then_release in steps:
        try:
            given_ = allocate(request, host, held, evenly=evenly)
        except NoRoom:
            continue
        assert given_ == allocate(request, host, held, evenly=evenly)  # equal input, equal answer
        for slot, amount in request.items():
            assert amount <= sum(given_[slot].values()) < amount + 1
        held.append(given_)
        for item in host:
            used = {slot: sum(one.get(slot, {}).get(item.device_id, Decimal(0)) for one in held) for slot in item.slots}
            assert all(used[slot] <= devices[item.device_id].slots[slot] for slot in used)
            assert sum(amount > 0 for amount in used.values()) <= 1  # never under two slots
            assert item.health == "ok" or not any(used.values())
        if then_release:
            held.pop(0)
