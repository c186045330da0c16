"""The user's view of promise 1: the server is killed under an open page, and the page goes on with its variables."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


@pytest.fixture
def own_lab(make_lab: Callable[[Any], Any], manager: Any) -> Iterator[Any]:
    server = make_lab(manager)
    yield server
    server.stop(signal.SIGKILL)
    server.kill_kernels()


def test_an_open_page_goes_on(
    browser: Browser, own_lab: Any, open_lab: Callable[[Browser, Any], Page], shots: Path
) -> None:
    page = open_lab(browser, own_lab)
    page.evaluate("void window.jupyterapp.commands.execute('notebook:create-new', {kernelName: 'survivor'})")
    wait_for_idle(page)
    run_cell(page, "x = 40")
    expect(page.locator(".jp-NotebookPanel:visible .jp-InputPrompt").first).to_have_text("[1]:", timeout=60_000)
    own_lab.stop(signal.SIGKILL)
    own_lab.start()
    wait_for_idle(page)
    run_cell(page, "print(x + 2)")
    expect(page.locator(".jp-NotebookPanel:visible .jp-OutputArea-output").last).to_have_text("42", timeout=60_000)
    page.screenshot(path=shots / "after-kill.png")
    page.close()


def wait_for_idle(page: Page) -> None:
    close = page.get_by_role("dialog").get_by_role("button", name="Close").first
    page.add_locator_handler(close, lambda button: button.click(), no_wait_after=True)  # one comes after the other
    expect(page.locator("#jp-main-statusbar")).to_contain_text("| Idle", timeout=120_000)  # Lab doubles its pauses


def run_cell(page: Page, code: str) -> None:
    cell = page.locator(".jp-NotebookPanel:visible .jp-Notebook .jp-Cell").last.locator(".cm-content")
    cell.click()
    page.keyboard.type(code)
    page.keyboard.press("Shift+Enter")
