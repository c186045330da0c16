"""What a share is in bytes, and what the container is told."""

from decimal import Decimal

from bai_agent.devices.cuda import capacity
from bai_agent.shares.limits import Limit, Rule, limits_of, resource_text, shim_text

from bai_jupyter.common.messages import DeviceFacts
from bai_jupyter.common.slots import ResourceSlots

GIB = 1 << 30


def card(name: str, gib: int, shares: str) -> DeviceFacts:
    slots = ResourceSlots({"cuda.shares": Decimal(shares)})
    return DeviceFacts(name, "cuda", "m", slots, mem_bytes=gib * GIB, attributes={"cores": "1000"})


def test_a_share_is_a_part_of_the_card_or_of_the_unit() -> None:
    cards = [card("a", 80, "1"), card("b", 40, "1")]
    held = {"cuda.shares": {"b": Decimal("0.5"), "a": Decimal("0.25")}}
    assert limits_of(held, cards, Rule(reserved_bytes=7)) == [Limit("a", 20 * GIB, 7), Limit("b", 20 * GIB, 7)]
    by_unit = limits_of(held, cards, Rule(unit_bytes=16 * GIB))
    assert by_unit == [Limit("a", 4 * GIB, 0), Limit("b", 8 * GIB, 0)]
    assert limits_of({"cuda.device": {"a": Decimal(1)}}, cards, Rule()) == []


def test_all_shares_of_a_card_are_never_more_than_the_card() -> None:
    for unit in (7 * GIB, 16 * GIB, 3 * GIB + 12345):
        amount = capacity(80 * GIB, unit)
        assert amount == amount.quantize(Decimal("0.01"))
        assert amount * unit <= 80 * GIB < (amount + Decimal("0.01")) * unit


def test_what_is_written_down() -> None:
    cards = [card("a", 80, "5"), card("b", 40, "2.5")]
    held = {"cuda.shares": {"b": Decimal("1.25"), "a": Decimal(5)}, "mem": {"mem": Decimal(1)}}
    limits = limits_of(held, cards, Rule(unit_bytes=16 * GIB, reserved_bytes=5))
    assert shim_text(limits) == f"a {80 * GIB} 5\nb {20 * GIB} 5\n"
    assert resource_text(held, cards, limits).splitlines() == [
        "CUDA_GLOBAL_DEVICE_IDS=0:a,1:b",
        f"CUDA_MEMORY_LIMITS=0:{80 * GIB},1:{20 * GIB}",
        "CUDA_PROCESSOR_LIMITS=0:1000,1:500",
        "CUDA_RESOURCE_VIRTUALIZED=1",
    ]
    whole = resource_text({"cuda.device": {"b": Decimal(1)}}, cards, [])
    assert f"CUDA_MEMORY_LIMITS=0:{40 * GIB}\n" in whole
    assert "CUDA_RESOURCE_VIRTUALIZED=0" in whole
    assert resource_text({"mem": {"mem": Decimal(1)}}, cards, []) == ""
