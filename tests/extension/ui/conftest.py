"""JupyterLab as a process, with the built panel, and one Chromium for the module (``tests/conftest.py`` says why).

``lab`` is in front of a real manager, ``cluster``; ``stub_lab`` in front of one that answers what the test puts in.
"""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright
from real_manager import RealManager

from bai_jupyter import extension

expect.set_options(timeout=30_000)

BUILT = Path(extension.__file__).with_name("labextension")
AXE = Path(__file__).parents[3] / "labextension" / "node_modules" / "axe-core" / "axe.min.js"
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}


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
def make_lab(make_server: Callable[..., Any], missing: Callable[..., None]) -> Callable[..., Any]:
    """A running Lab with the panel. Its settings keep the news box away, which would cover a corner."""

    def make(manager: Any, **fields: Any) -> Any:
        if not (BUILT / "package.json").exists():
            missing("browser", "the panel is not built (python labext_build.py)")
        options = [
            "--LabApp.expose_app_in_browser=True",
            "--BaiKernelSpecManager.kernelspec_for=survivor_specs.kernelspec_for",
        ]
        server = make_server(manager.environ, program="jupyterlab", options=options, **fields)
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
def stub_lab(make_lab: Callable[[Any], Any], ui_manager: Any) -> Iterator[Any]:
    yield from running(make_lab(ui_manager))


@pytest.fixture(scope="module")
def lab(make_lab: Callable[[Any], Any], cluster: RealManager) -> Iterator[Any]:
    yield from running(make_lab(cluster))


def running(server: Any) -> Iterator[Any]:
    yield server
    server.stop(signal.SIGKILL)
    server.kill_kernels()


# What is looked at


@pytest.fixture(scope="session", name="set_theme")
def _set_theme() -> Callable[[Page, str], None]:
    """``set_theme(page, "dark")``."""
    return set_theme


@pytest.fixture(scope="session")
def faults_of(missing: Callable[..., None]) -> Callable[[Page, str], list[str]]:
    """What axe calls serious or critical in what matches a selector, as sentences."""
    if not AXE.exists():
        missing("browser", "axe-core is not there (npm ci in labextension)")

    def faults_of(page: Page, selector: str) -> list[str]:
        expect(page.locator(selector).first).to_be_visible()
        if not page.evaluate("'axe' in window"):
            page.add_script_tag(path=AXE)
        found: list[str] = page.evaluate(FIND_FAULTS, selector)
        return found

    return faults_of


FIND_FAULTS = """async selector => {
  const options = {rules: {'target-size': {enabled: true}}, resultTypes: ['violations'], preload: false};
  const {violations} = await axe.run({include: [[selector]]}, options);
  const serious = violations.filter(one => ['serious', 'critical'].includes(one.impact));
  return serious.flatMap(one => one.nodes.map(node => `${one.id}: ${node.html} ${node.failureSummary}`));
}"""


@pytest.fixture(scope="session")
def look_at(shots: Path, faults_of: Callable[[Page, str], list[str]]) -> Callable[..., None]:
    """``look_at(page, "folders", "#jp-bai-panel")``: pictures in both themes. Nothing there is faulty or too wide.

    With ``whole`` of the whole page.
    """

    def look_at(page: Page, name: str, selector: str, *, whole: bool = False) -> None:
        for theme in THEMES:
            set_theme(page, theme)
            assert faults_of(page, selector) == []
            (page if whole else page.locator(selector)).screenshot(path=shots / f"{name}-{theme}.png")
        for one in page.locator(selector).locator(".jp-bai-Section:visible, .jp-bai-Resources-body").all():
            assert is_whole(one), f"{name} is cut"

    return look_at


def is_whole(one: Locator) -> bool:
    return bool(one.evaluate("node => node.scrollWidth <= node.clientWidth"))


def set_theme(page: Page, theme: str) -> None:
    page.evaluate("name => window.jupyterapp.commands.execute('apputils:change-theme', {theme: name})", THEMES[theme])
    page.wait_for_function("name => document.body.dataset.jpThemeName === name", arg=THEMES[theme])
    page.locator("#jupyterlab-splash").wait_for(state="detached")


@pytest.fixture(scope="session", name="settle")
def _settle() -> Callable[[Page], None]:
    """Wait until Lab is there, after a page was loaded."""
    return settle


def settle(page: Page) -> None:
    page.wait_for_function("window.jupyterapp !== undefined", timeout=60_000)
    page.evaluate("window.jupyterapp.restored.then(() => undefined)")
    page.locator("#jupyterlab-splash").wait_for(state="detached", timeout=60_000)


@pytest.fixture(scope="session")
def open_lab() -> Callable[[Browser, Any], Page]:
    def open_page(browser: Browser, server: Any) -> Page:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        # Lab waits for a theme for a second and a half, which is short where much else runs; the next change loads it.
        slow = page.get_by_role("dialog", name="Error Loading Theme")
        page.add_locator_handler(slow, lambda dialog: dialog.get_by_role("button", name="OK").click())
        page.goto(f"{server.url}/lab?token=test-token&reset")
        settle(page)
        return page

    return open_page


@pytest.fixture
def page(browser: Browser, lab: Any, open_lab: Callable[[Browser, Any], Page]) -> Iterator[Page]:
    """Lab in front of a real manager, for one test."""
    page = open_lab(browser, lab)
    page.set_default_timeout(30_000)
    yield page
    page.close()
