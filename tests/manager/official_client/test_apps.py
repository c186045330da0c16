"""Batches and service ports with the official client, in a cluster of real processes."""

import asyncio
import hashlib
import io
import json
import os
import shutil
import signal
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from bai_agent.runtimes import pids
from end_to_end.runtimes import on_both_runtimes
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import websocket_connect

from bai_jupyter.cli import images
from bai_jupyter.common import stdio
from bai_jupyter.common.stdio import Kind

# Making the client's environment counts towards the first test.
pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(600)]

OWN_TERMINAL = {"name": "ttyd", "protocol": "http", "ports": [7681]}

CREATE = """
made = api.ComputeSession.get_or_create(
    "{image}", name="app-here", resources={{"cpu": "1", "mem": "256m"}}, architecture="x86_64", preopen_ports={ports}
)
result = [str(made.id), made.status, made.service_ports]
"""

BATCH = """
session = api.ComputeSession("app-here")
def run(**steps):
    mode, run_id, results = "batch", None, []
    while True:
        results.append(session.execute(run_id, "", mode=mode, opts=steps))
        mode, run_id = "continue", results[-1]["runId"]
        if results[-1]["status"] == "finished":
            return results
result = {
    "all": run(clean="echo cleaned", build="echo built; echo warning >&2", exec="pwd; exit 3"),
    "only exec": run(exec="read line || echo no input"),
    "build fails": run(build="exit 2", exec="echo never"),
    "usual": run(build="*", exec="*"),
}
"""


async def test_batches(client_of_cluster, cluster):
    await client_of_cluster.sdk(CREATE.format(image=cluster.image, ports=[]))
    got = await client_of_cluster.sdk(BATCH)
    steps = ["clean-finished", "build-finished", "finished"]
    assert {name: ends(results)[0] for name, results in got.items()} == dict.fromkeys(got, steps)
    assert ends(got["all"])[1] == [0, 0, 3]
    clean, build, execute = said(got["all"])
    assert clean == [["stdout", "cleaned\n"]]
    assert sorted(build) == [["stderr", "warning\n"], ["stdout", "built\n"]]
    assert execute[0][1].endswith(("/home/work\n", "/scratch\n"))
    assert said(got["only exec"]) == [[], [], [["stdout", "no input\n"]]]
    assert (ends(got["build fails"])[1], said(got["build fails"])) == ([0, 2, 127], [[], [], []])
    assert ends(got["usual"])[1][:2] == [0, 0]
    assert ends(got["usual"])[1][2] != 0  # there is nothing to run


async def test_a_port_that_was_asked_for_through_the_clients_proxy(client_of_cluster, cluster, make_free_port, helpers):
    inside, here = make_free_port(), make_free_port()
    created = CREATE.format(image=cluster.image, ports=[inside])
    _, _, ports = await client_of_cluster.sdk(created)
    assert ports == [OWN_TERMINAL, {"name": str(inside), "protocol": "preopen", "ports": [inside]}]
    signed = helpers.client(**helpers.of_cluster(cluster))
    assert await signed.run("app-here", SERVER + f"serve({inside})") == ""
    signed.close()
    async with client_of_cluster.running("app", "app-here", str(inside), "-b", f"127.0.0.1:{here}"):
        sent = bytes(range(256)) * 20_000
        async with asyncio.timeout(60):
            replies = await asyncio.gather(*[exchange(here, sent[n:]) for n in range(4)])
        assert [reply == sent[n:] for n, reply in enumerate(replies)] == [True] * 4


@on_both_runtimes
async def test_the_terminal_is_an_app_that_needs_nothing_in_the_image(
    client_of_cluster, cluster, make_free_port, helpers
):
    """Through the client's proxy, and through the manager's reverse proxy; a page from elsewhere reaches neither."""
    await client_of_cluster.sdk(CREATE.format(image=cluster.image, ports=[]))
    here = make_free_port()
    async with client_of_cluster.running("app", "app-here", "ttyd", "-b", f"127.0.0.1:{here}"):
        assert b"xterm.js" in await http_get(here, "/")
        place = f"127.0.0.1:{here}"
        assert await typed_in(HTTPRequest(f"ws://{place}/socket?rows=31&columns=101", headers=own_page(place)))
        for headers in (own_page("elsewhere.example"), {"Host": f"elsewhere.example:{here}"}):
            with pytest.raises(HTTPClientError, match="403"):
                await websocket_connect(HTTPRequest(f"ws://{place}/socket", headers=headers))
    signed = helpers.client(**helpers.of_cluster(cluster))
    page = await signed.call("GET", "/apps/app-here/terminal/")
    assert (page.status, b"xterm.js" in page.body) == (200, True)
    request = signed.request("GET", "/apps/app-here/ttyd/socket?rows=31&columns=101")
    host = signed.endpoint.removeprefix("http://")
    request.url, request.headers["Origin"] = request.url.replace("http", "ws", 1), f"http://{host}"
    assert await typed_in(request)
    request.headers["Origin"] = "http://elsewhere.example"
    with pytest.raises(HTTPClientError, match="403"):
        await websocket_connect(request)
    signed.close()


def own_page(host):
    return {"Origin": f"http://{host}"}


async def typed_in(request):
    """Whether a shell says how large its window was made, first and later."""
    socket, seen = await websocket_connect(request), ""
    try:
        for rows, columns in ((31, 101), (32, 102)):
            await socket.write_message(stdio.pack_size(rows, columns), binary=True)
            await socket.write_message(stdio.pack(Kind.INPUT, b"stty size\n"), binary=True)
            async with asyncio.timeout(60):
                while f"{rows} {columns}\r\n" not in seen:
                    kind, payload = stdio.unpack(await socket.read_message())
                    assert kind is Kind.OUTPUT
                    seen += payload.decode(errors="replace")
        return True
    finally:
        socket.close()
        while await socket.read_message() is not None:
            pass


SERVER = """
import socketserver, threading
class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        length = int(self.rfile.readline())
        while length:
            piece = self.rfile.read(min(length, 65536))
            length -= len(piece)
            self.wfile.write(piece)
def serve(port):
    server = socketserver.ThreadingTCPServer(("127.0.0.1", port), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
"""


@pytest.mark.docker
@pytest.mark.parametrize("cluster", [pytest.param({"runtime": "docker"}, id="docker")], indirect=True)
async def test_an_app_of_the_image_is_started_when_it_is_opened(
    client_of_cluster, cluster, image_with_app, make_free_port, helpers
):
    await cluster.add_image(image_with_app)
    await client_of_cluster.sdk(CREATE.format(image=image_with_app, ports=[]))
    apps = await client_of_cluster.async_sdk('result = await api.ComputeSession("app-here").stream_app_info()')
    assert apps == [{"name": "web", "protocol": "http", "ports": [8000]}, OWN_TERMINAL]
    here = make_free_port()
    async with client_of_cluster.running("app", "app-here", "web", "-b", f"127.0.0.1:{here}"):
        async with asyncio.timeout(60):
            answers = await asyncio.gather(*[http_get(here, "/no-such") for _ in range(5)])
    assert all(answer.startswith(b"HTTP/1.0 404 ") and b"SimpleHTTP" in answer for answer in answers)
    signed = helpers.client(**helpers.of_cluster(cluster))
    stop = ("POST", "/session/app-here/shutdown-service", {"service_name": "web"})
    assert [(await signed.call(*stop)).status for _ in range(2)] == [204, 400]
    started = await client_of_cluster.sdk('result = api.ComputeSession("app-here").start_service("web")')
    assert started["wsproxy_addr"].endswith("/web/")
    assert (await signed.call(*stop)).status == 204
    signed.close()


@pytest.mark.docker
@pytest.mark.parametrize("cluster", [pytest.param({"runtime": "docker"}, id="docker")], indirect=True)
async def test_an_app_is_started_with_what_its_opener_gives(client_of_cluster, cluster, image_with_app, helpers):
    await cluster.add_image(image_with_app)
    await client_of_cluster.sdk(CREATE.format(image=image_with_app, ports=[]))
    given = """envs={"GREETING": "hello you"}, arguments={"--directory": "/run/bai"}"""
    await client_of_cluster.sdk(f'result = api.ComputeSession("app-here").start_service("web", {given})')
    signed = helpers.client(**helpers.of_cluster(cluster))
    assert await signed.run("app-here", TOLD) == "--directory /run/bai | hello you\n"
    signed.close()


# Of the program that listens for the app: its last arguments, and a variable.
TOLD = """
import pathlib
pid = pathlib.Path("/run/bai/app-web/pid").read_text().strip()
words = pathlib.Path(f"/proc/{pid}/cmdline").read_text().split(chr(0))[:-1]
variables = dict(one.split("=", 1) for one in pathlib.Path(f"/proc/{pid}/environ").read_text().split(chr(0)) if one)
print(*words[-2:], "|", variables.get("GREETING"))
"""


def is_alone_waited_for(pid: int) -> bool:
    """The process's parent waits for a child's end and has no other."""
    with suppress(OSError):
        parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return children == [str(pid)] and Path(f"/proc/{parent}/wchan").read_text() == "do_wait"
    return False


@asynccontextmanager
async def interrupted_again(port: str) -> AsyncIterator[None]:
    """When its ssh has ended, the client interrupts the proxy that it started for it, once, which may take no notice.

    It then waits for ever; its user would press Ctrl-C, as is done here.
    """

    async def watch() -> None:
        waited = False
        while True:
            await asyncio.sleep(1)
            waits = [proxy for proxy in pids.with_argument(f"127.0.0.1:{port}") if is_alone_waited_for(proxy)]
            for proxy in waits if waited else []:
                with suppress(ProcessLookupError):
                    os.kill(proxy, signal.SIGINT)
            waited = bool(waits)

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()


@pytest.mark.docker
@pytest.mark.parametrize("cluster", [pytest.param({"runtime": "docker"}, id="docker")], indirect=True)
@pytest.mark.parametrize("whose", ["session's", "owner's"])
async def test_ssh_and_scp(client_of_cluster, cluster, image_with_ssh, make_free_port, helpers, whose):
    """The owner needs no keypair; with one it is that which lets them in."""
    if whose == "owner's":
        signed = helpers.client(**helpers.of_cluster(cluster))
        assert (await signed.call("PATCH", "/auth/ssh-keypair")).status == 200
        signed.close()
    await client_of_cluster.sdk(CREATE.format(image=image_with_ssh, ports=[]))
    (client_of_cluster.home / ".ssh").mkdir()
    (client_of_cluster.home / "sent").write_bytes(bytes(range(256)) * 4096)
    port = str(make_free_port())
    for command in (["scp"], ["session", "scp"]):  # the second one brings back what the first one has sent
        way = ("sent", "work@localhost:there") if len(command) == 1 else ("work@localhost:there", "back")
        async with interrupted_again(port):
            copied = await client_of_cluster.cli(*command, "app-here", "-p", port, *way)
        assert copied.code == 0, copied
    assert (client_of_cluster.home / "back").read_bytes() == (client_of_cluster.home / "sent").read_bytes()
    inside = "id -un; command -v python; sha256sum there; exit 7"
    digest = hashlib.sha256(bytes(range(256)) * 4096).hexdigest()
    for command in (["ssh"], ["session", "ssh"]):
        async with interrupted_again(port):
            ran = await client_of_cluster.cli(*command, "app-here", "-p", port, inside)
        assert ran.code == 7, ran
        assert ran.out.splitlines()[-3:] == ["work", "/opt/venv/bin/python", f"{digest}  there"], ran


LAB = {"name": "jupyter", "protocol": "http", "ports": [8888]}
LISTENING = "print({line.split()[1] for line in open('/proc/net/tcp') if line.split()[1].endswith(f':{8888:04X}')})"


@pytest.mark.docker
@pytest.mark.parametrize("cluster", [pytest.param({"runtime": "docker"}, id="docker")], indirect=True)
async def test_jupyter_in_a_session_asks_nobody_to_log_in_and_is_open_to_nobody_else(
    client_of_cluster, cluster, image_with_jupyter, make_free_port, helpers
):
    await cluster.add_image(image_with_jupyter)
    await client_of_cluster.sdk(CREATE.format(image=image_with_jupyter, ports=[]).replace("256m", "1g"))
    assert LAB in await client_of_cluster.async_sdk('result = await api.ComputeSession("app-here").stream_app_info()')
    # Through a port of the client's machine.
    here = make_free_port()
    async with client_of_cluster.running("app", "app-here", "jupyter", "-b", f"127.0.0.1:{here}"):
        base = location_of(await http_get(here, "/", host=f"127.0.0.1:{here}"))
        specs = await http_get(here, f"{base}api/kernelspecs", host=f"127.0.0.1:{here}")
        assert (specs.split()[1], b'"python3"' in specs) == (b"200", True), specs
        rebound = await http_get(here, f"{base}api/kernelspecs", host=f"evil.example.com:{here}")
        assert rebound.split()[1] == b"403"

    # Through the manager's proxy, as a browser that came by a link, where the manager has a name.
    signed = helpers.client(**helpers.of_cluster(cluster))
    link = await client_of_cluster.sdk('result = api.ComputeSession("app-here").start_service("jupyter")')
    address, http = link["wsproxy_addr"], signed.http
    let_in = await http.fetch(f"{address}?bai-token={link['token']}", follow_redirects=False, raise_error=False)
    cookie = let_in.headers["Set-Cookie"].partition(";")[0]
    page = await http.fetch(f"{address}lab", headers={"Cookie": cookie, "Host": "bai.example.org"})
    assert (page.code, b"JupyterLab" in page.body) == (200, True)
    cookies = [cookie, *(one.partition(";")[0] for one in page.headers.get_list("Set-Cookie"))]
    xsrf = next(one.removeprefix("_xsrf=") for one in cookies if one.startswith("_xsrf="))
    own = {"Cookie": "; ".join(cookies), "X-XSRFToken": xsrf}
    own |= {"Host": "bai.example.org", "Origin": "https://bai.example.org"}  # as in front of this manager
    made = await http.fetch(f"{address}api/kernels", method="POST", headers=own, body='{"name": "python3"}')
    channels = f"{address.replace('http', 'ws', 1)}api/kernels/{json.loads(made.body)['id']}/channels"
    (await websocket_connect(HTTPRequest(channels, headers=own))).close()
    elsewhere = HTTPRequest(channels, headers={**own, "Origin": "https://evil.example.com"})
    with pytest.raises(HTTPClientError, match="403"):
        await websocket_connect(elsewhere)
    assert (await http.fetch(f"{address}lab", raise_error=False)).code == 401

    # Only at the container's own loopback address: no other container gets there.
    assert await signed.run("app-here", LISTENING) == "{'0100007F:22B8'}\n"
    signed.close()


async def test_refusals(client_of_cluster, cluster, helpers):
    await client_of_cluster.sdk(CREATE.format(image=cluster.image, ports=[]))
    signed = helpers.client(**helpers.of_cluster(cluster))
    unknown = await signed.call("POST", "/session/app-here/start-service", {"app": "guess"})
    assert (unknown.status, unknown.json["msg"]) == (404, "The session has no app guess. It has: ttyd.")
    dialled = await signed.call("GET", "/stream/session/app-here/tcpproxy?app=guess")
    assert dialled.status == 404
    odd = [[80], ["x"], [8000, 8000], [70000], list(range(2000, 2030)), {"a": 1}]
    for ports in odd:
        assert (await signed.create("odd-ports", 400, preopen_ports=ports))["title"]
    signed.close()


def ends(results):
    over = [one for one in results if one["status"] != "continued"]
    return [one["status"] for one in over], [one["exitCode"] for one in over]


def said(results):
    """What each step printed."""
    steps = [[]]
    for one in results:
        steps[-1] += one["console"]
        if one["status"] != "continued":
            steps.append([])
    return steps[:-1]


async def exchange(port: int, data: bytes) -> bytes:
    reader, writer = await dialled(port)

    async def send() -> None:
        writer.write(f"{len(data)}\n".encode() + data)
        await writer.drain()

    sending = asyncio.create_task(send())
    reply = await reader.readexactly(len(data))
    await sending
    writer.close()
    return reply


async def http_get(port: int, path: str, host: str = "localhost") -> bytes:
    """By HTTP/1.0, whose answer ends with the connection."""
    reader, writer = await dialled(port)
    writer.write(f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer


def location_of(answer: bytes) -> str:
    (line,) = [line for line in answer.split(b"\r\n") if line.lower().startswith(b"location: ")]
    return line.split(b" ", 1)[1].decode()


async def dialled(port: int):
    """Once it listens."""
    while True:
        with suppress(OSError):
            return await asyncio.open_connection("127.0.0.1", port)
        await asyncio.sleep(0.05)


@pytest.fixture(scope="session")
def image_with_ssh(docker_client, python_image, missing):
    """Built anew where the image at hand is older than its recipe."""
    if shutil.which("ssh") is None:
        missing("ssh", "there is no ssh; Debian's package is openssh-client")
    if "bai.app.sshd" in docker_client.images.get(python_image).labels:
        return python_image
    return images.build(["python-minimal"])[0]


@pytest.fixture(scope="session")
def image_with_jupyter(docker_client):
    """The smallest of ours that has it. What is built and has not changed is not built again."""
    return images.build(["hub"])[0]


@pytest.fixture(scope="session")
def image_with_app(docker_client, python_image, test_run):
    labels = {**test_run, "ai.backend.service-ports": "web:http:8000"}
    command = "exec python3 -m http.server --bind 127.0.0.1 {port} {args}"
    lines = [f"FROM {python_image}", *(f"LABEL {name}={value}" for name, value in labels.items())]
    lines.append(f'LABEL bai.app.web="{command}"')
    tag = f"bai-test-app:{uuid.uuid4().hex[:8]}"
    docker_client.images.build(fileobj=io.BytesIO("\n".join(lines).encode()), tag=tag, rm=True)
    yield tag
    docker_client.images.remove(tag, force=True)
