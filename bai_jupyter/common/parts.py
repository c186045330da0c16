"""How an amount of a fractional slot (``cuda.shares``) is cut from devices: one rule for the scheduler and for agents.

A session's program sees each part as a device of its own, so what fits one device comes from one device. More than
that is whole devices and one rest. If the scheduler only added up what is free, it would promise 0.6 of a GPU where
0.3 are left on each of two.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import TypeVar

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
