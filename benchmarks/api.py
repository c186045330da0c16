"""What ``GET /session/{id}`` costs beside a bare tornado handler with the same answer, in the same run.

    python benchmarks/api.py [--rounds 3] [--seconds 1]

Both servers are processes of their own, asked in turn over kept connections with the same signed request. ``CPU`` is
what the server's process used for each answer: on a machine that does other things it says more than answers per
second.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import tornado.httpserver
import tornado.web

from bai_jupyter.client import API_VERSION, ClientConfig, ManagerClient, SessionRequest
from bai_jupyter.common import signing

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "end_to_end"))
from cluster import Cluster
from loopback import free_port

CONCURRENCIES = (1, 16)


@dataclass
class Server:
    """Who answers: its port, its process, and what was measured of it, by concurrency."""

    name: str
    port: int
    pid: int
    per_s: dict[int, list[float]] = field(default_factory=dict)
    cpu_s: dict[int, list[float]] = field(default_factory=dict)

    def cpu(self) -> float:
        """Seconds of CPU so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def serve_bare(port: int, body: str) -> None:
    """The floor: one handler that knows its answer."""

    class Bare(tornado.web.RequestHandler):
        def get(self) -> None:
            self.set_header("Content-Type", "application/json")
            self.finish(body)

    async def serve() -> None:
        tornado.httpserver.HTTPServer(tornado.web.Application([(r"/.*", Bare)])).listen(port, "127.0.0.1")
        await asyncio.Event().wait()

    asyncio.run(serve())


def signed_request(config: ClientConfig, target: str) -> bytes:
    """The bytes of one GET; they hold for as long as their date does."""
    host = urlsplit(config.endpoint).netloc
    date = datetime.now(UTC).isoformat()
    parts = signing.SignedParts("GET", target, date, host, "text/plain", "x-backendai-version", API_VERSION)
    headers = {
        "Host": host,
        "Date": date,
        "Content-Type": "text/plain",
        "X-BackendAI-Version": API_VERSION,
        "Authorization": signing.format_authorization(config.access_key, signing.sign(config.secret_key, parts)),
    }
    lines = [f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def ask_until(deadline: float, port: int, request: bytes) -> int:
    """How many answers one connection got. Raises ``RuntimeError`` on another status than 200."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers = 0
    while time.perf_counter() < deadline:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"port {port} answered {head.splitlines()[0].decode()}")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))
        answers += 1
    writer.close()
    return answers


async def load(server: Server, request: bytes, concurrency: int, seconds: float) -> None:
    cpu, begin = server.cpu(), time.perf_counter()
    answers = sum(await asyncio.gather(*(ask_until(begin + seconds, server.port, request) for _ in range(concurrency))))
    server.per_s.setdefault(concurrency, []).append(answers / (time.perf_counter() - begin))
    server.cpu_s.setdefault(concurrency, []).append((server.cpu() - cpu) / answers)


async def with_session(cluster: Cluster, work: Callable[[str, str], Awaitable[None]]) -> None:
    """``work(target, answer)`` while a session runs."""
    async with ManagerClient(cluster.config) as client:
        image = (await client.list_images())[0]["name"]
        created = await client.create_session(SessionRequest(name="bench", image=image))
        view = await client.wait_for(created["sessionId"])
        await work(f"/session/{view['id']}", json.dumps(view, separators=(",", ":")))
    await cluster.end_sessions()


async def measure(cluster: Cluster, options: argparse.Namespace, target: str, answer: str) -> None:
    port = free_port()
    bare = multiprocessing.get_context("spawn").Process(target=serve_bare, args=(port, answer))
    bare.start()
    try:
        assert bare.pid is not None
        servers = [Server("bare", port, bare.pid), Server("manager", cluster.port, cluster.pid("manager"))]
        await cluster.until(lambda: listens(port))
        for _ in range(options.rounds):
            for concurrency in CONCURRENCIES:
                for server in servers:
                    await load(server, signed_request(cluster.config, target), concurrency, options.seconds)
    finally:
        bare.terminate()
        bare.join()
    show(*servers)


async def listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def show(bare: Server, manager: Server) -> None:
    print(
        f"{'concurrency':12}{'bare/s':>10}{'manager/s':>11}{'ratio':>8}{'bare CPU':>12}{'manager CPU':>13}{'ratio':>8}"
    )
    for concurrency in CONCURRENCIES:
        a, b = (statistics.median(server.per_s[concurrency]) for server in (bare, manager))
        c, d = (statistics.median(server.cpu_s[concurrency]) * 1e6 for server in (bare, manager))
        print(f"{concurrency:<12}{a:10,.0f}{b:11,.0f}{b / a:8.2f}{c:9,.0f} us{d:10,.0f} us{c / d:8.2f}")


async def main(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="bai-bench-", ignore_cleanup_errors=True) as name:
        await measure_below(Path(name), options)


async def measure_below(folder: Path, options: argparse.Namespace) -> None:
    folder.chmod(0o755)
    cluster = Cluster(folder, free_port(), "process")
    os.environ.update(cluster.environ)
    try:
        cluster.start("manager")
        cluster.start("agent")
        await cluster.ready()
        await with_session(cluster, lambda target, answer: measure(cluster, options, target, answer))
    finally:
        cluster.stop()
        cluster.clean_up()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    asyncio.run(main(parser.parse_args()))
