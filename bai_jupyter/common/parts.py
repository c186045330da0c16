"""How an amount of a fractional slot (``cuda.shares``) is cut from devices: one rule for the scheduler and for agents.

A session's program sees each part as a device of its own, so what fits one device comes from one device. More than
that is whole devices and one rest. If the scheduler only added up what is free, it would promise 0.6 of a GPU where
0.3 are left on each of two.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Generic, TypeVar

STRATEGY, EVENLY = "allocation_strategy", "evenly"
"""The attribute of a device that says how its agent chooses among several (``evenly``, else the fullest)."""

N = TypeVar("N", int, Decimal)
"""Amounts, all of one kind: the scheduler counts in whole quanta."""


def cut(
    amount: N,
    sizes: Sequence[N],
    free: Sequence[N],
    *,
    evenly: bool = False,
    far: Sequence[bool] = (),
    whole_first: Sequence[int] = (),
) -> dict[int, N] | None:
    """``{index of device: part}``, or None if it does not fit. ``sizes`` are of empty devices, ``free`` what is left.

    The fullest device that has the room, or ``evenly`` the emptiest; those that are ``far`` last, the first of equals.
    ``whole_first`` is the order in which whole devices are taken; by default as they stand.
    """

    def rank(index: int) -> tuple[bool, N, int]:
        return (bool(far) and far[index], -free[index] if evenly else free[index], index)

    fitting = [index for index, room in enumerate(free) if room >= amount]
    if fitting:
        return {min(fitting, key=rank): amount}
    if any(size >= amount for size in sizes):
        return None  # an empty device would do, so it must not be spread over what is left of several
    parts: dict[int, N] = {}
    for index in whole_first or range(len(sizes)):
        if free[index] == sizes[index] and amount >= sizes[index] > 0:
            parts[index] = sizes[index]
            amount -= sizes[index]
    if amount == 0:
        return parts
    fitting = [index for index, room in enumerate(free) if index not in parts and room >= amount]
    return {**parts, min(fitting, key=rank): amount} if fitting else None


K = TypeVar("K")
"""How a slot is called: by its name, or by its place in a list."""


@dataclass
class Shelf(Generic[N]):
    """The devices that offer one slot; ``names`` tells which are the same under another slot."""

    names: Sequence[str]
    sizes: Sequence[N]
    free: list[N]
    evenly: bool = False


class Shelves(Generic[K, N]):
    """The devices of one agent. One that several slots offer (whole, and in parts) is in use under one at a time."""

    def __init__(self, shelves: Mapping[K, Shelf[N]]) -> None:
        self._shelves: Mapping[K, Shelf[N]] = shelves

    def cut(self, needs: Iterable[tuple[K, N]]) -> dict[K, dict[int, N]] | None:
        """``{slot: {index of device: part}}`` of the slots that are known here, or None if it does not fit."""
        found: dict[K, dict[int, N]] = {}
        gone: set[str] = set()
        for slot, amount in needs:
            shelf = self._shelves.get(slot)
            if shelf is None or not amount:
                continue
            parts = cut(amount, shelf.sizes, _without(shelf, gone) if gone else shelf.free, evenly=shelf.evenly)
            if parts is None:
                return None
            found[slot] = parts
            gone |= {shelf.names[index] for index in parts}
        return found

    def take(self, needs: Iterable[tuple[K, N]], times: int = 1) -> bool:
        """The same ``times`` over, one after the other; False as soon as it does not fit any more."""
        wanted = list(needs)
        for _ in range(times):
            found = self.cut(wanted)
            if found is None:
                return False
            for slot, parts in found.items():
                shelf = self._shelves[slot]
                for index, part in parts.items():
                    shelf.free[index] -= part
                    self._close(shelf.names[index], slot)
        return True

    def copy(self) -> "Shelves[K, N]":
        """The same devices as they are now, to try something on."""
        return Shelves({slot: replace(shelf, free=list(shelf.free)) for slot, shelf in self._shelves.items()})

    def _close(self, name: str, slot: K) -> None:
        for other, shelf in self._shelves.items():
            if other != slot and name in shelf.names:
                at = shelf.names.index(name)
                shelf.free[at] -= shelf.free[at]


def _without(shelf: Shelf[N], gone: set[str]) -> list[N]:
    return [room - room if name in gone else room for name, room in zip(shelf.names, shelf.free, strict=True)]
