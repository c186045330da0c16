"""Widgets in the loop of a test, as in a kernel's; none of them, and no thread of theirs, is left."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
import pytest_asyncio
from real_manager import RealManager

from bai_jupyter.widgets import panel, work
from bai_jupyter.widgets.panel import Panel

PATIENCE_S = 20

Until = Callable[[Callable[[], Any]], Awaitable[None]]
Shown = Callable[[Panel], Panel]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealManager]:
    with RealManager(tmp_path_factory.mktemp("cluster")) as manager:
        yield manager


@pytest.fixture
def until() -> Until:
    """``await until(lambda: …)`` waits for what the widgets' tasks bring about."""

    async def wait(is_so: Callable[[], Any]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not is_so():
            assert time.monotonic() < deadline, "it did not come to this"
            await asyncio.sleep(0.01)

    return wait


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "PERIOD_S", 0.02)
    monkeypatch.setattr("bai_jupyter.widgets.launcher.REST_S", 0.0)


@pytest_asyncio.fixture
async def shown(until: Until) -> AsyncIterator[Shown]:
    """``shown(FolderPicker())`` closes it at the end."""
    made: list[Panel] = []

    def keep(one: Panel) -> Panel:
        made.append(one)
        return one

    yield keep
    for one in made:
        one.close()
    await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})


@pytest.fixture(autouse=True)
def _no_cells() -> Iterator[None]:
    yield
    panel._in_cells.clear()
