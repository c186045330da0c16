"""The guarantees of the queue."""

import asyncio

import pytest

from bai_jupyter.manager.sessions.workqueue import WorkQueue


@pytest.mark.asyncio
async def test_keys_come_once_and_in_order():
    queue = WorkQueue()
    for key in "abab":
        queue.add(key)
    assert [await queue.take(), await queue.take()] == ["a", "b"]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await queue.take()


@pytest.mark.asyncio
async def test_a_held_key_comes_back_after_it_is_done_and_not_before():
    queue = WorkQueue()
    queue.add("a")
    assert await queue.take() == "a"
    queue.add("a")
    queue.add("b")
    assert await queue.take() == "b"
    queue.done("a")
    assert await queue.take() == "a"


@pytest.mark.asyncio
async def test_retry_comes_back_and_success_forgets_failures():
    queue = WorkQueue(first_pause_s=0.001)
    queue.add("a")
    for failures in (1, 2, 3):
        await queue.take()
        queue.retry("a")
        assert queue.failures("a") == failures
    await queue.take()
    queue.done("a")
    assert queue.failures("a") == 0


@pytest.mark.asyncio
async def test_an_earlier_appointment_is_kept():
    queue = WorkQueue()
    queue.add_after("a", 0.001)
    queue.add_after("a", 3600)
    async with asyncio.timeout(10):
        assert await queue.take() == "a"


@pytest.mark.asyncio
async def test_close_forgets_appointments():
    queue = WorkQueue()
    queue.add_after("a", 0.001)
    queue.close()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await queue.take()
