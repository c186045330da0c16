"""Carries the runs of a session out, one after the other, and lets clients wait for them.

What becomes of a run is decided in ``runs``; here is the waiting. A client that asks gets what there is, and loses
nothing by asking late, twice, or not at all: output that nobody takes waits, and when there is much of it the relay's
tape waits too, so memory stays bounded.
"""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from bai_jupyter.common.errors import BadRequest, NotFound, PublicError
from bai_jupyter.common.reasons import Reason
from bai_jupyter.manager.execution.runs import KILLED, Ends, Event, Result, Run, RunStatus

log = logging.getLogger(__name__)

ABANDONED_S = 600.0
"""After this long without a question, output of a run that is full is dropped, so that others can go on."""

KEPT_RUNS = 32
"""Of one session: so many ended runs still answer."""


class LiveRun:
    """A run and those who wait for it."""

    def __init__(self, run_id: str) -> None:
        self.run = Run(run_id)
        self._failure: PublicError | None = None
        self._changed = asyncio.Event()
        self._taken = asyncio.Event()
        self._is_abandoned = False

    @property
    def is_over(self) -> bool:
        return self.run.is_over or self._failure is not None

    async def hear(self, event: Event) -> None:
        """Returns when there is room for the next."""
        self.run.hear(event)
        self._changed.set()
        while self.run.is_full:
            await self._make_room()

    def end(self, exit_code: int) -> None:
        self.run.hear(Ends(RunStatus.FINISHED, exit_code))
        self._changed.set()

    def fail(self, error: PublicError) -> None:
        """It could not be carried out; whoever asks is told."""
        self._failure = error
        self._changed.set()

    async def poll(self, window_s: float) -> Result:
        """What there is; waits so long for more. A poll that is cancelled has taken nothing.

        Raises ``PublicError`` if the run could not be carried out.
        """
        self._is_abandoned = False
        with suppress(TimeoutError):
            async with asyncio.timeout(window_s):
                while not self.run.is_ready and self._failure is None:
                    await self.changed()
        if self._failure is not None:
            raise self._failure
        self._taken.set()
        return self.run.take()

    async def changed(self) -> None:
        """The next time that anything happens to it."""
        self._changed.clear()
        await self._changed.wait()

    async def over(self) -> None:
        while not self.is_over:
            await self.changed()

    async def _make_room(self) -> None:
        self._taken.clear()
        try:
            async with asyncio.timeout(0 if self._is_abandoned else ABANDONED_S):
                await self._taken.wait()
        except TimeoutError:
            self._is_abandoned = True
            self.run.drop_output()


class Work(Protocol):
    """What a run does."""

    async def carry_out(self, run: LiveRun) -> None:
        """Returns when the run is over. Raises ``PublicError`` if it could not be carried out."""
        ...

    async def answer(self, text: str) -> None:
        """The line that the run asked for."""
        ...

    async def interrupt(self) -> None: ...


class Executor:
    """The runs of one session.

    Guarantees: they are carried out in the order they came, one at a time; a run id is carried out once, however often
    it is sent; the last ``KEPT_RUNS`` that ended still answer.
    """

    def __init__(self, on_run: Callable[[], None] = lambda: None) -> None:
        """``on_run``: called for each run that is new."""
        self._on_run = on_run
        self._runs: OrderedDict[str, LiveRun] = OrderedDict()
        self._waiting: deque[tuple[LiveRun, Work]] = deque()
        self._now: tuple[LiveRun, Work] | None = None
        self._task: asyncio.Task[None] | None = None

    def submit(self, run_id: str, work: Work) -> LiveRun:
        """Carry it out when its turn comes. An id that is known already is that run."""
        known = self._runs.get(run_id)
        if known is not None:
            return known
        live = self._runs[run_id] = LiveRun(run_id)
        self._on_run()
        self._forget_old()
        self._waiting.append((live, work))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._carry_out_all())
        return live

    def find(self, run_id: str) -> LiveRun:
        """Raises ``NotFound``."""
        try:
            return self._runs[run_id]
        except KeyError:
            raise NotFound(Reason.of("not-found", kind="run", name=run_id), title="No such run.") from None

    async def answer(self, run_id: str, text: str) -> LiveRun:
        """Give a run the line that it asked for. Raises ``BadRequest`` if it did not ask."""
        live = self.find(run_id)
        if self._now is None or self._now[0] is not live or not live.run.asks:
            raise BadRequest(f"Run {run_id} does not ask for input now.")
        live.run.answered()
        await self._now[1].answer(text)
        return live

    async def interrupt(self) -> None:
        """Interrupt what is being carried out, if anything is."""
        if self._now is not None:
            await self._now[1].interrupt()

    async def close(self) -> None:
        """The session is gone; who still waits for a run is told."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for live in self._runs.values():
            live.end(KILLED)

    async def _carry_out_all(self) -> None:
        while self._waiting:
            self._now = live, work = self._waiting.popleft()
            try:
                await work.carry_out(live)
            except PublicError as error:
                live.fail(error)
            except Exception:
                log.exception("run %s failed", live.run.run_id)
                live.fail(PublicError("The manager failed to carry out the run; its log says why."))
            finally:
                self._now = None

    def _forget_old(self) -> None:
        ended = [run_id for run_id, live in self._runs.items() if live.is_over]
        for run_id in ended[: max(0, len(self._runs) - KEPT_RUNS)]:
            del self._runs[run_id]
