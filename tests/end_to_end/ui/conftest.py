"""``bai up`` as a new user runs it, and a Chromium to look at it with."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit, urlunsplit

import docker
import pytest
from bai_agent.runtimes import cgroups
from end_to_end.wire import Wire
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright
from playwright.sync_api import Error as PlaywrightError

DEADLINE_S = 120


@pytest.fixture(autouse=True)
def jp_asyncio_loop() -> None:
    """Playwright's loop runs in this thread already."""


@pytest.fixture(autouse=True)
def jp_server_cleanup() -> None:
    """No server runs in this process."""


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


class Up:
    """A running ``bai up`` in a folder of its own."""

    def __init__(self, folder: Path, runtime: str) -> None:
        self.folder = folder
        self.data = folder / ".bai"
        self.output = folder / "up.log"
        self._bai = [str(Path(sys.executable).with_name("bai"))]
        options = ["up", "--runtime", runtime, "--no-build", "--port", str(20000 + os.getpid() % 12000)]
        with self.output.open("wb") as log:
            self._process = subprocess.Popen(
                [*self._bai, *options], cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    @property
    def url(self) -> str:
        deadline = time.monotonic() + DEADLINE_S
        while (found := re.search(r"http://\S+/lab\?token=\S+", self.output.read_text())) is None:
            assert self._process.poll() is None, self.output.read_text()
            assert time.monotonic() < deadline, self.output.read_text()
            time.sleep(0.1)
        return found[0]

    def pid(self, server: str) -> int:
        return int(json.loads((self.data / "run" / f"{server}.pid").read_text())["pid"])

    def kill(self, server: str) -> None:
        """Kill a server and wait until ``bai up`` has started it again."""
        before = self.pid(server)
        os.kill(before, signal.SIGKILL)
        deadline = time.monotonic() + DEADLINE_S
        while self.pid(server) == before:
            assert time.monotonic() < deadline, self.output.read_text()
            time.sleep(0.05)

    def kill_relay_worker(self) -> None:
        """The relay's process that does the work: the younger of its two."""
        relays = []
        for entry in Path("/proc").iterdir():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"bai_agent.relay" in words and str(self.data).encode() in words:
                relays.append(int(entry.name))
        os.kill(max(relays), signal.SIGKILL)

    def bai(self, *words: str, credentials: Path | None = None) -> str:
        """What it prints; as somebody else, if their credentials are given."""
        environ = os.environ | ({"BAI_CREDENTIALS": str(credentials)} if credentials else {})
        done = subprocess.run(
            [*self._bai, *words], cwd=self.folder, env=environ, capture_output=True, text=True, timeout=DEADLINE_S
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def down(self) -> None:
        """With the environments that were made of sessions, also by a test that failed before it knew their names."""
        made: list[str] = []
        try:
            made = self.bai("env", "list", "-q").split()
        finally:
            self.bai("down")
            self._process.wait(DEADLINE_S)
        with closing(docker.from_env()) as engine:
            for name in made:
                engine.images.remove(name, force=True)


@contextmanager
def running_up(folder: Path) -> Iterator[Up]:
    """With containers; it needs the fixtures ``docker_client`` and ``python_image``."""
    for one in (folder, *folder.parents):  # under root, Lab is another user's process and must get through
        if one.owner() == "root" and os.geteuid() == 0 and one != Path("/"):
            one.chmod(one.stat().st_mode | 0o011)
    up = Up(folder, "docker")
    try:
        yield up
    finally:
        up.down()


@pytest.fixture
def up(tmp_path: Path, docker_client: Any, python_image: str) -> Iterator[Up]:
    with running_up(tmp_path) as up:
        yield up


class Lab:
    """One page with a JupyterLab."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self._url = url
        # Lab waits for a theme for a second and a half, which is short where much else runs.
        slow = page.get_by_role("dialog", name="Error Loading Theme")
        page.add_locator_handler(slow, lambda dialog: dialog.get_by_role("button", name="OK").click())
        page.goto(url.replace("/lab?", "/lab?reset&"))
        page.locator(".jp-Launcher").wait_for(timeout=DEADLINE_S * 1000)
        dialog = page.get_by_role("dialog").get_by_role("button", name="Close").first
        page.add_locator_handler(dialog, lambda button: button.click(), no_wait_after=True)  # one comes after the other

    def new_notebook(self, card: str) -> None:
        self.page.locator(".jp-Launcher-section", has_text="Notebook").locator(
            f'.jp-LauncherCard[title*="{card}"]'
        ).first.click()
        self._cells.first.locator(".cm-content").wait_for()
        self.until_idle()

    def until_idle(self) -> None:
        expect(self.page.locator("#jp-main-statusbar")).to_contain_text("| Idle", timeout=DEADLINE_S * 1000)

    @property
    def _cells(self) -> Locator:
        """Of the notebook in front."""
        return self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Cell")

    def start(self, code: str) -> None:
        """Run a cell at the end and do not wait."""
        self._cells.last.locator(".cm-content").click()
        self.page.keyboard.insert_text(code)
        self.page.keyboard.press("Shift+Enter")

    def run(self, code: str) -> str:
        """Run a cell at the end; what it printed."""
        count = self._cells.count()
        self.start(code)
        cell = self._cells.nth(count - 1)
        expect(cell.locator(".jp-InputPrompt")).to_have_text(re.compile(r"\[\d+\]:"), timeout=DEADLINE_S * 1000)
        return self.outputs(count - 1)

    def cell(self, index: int) -> Locator:
        return self._cells.nth(index)

    def outputs(self, index: int) -> str:
        return "".join(self.cell(index).locator(".jp-OutputArea-output pre").all_inner_texts())

    def kernel_id(self) -> str:
        (kernel,) = self.page.request.get(urljoin(self._url, f"/api/kernels?{urlsplit(self._url).query}")).json()
        return str(kernel["id"])

    def save(self) -> None:
        self.page.keyboard.press("Control+S")
        self.page.locator(".lm-TabBar-tab.jp-mod-current:not(.jp-mod-dirty)").wait_for()

    # Away and back

    def reload(self) -> None:
        self.leave()
        self.come_back()

    def leave(self) -> None:
        self._left = self.page.url
        self.page.goto("about:blank")

    def come_back(self) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                self.page.goto(self._left)
                break
            except PlaywrightError:  # a server that was killed is about to listen again
                assert time.monotonic() < deadline
                time.sleep(0.2)
        self.page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=DEADLINE_S * 1000)


EXPOSE = """document.addEventListener('readystatechange', () => {
  const config = document.getElementById('jupyter-config-data');
  if (config) config.textContent = config.textContent.replace(/("exposeAppInBrowser": *)false/, '$1true');
});"""
"""So that a test may ask ``window.jupyterapp``."""


@contextmanager
def lab_at(url: str, browser: Browser, up: Up, *, is_exposed: bool = False) -> Iterator[Lab]:
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    if is_exposed:
        page.add_init_script(EXPOSE)
    try:
        yield Lab(page, url)
        with suppress(PlaywrightError):  # of a page that is too busy
            page.screenshot(path=up.folder / "last.png")  # for whoever looks for the cause of a failure
    finally:
        page.close()


@pytest.fixture(scope="session")
def holds_memory() -> bool:
    """Whether this host lets a process wait for memory: one with cgroup version 2 does not."""
    return cgroups.memory_limit(os.getpid()) is not None


@pytest.fixture
def lab(browser: Browser, up: Up) -> Iterator[Lab]:
    with lab_at(up.url, browser, up) as lab:
        yield lab


@pytest.fixture
def wire(up: Up, free_port: int) -> Iterator[Wire]:
    """Between the page of ``lab_over_wire`` and its server."""
    far = urlsplit(up.url).port
    assert far is not None
    wire = Wire(free_port, far)
    yield wire
    wire.close()


@pytest.fixture
def lab_over_wire(browser: Browser, up: Up, wire: Wire) -> Iterator[Lab]:
    here = urlsplit(up.url)
    with lab_at(urlunsplit(here._replace(netloc=f"{here.hostname}:{wire.near}")), browser, up) as lab:
        yield lab
