"""The terminal of a session without a container, in a real Lab and a real browser."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from end_to_end.cluster import Cluster
from loopback import free_port
from playwright.sync_api import Browser, Page, expect

from bai_jupyter.client import ManagerClient, SessionRequest

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

TAB = "() => [...window.jupyterapp.shell.widgets('main')].find(one => one.id.startsWith('jp-bai-terminal-'))"
SIZE = f"() => {{ const {{rows, cols}} = ({TAB})().content._term; return [rows, cols]; }}"
SHOWN = f"""() => {{
  const lines = ({TAB})()?.content._term?.buffer.active;
  return Array.from({{length: lines?.length ?? 0}}, (_, at) => lines.getLine(at).translateToString(true)).join('\\n');
}}"""
"""It is drawn as a picture, so this is asked of what draws it."""


def with_client(cluster: Cluster, work: Callable[[ManagerClient], Any]) -> Any:
    """Playwright's loop runs in this thread."""

    async def call() -> Any:
        async with ManagerClient(cluster.config) as client:
            return await work(client)

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, call()).result()


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A manager, and an agent whose sessions are processes."""
    cluster = Cluster(tmp_path_factory.mktemp("c"), free_port())
    try:
        cluster.start("manager")
        cluster.start("agent")
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, cluster.ready()).result()
        yield cluster
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, cluster.end_sessions()).result()
    finally:
        cluster.stop()
        cluster.clean_up()


@pytest.fixture(scope="module")
def process_lab(make_lab: Callable[[Any], Any], processes: Cluster) -> Iterator[Any]:
    server = make_lab(processes)
    yield server
    server.stop(signal.SIGKILL)


@pytest.fixture
def session(processes: Cluster) -> str:
    """The id of one that runs; its name is ``shown``."""

    async def start(client: ManagerClient) -> str:
        [image] = await client.list_images()
        request = SessionRequest("shown", image["name"], {"cpu": 1, "mem": "256m"}, enqueue_only=False, max_wait_s=60)
        made = await client.create_session(request, timeout_s=90)
        assert made["status"] == "RUNNING"
        return str(made["sessionId"])

    return str(with_client(processes, start))


def wait_for_text(page: Page, text: str) -> None:
    page.wait_for_function(f"text => ({SHOWN})().includes(text)", arg=text, timeout=60_000)


def test_a_shell_from_its_beginning_to_the_sessions_end(
    browser: Browser, process_lab: Any, processes: Cluster, session: str, open_lab: Any, settle: Any, look_at: Any
) -> None:
    page = open_lab(browser, process_lab)
    page.evaluate("window.jupyterapp.commands.execute('bai:show-panel')")
    panel = page.locator("#jp-bai-panel")
    panel.get_by_role("button", name="Actions on shown").click()
    panel.get_by_role("button", name="Terminal", exact=True).click()
    tab = page.locator(f"#jp-bai-terminal-{session}")
    expect(tab.get_by_role("textbox")).to_be_focused()
    page.wait_for_function(f"({SHOWN})().trim() !== ''")  # its prompt

    page.keyboard.type("echo $((6*7)) grüß; kept=here\n")
    wait_for_text(page, "\n42 grüß\n")
    page.keyboard.type("while sleep .2; do stty size; done\n")
    page.wait_for_function(f"({SHOWN})().includes(`\\n${{({SIZE})().join(' ')}}\\n`)")
    columns = page.evaluate(SIZE)[1]
    page.set_viewport_size({"width": 1000, "height": 600})
    page.wait_for_function(f"before => ({SIZE})()[1] < before", arg=columns)
    page.wait_for_function(f"({SHOWN})().includes(`\\n${{({SIZE})().join(' ')}}\\n`)")
    page.keyboard.press("Control+c")
    look_at(page, "terminal", f"#jp-bai-terminal-{session}", whole=True)

    page.reload()
    settle(page)
    wait_for_text(page, "42 grüß")  # the last of what was shown
    page.evaluate("id => window.jupyterapp.shell.activateById(id)", f"jp-bai-terminal-{session}")
    expect(tab.get_by_role("textbox")).to_be_focused()
    page.keyboard.type("echo $kept\n")
    wait_for_text(page, "\nhere\n")

    page.keyboard.type("exit\n")
    expect(tab).to_have_count(0)
    page.evaluate("id => window.jupyterapp.commands.execute('bai:open-terminal', {id, name: 'shown'})", session)
    page.wait_for_function(f"({SHOWN})().trim() !== ''")  # the next shell's
    assert "here" not in page.evaluate(SHOWN)

    with_client(processes, lambda client: client.destroy_session(session))
    wait_for_text(page, "[shown: Ended by")
    page.reload()
    settle(page)
    wait_for_text(page, "[shown: Ended by")

    page.evaluate(f"({TAB})().close()")
    expect(tab).to_have_count(0)
    page.close()
