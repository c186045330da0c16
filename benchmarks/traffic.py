"""What goes through the manager, each beside the plainest thing that does the same, in one run.

    python benchmarks/traffic.py [calls] [files] [apps] [starts] [memory] [--chp PATH] [--size 256]

``calls``: main calls, beside a bare tornado handler. ``files``: upload and download, beside ``dd``. ``apps``: an app
behind the manager, beside itself and behind configurable-http-proxy (``npm install configurable-http-proxy``; ``--chp``
names its program). ``starts``: from the request to RUNNING, and ``print(1+1)``, in a container. ``memory``: a manager
with none and with 1,000 sessions. Without a name: all.
"""

import argparse
import asyncio
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import tornado.httpserver
import tornado.web
import tornado.websocket
from tornado.httpclient import HTTPRequest

from bai_jupyter.client import API_VERSION, ClientConfig, ManagerClient, SessionRequest
from bai_jupyter.common import signing
from bai_jupyter.common.slots import ResourceSlots

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "end_to_end"))
sys.path.insert(0, str(Path(__file__).parent))
from api import listens, serve_bare
from cluster import JOIN_TOKEN, Cluster
from fakes_agent import IMAGE, FakeAgent
from loopback import free_port

MIB = 1024**2
CONCURRENCIES = (1, 16)
CONTAINER_IMAGE = "bai/python-minimal:3.11"


# What is asked


def headers_for(config: ClientConfig, method: str, target: str, content_type: str = "text/plain") -> dict[str, str]:
    """A signature, good for a quarter of an hour."""
    host, date = urlsplit(config.endpoint).netloc, time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
    parts = signing.SignedParts(method, target, date, host, content_type, "x-backendai-version", API_VERSION)
    return {
        "Host": host,
        "Date": date,
        "Content-Type": content_type,
        "X-BackendAI-Version": API_VERSION,
        "Authorization": signing.format_authorization(config.access_key, signing.sign(config.secret_key, parts)),
    }


def request_bytes(config: ClientConfig, method: str, target: str, body: Any = None) -> bytes:
    content = b"" if body is None else json.dumps(body).encode()
    headers = headers_for(config, method, target, "text/plain" if body is None else "application/json")
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, f"Content-Length: {len(content)}", "", ""]).encode() + content


async def ask_until(deadline: float, port: int, request: bytes, took: list[float]) -> None:
    """Over one connection. Raises ``RuntimeError`` on a refusal."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4 * MIB)
    while (begin := time.perf_counter()) < deadline:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 2"):
            raise RuntimeError(f"port {port} answered {head.splitlines()[0].decode()}")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))
        took.append(time.perf_counter() - begin)
    writer.close()


async def rate(port: int, request: bytes, concurrency: int, seconds: float) -> tuple[float, float, float]:
    """Answers per second, and the median and 99th percentile of how long one took, in ms."""
    took: list[float] = []
    begin = time.perf_counter()
    await asyncio.gather(*(ask_until(begin + seconds, port, request, took) for _ in range(concurrency)))
    per_s = len(took) / (time.perf_counter() - begin)
    took.sort()
    return per_s, 1000 * statistics.median(took), 1000 * took[int(0.99 * (len(took) - 1))]


# Clusters and servers


@asynccontextmanager
async def cluster_of(runtime: str | None, **options: Any) -> AsyncIterator[Cluster]:
    """With one agent; with ``None`` a manager alone."""
    with tempfile.TemporaryDirectory(prefix="bai-bench-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        cluster = Cluster(Path(name), free_port(), runtime or "process", **options)
        try:
            cluster.start("manager")
            if runtime is None:
                await until(lambda: there(cluster.credentials))
            else:
                cluster.start("agent")
                await cluster.ready()
            yield cluster
            if runtime is not None:
                await cluster.end_sessions()
        finally:
            cluster.stop()
            cluster.clean_up()


@asynccontextmanager
async def process(target: Callable[..., None], *arguments: Any) -> AsyncIterator[int]:
    """A server of its own process: its port."""
    port = free_port()
    made = multiprocessing.get_context("spawn").Process(target=target, args=(port, *arguments))
    made.start()
    try:
        await until(lambda: listens(port))
        yield port
    finally:
        made.terminate()
        made.join()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(120):
        while not await condition():
            await asyncio.sleep(0.05)


async def there(path: Path) -> bool:
    return await asyncio.to_thread(path.exists)


def serve_app(port: int) -> None:
    """The app: a small answer, a large one, what takes a large body, and an echo."""

    class Small(tornado.web.RequestHandler):
        def get(self) -> None:
            self.finish("ok")

    class Large(tornado.web.RequestHandler):
        async def get(self) -> None:
            size, piece = int(self.get_query_argument("size")), bytes(MIB)
            self.set_header("Content-Length", size)
            for _ in range(size // MIB):
                self.write(piece)
                await self.flush()

    @tornado.web.stream_request_body
    class Taken(tornado.web.RequestHandler):
        taken = 0

        def prepare(self) -> None:
            self.request.connection.set_max_body_size(64 * 1024 * MIB)  # type: ignore[union-attr]

        def data_received(self, chunk: bytes) -> None:
            self.taken += len(chunk)

        def post(self) -> None:
            self.finish(str(self.taken))

    class Echo(tornado.websocket.WebSocketHandler):
        def open(self, *_: str, **__: str) -> None:
            self.set_nodelay(True)

        async def on_message(self, message: str | bytes) -> None:
            await self.write_message(message, binary=isinstance(message, bytes))

    async def serve() -> None:
        routes = [(r"/small", Small), (r"/large", Large), (r"/taken", Taken), (r"/echo", Echo)]
        tornado.httpserver.HTTPServer(tornado.web.Application(routes)).listen(port, "127.0.0.1")
        await asyncio.Event().wait()

    asyncio.run(serve())


async def a_session(client: ManagerClient, **more: Any) -> dict[str, Any]:
    image = (await client.list_images())[0]["name"]
    body = {
        "name": "bench",
        "image": image,
        "enqueueOnly": True,
        "config": {"resources": {"cpu": "1", "mem": "512m"}, **more},
    }
    created = await client.request("POST", "/session", body)
    view: dict[str, Any] = await client.wait_for(created["sessionId"])
    return view


# The parts


async def calls(options: argparse.Namespace) -> None:
    async with cluster_of("process") as cluster, ManagerClient(cluster.config) as client:
        view = await a_session(client)
        query = "query { compute_session_list(limit: 20, offset: 0) { items { id name status } total_count } }"
        asked: list[tuple[str, str, Any]] = [
            ("GET", f"/session/{view['id']}", None),
            ("GET", "/sessions", None),
            ("GET", "/folders", None),
            ("POST", "/resource/check-presets", {}),
            ("POST", "/admin/gql", {"query": query, "variables": {}}),
        ]
        row("", "connections", "bare/s", "manager/s", "ratio", "p50", "p99")
        for method, target, body in asked:
            answer = await client.request(method, target, body)
            async with process(serve_bare, json.dumps(answer, separators=(",", ":"))) as bare:
                plain, request = (
                    request_bytes(cluster.config, *one) for one in (("GET", target), (method, target, body))
                )
                for concurrency in CONCURRENCIES:
                    floor, *_ = await rate(bare, plain, concurrency, options.seconds)
                    ours, p50, p99 = await rate(cluster.port, request, concurrency, options.seconds)
                    called = f"{method} {target.replace(view['id'], '{id}')}"
                    row(called, concurrency, f"{floor:,.0f}", f"{ours:,.0f}", f"{ours / floor:.2f}", ms(p50), ms(p99))


async def files(options: argparse.Namespace) -> None:
    size = options.size * MIB
    async with cluster_of("process") as cluster, ManagerClient(cluster.config) as client:
        await client.create_folder("data", "local:data")
        source = cluster.folder / "source"
        with source.open("wb") as file:
            file.write(bytes(size))
        row("", "dd", "manager", "ratio of rates")
        for number in range(options.rounds):
            copied = cluster.data / f"dd-{number}"
            floor = await timed(program("dd", f"if={source}", f"of={copied}", "bs=1M", "conv=fsync"))
            with source.open("rb") as file:
                ours = await timed(client.upload("data", f"up-{number}", file, size))
            row("upload", seconds(floor), seconds(ours), f"{floor / ours:.2f}")
            floor = await timed(program("dd", f"if={copied}", f"of={cluster.folder / 'down'}", "bs=1M"))
            with (cluster.folder / "down").open("wb") as file:
                ours = await timed(client.download("data", f"up-{number}", file))
            row("download", seconds(floor), seconds(ours), f"{floor / ours:.2f}")


async def apps(options: argparse.Namespace) -> None:
    size = options.size * MIB
    async with process(serve_app) as origin, cluster_of("process") as cluster, ManagerClient(cluster.config) as client:
        view = await a_session(client, preopen_ports=[origin])
        ways = [("direct", origin, ""), ("manager", cluster.port, f"/apps/{view['id']}/{origin}")]
        proxy, proxy_port = None, free_port()
        if options.chp:
            ports = [f"--port={proxy_port}", f"--api-port={free_port()}", "--ip=127.0.0.1"]
            command = [options.chp, *ports, f"--default-target=http://127.0.0.1:{origin}", "--log-level=error"]
            proxy = await asyncio.create_subprocess_exec(*command)
            await until(lambda: listens(proxy_port))
            ways.append(("configurable-http-proxy", proxy_port, ""))
        try:
            row("", "small/s at 16", "p50", "p99", "large MiB/s", "echo/s", "p50")
            for _ in range(options.rounds):
                for name, port, base in ways:
                    small = request_bytes(cluster.config, "GET", f"{base}/small")
                    per_s, p50, p99 = await rate(port, small, 16, options.seconds)
                    large = request_bytes(cluster.config, "GET", f"{base}/large?size={size}")
                    took = await timed(fetch(port, large))
                    target = f"{base}/echo"
                    echoes, echo_ms = await echo(
                        port, target, headers_for(cluster.config, "GET", target), options.seconds
                    )
                    shown = f"{size / MIB / took:,.0f}"
                    row(name, f"{per_s:,.0f}", ms(p50), ms(p99), shown, f"{echoes:,.0f}", ms(echo_ms))
        finally:
            if proxy is not None:
                proxy.terminate()
                await proxy.wait()


async def fetch(port: int, request: bytes) -> str:
    """Read an answer to its end: its first line, without the protocol."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4 * MIB)
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    left = int(next(line for line in lines if line.startswith(b"content-length:")).partition(b":")[2])
    while left:
        piece = await reader.read(MIB)
        if not piece:
            raise ConnectionError(f"{left} bytes are missing")
        left -= len(piece)
    writer.close()
    return head.splitlines()[0].decode().partition(" ")[2]


async def connect(port: int, target: str, headers: dict[str, str]) -> tornado.websocket.WebSocketClientConnection:
    request = HTTPRequest(f"ws://127.0.0.1:{port}{target}", headers=headers)
    socket = await tornado.websocket.websocket_connect(request)
    if socket.protocol is not None:
        socket.protocol.set_nodelay(True)
    return socket


async def echo(port: int, target: str, headers: dict[str, str], seconds: float) -> tuple[float, float]:
    """Messages of 100 bytes, one after the other: how many a second, and the median in ms."""
    socket = await connect(port, target, headers)
    took: list[float] = []
    deadline = time.perf_counter() + seconds
    while (begin := time.perf_counter()) < deadline:
        await socket.write_message(bytes(100), binary=True)
        assert await socket.read_message() is not None
        took.append(time.perf_counter() - begin)
    socket.close()
    return len(took) / sum(took), 1000 * statistics.median(took)


async def starts(options: argparse.Namespace) -> None:
    async with cluster_of("docker") as cluster, ManagerClient(cluster.config) as client:
        await cluster.add_image(CONTAINER_IMAGE)
        took = []
        for number in range(options.rounds):
            request = SessionRequest(
                f"bench-{number}", CONTAINER_IMAGE, {"cpu": 1, "mem": "512m"}, max_wait_s=60, enqueue_only=False
            )
            begin = time.perf_counter()
            created = await client.create_session(request, timeout_s=90)
            took.append(time.perf_counter() - begin)
            assert created["status"] == "RUNNING", created
            if number + 1 < options.rounds:
                await client.destroy_session(created["sessionId"])
        ran = [await timed(run_print(client, created["sessionId"])) for _ in range(51)]
        print(f"create to RUNNING: {', '.join(map(seconds, sorted(took)))}")
        later = sorted(ran[1:])
        print(f"print(1+1): first {seconds(ran[0])}, then p50 {ms(1000 * later[25])}, p99 {ms(1000 * later[49])}")


async def run_print(client: ManagerClient, session: str) -> None:
    body = {"mode": "query", "code": "print(1+1)"}
    result = (await client.request("POST", f"/session/{session}", body))["result"]
    said = list(result["console"])
    while result["status"] != "finished":
        again = {"mode": "continue", "runId": result["runId"]}
        result = (await client.request("POST", f"/session/{session}", again))["result"]
        said += result["console"]
    assert said == [["stdout", "2\n"]], said


async def memory(_options: argparse.Namespace) -> None:
    async with cluster_of(None) as cluster, ManagerClient(cluster.config) as client:
        print(f"no session: {resident(cluster):.0f} MiB")
        slots = ResourceSlots.parse({"cpu": 2000, "mem": "2000g"})
        agent = FakeAgent(f"http://127.0.0.1:{cluster.port}", JOIN_TOKEN, slots=slots)
        await agent.connect()
        await client.add_image(IMAGE.name)
        for number in range(0, 1000, 20):
            requests = [SessionRequest(f"many-{number + n}", IMAGE.name, {"cpu": 1, "mem": "512m"}) for n in range(20)]
            await asyncio.gather(*(client.create_session(request, timeout_s=300) for request in requests))

        async def all_run() -> bool:
            return (await client.request("GET", "/manager/status"))["active_sessions"] == 1000

        await until(all_run)
        print(f"1,000 sessions: {resident(cluster):.0f} MiB")
        await agent.close()


def resident(cluster: Cluster) -> float:
    """MiB of the manager's process."""
    status = Path(f"/proc/{cluster.pid('manager')}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


# Small things


async def timed(work: Awaitable[Any]) -> float:
    begin = time.perf_counter()
    await work
    return time.perf_counter() - begin


async def program(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    assert await process.wait() == 0


def row(first: object, *others: object) -> None:
    print(f"{first!s:28}" + "".join(f"{one!s:>15}" for one in others), flush=True)


def ms(value: float) -> str:
    return f"{value:.2f} ms"


def seconds(value: float) -> str:
    return f"{value:.2f} s"


PARTS: dict[str, Callable[[argparse.Namespace], Awaitable[None]]] = {
    "calls": calls,
    "files": files,
    "apps": apps,
    "starts": starts,
    "memory": memory,
}


async def main(options: argparse.Namespace) -> None:
    for name in options.parts or PARTS:
        load = Path("/proc/loadavg").read_text().split()[0]
        print(f"\n== {name} (load {load})", flush=True)
        await PARTS[name](options)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="without: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--size", type=int, default=256, help="MiB of a file and of a large answer")
    parser.add_argument("--chp", help="the program configurable-http-proxy")
    with suppress(KeyboardInterrupt):
        asyncio.run(main(parser.parse_args()))
