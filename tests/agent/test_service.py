"""Sessions are frozen never under something that runs, nor that is about to, and thawed by whatever uses them."""

import asyncio
import socket
from types import SimpleNamespace

import pytest
from bai_agent import service as service_module
from bai_agent.runtimes.base import RuntimeFault
from bai_agent.service import AgentService
from bai_agent.terminals import TerminalEnd

from bai_jupyter.common import stdio
from bai_jupyter.common.ids import KernelId
from bai_jupyter.common.messages import Call
from bai_jupyter.common.reasons import Reason

KERNEL, OTHER = KernelId("k"), KernelId("k-of-sub1")
WHY = Reason.of("idle-suspended", limit="20 min", level="user", name="alice")
pytestmark = pytest.mark.asyncio


class Frozen:
    """Stands in for the reconciler; ``meanwhile`` happens while the engine freezes."""

    def __init__(self):
        self.why, self.is_frozen, self.programs = None, False, set()

    async def meanwhile(self):
        pass

    def is_suspended(self, _):
        return self.is_frozen

    def open_ref_of(self, _):
        return "ref"

    def together(self, _):
        return [KERNEL, OTHER]

    def runs_program(self, kernel_id):
        return kernel_id in self.programs

    async def suspend(self, _, why):
        await self.meanwhile()
        self.is_frozen, self.why = True, why

    async def resume(self, _):
        self.is_frozen = False


class Jupyter:
    is_busy = False

    async def activity(self, _):
        return self.is_busy, None


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(service_module.time, "monotonic", lambda: clock.now)
    return clock


@pytest.fixture
def frozen(clock):
    return Frozen()


@pytest.fixture
def service(frozen):
    return AgentService(
        SimpleNamespace(),
        frozen,
        Jupyter(),
        SimpleNamespace(),
        SimpleNamespace(),
        SimpleNamespace(has_job=lambda _: False),
        SimpleNamespace(calls={}, streams={}),
    )


def suspend(service):
    return service.answer(Call("c", "suspend", {"kernel_id": KERNEL, "reason": WHY.to_json()}))


async def test_it_is_frozen_for_the_reason_given(service, frozen):
    await suspend(service)
    assert (frozen.is_frozen, frozen.why) == (True, WHY)


async def test_what_runs_is_not_frozen(service, frozen):
    service._jupyter.is_busy = True
    with pytest.raises(RuntimeFault, match="what runs is not suspended"):
        await suspend(service)
    assert not frozen.is_frozen


async def test_nor_is_it_while_a_program_runs_in_another_of_its_containers(service, frozen):
    frozen.programs = {OTHER}
    with pytest.raises(RuntimeFault, match="what runs is not suspended"):
        await suspend(service)
    assert not frozen.is_frozen


async def test_a_request_that_came_just_now_may_run_soon(service, frozen, clock):
    await service._wake(KERNEL)
    with pytest.raises(RuntimeFault, match="just now"):
        await suspend(service)
    assert not frozen.is_frozen
    clock.now += service_module._SETTLE_S
    await suspend(service)
    assert frozen.is_frozen


async def test_a_request_that_comes_while_it_is_frozen_thaws_it(service, frozen):
    frozen.meanwhile = lambda: service._wake(KERNEL)
    with pytest.raises(RuntimeFault, match="just now"):
        await suspend(service)
    assert not frozen.is_frozen


class Caller:
    """A WebSocket on which these frames come, and then nothing."""

    def __init__(self, *frames):
        self._frames = iter(frames)

    async def read_message(self):
        return next(self._frames, None)

    async def write_message(self, _, binary):
        pass


async def test_traffic_of_an_app_that_is_open_thaws_it(service, frozen):
    ours, app = socket.socketpair()
    ours.setblocking(False)

    async def connect(*_):
        return ours

    service._runtime.connect = connect
    with app:
        end = await service._end({"kernel_id": KERNEL, "endpoint": {"kind": "port", "port": 8080}})
        frozen.is_frozen = True
        await end.carry(Caller(b"GET"))
        end.close()
        assert (frozen.is_frozen, app.recv(3)) == (False, b"GET")


async def test_what_is_typed_in_an_open_terminal_thaws_it_and_a_larger_window_does_not(service, frozen):
    taken = []

    async def take(kind, _):
        taken.append((kind, frozen.is_frozen))

    terminal = SimpleNamespace(look=asyncio.Queue, take=take, look_away=lambda _: None)
    frozen.is_frozen = True
    frames = [stdio.pack_size(24, 80), stdio.pack(stdio.Kind.INPUT, b"ls")]
    await TerminalEnd(terminal, lambda: service._wake(KERNEL)).carry(Caller(*frames))
    assert taken == [(stdio.Kind.RESIZE, True), (stdio.Kind.INPUT, False)]
