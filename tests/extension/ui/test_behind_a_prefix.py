"""The panel in a Lab that is served below a path, as behind a Hub: everything it asks for is below it, too."""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect
from real_manager import RealManager
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

PREFIX = "/user/alice"

TALK = """() => new Promise(resolve => {
  const socket = new WebSocket(new URL('talk', location.href.replace(/^http/, 'ws')));
  socket.onopen = () => socket.send('said');
  socket.onmessage = ({data}) => resolve(data);
  socket.onerror = () => resolve('refused');
})"""


IS_IDLE = "window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"


class Start(RequestHandler):
    def get(self) -> None:
        self.write("<!DOCTYPE html><title>An app</title><p>It answers.</p>")


class Talk(WebSocketHandler):
    def on_message(self, message: str | bytes) -> None:
        self.write_message(f"heard {message!s}")


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Where an app with a page and a WebSocket listens."""
    listening, number = bind_unused_port()
    loop, ended = asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        server = HTTPServer(Application([("/", Start), ("/talk", Talk)]))
        server.add_sockets([listening])
        await ended.wait()
        server.stop()
        await server.close_all_connections()

    def run() -> None:
        loop.run_until_complete(serve())
        loop.close()

    thread = threading.Thread(target=run, name="an app")
    thread.start()
    yield number
    loop.call_soon_threadsafe(ended.set)
    thread.join(30)


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Any], cluster: RealManager) -> Iterator[Any]:
    server = make_lab(cluster, base_url=PREFIX)
    yield server
    server.stop(signal.SIGKILL)
    server.kill_kernels()


@pytest.fixture
def asked() -> list[str]:
    """Paths of what the page asked its server for."""
    return []


@pytest.fixture
def page(browser: Browser, lab: Any, open_lab: Callable[[Browser, Any], Page], asked: list[str]) -> Iterator[Page]:
    page = open_lab(browser, lab)
    page.set_default_timeout(10_000)
    for event in ("request", "websocket"):
        page.on(event, lambda one: asked.append(urlsplit(one.url).path))
    page.evaluate("window.jupyterapp.commands.execute('bai:show-panel')")
    yield page
    page.close()


def open_section(page: Page, name: str) -> Any:
    title = page.locator("#jp-bai-panel .jp-AccordionPanel-title", has_text=name)
    if title.get_attribute("aria-expanded") != "true":
        title.click()
    return page.locator(f"#jp-bai-panel .jp-bai-Section[aria-labelledby='{title.get_attribute('id')}']")


def test_the_whole_panel_below_a_path(
    page: Page, lab: Any, cluster: RealManager, port: int, asked: list[str], tmp_path: Path
) -> None:
    cluster.open_real_ports(port)
    cluster.ask("POST", "/folders", {"name": "prefixed"})
    session = cluster.start_session("served")
    page.get_by_role("button", name="Refresh", exact=True).click()
    sessions = open_section(page, "Sessions")
    expect(sessions.get_by_role("listitem").filter(has_text="served")).to_contain_text("Running")

    folders = open_section(page, "Folders")
    row = folders.get_by_role("list", name="Folders").get_by_role("listitem").filter(has_text="prefixed")
    row.get_by_role("button", name="prefixed", exact=True).click()
    sent = tmp_path / "notes.txt"
    sent.write_text("first")
    folders.locator(".jp-bai-Tools input[type=file]:not([webkitdirectory])").set_input_files(sent)
    expect(folders.get_by_role("list", name="Files")).to_contain_text("notes.txt")
    with page.expect_download() as download:
        folders.get_by_role("link", name="Download notes.txt").click()
    assert download.value.path().read_text() == "first"

    page.evaluate("window.jupyterapp.commands.execute('bai:browse-folders', {path: 'prefixed'})")
    page.locator("#bai-file-browser .jp-DirListing-item", has_text="notes.txt").dblclick()
    editor = page.locator(".jp-FileEditor .cm-content")
    expect(editor).to_contain_text("first")
    editor.click()
    page.keyboard.press("Control+End")
    page.keyboard.type(" second")
    page.keyboard.press("Control+s")
    expect(page.locator("#jp-main-dock-panel .lm-mod-current.jp-mod-dirty")).to_have_count(0)
    (lying,) = cluster.folder.rglob("notes.txt")
    assert lying.read_text() == "first second"

    page.evaluate("window.jupyterapp.commands.execute('bai:show-panel')")
    apps = open_section(page, "Apps")
    apps.get_by_role("button", name=f"Open Port {port}", exact=True).click()
    expect(page.frame_locator(f"iframe[title='Port {port} of served']").locator("body")).to_have_text("It answers.")
    inside = next(one for one in page.frames if "/bai/apps/" in one.url)
    assert inside.evaluate(TALK) == "heard said"

    (lab.home / "session").write_text(session)
    page.evaluate("void window.jupyterapp.commands.execute('notebook:create-new', {kernelName: 'survivor'})")
    page.wait_for_function(IS_IDLE, timeout=60_000)
    page.locator(".jp-NotebookPanel:visible .jp-Cell .cm-content").first.fill("6 * 7")
    page.evaluate("window.jupyterapp.commands.execute('notebook:run-cell')")
    expect(page.locator(".jp-NotebookPanel:visible .jp-OutputArea-executeResult")).to_contain_text("42")
    expect(page.locator(".jp-bai-StatusItem button")).to_contain_text("Running")

    assert any("/bai/api/" in path for path in asked)
    assert [path for path in asked if not path.startswith(f"{PREFIX}/")] == []
