"""No test leaves anything running or mounted: processes, threads, asyncio tasks, containers, mounts.

Processes are known by a variable in their environment, so one that has left the process tree is found too. A process
below a server that a module- or session-scoped fixture started belongs to that fixture; what such fixtures leave is
checked at the end of the run. Containers are known by the label ``bai.test=<run>``.
"""

import asyncio
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

RUN_VARIABLE = "BAI_TEST_RUN"
LABEL = "bai.test"
PATIENCE_S = 20

KNOWN_THREADS = (
    "asyncio_",  # a loop's default executor: ends with its loop, or idles
    "ThreadPoolExecutor-",  # tornado's and others' process-wide executors
    "ZMQ",  # pyzmq's own
    "IPythonHistorySavingThread",  # in-process IPython keeps one for good
    "bai-kernels",  # the background loop of all remote kernels of a process (bai_jupyter.provisioner.loop)
)


def pytest_configure() -> None:
    """Each worker of ``-n 2`` is a run of its own: what another one starts is not its to look for."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker:
        os.environ[RUN_VARIABLE] = f"{_run_id()}-{worker}"


@pytest.fixture(scope="session")
def test_run() -> dict[str, str]:
    """Labels for every Docker object that a test makes. Only objects of this run are checked and removed."""
    return {LABEL: _run_id()}


@pytest.fixture(scope="session", autouse=True)
def _no_process_outlives_the_run() -> Iterator[None]:
    os.environ[RUN_VARIABLE] = _run_id()
    _EARLIER.update(_processes())  # whoever started the tests, and named the run
    yield
    try:
        _wait_until_none("the test run", lambda: [_describe(pid) for pid in _processes()])
    finally:
        for pid in _processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture(autouse=True)
def _no_leaks(request: pytest.FixtureRequest, _no_process_outlives_the_run: None) -> Iterator[None]:
    runner = _asyncio_runner(request)
    docker = request.getfixturevalue("docker_client") if "docker_client" in request.fixturenames else None
    processes, threads, containers = _processes(), set(threading.enumerate()), _containers(docker)
    ground = str(request.getfixturevalue("tmp_path_factory").getbasetemp().resolve())
    mounts = _mounts(ground)
    yield

    def left() -> list[str]:
        return [
            *_left_tasks(runner),
            *_left_processes(processes),
            *_left_threads(threads),
            *(f"container {name}" for name in sorted(_containers(docker) - containers)),
            *(f"mount on {place}" for place in sorted(_mounts(ground) - mounts)),
        ]

    _wait_until_none("this test", left)


def _run_id() -> str:
    return os.environ.get(RUN_VARIABLE) or _FRESH_ID


_FRESH_ID = uuid.uuid4().hex[:12]
_EARLIER: set[int] = set()


def _wait_until_none(who: str, left: Callable[[], list[str]]) -> None:
    """What is ending gets a moment to end; what stays is named."""
    deadline = time.monotonic() + PATIENCE_S
    while (found := left()) and time.monotonic() < deadline:
        time.sleep(0.02)
    if found:
        pytest.fail(f"left behind by {who}:\n  " + "\n  ".join(found), pytrace=False)


# Processes


def _processes() -> set[int]:
    """Processes of this run, without pytest itself and without zombies."""
    mark = f"{RUN_VARIABLE}={_run_id()}".encode()
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found.add(int(folder.name))
        except OSError:  # ended meanwhile, or another user's
            continue
    return found - {os.getpid()} - _EARLIER


def _left_processes(before: set[int]) -> list[str]:
    return [_describe(pid) for pid in sorted(_processes() - before) if not _ancestors(pid) & before]


def _ancestors(pid: int) -> set[int]:
    found: set[int] = set()
    while (pid := _parent(pid)) > 1 and pid not in found:
        found.add(pid)
    return found


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _describe(pid: int) -> str:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        command = "(just ended)"
    return f"process {pid}: {command[:200]}"


# Threads, tasks, containers, mounts


def _left_threads(before: set[threading.Thread]) -> list[str]:
    new = set(threading.enumerate()) - before
    return sorted(f"thread {thread.name}" for thread in new if not thread.name.startswith(KNOWN_THREADS))


def _asyncio_runner(request: pytest.FixtureRequest) -> asyncio.Runner | None:
    """The loop of a ``pytest.mark.asyncio`` test. Asked for first, so that it is still open when the test is over."""
    marker = request.node.get_closest_marker("asyncio")
    if marker is None or marker.kwargs.get("loop_scope", "function") != "function":
        return None
    runner: asyncio.Runner = request.getfixturevalue("_function_scoped_runner")
    return runner


def _left_tasks(runner: asyncio.Runner | None) -> list[str]:
    if runner is None:
        return []
    loop = runner.get_loop()
    loop.run_until_complete(asyncio.sleep(0))  # lets tasks that were just cancelled end
    return [f"task {task.get_name()}: {task.get_coro()}" for task in asyncio.all_tasks(loop)]


def _mounts(ground: str) -> set[str]:
    """What is mounted on this host in the folder of all tests, or is a part of that folder seen elsewhere.

    A mount in a container is in no table but the container's, and goes with it.
    """
    lines = Path("/proc/self/mountinfo").read_bytes().decode(errors="surrogateescape").splitlines()
    places = [line.split(" ")[3:5] for line in lines]
    return {place for root, place in places if root.startswith(f"{ground}/") or place.startswith(f"{ground}/")}


def _containers(docker: Any) -> set[str]:
    if docker is None:
        return set()
    found = docker.containers.list(all=True, filters={"label": f"{LABEL}={_run_id()}"})
    return {f"{container.name} ({container.short_id})" for container in found}
