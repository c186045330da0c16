"""An answer as it arrives."""

import asyncio

import pytest

from bai_jupyter.client.answers import Answer


@pytest.mark.asyncio
async def test_a_cancellation_is_not_lost_when_a_piece_comes_at_the_same_time() -> None:
    answer = Answer()

    async def read_for_ever() -> None:
        while await answer.next_piece(60):
            pass

    reading = asyncio.create_task(read_for_ever())
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # now it waits for a piece
    await answer.data_received(b"one")
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(10):
            await reading
    assert reading.cancelled()
