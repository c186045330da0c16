"""Apps behind Jupyter's login: ours, in a session, beside jupyter-server-proxy's, on the server's own machine.

    pip install jupyter-server-proxy
    python benchmarks/jupyter_apps.py [--size 500] [--rounds 3]

One Jupyter server with both. The app is the same, and is also asked itself. An upload goes in pieces of 1 MiB; *burst*:
the time from 20 messages sent at once over a WebSocket to the last of their echoes; *grown*: how much more memory the
Jupyter server holds at most after the large answer and the upload than before, or why there was none.
"""

import argparse
import asyncio
import importlib.util
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from traffic import (
    MIB,
    a_session,
    cluster_of,
    connect,
    echo,
    fetch,
    free_port,
    listens,
    ms,
    process,
    rate,
    row,
    serve_app,
    until,
)

from bai_jupyter.client import ManagerClient

TOKEN = "benchmark"
AUTHORIZATION = {"Authorization": f"token {TOKEN}"}
BURST = 20


@asynccontextmanager
async def jupyter(
    folder: Path, environ: dict[str, str], program: str = "jupyter_server", *options: str
) -> AsyncIterator[tuple[int, int]]:
    """A Jupyter server: its port and its process."""
    port = free_port()
    fixed = [f"--ServerApp.port={port}", f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={folder}"]
    fixed += ["--ServerApp.allow_root=True", "--ServerApp.open_browser=False"]
    with (folder / "jupyter.log").open("wb") as log:
        server = await asyncio.create_subprocess_exec(
            sys.executable, "-m", program, *fixed, *options, env=environ, stdout=log, stderr=log
        )
    try:
        await until(lambda: listens(port))
        yield port, server.pid
    finally:
        server.terminate()
        await server.wait()


async def address_of_app(port: int, session: str, app: int) -> str:
    """The address that an app of a session has in a browser, with its ticket."""
    url = f"http://127.0.0.1:{port}/bai/apps/{session}/{app}/small"
    request = HTTPRequest(url, headers=AUTHORIZATION, follow_redirects=False)
    try:
        await AsyncHTTPClient().fetch(request)
    except HTTPClientError as error:
        if error.response is not None and error.code == 302:
            return urlsplit(error.response.headers["Location"]).path.removesuffix("/small")
        raise
    raise RuntimeError(f"{url} gave no ticket")


def asked(method: str, port: int, target: str, length: int = 0) -> bytes:
    headers = {**AUTHORIZATION, "Host": f"127.0.0.1:{port}", "Content-Length": length}
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


async def send(port: int, target: str, size: int) -> str:
    """Upload so many bytes: the first line of the answer, or what happened instead."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(asked("POST", port, target, size))
    piece = bytes(MIB)
    try:
        for _ in range(size // MIB):
            writer.write(piece)
            await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
    except (ConnectionError, asyncio.IncompleteReadError):
        return "the connection ended"
    finally:
        writer.close()
    return head.splitlines()[0].decode().partition(" ")[2]


async def burst(port: int, target: str, rounds: int) -> float:
    """The median of how long it takes until all of a burst is back, in ms."""
    socket = await connect(port, target, AUTHORIZATION)
    took = []
    for _ in range(rounds):
        begin = time.perf_counter()
        for _ in range(BURST):
            await socket.write_message(bytes(100), binary=True)
        for _ in range(BURST):
            assert await socket.read_message() is not None
        took.append(time.perf_counter() - begin)
    socket.close()
    return 1000 * statistics.median(took)


def memory_of(pid: int, line: str) -> float:
    """MiB; ``VmHWM`` is the most there ever was since ``forget_most``."""
    found = next(one for one in Path(f"/proc/{pid}/status").read_text().splitlines() if one.startswith(line))
    return int(found.split()[1]) / 1024


def forget_most(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


async def speed(size: int, transfer: Awaitable[str]) -> str:
    """MiB/s, or what was answered instead."""
    begin = time.perf_counter()
    said = await transfer
    return f"{size / MIB / (time.perf_counter() - begin):,.0f}" if said.startswith("200") else said


async def measure(name: str, port: int, base: str, pid: int | None, options: argparse.Namespace) -> None:
    size = options.size * MIB
    per_s, p50, _ = await rate(port, asked("GET", port, f"{base}/small"), 1, options.seconds)
    _, echo_ms = await echo(port, f"{base}/echo", AUTHORIZATION, options.seconds)
    burst_ms = await burst(port, f"{base}/echo", 51)
    before = 0.0
    if pid is not None:
        forget_most(pid)
        before = memory_of(pid, "VmRSS:")
    down = await speed(size, fetch(port, asked("GET", port, f"{base}/large?size={size}")))
    up = await speed(size, send(port, f"{base}/taken", size))
    grown = "" if pid is None else f"{memory_of(pid, 'VmHWM:') - before:,.0f}"
    row(name, f"{per_s:,.0f}", ms(p50), ms(echo_ms), ms(burst_ms), down, up, grown)


async def main(options: argparse.Namespace) -> None:
    extensions = {"bai_jupyter.extension": True, "jupyter_server_proxy": True}
    async with (
        process(serve_app) as app,
        cluster_of("process") as cluster,
        ManagerClient(cluster.config) as client,
        jupyter(cluster.folder, cluster.environ, "jupyter_server", f"--ServerApp.jpserver_extensions={extensions}") as (
            port,
            pid,
        ),
    ):
        view: dict[str, Any] = await a_session(client, preopen_ports=[app])
        ours = await address_of_app(port, view["id"], app)
        ways = [("direct", app, "", None), ("Backend.AI", port, ours, pid)]
        ways.append(("jupyter-server-proxy", port, f"/proxy/{app}", pid))
        row("", "small/s", "p50", "echo", "burst", "down MiB/s", "up MiB/s", "grown MiB")
        for _ in range(options.rounds):
            for way in ways:
                await measure(*way, options)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--size", type=int, default=500, help="MiB of the large answer and of the upload")
    if importlib.util.find_spec("jupyter_server_proxy") is None:
        parser.error("jupyter-server-proxy is not installed here: pip install jupyter-server-proxy")
    asyncio.run(main(parser.parse_args()))
