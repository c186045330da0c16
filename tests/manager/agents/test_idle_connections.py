"""Connections that can be used again."""

import asyncio
import socket

import pytest
from tornado.iostream import IOStream

from bai_jupyter.manager.agents import idle_connections
from bai_jupyter.manager.agents.idle_connections import KEPT, IdleConnections

pytestmark = pytest.mark.asyncio


@pytest.fixture
def pairs():
    made = []

    def make():
        ours, theirs = socket.socketpair()
        made.append((IOStream(ours), theirs))
        return made[-1]

    yield make
    for stream, theirs in made:
        stream.close()
        theirs.close()


async def test_each_is_given_out_once_and_by_its_key(pairs):
    idle = IdleConnections()
    stream, _ = pairs()
    idle.put("a", stream)
    assert idle.take("b") is None
    assert idle.take("a") is stream
    assert idle.take("a") is None


async def test_one_that_was_closed_over_there_is_forgotten(pairs):
    idle = IdleConnections()
    stream, theirs = pairs()
    idle.put("a", stream)
    theirs.close()
    async with asyncio.timeout(5):
        while not stream.closed():
            await asyncio.sleep(0)
    assert idle.take("a") is None
    idle.put("a", stream)
    assert idle.take("a") is None


async def test_so_many_are_kept_and_so_long(pairs, monkeypatch):
    idle = IdleConnections()
    streams = [pairs()[0] for _ in range(KEPT + 1)]
    for stream in streams:
        idle.put("a", stream)
    assert [stream.closed() for stream in streams] == [False] * KEPT + [True]
    idle.close()
    assert all(stream.closed() for stream in streams)
    assert idle.take("a") is None
    async with asyncio.timeout(5):
        while idle._idle:
            await asyncio.sleep(0)
    monkeypatch.setattr(idle_connections, "IDLE_S", 0)
    late, _ = pairs()
    idle.put("a", late)
    async with asyncio.timeout(5):
        while not late.closed():
            await asyncio.sleep(0)
    assert idle.take("a") is None
