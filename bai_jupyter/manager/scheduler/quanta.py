"""Slots as tuples of whole numbers, so that a pass adds and compares integers only.

Needs are rounded up and room is rounded down to a millionth of a unit (bytes stay bytes), so rounding can never
over-commit. The tuple's order puts accelerators before ``cpu`` and ``mem``: sorting tuples sorts by what is scarce.
"""

from collections.abc import Iterable
from decimal import Decimal
from operator import le

from bai_jupyter.common.slots import ResourceSlots

Amounts = tuple[int, ...]

_PLENTIFUL = ("cpu", "mem")
_PER_UNIT = {"mem": 1}
_DEFAULT_PER_UNIT = 1_000_000


def fits(need: Amounts, room: Amounts) -> bool:
    """True if no amount of ``need`` is larger than ``room``'s."""
    return all(map(le, need, room))


def plus(left: Amounts, right: Amounts) -> Amounts:
    return tuple([a + b for a, b in zip(left, right, strict=True)])


def times(amounts: Amounts, count: int) -> Amounts:
    return amounts if count == 1 else tuple([count * amount for amount in amounts])


def minus(left: Amounts, right: Amounts) -> Amounts:
    return tuple([a - b for a, b in zip(left, right, strict=True)])


def lacking(need: Amounts, room: Amounts) -> Amounts:
    """How much of each amount is missing; all 0 if it fits."""
    return tuple([max(0, a - b) for a, b in zip(need, room, strict=True)])


class _RoundedUp(dict[Decimal, int]):
    """``{amount: whole quanta}``, filled as amounts are met: most are met many times."""

    def __init__(self, per_unit: int) -> None:
        super().__init__()
        self._per_unit = per_unit

    def __missing__(self, amount: Decimal) -> int:
        exact = amount * self._per_unit
        whole = int(exact)
        self[amount] = whole + (whole < exact)
        return self[amount]


class Quanta:
    """Turns the slots of one snapshot into tuples, and back.

    ``names`` are the slots that the group's agents have; the first ``scarce`` of them are accelerators.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(sorted(set(names), key=lambda name: (name in _PLENTIFUL, name)))
        self.scarce = sum(name not in _PLENTIFUL for name in self.names)
        self._per_unit = [_PER_UNIT.get(name, _DEFAULT_PER_UNIT) for name in self.names]
        self._slots = {
            name: (index, _RoundedUp(per_unit))
            for index, (name, per_unit) in enumerate(zip(self.names, self._per_unit, strict=True))
        }
        self._needs: dict[int, Amounts | None] = {}  # by id() of slots that the snapshot keeps alive

    def need(self, slots: ResourceSlots) -> Amounts | None:
        """What a session asks for, rounded up, or None if it names a slot that no agent has."""
        key = id(slots)
        if key not in self._needs:
            try:
                self._needs[key] = self._convert(slots.items())
            except KeyError:
                self._needs[key] = None
        return self._needs[key]

    def used(self, slots: ResourceSlots) -> Amounts:
        """Rounded up; slots that no agent has are left out."""
        return self._convert((name, amount) for name, amount in slots.items() if name in self._slots)

    def _convert(self, items: Iterable[tuple[str, Decimal]]) -> Amounts:
        amounts = [0] * len(self.names)
        for name, amount in items:
            index, rounded = self._slots[name]
            amounts[index] = rounded[amount]
        return tuple(amounts)

    def total(self, slots: ResourceSlots) -> Amounts:
        """Rounded down; every slot is one of ``names``."""
        return tuple([int(slots[name] * per_unit) for name, per_unit in zip(self.names, self._per_unit, strict=True)])

    def down(self, index: int, amount: Decimal) -> int:
        """One amount of the slot at ``index``, rounded down."""
        return int(amount * self._per_unit[index])

    def limits(self, limit: ResourceSlots, used: ResourceSlots) -> dict[int, int]:
        """What is left under a limit, by index; below 0 if more is used. Slots without a limit are not in it."""
        return {
            index: int((limit[name] - used[name]) * self._per_unit[index])
            for index, name in enumerate(self.names)
            if name in limit
        }

    def amount(self, index: int, value: int) -> Decimal:
        """The amount in the slot's own unit."""
        return Decimal(value) / self._per_unit[index]
