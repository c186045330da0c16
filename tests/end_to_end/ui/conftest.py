"""``bai up`` as a new user runs it, and a Chromium to look at it with."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

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
        options = ["up", "--runtime", runtime, "--no-build", "--port", str(20000 + os.getpid() % 20000)]
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

    def bai(self, *words: str) -> str:
        done = subprocess.run([*self._bai, *words], cwd=self.folder, capture_output=True, text=True, timeout=DEADLINE_S)
        return done.stdout

    def down(self) -> None:
        self.bai("down")
        self._process.wait(DEADLINE_S)


@pytest.fixture
def up(tmp_path: Path, docker_client: Any, python_image: str) -> Iterator[Up]:
    for folder in (tmp_path, *tmp_path.parents):  # under root, Lab is another user's process and must get through
        if folder.owner() == "root" and os.geteuid() == 0 and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    up = Up(tmp_path, "docker")
    try:
        yield up
    finally:
        up.down()


class Lab:
    """One page with a JupyterLab."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        page.goto(url.replace("/lab?", "/lab?reset&"))
        page.locator(".jp-Launcher").wait_for(timeout=DEADLINE_S * 1000)
        dialog = page.get_by_role("dialog").get_by_role("button", name="Close")
        page.add_locator_handler(dialog, lambda button: button.click())

    def new_notebook(self, card: str) -> None:
        self.page.locator(".jp-Launcher-section", has_text="Notebook").locator(
            f'.jp-LauncherCard[title*="{card}"]'
        ).first.click()
        self.page.locator(".jp-Notebook .cm-content").first.wait_for()
        self.until_idle()

    def until_idle(self) -> None:
        expect(self.page.locator("#jp-main-statusbar")).to_contain_text("| Idle", timeout=DEADLINE_S * 1000)

    def start(self, code: str) -> None:
        """Run a cell at the end and do not wait."""
        self.page.locator(".jp-Notebook .jp-Cell").last.locator(".cm-content").click()
        self.page.keyboard.insert_text(code)
        self.page.keyboard.press("Shift+Enter")

    def run(self, code: str) -> str:
        """Run a cell at the end; what it printed."""
        count = self.page.locator(".jp-Notebook .jp-Cell").count()
        self.start(code)
        cell = self.page.locator(".jp-Notebook .jp-Cell").nth(count - 1)
        expect(cell.locator(".jp-InputPrompt")).to_have_text(re.compile(r"\[\d+\]:"), timeout=DEADLINE_S * 1000)
        return self.outputs(count - 1)

    def outputs(self, index: int) -> str:
        return "".join(
            self.page.locator(".jp-Notebook .jp-Cell").nth(index).locator(".jp-OutputArea-output pre").all_inner_texts()
        )


@pytest.fixture
def lab(browser: Browser, up: Up) -> Iterator[Lab]:
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    yield Lab(page, up.url)
    page.close()
