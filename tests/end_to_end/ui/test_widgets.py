"""Widgets in a notebook whose kernel is in a container: what they say to the page, and their way to the manager."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from end_to_end.ui.conftest import DEADLINE_S, Lab, Up, lab_at
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import Browser, Locator, expect

import bai_jupyter

pytestmark = [pytest.mark.browser, pytest.mark.docker, pytest.mark.timeout(400)]

LONG_MS = DEADLINE_S * 1000
NEEDED = ("__init__.py", "_version.py", "words.py", "client", "common", "widgets")


@pytest.fixture
def lab(browser: Browser, up: Up) -> Iterator[Lab]:
    with lab_at(up.url, browser, up, is_exposed=True) as lab:
        yield lab


def test_a_session_is_started_watched_and_ended_from_within_another(lab: Lab, up: Up, python_image: str) -> None:
    put_package_into(up.data / "home")
    (up.data / "home" / "picked.txt").write_text("picked")
    up.bai("session", "start", python_image, "--name", "granted", "--manager-access", "user", "--cpu", "1")
    write_notebook(lab, up, {"image": python_image, "session": "granted"})
    lab.page.evaluate("void window.jupyterapp.commands.execute('docmanager:open', {path: 'widgets.ipynb'})")
    lab.until_idle()
    # By then the page's manager of widgets listens: one that is made before is not drawn.
    said = lab.run("import os, sys; sys.path.insert(0, '/home/work/home'); print(os.environ['BACKENDAI_SESSION_NAME'])")
    assert said == "granted\n"

    lab.run("from bai_jupyter.widgets import FolderPicker, ResourceMonitor, SessionLauncher")
    launcher = shown(lab, "SessionLauncher()")
    launcher.get_by_label("Name").fill("of-a-widget")
    launcher.get_by_label("Environment").select_option(label=python_image)
    launcher.get_by_role("button", name="Start").click(timeout=LONG_MS)
    expect(launcher).to_contain_text("of-a-widget: Running", timeout=LONG_MS)
    assert "of-a-widget" in up.bai("session", "list", "-q")

    monitor = shown(lab, "ResourceMonitor('of-a-widget')")
    expect(monitor).to_contain_text("of-a-widget: Running", timeout=LONG_MS)
    expect(monitor).to_contain_text("Memory", timeout=LONG_MS)

    picker = shown(lab, "picker := FolderPicker()")
    home = picker.get_by_label("Folder", exact=True)
    home.select_option(label=home.locator("option").filter(has_text="home").inner_text(timeout=LONG_MS))
    contents = picker.get_by_label("Contents")
    expect(contents).to_contain_text("picked.txt", timeout=LONG_MS)
    contents.select_option(label=contents.locator("option").filter(has_text="picked.txt").inner_text())
    assert lab.run("print(picker.value)") == "('home', 'picked.txt')\n"

    launcher.get_by_role("button", name="End").click()
    expect(launcher).to_contain_text("of-a-widget: Ended", timeout=LONG_MS)
    expect(monitor).to_contain_text("of-a-widget: Ended", timeout=LONG_MS)
    assert up.bai("session", "list", "-q").split() == ["granted"]


def put_package_into(home: Path) -> None:
    """What `pip install 'bai_jupyter[widgets]'` would, beside what the image has."""
    for name in NEEDED:
        source, target = Path(bai_jupyter.__file__).with_name(name), home / "bai_jupyter" / name
        target.parent.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)


def write_notebook(lab: Lab, up: Up, choice: dict[str, Any]) -> None:
    server, _, token = up.url.partition("/lab?token=")
    headers = {"Authorization": f"token {token}"}
    body = {"type": "notebook", "content": new_notebook(cells=[new_code_cell()])}
    for path, data in (("api/contents/widgets.ipynb", body), ("bai/api/notebooks/widgets.ipynb/choice", choice)):
        assert lab.page.request.put(f"{server}/{path}", headers=headers, data=data).ok


def shown(lab: Lab, widget: str) -> Locator:
    """A widget that is made in a cell at the end, by a mark that only it has."""
    name = re.sub(r"\W", "", widget)
    lab.run(f"({widget}).add_class('{name}')")
    return lab.page.locator(f".{name}")
