"""A queue of keys for loops that reconcile: what to look at, not what to do. Nothing here knows what a key means."""

import asyncio
from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class WorkQueue(Generic[K]):
    """Keys waiting to be looked at. Used from one event loop.

    Guarantees:

    - a key is held by at most one worker at a time;
    - adding a key that waits already changes nothing; adding one that is held brings it back once it is done,
      so whoever changes something and then adds the key is sure that a look *after* the change will follow;
    - ``retry`` brings a key back after a pause that doubles up to ``max_pause_s``, until ``done(ok=True)`` resets it;
    - keys come out in the order in which they went in.
    """

    def __init__(self, *, first_pause_s: float = 0.1, max_pause_s: float = 30.0) -> None:
        self._first_pause_s, self._max_pause_s = first_pause_s, max_pause_s
        self._waiting: deque[K] = deque()
        self._known: set[K] = set()  # in _waiting
        self._held: set[K] = set()
        self._again: set[K] = set()  # added while held
        self._failures: dict[K, int] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._ready = asyncio.Event()

    def add(self, key: K) -> None:
        if key in self._held:
            self._again.add(key)
        elif key not in self._known:
            self._known.add(key)
            self._waiting.append(key)
            self._ready.set()

    def add_after(self, key: K, pause_s: float) -> None:
        """Add ``key`` later; an earlier appointment for the same key is kept."""
        loop = asyncio.get_running_loop()
        present = self._timers.get(key)
        if present is not None and present.when() <= loop.time() + pause_s:
            return
        if present is not None:
            present.cancel()
        self._timers[key] = loop.call_later(pause_s, self._on_time, key)

    async def take(self) -> K:
        """The next key; it is held until ``done`` or ``retry``."""
        while not self._waiting:
            self._ready.clear()
            await self._ready.wait()
        key = self._waiting.popleft()
        self._known.discard(key)
        self._held.add(key)
        return key

    def done(self, key: K) -> None:
        self._failures.pop(key, None)
        self._release(key)

    def retry(self, key: K) -> None:
        """Looking at ``key`` failed; look again after a pause."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self._release(key)
        self.add_after(key, min(self._first_pause_s * 2 ** min(failures, 32), self._max_pause_s))

    def failures(self, key: K) -> int:
        """How often in a row ``key`` was given back with ``retry``."""
        return self._failures.get(key, 0)

    def close(self) -> None:
        """Forget all appointments."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _release(self, key: K) -> None:
        self._held.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def _on_time(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)
