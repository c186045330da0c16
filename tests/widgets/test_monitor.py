"""The monitor against a manager that tells what the test puts in."""

import threading
from types import SimpleNamespace

import pytest
from fakes_extension import ACCESS_KEY, SECRET_KEY, StubManager, session_view

from bai_jupyter.client import ClientConfig
from bai_jupyter.widgets import ResourceMonitor
from bai_jupyter.widgets.monitor import NO_SESSION

GIB = 1024**3
USED = {"cpu_used_s": 1.0, "mem_used_bytes": 2.0 * GIB, "mem_limit_bytes": 8.0 * GIB}
ENDED = session_view("demo", "TERMINATED", "user-requested", params={"who": "you", "time": "14:32"})


@pytest.fixture
def stub():
    with StubManager(sessions=[session_view("demo", liveStat=USED)]) as stub:
        yield stub


@pytest.fixture
def config(stub):
    return ClientConfig(stub.endpoint, ACCESS_KEY, SECRET_KEY)


def bars(monitor):
    return {
        bar.description: (bar.value, label.value) for bar, label in (row.children for row in monitor._bars.children)
    }


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "bai-widget"]


@pytest.mark.asyncio
async def test_figures_follow_the_session(stub, config, shown, until):
    monitor = shown(ResourceMonitor("demo", config=config))
    await until(lambda: set(bars(monitor)) == {"CPU", "Memory"})
    assert bars(monitor)["Memory"] == (0.25, "2 GiB of 8 GiB")
    assert monitor._line.text == "demo: Running. Running on lab-3."
    memory = monitor._bars.children[1].children[0]
    stub.sessions = [session_view("demo", liveStat={**USED, "mem_used_bytes": 6.0 * GIB, "cuda_util_pct": 42.0})]
    await until(lambda: bars(monitor).get("GPU") == (0.42, "42 %"))
    assert memory.value == 0.75  # the same bar, filled further
    stub.sessions = [ENDED]
    await until(lambda: monitor._line.text.startswith("demo: Ended.") and not bars(monitor))


@pytest.mark.asyncio
async def test_it_asks_no_more_once_the_session_has_ended(stub, config, shown, until):
    stub.sessions = [ENDED]
    monitor = shown(ResourceMonitor("demo", config=config))
    await until(lambda: monitor._line.text.startswith("demo: Ended."))
    await until(lambda: not monitor._work._tasks)
    assert len(stub.calls) == 1


@pytest.mark.asyncio
async def test_closing_ends_its_task_and_its_thread(config, until):
    monitor = ResourceMonitor("demo", config=config)
    await until(lambda: bars(monitor))
    assert len(threads()) == 1
    monitor.close()
    await until(lambda: not threads())
    assert not monitor._work._tasks
    assert monitor._work._loop.is_closed()
    monitor.close()  # and again: nothing to do


@pytest.mark.asyncio
async def test_it_goes_on_while_a_cell_computes(config, shown):
    monitor = shown(ResourceMonitor("demo", config=config))
    seen = threading.Event()
    monitor._bars.observe(lambda _: seen.set(), "children")
    assert seen.wait(20), "nothing came while the kernel's loop stood still"


@pytest.mark.asyncio
async def test_while_the_manager_is_away_it_says_so_and_goes_on(stub, config, shown, until):
    monitor = shown(ResourceMonitor("demo", config=config))
    await until(lambda: bars(monitor))
    stub.is_away = True
    await until(lambda: "does not answer" in monitor._line.text and not bars(monitor))
    stub.is_away = False
    await until(lambda: bars(monitor))


@pytest.mark.asyncio
async def test_a_session_that_is_not_there_is_its_sentence(config, shown, until):
    monitor = shown(ResourceMonitor("other", config=config))
    await until(lambda: monitor._line.text.startswith("There is no"))


@pytest.mark.asyncio
async def test_by_default_it_is_the_session_of_the_kernel(stub, shown, until, monkeypatch):
    for name, value in stub.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("BACKENDAI_SESSION_ID", stub.sessions[0]["id"])
    monitor = shown(ResourceMonitor())
    await until(lambda: bars(monitor))
    monkeypatch.delenv("BACKENDAI_SESSION_ID")
    assert shown(ResourceMonitor())._line.text == NO_SESSION


@pytest.mark.asyncio
async def test_no_secret_reaches_the_browser(config, shown, until):
    monitor = shown(ResourceMonitor("demo", config=config))
    await until(lambda: bars(monitor))
    assert SECRET_KEY not in repr(monitor)
    for part in (monitor, monitor._line, monitor._bars, *monitor._bars.children):
        assert SECRET_KEY not in str(part.get_state())


@pytest.mark.asyncio
async def test_a_cell_that_runs_again_closes_what_it_made(config, shown, monkeypatch, until):
    run = {"metadata": {"cellId": "c-1"}, "header": {"msg_id": "first"}}
    monkeypatch.setattr("bai_jupyter.widgets.panel.get_ipython", lambda: SimpleNamespace(parent_header=run))
    first, beside = (shown(ResourceMonitor("demo", config=config)) for _ in range(2))
    assert None not in (first.comm, beside.comm)
    run["header"] = {"msg_id": "second"}
    again = shown(ResourceMonitor("demo", config=config))
    assert (first.comm, beside.comm) == (None, None)
    assert again.comm is not None
    await until(lambda: len(threads()) == 1)
