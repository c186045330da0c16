"""JupyterLab as a process, with the built panel, and one Chromium for the module (``tests/conftest.py`` says why)."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from bai_jupyter import extension

expect.set_options(timeout=30_000)

BUILT = Path(extension.__file__).with_name("labextension")


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


@pytest.fixture(scope="module")
def ui_manager(make_manager: Any) -> Iterator[Any]:
    with make_manager() as stub:
        yield stub


@pytest.fixture(scope="session")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures go; ``BAI_SCREENSHOTS`` names a folder to keep them in."""
    named = os.environ.get("BAI_SCREENSHOTS")
    folder = Path(named) if named else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def make_lab(make_server: Callable[..., Any], missing: Callable[..., None]) -> Callable[[Any], Any]:
    """A running Lab with the panel. Its settings keep the news box away, which would cover a corner."""

    def make(manager: Any) -> Any:
        if not (BUILT / "package.json").exists():
            missing("browser", "the panel is not built (python labext_build.py)")
        options = [
            "--LabApp.expose_app_in_browser=True",
            "--BaiKernelSpecManager.kernelspec_for=survivor_specs.kernelspec_for",
        ]
        server = make_server(manager.environ, program="jupyterlab", options=options)
        link = server.home / "data" / "labextensions" / "@bai-jupyter" / "labextension"
        link.parent.mkdir(parents=True)
        link.symlink_to(BUILT)
        settings = server.home / "config" / "lab" / "user-settings" / "@jupyterlab" / "apputils-extension"
        settings.mkdir(parents=True)
        quiet = {"fetchNews": "false", "checkForUpdates": False}
        (settings / "notification.jupyterlab-settings").write_text(json.dumps(quiet))
        server.start()
        return server

    return make


@pytest.fixture(scope="module")
def lab(make_lab: Callable[[Any], Any], ui_manager: Any) -> Iterator[Any]:
    server = make_lab(ui_manager)
    yield server
    server.stop(signal.SIGKILL)
    server.kill_kernels()


@pytest.fixture(scope="session")
def open_lab() -> Callable[[Browser, Any], Page]:
    def open_page(browser: Browser, server: Any) -> Page:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        # Lab waits for a theme for a second and a half, which is short where much else runs; the next change loads it.
        slow = page.get_by_role("dialog", name="Error Loading Theme")
        page.add_locator_handler(slow, lambda dialog: dialog.get_by_role("button", name="OK").click())
        page.goto(f"{server.url}/lab?token=test-token&reset")
        page.wait_for_function("window.jupyterapp !== undefined", timeout=30_000)
        page.evaluate("window.jupyterapp.restored")
        page.locator("#jupyterlab-splash").wait_for(state="detached", timeout=30_000)
        return page

    return open_page
