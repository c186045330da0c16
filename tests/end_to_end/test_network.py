"""An agent whose network goes away while a cell prints: all seems connected, nothing comes through, then all is cut."""

import asyncio
from collections.abc import Iterator
from typing import Any

import loopback
import pytest
from end_to_end.kernels import WAIT_S, kernel_of
from end_to_end.wire import Wire

from bai_jupyter.client import ManagerClient

pytestmark = pytest.mark.asyncio


@pytest.fixture
def wire(free_port: int) -> Iterator[Wire]:
    wire = Wire(loopback.free_port(), free_port)
    yield wire
    wire.close()


@pytest.fixture
def agent_options(wire: Wire) -> dict[str, Any]:
    return {"manager_url": f"http://127.0.0.1:{wire.near}"}


@pytest.mark.parametrize("longer_s", [0, pytest.param(30, marks=pytest.mark.soak)])
async def test_what_a_cell_prints_while_its_agent_is_cut_off_comes_when_it_is_back(cluster, wire, longer_s):
    count = 6_000
    code = f"import time\nfor i in range({count}):\n    print(i, flush=True)\n    if i % 10 == 0: time.sleep(0.01)"
    async with kernel_of(cluster) as kernel, ManagerClient(cluster.config) as client:
        printing = asyncio.ensure_future(kernel.run(f"open('begun', 'w').close()\n{code}"))

        async def has_begun() -> bool:
            return (cluster.home / "begun").exists()

        async def is_unreachable() -> bool:
            (session,) = await client.list_sessions()
            return bool(session["unreachable"])

        async def is_back() -> bool:
            return not await is_unreachable()

        await cluster.until(has_begun)
        with wire.silent():
            await cluster.until(is_unreachable)
            await asyncio.sleep(longer_s)
        assert await asyncio.wait_for(printing, 2 * WAIT_S) == "".join(f"{i}\n" for i in range(count))
        assert await kernel.run("print(i)") == f"{count - 1}\n"
        await cluster.until(is_back)
