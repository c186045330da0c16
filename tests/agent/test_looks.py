"""Looks at kernels: one at a time for each, once more for whoever asked meanwhile, and again after failures."""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
import pytest_asyncio
from bai_agent.looks import Looks, pause_s
from bai_agent.runtimes.base import RuntimeFault

from bai_jupyter.common.ids import KernelId
from bai_jupyter.common.reasons import Reason

ONE, TWO = KernelId("one"), KernelId("two")


@dataclass
class Looked:
    """A look waits until the test lets it end, and fails as often as the test wants."""

    begun: asyncio.Queue[KernelId] = field(default_factory=asyncio.Queue)
    going_on: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    errors: list[Exception] = field(default_factory=list)
    told: list[tuple[KernelId, Exception]] = field(default_factory=list)

    async def look(self, kernel_id: KernelId) -> None:
        self.begun.put_nowait(kernel_id)
        await self.going_on.acquire()
        if self.errors:
            raise self.errors.pop(0)

    def failed(self, kernel_id: KernelId, error: Exception) -> None:
        self.told.append((kernel_id, error))

    async def next(self) -> KernelId:
        async with asyncio.timeout(10):
            return await self.begun.get()


@pytest_asyncio.fixture
async def looked() -> Looked:
    return Looked()


@pytest_asyncio.fixture
async def looks(looked: Looked) -> AsyncIterator[Looks]:
    made = Looks(looked.look, looked.failed)
    yield made
    await made.stop()


async def quiet(looks: Looks) -> None:
    async with asyncio.timeout(10):
        while tasks := list(looks._tasks.values()):
            await asyncio.wait(tasks)


@pytest.mark.asyncio
async def test_who_asks_during_a_look_gets_one_more_after_it(looks: Looks, looked: Looked) -> None:
    looks.now(ONE)
    looks.now(ONE)
    assert await looked.next() == ONE
    for _ in range(3):
        looks.now(ONE)
    assert looked.begun.empty()  # one at a time
    looked.going_on.release()
    assert await looked.next() == ONE
    looked.going_on.release()
    await quiet(looks)
    assert looked.begun.empty()
    looks.now(ONE)
    assert await looked.next() == ONE


@pytest.mark.asyncio
async def test_kernels_do_not_wait_for_one_another(looks: Looks, looked: Looked) -> None:
    looks.now(ONE)
    looks.now(TWO)
    assert {await looked.next(), await looked.next()} == {ONE, TWO}


@pytest.mark.asyncio
async def test_a_failure_is_told_and_looked_at_again_sooner_when_asked(
    looks: Looks, looked: Looked, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("bai_agent.looks._PAUSES_S", (3600.0, 3600.0))
    caplog.set_level(logging.DEBUG, "bai_agent.looks")
    looked.errors = [RuntimeFault(Reason.of("engine-down", agent="a", cause="c")), ValueError("what")]
    first, second = looked.errors
    for error in (first, second):
        looks.now(ONE)
        await looked.next()
        looked.going_on.release()
        async with asyncio.timeout(10):
            while not looked.told or looked.told[-1] != (ONE, error):
                await asyncio.sleep(0)
    looks.now(ONE)
    await looked.next()
    looked.going_on.release()
    await quiet(looks)
    assert looked.told == [(ONE, first), (ONE, second)]
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]


@pytest.mark.asyncio
async def test_after_a_pause_it_looks_again_by_itself(
    looks: Looks, looked: Looked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bai_agent.looks._PAUSES_S", (0.0, 0.0))
    looked.errors = [ValueError("what")] * 3
    looks.now(ONE)
    for _ in range(4):
        assert await looked.next() == ONE
        looked.going_on.release()
    await quiet(looks)


def test_pauses_grow_up_to_half_a_minute() -> None:
    assert [pause_s(failures) for failures in (1, 2, 3, 8, 9, 5000)] == [0.2, 0.4, 0.8, 25.6, 30.0, 30.0]
