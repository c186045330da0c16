"""Processes started by the supervisor in a container: the same as by the engine, and never trusted more."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from bai_agent import folders
from bai_agent.runtimes.base import UNKNOWN_EXIT, Process

pytestmark = [pytest.mark.asyncio, pytest.mark.docker]

DEADLINE_S = 30


@pytest.fixture
def python_want(docker_bench: Any, python_image: str) -> Any:
    def want(**changes: Any) -> Any:
        return docker_bench.want(image=python_image, **changes)

    return want


async def start(bench: Any, want: Any, ref: str, script: str) -> tuple[Process, Path]:
    log = bench.folder(want.kernel_id) / "run" / f"log-{os.urandom(4).hex()}"
    argv = ["/bin/sh", "-c", script]
    return await bench.runtime.exec(ref, argv, env={"SHAPE": "round"}, cwd="/tmp", log_path=log), log  # noqa: S108


def is_supervised(process: Process) -> bool:
    return process.exec_ref.startswith("supervised:")


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


async def test_a_process_is_as_the_engine_would_have_made_it(docker_bench: Any, python_want: Any) -> None:
    want, ref = await docker_bench.launch(python_want(environ={"COLOUR": "red"}))
    script = 'echo "$COLOUR $SHAPE"; pwd; id -u; cat /proc/self/status; exit 7'
    process, log = await start(docker_bench, want, ref, script)
    assert is_supervised(process)
    assert await docker_bench.runtime.wait(process) == 7
    assert await docker_bench.runtime.exit_code(process) == 7
    words, folder, uid, *status = log.read_text().splitlines()
    assert (words, folder, uid) == ("red round", "/tmp", "1000")  # noqa: S108
    facts = dict(line.split(":\t", 1) for line in status if ":\t" in line)
    assert facts["CapEff"] == facts["CapBnd"] == "0" * 16
    assert (facts["NoNewPrivs"], facts["Seccomp"]) == ("1", "2")
    assert facts["SigIgn"] == facts["SigBlk"] == "0" * 16


async def test_how_each_ended_is_known_also_to_the_next_agent(docker_bench: Any, python_want: Any) -> None:
    want, ref = await docker_bench.launch(python_want())
    processes = [
        process
        for process, _ in await asyncio.gather(*(start(docker_bench, want, ref, f"exit {n}") for n in range(12)))
    ]
    running, _ = await start(docker_bench, want, ref, "sleep 100")
    assert all(map(is_supervised, processes))
    assert [await docker_bench.runtime.wait(one) for one in processes] == list(range(12))
    other = docker_bench.remake()
    try:
        assert await other.exit_code(processes[5]) == 5
        assert await other.exit_code(running) is None
        await other.signal(running, signal.SIGINT)
        assert await other.wait(running) == 128 + signal.SIGINT
    finally:
        await other.close()


async def test_without_its_supervisor_a_container_goes_on(docker_bench: Any, python_want: Any) -> None:
    want, ref = await docker_bench.launch(python_want())
    before, _ = await start(docker_bench, want, ref, "sleep 100")
    assert is_supervised(before)
    os.kill(parent_of(before.host_pid), signal.SIGKILL)
    absent = docker_bench.folder(want.kernel_id) / "run" / "unsupervised"
    async with asyncio.timeout(DEADLINE_S):
        while not absent.exists():
            await asyncio.sleep(0.01)
    assert await docker_bench.runtime.exit_code(before) is None
    after, log = await start(docker_bench, want, ref, "echo done")
    assert not is_supervised(after)
    assert await docker_bench.runtime.wait(after) == 0
    assert log.read_text() == "done\n"
    await docker_bench.runtime.signal(before, signal.SIGKILL)
    assert await docker_bench.runtime.wait(before) == UNKNOWN_EXIT


@pytest.mark.parametrize("disguise", ["listener", "link"])
async def test_a_socket_of_somebody_else_is_not_spoken_to(
    docker_bench: Any, python_want: Any, open_tmp: Path, disguise: str
) -> None:
    want, ref = await docker_bench.launch(python_want())
    assert is_supervised((await start(docker_bench, want, ref, "true"))[0])
    run = docker_bench.folder(want.kernel_id) / "run"
    with folders.bind_private(run if disguise == "listener" else open_tmp, "supervisor.sock") as stranger:
        stranger.listen()
        stranger.setblocking(False)
        if disguise == "link":
            (run / "supervisor.sock").unlink()
            (run / "supervisor.sock").symlink_to(open_tmp / "supervisor.sock")
        process, _ = await start(docker_bench, want, ref, "true")
        assert not is_supervised(process)
        if disguise == "link":
            with pytest.raises(BlockingIOError):
                stranger.accept()


async def test_an_image_without_python_is_not_waited_for(docker_bench: Any) -> None:
    want, ref = await docker_bench.launch()
    process, _ = await start(docker_bench, want, ref, "exit 3")
    assert not is_supervised(process)
    assert (docker_bench.folder(want.kernel_id) / "run" / "unsupervised").exists()
    assert await docker_bench.runtime.wait(process) == 3
