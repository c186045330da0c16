"""Notebook 7 in front of containers: what Lab shows in a status bar and a launcher is in the notebook's toolbar."""

import re
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import Browser, Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.docker, pytest.mark.timeout(400)]

DEADLINE_MS = 120_000
READ_WHEN_THERE = """
import os, time
while not os.path.exists("/home/work/data/greeting"):
    time.sleep(0.05)
print(open("/home/work/data/greeting").read(), end="")
"""
TOO_LARGE = "y = bytearray(400 << 20); print(len(y) >> 20, x)"


@pytest.fixture
def page(browser: Browser, up: Any) -> Any:
    """A new notebook, whose kernel is of Backend.AI."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.set_default_timeout(DEADLINE_MS)
    # The page waits for a theme for a second and a half, which is short where much else runs.
    slow = page.get_by_role("dialog", name="Error Loading Theme")
    page.add_locator_handler(slow, lambda dialog: dialog.get_by_role("button", name="OK").click())
    server = urlsplit(up.url)

    def url(path: str) -> str:
        return urlunsplit(server._replace(path=path))

    specs = page.request.get(url("/api/kernelspecs")).json()["kernelspecs"]
    ours = next(name for name in specs if name.startswith("bai-python-minimal"))
    headers = {"Authorization": f"token {server.query.partition('=')[2]}"}
    content = new_notebook(cells=[new_code_cell()], metadata={"kernelspec": {"name": ours, "display_name": ours}})
    body = {"type": "notebook", "content": content}
    assert page.request.put(url("/api/contents/seven.ipynb"), headers=headers, data=body).ok
    page.goto(url("/notebooks/seven.ipynb"))
    yield page
    page.screenshot(path=up.folder / "last.png")  # for whoever looks for the cause of a failure
    page.close()


def test_a_kernel_its_state_its_resources_a_folder_and_more_memory(
    page: Page, up: Any, holds_memory: bool, tmp_path: Any
) -> None:
    chip = page.locator(".jp-bai-Chip jp-button")
    expect(chip).to_contain_text("Running", timeout=DEADLINE_MS)
    assert run(page, "x = 'kept'; print(6 * 7)") == "42\n"

    chip.click()
    dialog = page.get_by_role("dialog", name="Resources for")
    expect(dialog.locator(".jp-bai-Preset").filter(has_text="small")).to_contain_text("Starts now", timeout=DEADLINE_MS)
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)

    (tmp_path / "greeting").write_text("hello\n")
    up.bai("vfolder", "create", "data")
    up.bai("vfolder", "put", str(tmp_path / "greeting"), "data")
    page.keyboard.press("Control+Shift+C")
    palette = page.locator(".jp-ModalCommandPalette")
    expect(palette.locator("input")).to_be_focused()
    page.keyboard.type("Attach Folder")
    expect(palette.locator(".lm-CommandPalette-item.lm-mod-active")).to_contain_text("Attach Folder to This Kernel")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("combobox").select_option("data")
    page.keyboard.press("Enter")
    expect(dialog).to_contain_text("Attach data")
    dialog.get_by_role("combobox").select_option("read only")
    page.keyboard.press("Enter")
    assert run(page, READ_WHEN_THERE) == "hello\n"

    if holds_memory:
        session = up.bai("session", "list", "-q").split()[0]
        up.bai("session", "resize", session, "--mem", "256m")
        place = start(page, TOO_LARGE)
        notice = page.get_by_role("region", name="Kernel notice")
        expect(notice).to_contain_text("Held at its memory limit", timeout=DEADLINE_MS)
        expect(chip).to_contain_text("Held")
        notice.get_by_role("button", name="Grow to 512\u00a0MiB").click()
        assert output_of(page, place) == "400 kept\n"
        expect(notice).to_be_hidden()


def start(page: Page, code: str) -> int:
    """Run a cell at the end and do not wait; its place."""
    place = page.locator(".jp-Notebook .jp-Cell").count() - 1
    page.locator(".jp-Notebook .jp-Cell").nth(place).locator(".cm-content").click()
    page.keyboard.insert_text(code)
    page.keyboard.press("Shift+Enter")
    return place


def output_of(page: Page, place: int) -> str:
    """What a cell printed, once it has ended."""
    cell = page.locator(".jp-Notebook .jp-Cell").nth(place)
    expect(cell.locator(".jp-InputPrompt")).to_have_text(re.compile(r"\[\d+\]:"), timeout=DEADLINE_MS)
    return "".join(cell.locator(".jp-OutputArea-output pre").all_inner_texts())


def run(page: Page, code: str) -> str:
    return output_of(page, start(page, code))
