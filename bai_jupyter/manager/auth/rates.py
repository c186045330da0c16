"""How often somebody may ask: a rolling window, in memory. A restarted manager starts to count anew."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from bai_jupyter.common.errors import RateLimited
from bai_jupyter.common.reasons import Reason

WINDOW_S = 900
_BUCKETS = 90
_WIDTH_S = WINDOW_S / _BUCKETS
_MAX_KEYS = 10_000


@dataclass(frozen=True)
class Rate:
    """What a caller is told: requests allowed in the window (None: any number), and how many are left."""

    limit: int | None
    remaining: int | None


class Rates:
    """Counts events by key over the last ``WINDOW_S`` seconds, in steps of ten: a step leaves the window as a whole.

    Refused events do not count, so who waits gets in again. The keys longest unused are forgotten first.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counts: OrderedDict[str, dict[int, int]] = OrderedDict()

    def count(self, key: str, limit: int | None, code: str = "rate-limited") -> Rate:
        """Count one. Raises ``RateLimited`` for the reason ``code`` if it would pass the limit."""
        if limit is None:
            return Rate(None, None)
        used = self.used(key)
        if used >= limit:
            raise RateLimited(Reason.of(code, used=used, limit=limit, seconds=self._wait_s(key)))
        counts = self._counts.setdefault(key, {})
        self._counts.move_to_end(key)
        step = self._step()
        counts[step] = counts.get(step, 0) + 1
        if len(self._counts) > _MAX_KEYS:
            self._counts.popitem(last=False)
        return Rate(limit, limit - used - 1)

    def used(self, key: str) -> int:
        """How many were counted in the window."""
        counts = self._counts.get(key, {})
        for step in [step for step in counts if step <= self._step() - _BUCKETS]:
            del counts[step]
        return sum(counts.values())

    def _wait_s(self, key: str) -> int:
        first = min(self._counts.get(key, {self._step(): 0}))
        return max(1, round((first + _BUCKETS) * _WIDTH_S - self._clock()))

    def _step(self) -> int:
        return int(self._clock() // _WIDTH_S)
