"""Kernels through the provisioner, with stock jupyter_client, in a cluster of real processes."""

import asyncio
import json
import os
import random
import signal
import sys
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from end_to_end.kernels import WAIT_S, Kernel, kernel_of
from end_to_end.runtimes import on_both_runtimes
from jupyter_client.manager import AsyncKernelManager

from bai_jupyter.client import ManagerClient, SessionRequest

pytestmark = pytest.mark.asyncio


@on_both_runtimes
async def test_cells_run_in_a_session_beside_the_notebooks_files(cluster):
    folder = cluster.home / "project"
    folder.mkdir()
    (folder / "data.csv").write_text("a,b\n1,2\n")
    owner = cluster.home.stat()
    os.chown(folder, owner.st_uid, owner.st_gid)
    async with kernel_of(cluster, cwd=str(folder)) as kernel:
        assert await kernel.run("print(open('data.csv').read())") == "a,b\n1,2\n\n"
        await kernel.run("open('made.txt', 'w').write('from the kernel')")
        assert (folder / "made.txt").read_text() == "from the kernel"
        assert (folder / "made.txt").stat().st_uid == owner.st_uid
        async with ManagerClient(cluster.config) as client:
            (session,) = await client.list_sessions()
        assert session["status"] == "RUNNING"
        assert session["agent"] == "local"
    async with ManagerClient(cluster.config) as client:

        async def nothing_left() -> bool:
            return not await client.list_sessions()

        await cluster.until(nothing_left)


@on_both_runtimes
async def test_cells_never_run_as_root(cluster):
    async with kernel_of(cluster) as kernel:
        assert int(await kernel.run("import os; print(os.getuid())")) != 0


@on_both_runtimes
async def test_interrupt_and_restart(cluster):
    async with kernel_of(cluster) as kernel:
        running = asyncio.ensure_future(kernel.run("x = 1\nprint('on', flush=True)\nwhile True: pass"))
        await asyncio.sleep(0.5)
        await kernel.manager.interrupt_kernel()
        assert "KeyboardInterrupt" in await asyncio.wait_for(running, WAIT_S)
        assert await kernel.run("print(x)") == "1\n"
        await kernel.run("open('/home/work/kept', 'w').write('yes')" if cluster.runtime == "docker" else "pass")
        async with ManagerClient(cluster.config) as client:
            (before,) = await client.list_sessions()
            await kernel.manager.restart_kernel()
            await kernel.client.wait_for_ready(timeout=WAIT_S)
            (after,) = await client.list_sessions()
        assert after["id"] == before["id"]
        assert "NameError" in await kernel.run("print(x)")
        if cluster.runtime == "docker":
            assert await kernel.run("print(open('/home/work/kept').read())") == "yes\n"


async def test_stdin_reaches_the_asking_client(cluster):
    async with kernel_of(cluster) as kernel:

        def answer(message: dict[str, Any]) -> None:
            assert message["content"]["prompt"] == "name? "
            kernel.client.input("Kim")

        out = await kernel.run("print('hello', input('name? '))", allow_stdin=True, stdin_hook=answer)
        assert out == "hello Kim\n"


@on_both_runtimes
async def test_a_subshell_answers_while_a_cell_runs(cluster):
    async with kernel_of(cluster) as kernel:
        client = kernel.client
        assert (
            "kernel subshells"
            in (await client.kernel_info(reply=True, timeout=WAIT_S))["content"]["supported_features"]
        )
        subshell = (await _ask(client, client.control_channel, "create_subshell_request", {}))["content"]["subshell_id"]
        waits = "import threading\ngo = threading.Event()\nwent = go.wait(60)"
        frees = "import time\nwhile 'go' not in globals(): time.sleep(0.01)\ngo.set()"
        asked = {
            _send(client, client.shell_channel, "execute_request", _cell(waits)),
            _send(client, client.shell_channel, "execute_request", _cell(frees), subshell_id=subshell),
        }
        while asked:
            reply = await client.get_shell_msg(timeout=WAIT_S)
            assert reply["content"]["status"] == "ok"
            asked.discard(reply["parent_header"]["msg_id"])
        assert await kernel.run("print(went)") == "True\n"


@on_both_runtimes
async def test_the_debugger_stops_at_a_breakpoint_and_goes_on(cluster):
    async with kernel_of(cluster) as kernel:
        client = kernel.client
        numbers = iter(range(1, 100))

        async def debug(command: str, **arguments: Any) -> dict[str, Any]:
            content = {"type": "request", "seq": next(numbers), "command": command, "arguments": arguments}
            reply = (await _ask(client, client.control_channel, "debug_request", content))["content"]
            assert reply["success"], reply
            return dict(reply.get("body") or {})

        code = "x = 1\nx = x + 41\nprint(x)"
        await debug("initialize", clientID="test", adapterID="", pathFormat="path", linesStartAt1=True)
        await debug("attach", cwd="")
        source = {"path": (await debug("dumpCell", code=code))["sourcePath"]}
        await debug("setBreakpoints", source=source, breakpoints=[{"line": 2}], sourceModified=False)
        await debug("configurationDone")
        running = asyncio.ensure_future(_ask(client, client.shell_channel, "execute_request", _cell(code)))
        stopped = await _event(client, "stopped")
        (frame, *_) = (await debug("stackTrace", threadId=stopped["threadId"]))["stackFrames"]
        assert frame["line"] == 2
        assert (await debug("evaluate", expression="x", frameId=frame["id"]))["result"] == "1"
        await debug("continue", threadId=stopped["threadId"])
        assert (await running)["content"]["status"] == "ok"
        await debug("disconnect", restart=False, terminateDebuggee=False)
        assert await kernel.run("print(x)") == "42\n"


def _cell(code: str) -> dict[str, Any]:
    return {"code": code, "silent": False, "store_history": False, "user_expressions": {}, "allow_stdin": False}


def _send(client: Any, channel: Any, kind: str, content: dict[str, Any], **header: Any) -> str:
    request = client.session.msg(kind, content)
    request["header"].update(header)
    channel.send(request)
    return str(request["header"]["msg_id"])


async def _ask(client: Any, channel: Any, kind: str, content: dict[str, Any]) -> dict[str, Any]:
    """The reply to a request."""
    msg_id = _send(client, channel, kind, content)
    while True:
        reply: dict[str, Any] = await channel.get_msg(timeout=WAIT_S)
        if reply["parent_header"].get("msg_id") == msg_id:
            return reply


async def _event(client: Any, name: str) -> dict[str, Any]:
    """What the debugger says of the next event of this name."""
    while True:
        message = await client.get_iopub_msg(timeout=WAIT_S)
        if message["msg_type"] == "debug_event" and message["content"]["event"] == name:
            return dict(message["content"]["body"])


async def test_a_kernel_that_ends_by_itself_says_so(cluster):
    async with kernel_of(cluster) as kernel:
        kernel.client.execute("import os; os._exit(7)")

        async def is_dead() -> bool:
            return not await kernel.manager.is_alive()

        await cluster.until(is_dead)
        assert await kernel.manager.provisioner.poll() == 7
        assert kernel.manager.provisioner.reason["code"] == "kernel-died"


@on_both_runtimes
@pytest.mark.parametrize("count", [12_000, pytest.param(30_000, marks=pytest.mark.soak)])
async def test_nothing_is_lost_when_manager_agent_and_relay_are_killed(cluster, count):
    """One cell prints numbered lines while each process on the way is killed in turn.

    In turn: agent and relay hold each other's descriptors, so the next is killed when the one before is back. Both
    processes of a relay are killed at once, so what is printed until another is there must fit ZMQ's queue.
    """
    code = f"import time\nfor i in range({count}):\n    print(i, flush=True)\n    if i % 10 == 0: time.sleep(0.01)"
    async with kernel_of(cluster) as kernel:
        printing = asyncio.ensure_future(kernel.run(code))
        for victim in ("manager", "agent", "relay", "manager", "relay", "agent"):
            await asyncio.sleep(0.4)
            if victim == "relay":
                for pid in cluster.relay_pids():
                    os.kill(pid, signal.SIGKILL)
            else:
                links = cluster.log("agent").count("linked to")
                cluster.kill(victim)
                cluster.start(victim)
                await cluster.until(partial(cluster.is_linked_after, links))
        out = await asyncio.wait_for(printing, 2 * WAIT_S)
        assert out == "".join(f"{i}\n" for i in range(count))
        assert await kernel.run("print(i)") == f"{count - 1}\n"


async def test_a_program_that_ignores_provisioners_gets_a_kernel_all_the_same(cluster, monkeypatch):
    """VS Code and others run a kernelspec's ``argv``; that is our launcher."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    (name,) = [name for name in await cluster.write_kernelspecs() if name.endswith("python3")]
    path = cluster.folder / "jupyter" / "kernels" / name / "kernel.json"
    spec = json.loads(path.read_text())
    del spec["metadata"]["kernel_provisioner"]
    path.write_text(json.dumps(spec))
    manager = AsyncKernelManager(kernel_name=name)
    await manager.start_kernel(cwd=str(cluster.home))
    client = manager.client()
    client.start_channels()
    await client.wait_for_ready(timeout=WAIT_S)
    kernel = Kernel(manager, client)
    assert await kernel.run("print(6 * 7)") == "42\n"
    running = asyncio.ensure_future(kernel.run("while True: pass"))
    await asyncio.sleep(0.5)
    await manager.interrupt_kernel()
    assert "KeyboardInterrupt" in await asyncio.wait_for(running, WAIT_S)
    client.stop_channels()
    await manager.shutdown_kernel()
    manager.context.destroy(linger=0)
    async with ManagerClient(cluster.config) as api:

        async def nothing_left() -> bool:
            return not await api.list_sessions()

        await cluster.until(nothing_left)


GPUS = [{"id": "gpu", "count": 8, "slots": {"cuda.device": 1}, "mem": "80g"}]


@pytest.mark.parametrize("cluster", [pytest.param({"mock_devices": GPUS}, id="8 mock GPUs")], indirect=True)
async def test_fifty_sessions_at_once_never_share_a_gpu(cluster):
    async with ManagerClient(cluster.config) as client:
        (image,) = [image["name"] for image in await client.list_images()]
        small = {"cpu": "0.01", "mem": "64m", "cuda.device": "1"}
        wanted = [SessionRequest(f"gpu-session-{n:02}", image, resources=small) for n in range(50)]
        await asyncio.gather(*map(client.create_session, wanted))
        ended = 0
        while ended < 50:
            await cluster.until(partial(_are_running, client, min(8, 50 - ended)))
            running = await client.list_sessions(["RUNNING"])
            held = cluster.devices_held("cuda.device")
            assert len(held) == len(set(held)) == len(running)
            waiting = await client.list_sessions(["PENDING"])
            assert all(session["reason"]["code"] == "no-room" for session in waiting)
            assert sorted(session["queue"]["position"] for session in waiting) == list(range(1, len(waiting) + 1))
            await asyncio.gather(*[client.destroy_session(session["id"]) for session in running])
            ended += len(running)


async def _are_running(client: ManagerClient, count: int) -> bool:
    return len(await client.list_sessions(["RUNNING"])) == count


async def test_rounds_of_kills_end_with_containers_equal_to_rows(cluster):
    """Sessions come and go while manager and agent are killed; in the end exactly the wanted ones run."""
    async with ManagerClient(cluster.config) as client:
        (image,) = [image["name"] for image in await client.list_images()]
        tiny = {"cpu": "0.01", "mem": "64m"}
        for round_number, victim in enumerate(("agent", "manager", "agent", "manager")):
            for n in range(4):
                await client.create_session(SessionRequest(f"round-{round_number}-{n}", image, resources=tiny))
            cluster.kill(victim)
            cluster.start(victim)

            async def answers() -> bool:
                return bool(await client.list_agents())

            await cluster.until(answers)
            await client.destroy_session(f"round-{round_number}-0")

        async def settled() -> bool:
            sessions = await client.list_sessions()
            return len(sessions) == 12 and all(session["status"] == "RUNNING" for session in sessions)

        await cluster.until(settled)

        async def containers_are_rows() -> bool:
            rows = {session["containerId"] for session in await client.list_sessions()}
            return cluster.kernels_alive() == rows

        await cluster.until(containers_are_rows)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@on_both_runtimes
async def test_random_kills_lose_no_kernel_and_leave_no_container(cluster, request):
    """Twelve rounds: sessions come and go, kernels count on, and whoever is drawn is killed."""
    in_containers = cluster.runtime == "docker"  # which need a whole core each: few fit
    amounts = {"cpu": "1", "mem": "128m"} if in_containers else {"cpu": "0.01", "mem": "64m"}
    seed = random.randrange(10**6)  # noqa: S311 - no secret
    print(f"seed {seed}")
    draw = random.Random(seed)  # noqa: S311 - no secret
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(ManagerClient(cluster.config))
        count = 1 if in_containers else 3
        kernels = [await stack.enter_async_context(kernel_of(cluster, bai_resources=amounts)) for _ in range(count)]
        image = next(image["name"] for image in await client.list_images())
        expected = {session["id"] for session in await client.list_sessions()}
        for kernel in kernels:
            await kernel.run("x = 0")
        for number in range(12):
            running = [
                asyncio.ensure_future(kernel.run("for i in range(1000): x += 1; print(i)")) for kernel in kernels
            ]
            made = await client.create_session(SessionRequest(f"round-{number}", image, resources=amounts))
            victim = draw.choice(("manager", "agent", "relay"))
            if victim == "relay":
                os.kill(draw.choice(cluster.relay_pids()), signal.SIGKILL)
            else:
                cluster.kill(victim)
                cluster.start(victim)
            await cluster.ready()
            if in_containers or draw.random() < 0.7:
                await client.destroy_session(made["sessionId"])
            else:
                expected.add(made["sessionId"])
            for printed in await asyncio.gather(*running):
                assert printed == "".join(f"{i}\n" for i in range(1000)), victim
        for kernel in kernels:
            assert await kernel.run("print(x)") == "12000\n"

        async def containers_are_rows() -> bool:
            sessions = await client.list_sessions()
            if in_containers:
                labels = [f"{name}={value}" for name, value in request.getfixturevalue("test_run").items()]
                engine = request.getfixturevalue("docker_client")
                containers = engine.containers.list(all=True, filters={"label": labels})
                found = {one.labels["bai.kernel-id"] for one in containers}
            else:
                found = cluster.kernels_alive()
            return (
                {session["id"] for session in sessions} == expected
                and all(session["status"] == "RUNNING" for session in sessions)
                and found == {session["containerId"] for session in sessions}
            )

        await cluster.until(containers_are_rows)
