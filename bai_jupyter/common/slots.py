"""ResourceSlots: named amounts of what a session asks for and an agent has.

Amounts are ``Decimal`` so that fractions of a GPU add up exactly. Units: ``cpu`` in cores, ``mem`` in bytes,
``*.device`` in devices, ``*.shares`` in devices (quantum 0.01).
"""

import re
from collections.abc import ItemsView, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import Self

_SIZE = re.compile(r"^\s*(\d{1,20}(?:\.\d{1,9})?)\s*([kmgtp]?)(?:i?b)?\s*$", re.IGNORECASE)
_FACTORS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_BYTES_SLOTS = frozenset({"mem"})
QUANTUM = Decimal("0.01")  # the least part of a core or of a device that is given
_MOST_DIGITS = 18  # before or behind the point: nine characters such as 1e9999999 would be gigabytes when written out


def parse_size(text: str | int) -> int:
    """Read ``"4g"``, ``"512MiB"`` or a plain number as bytes. Suffixes are binary, as in Backend.AI.

    Raises ``ValueError`` naming what was given.
    """
    match = _SIZE.match(str(text))
    if match is None:
        raise ValueError(f"{text!r} is not a size such as 512m or 4g")
    return int(Decimal(match[1]) * 1024 ** _FACTORS[match[2].lower()])


def read_number(text: str) -> int | None:
    """A whole number, 0 or more, that a client has written; None if it is none, or longer than any of ours."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS else None


def format_size(size_bytes: int | Decimal) -> str:
    """``8589934592`` as ``8 GiB``: binary units, one decimal at most."""
    amount = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(amount) < 1024:
            return f"{_short(amount)} {unit}"
        amount /= 1024
    return f"{_short(amount)} TiB"


def is_fractional(slot: str) -> bool:
    """True for slots that are given in hundredths; all others are given whole."""
    return slot == "cpu" or slot.endswith(".shares")


def rounded_up(slot: str, amount: Decimal) -> Decimal:
    """What an agent gives for ``amount``: no less, and never a piece that it would not count."""
    step = QUANTUM if is_fractional(slot) else Decimal(1)
    return amount if amount % step == 0 else amount.quantize(step, ROUND_CEILING)


def unit_of(slot: str) -> str:
    """How Backend.AI calls a slot's unit: ``bytes`` or ``count``."""
    return "bytes" if slot in _BYTES_SLOTS else "count"


def _short(amount: float) -> str:
    text = f"{amount:.1f}"
    return text.removesuffix(".0")


class ResourceSlots(Mapping[str, Decimal]):
    """An immutable ``{slot name: amount}``; an absent slot counts as 0.

    ``ResourceSlots.parse`` takes what people and JSON write; the constructor takes exact amounts.
    """

    __slots__ = ("_amounts",)

    def __init__(self, amounts: Mapping[str, Decimal | int] | None = None) -> None:
        self._amounts = {name: Decimal(amount) for name, amount in (amounts or {}).items() if amount != 0}

    @classmethod
    def parse(cls, raw: Mapping[str, object]) -> Self:
        """Read JSON or command line values: ``{"cpu": 2, "mem": "4g", "cuda.shares": "0.5"}``.

        Raises ``ValueError`` for a negative, non-finite or unreadable amount, naming the slot.
        """
        amounts: dict[str, Decimal] = {}
        for name, value in raw.items():
            amounts[name] = _parse_amount(name, value)
        return cls(amounts)

    def __getitem__(self, name: str) -> Decimal:
        return self._amounts.get(name, Decimal(0))

    def __contains__(self, name: object) -> bool:
        return name in self._amounts

    def __iter__(self) -> Iterator[str]:
        return iter(self._amounts)

    def __len__(self) -> int:
        return len(self._amounts)

    def items(self) -> ItemsView[str, Decimal]:
        return self._amounts.items()  # what Mapping offers is several times slower; the scheduler reads thousands

    def __hash__(self) -> int:
        return hash(frozenset(self._amounts.items()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ResourceSlots) and self._amounts == other._amounts

    def __repr__(self) -> str:
        return f"ResourceSlots({self.to_json()})"

    def __add__(self, other: "ResourceSlots") -> "ResourceSlots":
        return ResourceSlots({name: self[name] + other[name] for name in self._names(other)})

    def __sub__(self, other: "ResourceSlots") -> "ResourceSlots":
        return ResourceSlots({name: self[name] - other[name] for name in self._names(other)})

    def __mul__(self, count: int) -> "ResourceSlots":
        return ResourceSlots({name: amount * count for name, amount in self._amounts.items()})

    def fits(self, room: "ResourceSlots") -> bool:
        """True if every amount is at most what ``room`` holds."""
        return all(amount <= room[name] for name, amount in self._amounts.items())

    @property
    def accelerators(self) -> Decimal:
        """How many devices of all kinds together."""
        return sum((amount for name, amount in self._amounts.items() if name not in _PLAIN), Decimal(0))

    def _names(self, other: "ResourceSlots") -> list[str]:
        return [*self._amounts, *(name for name in other._amounts if name not in self._amounts)]

    def to_json(self) -> dict[str, str]:
        """String decimals without exponent, the form of the Backend.AI API."""
        return {name: format(amount, "f") for name, amount in self._amounts.items()}

    def describe(self) -> str:
        """For people: ``2 CPU, 8 GiB, 0.5 GPU``."""
        parts = [describe_amount(name, amount) for name, amount in sorted(self._amounts.items(), key=_order)]
        return ", ".join(parts) or "nothing"


class SlotLimits(ResourceSlots):
    """What may be had at most: a limit of 0 is a limit, and a slot that is absent has none."""

    __slots__ = ()

    def __init__(self, amounts: Mapping[str, Decimal | int] | None = None) -> None:
        self._amounts = {name: Decimal(amount) for name, amount in (amounts or {}).items()}


def _parse_amount(name: str, value: object) -> Decimal:
    try:
        amount = Decimal(parse_size(value)) if _is_size(name, value) else Decimal(str(value))  # type: ignore[arg-type]
    except (InvalidOperation, ValueError) as error:
        raise ValueError(f"{name}: {value!r} is not an amount") from error
    if not amount.is_finite() or amount < 0 or abs(amount.adjusted()) > _MOST_DIGITS:
        raise ValueError(f"{name}: {value!r} is not an amount of zero or more")
    return amount


def _is_size(name: str, value: object) -> bool:
    return name in _BYTES_SLOTS and isinstance(value, str)


_UNITS = {
    "atom-max.device": "ATOM Max",
    "atom-plus.device": "ATOM+",
    "atom.device": "ATOM",
    "cpu": "CPU",
    "cuda.device": "GPU",
    "cuda.shares": "GPU",
    "gaudi2.device": "Gaudi 2",
    "gaudi3.device": "Gaudi 3",
    "groq.device": "GroqCard",
    "hyperaccel-lpu.device": "LPU",
    "ipu.device": "IPU",
    "mock.device": "mock GPU",
    "mock.shares": "mock GPU",
    "rngd.device": "RNGD",
    "rocm.device": "AMD GPU",
    "rocm.shares": "AMD GPU",
    "tt-n150.device": "Wormhole n150",
    "tt-n300.device": "Wormhole n300",
    "warboy.device": "Warboy",
}
_ABOUT = {
    "atom": "Rebellions ATOM NPUs",
    "atom-max": "Rebellions ATOM Max cards",
    "atom-plus": "Rebellions ATOM+ NPUs",
    "cuda": "NVIDIA GPUs",
    "gaudi2": "Intel Gaudi 2 accelerators",
    "gaudi3": "Intel Gaudi 3 accelerators",
    "groq": "Groq cards",
    "hyperaccel-lpu": "HyperAccel LPUs",
    "ipu": "Graphcore IPUs",
    "mock": "Devices that are not there, for trying out",
    "rngd": "Furiosa RNGD NPUs",
    "rocm": "AMD Instinct GPUs",
    "sn30": "SambaNova SN30 devices",
    "sn40l": "SambaNova SN40L devices",
    "tt-n150": "Tenstorrent Wormhole n150 cards",
    "tt-n300": "Tenstorrent Wormhole n300 cards",
    "warboy": "Furiosa Warboy NPUs",
    "x220": "Sapeon X220 cards",
    "x330": "Sapeon X330 cards",
}
_PLAIN = {"cpu": ("CPU", "Core", "CPU cores"), "mem": ("RAM", "GiB", "Main memory")}


@dataclass(frozen=True)
class SlotWords:
    """How a slot is shown: its name, the unit behind a number, a sentence, and how many decimals have a meaning."""

    name: str
    unit: str
    description: str
    decimals: int
    icon: str


def words_of(slot: str) -> SlotWords:
    """For any slot; one that no table knows is called by its own name."""
    if slot in _PLAIN:
        return SlotWords(*_PLAIN[slot], decimals=2 if slot == "cpu" else 0, icon="cpu")
    family, _, kind = slot.partition(".")
    name = _UNITS.get(slot, kind.replace("-", " ", 1).replace("mig", "MIG") if kind.startswith("mig-") else family)
    about = _ABOUT.get(family, f"Devices of the kind {family}")
    if kind == "shares":
        return SlotWords(name, f"f{name}", f"Parts of {about}", decimals=2, icon="gpu1")
    icon = "gpu1" if family in ("cuda", "rocm") else "npu_generic"
    return SlotWords(name, name, f"{about}, in MIG instances" if kind.startswith("mig-") else about, 0, icon)


def name_of(slot: str) -> str:
    """In a sentence, behind an amount or alone."""
    return "memory" if slot in _BYTES_SLOTS else _UNITS.get(slot, slot)


def kind_of(slot: str) -> str:
    """Its name beside others: there are whole GPUs and parts of one."""
    return f"{name_of(slot)} ({slot})" if "." in slot and slot in _UNITS else name_of(slot)


_LEADING = {"cpu": 0, "mem": 1}


def _order(item: tuple[str, Decimal]) -> tuple[int, str]:
    return (_LEADING.get(item[0], 2), item[0])


def describe_amount(name: str, amount: Decimal) -> str:
    """One amount for people, 0 included: ``0 GPU``, ``8 GiB``."""
    if name in _BYTES_SLOTS:
        return format_size(amount)
    text = format(amount.normalize(), "f")
    return f"{text} {_UNITS.get(name, name)}"


def describe_hours(held: timedelta) -> str:
    """How long accelerators were held, in GPU-hours and without the unit: ``3.5``, two decimals at most."""
    return f"{held / timedelta(hours=1):.2f}".rstrip("0").rstrip(".")
