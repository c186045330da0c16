"""When a suspended session is thawed, and when it is not."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from bai_agent.book import Book
from bai_agent.freezing import Freezing
from bai_agent.runtimes.base import ContainerState
from bai_agent.state import KernelState, StateFolder

from bai_jupyter.common.ids import KernelId, new_kernel_id, new_session_id
from bai_jupyter.common.messages import KernelReport, KernelWant
from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.common.statuses import KernelStatus, Target

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FROZEN = ContainerState(running=True, exit_code=None, oom=False, started_at=NOW, paused=True)


@dataclass
class Engine:
    """Which containers are frozen."""

    frozen: set[str] = field(default_factory=set)

    async def pause(self, ref: str) -> None:
        self.frozen.add(ref)

    async def unpause(self, ref: str) -> None:
        self.frozen.discard(ref)

    async def inspect(self, ref: str) -> ContainerState:
        return replace(FROZEN, paused=ref in self.frozen)


@dataclass
class World:
    book: Book
    engine: Engine
    freezing: Freezing

    def runs(self, host: str | None = None, **changes: Any) -> KernelId:
        want = KernelWant(
            kernel_id=new_kernel_id(),
            session_id=new_session_id(),
            session_name="s",
            target=Target.RUNNING,
            image="i",
            image_digest="",
            slots=ResourceSlots(),
            shm_bytes=0,
            environ={},
            mounts=[],
            cluster_host=host,
        )
        want = replace(want, **changes)
        report = KernelReport(
            want.kernel_id, want.session_id, KernelStatus.RUNNING, 1, runtime_ref=f"ref-{want.kernel_id}"
        )
        self.book.begin(KernelState(want, report))
        return want.kernel_id

    def want_anew(self, kernel_id: KernelId, **changes: Any) -> None:
        self.book.change(kernel_id, want=replace(self.book.states[kernel_id].want, **changes))

    async def thawed(self, kernel_id: KernelId) -> bool:
        return not (await self.freezing.thaw_if_wanted(kernel_id, FROZEN)).paused


@pytest.fixture
def world(tmp_path: Path) -> World:
    book = Book(StateFolder(tmp_path), lambda report: None)
    book.jupyter_reports = lambda kernel_id: []
    engine: Any = Engine()
    return World(book, engine, Freezing(engine, book))


@pytest.mark.asyncio
async def test_it_is_thawed_when_anything_else_is_wanted_than_when_it_was_frozen(world: World) -> None:
    one = world.runs()
    await world.freezing.suspend(one)
    assert not await world.thawed(one)
    world.want_anew(one, access_token="the next one")  # exchanged every few minutes, wanted by nobody
    assert not await world.thawed(one)
    assert world.engine.frozen == {f"ref-{one}"}
    world.want_anew(one, restarts=1)
    assert await world.thawed(one)
    assert world.engine.frozen == set()


@pytest.mark.asyncio
async def test_one_that_was_frozen_from_outside_stays_so_until_anything_is_wanted(world: World) -> None:
    one = world.runs()
    world.engine.frozen = {f"ref-{one}"}
    assert not await world.thawed(one)
    world.want_anew(one, environ={"A": "1"})
    assert await world.thawed(one)


@pytest.mark.asyncio
async def test_one_that_is_frozen_while_others_of_its_session_run_on_is_thawed(world: World) -> None:
    session = {"session_id": new_session_id()}
    main, sub, alone = world.runs("main1", **session), world.runs("sub1", **session), world.runs()
    await world.freezing.suspend(main)
    assert world.engine.frozen == {f"ref-{main}", f"ref-{sub}"}
    assert not await world.thawed(main)
    await world.engine.unpause(f"ref-{sub}")  # an agent was killed on the way
    assert await world.thawed(main)
    assert world.engine.frozen == set()
    assert not world.freezing.is_suspended(alone)


@pytest.mark.asyncio
async def test_one_is_left_frozen_while_others_are_about_to_be(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    session = {"session_id": new_session_id()}
    main, _ = world.runs("main1", **session), world.runs("sub1", **session)
    thawed, pause = [], world.engine.pause

    async def pause_and_look(ref: str) -> None:
        await pause(ref)
        thawed.append(await world.thawed(main))

    monkeypatch.setattr(world.engine, "pause", pause_and_look)
    await world.freezing.suspend(main)
    assert thawed == [False, False]


@pytest.mark.asyncio
async def test_none_is_left_frozen_if_one_of_them_ends_meanwhile(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    session = {"session_id": new_session_id()}
    main, sub, _ = (world.runs(host, **session) for host in ("main1", "sub1", "sub2"))
    pause = world.engine.pause

    async def pause_and_end(ref: str) -> None:
        await pause(ref)
        world.book.tell(sub, status=KernelStatus.TERMINATING)

    monkeypatch.setattr(world.engine, "pause", pause_and_end)
    with pytest.raises(KeyError):
        await world.freezing.suspend(main)
    assert world.engine.frozen == set()
    assert not world.freezing.is_suspended(main)


@pytest.mark.asyncio
async def test_what_is_to_end_is_thawed(world: World) -> None:
    """A signal reaches nobody who is frozen."""
    one = world.runs()
    await world.freezing.suspend(one)
    assert not (await world.freezing.thaw_if_wanted(one, FROZEN, is_condemned=True)).paused
    assert world.engine.frozen == set()
