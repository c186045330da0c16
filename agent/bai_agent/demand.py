"""How many containers to start ahead of which kind, from what was asked for lately. Pure."""

from collections import Counter
from collections.abc import Hashable, Iterable
from typing import TypeVar

K = TypeVar("K", bound=Hashable)

WINDOW_S = 1800.0  # what was asked for longer ago says nothing of the next
BURST_S = 30.0  # what comes within such a time comes at once: there is no time to start another meanwhile
_LEAST_AVAILABLE = 0.05  # of the host's memory; below that nothing is kept ahead


def wanted(asked: Iterable[tuple[float, K]], now: float, limit: int) -> dict[K, int]:
    """How many of each kind shall stand ready; ``asked`` are moments (seconds, ascending) at which one was needed.

    Of each kind as many as were ever needed at once, but ``limit`` of all kinds together. If those do not fit, kinds
    get one each in turn, the one that was needed last first.
    """
    recent = [(at, kind) for at, kind in asked if now - WINDOW_S < at <= now]
    needed = {kind: _most_at_once([at for at, one in recent if one == kind]) for _, kind in reversed(recent)}
    given: Counter[K] = Counter()
    while given.total() < limit and given != Counter(needed):
        for kind, most in needed.items():
            if given[kind] < most and given.total() < limit:
                given[kind] += 1
    return dict(given)


def is_short_of_memory(meminfo: str) -> bool:
    """``meminfo`` is the text of ``/proc/meminfo``."""
    figures = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in meminfo.splitlines())}
    return figures["MemAvailable"] < _LEAST_AVAILABLE * figures["MemTotal"]


def _most_at_once(moments: list[float]) -> int:
    return max(sum(first <= at < first + BURST_S for at in moments) for first in moments)
