"""The terminal as a web page: who gets it, and a shell behind it."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from bai_agent import terminal_app
from bai_agent.attachments import Attachments
from bai_agent.runtimes.base import RuntimeFault
from bai_agent.terminals import Terminals
from playwright.async_api import async_playwright
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.websocket import websocket_connect

from bai_jupyter.common import stdio
from bai_jupyter.common.ids import KernelId
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.stdio import Kind

KERNEL = KernelId("k")
PLAIN = ["localhost", "localhost:80", "LOCALHOST:1", "127.0.0.1:8080", "10.1.2.3", "[::1]:80", "[::1]"]
NAMED = [
    "elsewhere.example",
    "elsewhere.example:80",
    "localhost.elsewhere.example",
    "127.0.0.1.elsewhere.example",
    "",
    "[::1",
]


@pytest.mark.parametrize("host", [*PLAIN, *NAMED])
def test_a_host_that_no_page_of_elsewhere_can_have(host: str) -> None:
    assert terminal_app.is_plain_host(host) is (host in PLAIN)


@pytest.mark.parametrize(
    ("origin", "is_own"),
    [
        ("http://localhost:80", True),
        ("https://LOCALHOST:80", True),
        ("http://localhost", False),
        ("http://localhost:81", False),
        ("http://elsewhere.example", False),
        ("null", False),
        ("", False),
    ],
)
def test_a_page_of_ours(origin: str, is_own: bool) -> None:
    assert terminal_app.is_own_page(origin, "localhost:80") is is_own


@pytest_asyncio.fixture
async def place(look: terminal_app.Look) -> AsyncIterator[str]:
    """Where connections are taken and handed on, as a stream does it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        end = await terminal_app.serve_connection(look)
        try:
            await end.carry(Wire(reader, writer))  # type: ignore[arg-type]
        finally:
            end.close()
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


class Wire:
    """A TCP connection as a stream's WebSocket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer, self._is_over = reader, writer, False

    async def read_message(self) -> bytes | None:
        if self._is_over:
            return None
        piece = await self._reader.read(65536)
        self._is_over = not piece
        return piece

    async def write_message(self, message: bytes, binary: bool) -> None:
        self._writer.write(message)


@pytest.fixture
def look() -> terminal_app.Look:
    """No shell can be had."""

    async def refuse(_size: Any) -> Any:
        raise RuntimeFault(Reason.of("engine-down", agent="lab-1", cause="gone"))

    return refuse


@pytest.mark.asyncio
async def test_the_page_and_who_does_not_get_it(place: str) -> None:
    http = AsyncHTTPClient(force_instance=True)
    page = await http.fetch(f"http://{place}/")
    assert b"<title>Terminal</title>" in page.body
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    for name in ("page.js", "page.css", "xterm.js", "addon-fit.js", "xterm.css"):
        assert f'"{name}"'.encode() in page.body
        assert (await http.fetch(f"http://{place}/{name}", raise_error=False)).code in (200, 503)  # if it was not built
    for path in ("/other", "/../terminal_app.py", "/__init__.py"):
        assert (await http.fetch(f"http://{place}{path}", raise_error=False)).code == 404
    named = {"Host": "elsewhere.example"}
    assert (await http.fetch(f"http://{place}/", headers=named, raise_error=False)).code == 403
    http.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("headers", [{"Origin": "http://elsewhere.example"}, {"Host": "elsewhere.example"}])
async def test_a_page_of_elsewhere_gets_no_socket(place: str, headers: dict[str, str]) -> None:
    with pytest.raises(HTTPClientError, match="403"):
        await websocket_connect(HTTPRequest(f"ws://{place}/socket", headers=headers))


@pytest.mark.asyncio
async def test_why_there_is_no_shell_is_told(place: str) -> None:
    socket = await websocket_connect(f"ws://{place}/socket")
    assert await socket.read_message() is None
    assert socket.close_code == 1011
    assert "lab-1" in str(socket.close_reason)
    socket.close()


class TestShell:
    @pytest_asyncio.fixture
    async def terminals(self, process_bench: Any, tmp_path: Path) -> AsyncIterator[Terminals]:
        made = Terminals(Attachments(process_bench.runtime, tmp_path / "attached"))
        yield made
        await made.close()

    @pytest_asyncio.fixture
    async def look(self, process_bench: Any, terminals: Terminals) -> terminal_app.Look:
        _, ref = await process_bench.launch()

        async def nothing() -> None:
            pass

        return lambda size: terminals.look(KERNEL, ref, size, nothing)

    @pytest.mark.asyncio
    async def test_it_is_typed_in_and_resized_and_a_job_is_told(self, place: str, terminals: Terminals) -> None:
        request = HTTPRequest(f"ws://{place}/socket?rows=31&columns=101", headers={"Origin": f"http://{place}"})
        socket = await websocket_connect(request)
        seen = ""

        async def until(text: str) -> None:
            nonlocal seen
            async with asyncio.timeout(60):
                while text not in seen:
                    kind, payload = stdio.unpack(await socket.read_message())  # type: ignore[arg-type]
                    assert kind is Kind.OUTPUT
                    seen += payload.decode(errors="replace")

        async def type_in(text: str) -> None:
            await socket.write_message(stdio.pack(Kind.INPUT, text.encode()), binary=True)

        await type_in("stty size\n")
        await until("31 101\r\n")
        await socket.write_message(stdio.pack_size(32, 102), binary=True)
        await type_in("stty size\n")
        await until("32 102\r\n")
        await type_in("sleep 1000 & echo job-$((40 + 2))\n")
        await until("job-42")
        assert terminals.has_job(KERNEL)
        await type_in("kill %1; exit\n")
        async with asyncio.timeout(60):
            while (frame := await socket.read_message()) is not None:
                last = frame
        assert stdio.unpack(last)[0] is Kind.ENDED  # type: ignore[arg-type]
        assert socket.close_code == 1000
        socket.close()

    @pytest.mark.asyncio
    async def test_it_is_used_in_a_browser(self, place: str, chromium: str, missing: Any) -> None:
        if not (terminal_app._BUILT / "xterm.js").exists():
            missing("node", "the panel was not built, and xterm.js not put beside it")
        asked, faults = [], []
        async with async_playwright() as playwright:
            args = ["--no-sandbox", "--disable-dev-shm-usage"]
            browser = await playwright.chromium.launch(executable_path=chromium, args=args)
            page = await browser.new_page(viewport={"width": 900, "height": 500})
            page.on("request", lambda request: asked.append(request.url))
            page.on("pageerror", lambda error: faults.append(str(error)))
            page.on("console", lambda message: faults.append(message.text))
            await page.goto(f"http://{place}/")
            # A shell may drop what is typed before its prompt.
            await page.locator(".xterm-rows", has_text=re.compile(r"[$#]")).wait_for()
            await page.keyboard.type("echo hello-$((40 + 2)); trap 'echo now $(stty size)' WINCH\n")
            await page.get_by_text("hello-42").wait_for()
            await page.set_viewport_size({"width": 700, "height": 400})
            await page.get_by_text(re.compile(r"now \d+ 7\d")).first.wait_for()
            await page.keyboard.type("exit\n")
            await page.get_by_text("The shell has ended.").wait_for()
            await browser.close()
        assert faults == []
        assert {urlsplit(one).netloc for one in asked} == {place}
