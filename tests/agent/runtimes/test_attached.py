"""Processes whose input and output are ours, and connections to ports inside: the contract on both runtimes."""

import asyncio
import os
import re
import signal
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from bai_agent.runtimes import cgroups, engine_processes
from bai_agent.runtimes.base import ERROR, OUTPUT, RuntimeFault

pytestmark = pytest.mark.asyncio

PATIENCE_S = 20


@asynccontextmanager
async def attached(bench: Any, script: str, terminal: tuple[int, int] | None = None, **env: str) -> Any:
    _, ref = await bench.launch()
    one = await bench.runtime.attach(ref, ["/bin/sh", "-c", script], env=env, cwd="/home/work", terminal=terminal)
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield one
    finally:
        await bench.runtime.signal(one.process, signal.SIGKILL)
        one.close()
        await bench.runtime.wait(one.process)


async def everything(one: Any) -> dict[int, bytes]:
    heard = {OUTPUT: b"", ERROR: b""}
    async with aclosing(one.output()) as pieces:
        async for where, piece in pieces:
            heard[where] += piece
    return heard


async def test_both_outputs_and_the_exit_code(bench: Any) -> None:
    async with attached(bench, 'echo "$COLOUR"; pwd; echo bad >&2; exit 7', COLOUR="red") as one:
        heard = await everything(one)
        assert heard[OUTPUT].decode().splitlines()[0] == "red"
        assert heard[OUTPUT].decode().splitlines()[1].endswith(("/home/work", "/scratch"))
        assert heard[ERROR] == b"bad\n"
        assert await bench.runtime.wait(one.process) == 7


async def test_output_that_comes_at_once_is_not_lost(bench: Any) -> None:
    _, ref = await bench.launch()
    for n in range(10):
        one = await bench.runtime.attach(ref, ["/bin/echo", str(n)], env={}, cwd="/home/work", terminal=None)
        assert await everything(one) == {OUTPUT: f"{n}\n".encode(), ERROR: b""}
        await bench.runtime.wait(one.process)
        one.close()


async def test_input_goes_in_whole_and_its_end_is_told(bench: Any) -> None:
    sent = os.urandom(1_000_000)
    async with attached(bench, "cat") as one:
        hearing = asyncio.create_task(everything(one))
        for start in range(0, len(sent), 64 * 1024):
            await one.write(sent[start : start + 64 * 1024])
        one.end_input()
        assert (await hearing)[OUTPUT] == sent
        assert await bench.runtime.wait(one.process) == 0


async def test_a_writer_waits_for_a_reader_that_does_not_read(bench: Any) -> None:
    async with attached(bench, "sleep 100") as one:

        async def pour() -> None:
            for _ in range(1000):
                await one.write(bytes(64 * 1024))

        pouring = asyncio.create_task(pour())
        await asyncio.wait({pouring}, timeout=1)
        assert not pouring.done()
        pouring.cancel()


async def test_a_terminal_has_its_size_and_takes_control_characters(bench: Any) -> None:
    script = "test -t 0 && test -t 1 && echo terminal; cat; echo not reached"
    async with attached(bench, script, terminal=(30, 100)) as one, aclosing(one.output()) as pieces:
        await until(pieces, rb"terminal\r\n")
        await one.write(b"typed\n")
        await until(pieces, rb"typed\r\ntyped\r\n")
        await one.write(b"\x03")
        assert await bench.runtime.wait(one.process) == 128 + signal.SIGINT


async def test_a_terminal_can_be_resized(process_bench: Any) -> None:
    script = "stty size; read line; stty size"
    async with attached(process_bench, script, terminal=(30, 100)) as one, aclosing(one.output()) as pieces:
        await until(pieces, rb"30 100\r\n")
        await one.resize(50, 200)
        await one.write(b"\n")
        await until(pieces, rb"50 200\r\n")


async def test_a_program_that_is_not_there(bench: Any) -> None:
    _, ref = await bench.launch()
    one = await bench.runtime.attach(ref, ["/no/such"], env={}, cwd="/home/work", terminal=None)
    await everything(one)
    assert await bench.runtime.wait(one.process) == 127
    one.close()


@pytest.mark.skipif(cgroups.memory_limit(os.getpid()) is None, reason="no process waits for memory on this host")
async def test_what_does_not_begin_for_want_of_memory_is_told(docker_bench: Any, monkeypatch: Any) -> None:
    want, ref = await docker_bench.launch()
    runtime = docker_bench.runtime
    limit = await runtime.memory_limit(ref)
    await runtime.limit_memory(ref, replace(limit, kills=False))
    log = docker_bench.folder(want.kernel_id) / "run" / "log"
    grows = ["/bin/sh", "-c", "x=x; while :; do x=$x$x; done"]
    await runtime.exec(ref, grows, env={}, cwd="/home/work", log_path=log)
    async with asyncio.timeout(PATIENCE_S):
        while not (await runtime.memory_limit(ref)).is_reached:
            await asyncio.sleep(0.05)
    monkeypatch.setattr(engine_processes, "_START_PATIENCE_S", 1.0)

    async def refusal() -> str:
        """Empty if it has begun."""
        try:
            one = await runtime.attach(ref, ["true"], env={}, cwd="/home/work", terminal=None)
        except RuntimeFault as fault:
            return str(fault)
        await runtime.wait(one.process)
        one.close()
        return ""

    async with asyncio.timeout(PATIENCE_S):
        while not (told := await refusal()):  # what is cached of files in there gives way at first
            pass
    assert "has not begun within 1 s" in told
    await runtime.limit_memory(ref, limit)  # it is killed, and there is room again
    one = await runtime.attach(ref, ["true"], env={}, cwd="/home/work", terminal=None)
    assert await runtime.wait(one.process) == 0
    one.close()


async def test_a_port_on_the_loopback_address_inside_is_reached(bench: Any, free_port: int) -> None:
    isolated = f"/bin/busybox httpd -f -p 127.0.0.1:{free_port}"
    shared = f"exec /usr/bin/python3 -m http.server --bind 127.0.0.1 {free_port}"
    async with attached(bench, isolated if bench.runtime.isolated else shared):
        sock = await connected(bench, free_port)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(sock, b"GET /nothing HTTP/1.0\r\n\r\n")
        assert (await loop.sock_recv(sock, 100)).startswith(b"HTTP/1.")
        sock.close()


async def test_a_port_is_told_while_a_program_listens_there(bench: Any, free_port: int) -> None:
    isolated = f"exec /bin/busybox httpd -f -p {free_port}"
    shared = f"exec /usr/bin/python3 -m http.server {free_port}"
    _, idle = await bench.launch()
    async with attached(bench, isolated if bench.runtime.isolated else shared) as one:
        ref = one.process.container_ref
        while await bench.runtime.open_ports(ref) != [free_port]:
            await asyncio.sleep(0.02)
        assert await bench.runtime.open_ports(idle) == []
        await bench.runtime.signal(one.process, signal.SIGKILL)
        while await bench.runtime.open_ports(ref):
            await asyncio.sleep(0.02)
    assert await bench.runtime.open_ports("gone") == []


async def test_a_port_nobody_listens_at(bench: Any, free_port: int) -> None:
    _, ref = await bench.launch()
    with pytest.raises(
        RuntimeFault, match=rf"Nothing answers at port {free_port} in the session \(connection refused\)"
    ):
        await bench.runtime.connect(ref, free_port)


@pytest.mark.docker
async def test_without_root_the_containers_address_is_dialled(docker_bench: Any, monkeypatch: Any) -> None:
    as_root = cgroups.namespace

    def refuse(pid: int | None, ref: str, kind: str) -> Any:
        if kind == "net":
            raise PermissionError
        return as_root(pid, ref, kind)

    monkeypatch.setattr(cgroups, "namespace", refuse)
    async with attached(docker_bench, "/bin/busybox httpd -f -p 8000"):
        (await connected(docker_bench, 8000)).close()


@pytest.mark.docker
async def test_a_port_of_the_host_is_not_a_port_inside(docker_bench: Any) -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    _, ref = await docker_bench.launch()
    with pytest.raises(RuntimeFault, match="Nothing answers"):
        await docker_bench.runtime.connect(ref, server.sockets[0].getsockname()[1])
    server.close()
    await server.wait_closed()


async def until(pieces: Any, pattern: bytes) -> bytes:
    heard = b""
    async for _, piece in pieces:
        heard += piece
        if re.search(pattern, heard):
            return heard
    raise AssertionError(f"{pattern!r} is not in {heard!r}")


async def connected(bench: Any, port: int) -> Any:
    """Once it listens."""
    (found,) = await bench.runtime.list_ours()
    while True:
        try:
            return await bench.runtime.connect(found.ref, port)
        except RuntimeFault:
            await asyncio.sleep(0.02)
