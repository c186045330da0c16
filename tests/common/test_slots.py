"""Amounts: read, added exactly, described."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bai_jupyter.common.slots import (
    ResourceSlots,
    describe_amount,
    format_size,
    parse_size,
    read_number,
    rounded_up,
    words_of,
)

AMOUNTS = st.decimals(min_value=0, max_value=10**12, places=3)
SLOTS = st.fixed_dictionaries(
    {}, optional={"cpu": AMOUNTS, "mem": st.integers(0, 2**50), "cuda.shares": AMOUNTS, "rocm.device": AMOUNTS}
).map(ResourceSlots)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("512", 512),
        (4096, 4096),
        ("1k", 1024),
        ("512m", 512 * 2**20),
        ("4g", 4 * 2**30),
        ("4G", 4 * 2**30),
        (" 4 GiB ", 4 * 2**30),
        ("4gb", 4 * 2**30),
        ("1.5g", 3 * 2**29),
        ("2t", 2 * 2**40),
        ("1p", 2**50),
    ],
)
def test_parse_size(text, size_bytes):
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "g", "4x", "-1g", "1e3", "4 g g", "0x10", "1,5g", "1_000", "9" * 21])
def test_parse_size_refuses(text):
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


def test_numbers_that_clients_write():
    assert [read_number(text) for text in ("0", "007", "9" * 18)] == [0, 7, 10**18 - 1]
    assert [read_number(text) for text in ("", "-1", "1.0", " 1", "²", "٣", "9" * 5000)] == [None] * 7


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (8 * 2**30, "8 GiB"),
        (Decimal(2**30), "1 GiB"),
        (2**40, "1 TiB"),
        (3000 * 2**40, "3000 TiB"),
    ],
)
def test_format_size(size_bytes, text):
    assert format_size(size_bytes) == text


def test_parse():
    slots = ResourceSlots.parse({"cpu": 2, "mem": "4g", "cuda.shares": "0.5", "rocm.device": 1.0})
    assert slots["cpu"] == 2
    assert slots["mem"] == 4 * 2**30
    assert slots["cuda.shares"] == Decimal("0.5")
    assert slots["absent"] == 0


@pytest.mark.parametrize(
    "value",
    [
        "-1",
        -1,
        "nan",
        "inf",
        float("nan"),
        float("inf"),
        "much",
        "",
        None,
        [],
        {},
        "1 2",
        "1e19",
        "1e999999999",
        "1e-999999999",
    ],
)
@pytest.mark.parametrize("name", ["cpu", "mem"])
def test_parse_refuses_and_names_the_slot(name, value):
    with pytest.raises(ValueError, match=name):
        ResourceSlots.parse({name: value})


def test_a_slot_of_nothing_is_absent():
    slots = ResourceSlots.parse({"cpu": 0, "mem": "0"})
    assert slots == ResourceSlots()
    assert "cpu" not in slots
    assert len(slots) == 0
    assert slots.describe() == "nothing"


def test_fractions_add_up_exactly():
    tenth = ResourceSlots.parse({"cuda.shares": 0.1})
    total = ResourceSlots()
    for _ in range(10):
        total += tenth
    assert total == ResourceSlots({"cuda.shares": 1})
    assert total.fits(ResourceSlots({"cuda.shares": 1}))


@settings(deadline=None)
@given(SLOTS, SLOTS)
def test_plus_then_minus_gives_the_same(left, right):
    assert left + right - right == left
    assert hash(left + right - right) == hash(left)
    assert left.fits(left + right)
    assert left + right == right + left


@settings(deadline=None)
@given(SLOTS)
def test_json_round_trip(slots):
    assert ResourceSlots.parse(slots.to_json()) == slots
    assert dict(slots.items()) == {name: slots[name] for name in slots}


def test_json_has_no_exponent():
    assert ResourceSlots({"mem": Decimal("1E+10")}).to_json() == {"mem": "10000000000"}


def test_fits_needs_every_amount():
    room = ResourceSlots({"cpu": 2, "mem": 100})
    assert ResourceSlots({"cpu": 2}).fits(room)
    assert not ResourceSlots({"cpu": 2, "cuda.device": 1}).fits(room)
    assert not ResourceSlots({"cpu": Decimal("2.001")}).fits(room)


def test_describe():
    slots = ResourceSlots.parse({"cuda.shares": "0.50", "mem": "8g", "tpu.device": 2, "cpu": "2.0"})
    assert slots.describe() == "2 CPU, 8 GiB, 0.5 GPU, 2 tpu.device"


@pytest.mark.parametrize(
    ("name", "amount", "text"),
    [
        ("cpu", "0", "0 CPU"),
        ("cpu", "100", "100 CPU"),
        ("mem", "0", "0 B"),
        ("cuda.device", "4", "4 GPU"),
        ("tt-n300.device", "2", "2 Wormhole n300"),
    ],
)
def test_describe_amount(name, amount, text):
    assert describe_amount(name, Decimal(amount)) == text


@pytest.mark.parametrize(
    ("slot", "asked", "rounded"),
    [
        ("cuda.shares", "0.333", "0.34"),
        ("cuda.shares", "0.5", "0.5"),
        ("cpu", "1.001", "1.01"),
        ("cpu", "2", "2"),
        ("cuda.device", "0.5", "1"),
        ("cuda.mig-1g.10gb", "1", "1"),
        ("mem", "1000000000.5", "1000000001"),
        ("cuda.shares", "0", "0"),
    ],
)
def test_amounts_are_rounded_up_to_what_agents_give(slot: str, asked: str, rounded: str) -> None:
    assert str(rounded_up(slot, Decimal(asked))) == rounded


@pytest.mark.parametrize(
    ("slot", "name", "unit", "description", "decimals"),
    [
        ("cpu", "CPU", "Core", "CPU cores", 2),
        ("mem", "RAM", "GiB", "Main memory", 0),
        ("cuda.device", "GPU", "GPU", "NVIDIA GPUs", 0),
        ("cuda.shares", "GPU", "fGPU", "Parts of NVIDIA GPUs", 2),
        ("cuda.mig-1g.10gb", "MIG 1g.10gb", "MIG 1g.10gb", "NVIDIA GPUs, in MIG instances", 0),
        ("rocm.shares", "AMD GPU", "fAMD GPU", "Parts of AMD Instinct GPUs", 2),
        ("tt-n300.device", "Wormhole n300", "Wormhole n300", "Tenstorrent Wormhole n300 cards", 0),
        ("acme.device", "acme", "acme", "Devices of the kind acme", 0),
    ],
)
def test_how_slots_are_shown(slot: str, name: str, unit: str, description: str, decimals: int) -> None:
    words = words_of(slot)
    assert (words.name, words.unit, words.description, words.decimals) == (name, unit, description, decimals)
