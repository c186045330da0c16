"""Pages of a real Jupyter server on kernels of a real cluster: tabs, reloads, cuts. No browser, but its protocol."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any
from uuid import uuid4

import loopback
import pytest
import pytest_asyncio
from jupyter_server.services.kernels.connection.base import deserialize_msg_from_ws_v1
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

pytestmark = pytest.mark.asyncio

HEADERS = {"Authorization": "token t"}
WAIT_S = 60


class Server:
    """A Jupyter server with our extension, as a process."""

    def __init__(self, cluster: Any, port: int) -> None:
        self.cluster = cluster
        self.address = f"127.0.0.1:{port}"
        self._pages: list[PageClient] = []
        home = cluster.folder / "server"
        home.mkdir()
        options = {
            "ServerApp.port": port,
            "ServerApp.port_retries": 0,
            "ServerApp.root_dir": cluster.home,
            "IdentityProvider.token": "t",
            "ServerApp.jpserver_extensions": "{'bai_jupyter.extension': True}",
        }
        self._argv = [sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root"]
        self._argv += [f"--{name}={value}" for name, value in options.items()]
        self._env = {**os.environ, **cluster.environ, "HOME": str(home), "JUPYTER_DATA_DIR": str(home / "data")}
        self._log = cluster.folder / "server.log"

    def _spawn(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._argv, env=self._env, stdout=log, stderr=log)

    async def start(self) -> None:
        self._spawn()

        async def answers() -> bool:
            try:
                await self.ask("GET", "/api/status")
            except (OSError, HTTPClientError):
                return False
            return True

        await self.cluster.until(answers)

    def stop(self, signum: int = signal.SIGTERM) -> None:
        self._process.send_signal(signum)
        self._process.wait(WAIT_S)

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        request = HTTPRequest(
            f"http://{self.address}{path}",
            method=method,
            headers=HEADERS,
            body=None if body is None else json.dumps(body),
            request_timeout=WAIT_S,
        )
        answer = await AsyncHTTPClient().fetch(request)
        return json.loads(answer.body) if answer.body else None

    async def start_kernel(self) -> str:
        (name,) = await self.cluster.write_kernelspecs()

        async def is_listed() -> bool:
            return name in (await self.ask("GET", "/api/kernelspecs"))["kernelspecs"]

        await self.cluster.until(is_listed)
        return str((await self.ask("POST", "/api/kernels", {"name": name}))["id"])

    async def outputs(self, kernel_id: str, *msg_ids: str) -> "PageClient":
        """A page that reads these executions from their beginning."""
        query = "&".join(f"msg_id={msg_id}" for msg_id in msg_ids)
        url = f"ws://{self.address}/bai/api/kernels/{kernel_id}/outputs?{query}"
        return await self._connect(url, "")

    async def page(self, kernel_id: str, session: str | None = None) -> "PageClient":
        """A new tab that has heard from the kernel, as Lab waits for that; or a tab that comes back."""
        name = session or uuid4().hex
        url = f"ws://{self.address}/api/kernels/{kernel_id}/channels?session_id={name}"
        page = await self._connect(url, name)
        if session is None:
            await page.hear(await page.send("kernel_info_request", {}), Heard(), lambda _: True)
        return page

    async def _connect(self, url: str, name: str) -> "PageClient":
        request = HTTPRequest(url, headers=HEADERS, request_timeout=WAIT_S)
        self._pages.append(PageClient(await websocket_connect(request), name))
        return self._pages[-1]

    async def hang_up(self) -> None:
        for page in self._pages:
            await page.end()


class Heard:
    """The output of one cell as a tab has it, over all its connections.

    What a server had just written when its page or the server itself went away may come again after: nobody tells the
    server what arrived. A message's id tells, so nothing is shown twice; that nothing is missing is the server's part.
    """

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def add(self, message: dict[str, Any]) -> None:
        if message["msg_type"] == "stream":
            self._texts.setdefault(message["header"]["msg_id"], message["content"]["text"])

    @property
    def text(self) -> str:
        return "".join(self._texts.values())


def deserialize_msg(data: bytes) -> dict[str, Any]:
    channel, parts = deserialize_msg_from_ws_v1(data)
    names = ("header", "parent_header", "metadata", "content")
    message: dict[str, Any] = {name: json.loads(part) for name, part in zip(names, parts, strict=False)}
    return {**message, "msg_type": message["header"]["msg_type"], "channel": channel}


class PageClient:
    """One connection of a tab."""

    def __init__(self, socket: WebSocketClientConnection, session: str) -> None:
        self._socket, self.session = socket, session
        self._has_ended = False

    async def execute(self, code: str, cell_id: str | None = None) -> str:
        content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False, "stop_on_error": True}
        return await self.send("execute_request", content, {"cellId": cell_id} if cell_id else {})

    async def send(self, kind: str, content: dict[str, Any], metadata: dict[str, Any] | None = None) -> str:
        msg_id = uuid4().hex
        header = {"msg_id": msg_id, "msg_type": kind, "session": self.session, "username": "", "version": "5.3"}
        message = {"header": header, "parent_header": {}, "metadata": metadata or {}, "content": content}
        message["channel"] = "shell"
        await self._socket.write_message(json.dumps(message))
        return msg_id

    async def hear(self, msg_id: str, out: Heard, until: Callable[[dict[str, Any]], bool]) -> None:
        """Collect the cell's output into ``out`` until a message of it satisfies ``until``."""
        async with asyncio.timeout(WAIT_S):
            while (text := await self._socket.read_message()) is not None:
                message = json.loads(text) if isinstance(text, str) else deserialize_msg(text)
                if message["parent_header"].get("msg_id") != msg_id:
                    continue
                out.add(message)
                if until(message):
                    return
        self._has_ended = True
        raise ConnectionError("the server hung up")

    async def leave(self, msg_id: str, out: Heard) -> None:
        """Go away, with all that has arrived: a browser hands out what it received before the close."""
        self.close()
        with suppress(ConnectionError):
            await self.hear(msg_id, out, lambda _: False)

    def close(self) -> None:
        self._socket.close()

    async def end(self) -> None:
        """Close, and wait until it is."""
        self.close()
        while not self._has_ended:
            self._has_ended = await self._socket.read_message() is None


def is_idle(message: dict[str, Any]) -> bool:
    return bool(message["content"].get("execution_state") == "idle")


def heard(count: int, out: Heard) -> Callable[[dict[str, Any]], bool]:
    return lambda _: out.text.count("\n") >= count


def printing(count: int) -> str:
    return f"import time\nfor i in range({count}):\n    print(i, flush=True)\n    if i % 10 == 0: time.sleep(0.01)"


def lines(count: int) -> str:
    return "".join(f"{i}\n" for i in range(count))


@pytest_asyncio.fixture
async def server(cluster: Any) -> AsyncIterator[Server]:
    server = Server(cluster, loopback.free_port())
    await server.start()
    yield server
    await server.hang_up()
    server.stop()


async def test_a_tab_that_was_away_gets_what_it_missed_though_another_stayed(server):
    kernel_id = await server.start_kernel()
    first, second = await server.page(kernel_id), await server.page(kernel_id)
    out = Heard()
    seen_by_second = Heard()
    msg_id = await first.execute(printing(3000))
    listening = asyncio.ensure_future(second.hear(msg_id, seen_by_second, is_idle))
    await first.hear(msg_id, out, heard(200, out))
    await first.leave(msg_id, out)
    await asyncio.sleep(1)
    again = await server.page(kernel_id, first.session)
    await again.hear(msg_id, out, is_idle)
    await listening
    assert seen_by_second.text == lines(3000)
    assert out.text == lines(3000)
    again.close()
    second.close()


async def test_a_reloaded_page_hears_the_running_cell_go_on(server):
    kernel_id = await server.start_kernel()
    page = await server.page(kernel_id)
    before = Heard()
    after = Heard()
    msg_id = await page.execute(printing(3000))
    await page.hear(msg_id, before, heard(200, before))
    reloaded = await server.page(kernel_id, uuid4().hex)  # a busy kernel does not answer it at once
    page.close()
    await reloaded.hear(msg_id, after, is_idle)
    assert lines(3000).endswith(after.text)
    assert after.text
    reloaded.close()


async def test_a_page_that_opens_later_reads_a_cell_from_its_beginning(server):
    """Also while it runs, after its end, and from the next server; until a saved notebook holds it."""
    kernel_id = await server.start_kernel()
    page = await server.page(kernel_id)
    msg_id = await page.execute(printing(3000), "cell-1")
    first = Heard()
    await page.hear(msg_id, first, heard(200, first))
    path = f"/bai/api/kernels/{kernel_id}/executions"
    assert await server.ask("GET", path) == {"executions": [{"msg_id": msg_id, "cell_id": "cell-1"}]}
    during, after, later = Heard(), Heard(), Heard()
    for out in (during, after):
        replay = await server.outputs(kernel_id, msg_id)
        with pytest.raises(ConnectionError):  # it hangs up by itself when nothing more can come
            await replay.hear(msg_id, out, lambda _: False)
    page.close()
    server.stop(signal.SIGKILL)
    await server.start()
    replay = await server.outputs(kernel_id, msg_id)
    await replay.hear(msg_id, later, is_idle)
    replay.close()
    assert during.text == after.text == later.text == lines(3000)
    await server.ask("DELETE", f"{path}?msg_id={msg_id}")
    assert await server.ask("GET", path) == {"executions": []}
    with pytest.raises(HTTPClientError, match="404"):
        await server.outputs(kernel_id, msg_id)


async def test_outputs_of_no_kernel_of_ours_are_not_found(server):
    for path in ("/bai/api/kernels/nobody/executions", "/bai/api/kernels/nobody/outputs?msg_id=m"):
        with pytest.raises(HTTPClientError, match=r"404|400"):
            await server.ask("GET", path)
    with pytest.raises(HTTPClientError, match="404"):
        await server.outputs("nobody", "m")


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
async def test_the_server_is_away_while_a_cell_prints(server, signum):
    kernel_id = await server.start_kernel()
    page = await server.page(kernel_id)
    out = Heard()
    msg_id = await page.execute(printing(3000))
    await page.hear(msg_id, out, heard(200, out))
    server.stop(signum)
    await page.leave(msg_id, out)
    await server.start()
    assert [kernel["id"] for kernel in await server.ask("GET", "/api/kernels")] == [kernel_id]
    page = await server.page(kernel_id, page.session)
    await page.hear(msg_id, out, is_idle)
    assert out.text == lines(3000)
    page.close()


async def test_a_frozen_agent_is_unreachable_and_comes_back(server, cluster):
    from bai_jupyter.client import ManagerClient

    kernel_id = await server.start_kernel()
    page = await server.page(kernel_id)
    out = Heard()
    msg_id = await page.execute(printing(3000))
    await page.hear(msg_id, out, heard(100, out))
    cluster.signal("agent", signal.SIGSTOP)
    async with ManagerClient(cluster.config) as client:

        async def is_unreachable() -> bool:
            return bool((await client.list_sessions())[0]["unreachable"])

        await cluster.until(is_unreachable)
        cluster.signal("agent", signal.SIGCONT)
        await page.hear(msg_id, out, is_idle)
        assert out.text == lines(3000)

        async def is_back() -> bool:
            return not await is_unreachable()

        await cluster.until(is_back)
    page.close()


async def test_a_page_goes_on_in_the_kernel_that_was_woken(server, cluster):
    from bai_jupyter.client import ManagerClient

    kernel_id = await server.start_kernel()
    page, out = await server.page(kernel_id), Heard()
    await page.hear(await page.execute("x = [1, 2]; lock = __import__('threading').Lock()"), Heard(), is_idle)
    async with ManagerClient(cluster.config) as client:
        (view,) = await client.list_sessions()
        await client.save(view["id"])
        await client.wake(view["id"])

    async def is_told():
        model = await server.ask("GET", f"/api/kernels/{kernel_id}")
        return "lock (a lock)" in (model["bai"]["notice"] or "")

    await cluster.until(is_told)
    await page.hear(await page.execute("print(x, 'lock' in globals())"), out, is_idle)
    assert out.text == "[1, 2] False\n"
    page.close()
