"""The panel in front of containers: folders, files, apps, a terminal, and what is done with sessions."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from end_to_end.ui.conftest import DEADLINE_S, Lab, Up, lab_at, running_up
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import Browser, Locator, Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.docker, pytest.mark.timeout(400)]

LONG_MS = DEADLINE_S * 1000
expect.set_options(timeout=60_000)
HOME = "/home/work/home"
SERVE = """
import pathlib, subprocess, sys
pathlib.Path("site").mkdir(exist_ok=True)
pathlib.Path("site/index.html").write_text("<title>Mine</title>It is served.")
server = subprocess.Popen([sys.executable, "-m", "http.server", "8765", "--directory", "site"])
"""
SHOWN = """() => {
  const tab = [...window.jupyterapp.shell.widgets('main')].find(one => one.id.startsWith('jp-bai-terminal-'));
  const lines = tab?.content._term?.buffer.active;
  return Array.from({length: lines?.length ?? 0}, (_, at) => lines.getLine(at).translateToString(true)).join('\\n');
}"""
"""A terminal is drawn as a picture, so this is asked of what draws it."""


@pytest.fixture(scope="module")
def made(docker_client: Any) -> Iterator[list[str]]:
    """Names of images that tests make: removed once nothing runs any more."""
    names: list[str] = []
    yield names
    for name in names:
        docker_client.images.remove(name, force=True)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, made: list[str], python_image: str) -> Iterator[Up]:
    with running_up(tmp_path_factory.mktemp("up")) as up:
        yield up


@pytest.fixture(scope="module")
def lab(browser: Browser, up: Up) -> Iterator[Lab]:
    """With a notebook in front whose kernel runs, and the panel open."""
    with lab_at(up.url, browser, up, is_exposed=True) as lab:
        lab.new_notebook("bai/python-minimal")
        show(lab.page, "jp-bai-panel")
        yield lab


@pytest.fixture(autouse=True)
def _notebook_in_front(lab: Lab) -> None:
    tab_of(lab.page, "Untitled.ipynb").click()


def tab_of(page: Page, label: str) -> Locator:
    return page.locator(".lm-DockPanel-tabBar .lm-TabBar-tab", has_text=label)


def show(page: Page, side: str) -> None:
    """What is at the side."""
    if not page.locator(f"#{side}").is_visible():
        page.locator(f".jp-SideBar [data-id='{side}']").click()


def section(page: Page, name: str) -> Locator:
    """The named section, with all others closed."""
    for one in ("Sessions", "Folders", "Apps", "Resources"):
        title = page.locator("#jp-bai-panel .jp-AccordionPanel-title", has_text=one)
        if (title.get_attribute("aria-expanded") == "true") != (one == name):
            title.click()
    title = page.locator("#jp-bai-panel .jp-AccordionPanel-title", has_text=name)
    return page.locator(f"#jp-bai-panel .jp-bai-Section[aria-labelledby='{title.get_attribute('id')}']")


def with_actions(row: Locator, name: str) -> Locator:
    """The row, with what can be done shown."""
    button = row.get_by_role("button", name=f"Actions on {name}")
    if button.get_attribute("aria-expanded") == "false":
        button.click()
    return row


def session_of(page: Page, name: str) -> Locator:
    """Its row, with what can be done shown."""
    return with_actions(section(page, "Sessions").get_by_role("listitem").filter(has_text=name), name)


def test_a_file_goes_up_is_read_and_changed_beside_the_kernel(lab: Lab, up: Up, tmp_path: Path) -> None:
    page = lab.page
    folders = section(page, "Folders")
    folders.get_by_role("button", name="New folder").click()
    form = folders.get_by_role("form", name="New folder")
    form.get_by_label("Name").fill("data")
    form.get_by_role("button", name="Create").click()
    data = folders.get_by_role("list", name="Folders").get_by_role("listitem").filter(has_text="data")
    data.get_by_role("button", name="data", exact=True).click()
    (tmp_path / "greeting.txt").write_text("hello\n")
    folders.locator(".jp-bai-Tools input[type=file]:not([webkitdirectory])").set_input_files(tmp_path / "greeting.txt")
    expect(folders.get_by_role("list", name="Files").get_by_role("listitem")).to_have_text(["greeting.txt6 B"])
    folders.get_by_role("button", name="Folders", exact=True).click()

    with_actions(data, "data").get_by_role("button", name="Attach", exact=True).click()
    data.get_by_role("form", name="Attach data to this kernel").get_by_role("button", name="Attach").click()
    expect(data).to_contain_text(re.compile("attached to Untitled-.*: /home/work/data"))
    assert lab.run("print(open('/home/work/data/greeting.txt').read())") == "hello\n\n"

    data.get_by_role("button", name="Open in file browser").click()
    page.locator("#bai-file-browser .jp-DirListing-item", has_text="greeting.txt").dblclick()
    editor = page.locator(".jp-FileEditor .cm-content")
    expect(editor).to_contain_text("hello")
    editor.click()
    page.keyboard.press("Control+End")
    page.keyboard.type("world")
    page.keyboard.press("Control+s")
    expect(page.locator("#jp-main-dock-panel .lm-mod-current.jp-mod-dirty")).to_have_count(0)
    tab_of(page, "Untitled.ipynb").click()
    assert lab.run("print(open('/home/work/data/greeting.txt').read())") == "hello\nworld\n"
    show(page, "jp-bai-panel")


def test_what_a_cell_serves_is_an_app_and_a_terminal_is_beside_it(lab: Lab, up: Up) -> None:
    page = lab.page
    lab.run("open('greeting.txt', 'w').write('hello from the kernel')")
    port = section(page, "Apps").get_by_role("listitem").filter(has_text="Port 8765")
    lab.run(SERVE)
    expect(port).to_contain_text("a program listens there", timeout=LONG_MS)
    port.get_by_role("button", name="Open Port 8765", exact=True).click()
    expect(page.frame_locator("iframe[title^='Port 8765 of Untitled-']").locator("body")).to_have_text("It is served.")

    session = session_of(page, "Untitled-")
    session.get_by_role("button", name="Terminal", exact=True).click()
    expect(page.locator("[id^='jp-bai-terminal-']").get_by_role("textbox")).to_be_focused()
    page.wait_for_function(f"({SHOWN})().trim() !== ''", timeout=LONG_MS)  # its prompt
    page.keyboard.type(f"cat {HOME}/greeting.txt\n")
    page.wait_for_function(f"({SHOWN})().includes('\\nhello from the kernel')", timeout=LONG_MS)

    tab_of(page, "Untitled.ipynb").click()
    lab.run("server.terminate()")
    section(page, "Apps")
    expect(port).to_have_count(0)


def test_a_notebook_runs_on_the_cluster_and_its_result_is_beside_it(lab: Lab, up: Up) -> None:
    page = lab.page
    server = urlsplit(up.url)
    headers = {"Authorization": f"token {server.query.partition('=')[2]}"}
    spec = {"name": "bai-python-minimal-3.11-python3", "display_name": "Python 3"}
    content = new_notebook(cells=[new_code_cell("print(6 * 7)")], metadata={"kernelspec": spec})
    url = urlunsplit(server._replace(path="/api/contents/small.ipynb"))
    assert page.request.put(url, headers=headers, data={"type": "notebook", "content": content}).ok
    show(page, "filebrowser")
    page.locator("#filebrowser").get_by_role("button", name="Refresh").first.click()
    files = page.locator("#filebrowser .jp-DirListing-item")
    files.filter(has_text="small.ipynb").click(button="right")
    page.get_by_role("menuitem", name="Run on Cluster…").click()
    dialog = page.get_by_role("dialog", name="Resources for small.ipynb")
    dialog.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_text("small.ipynb runs in session small-")).to_be_visible()
    result = files.filter(has_text="small-result-")
    expect(result).to_be_visible()
    (lying,) = (up.data / "home").glob("small-result-*.ipynb")
    until(lambda: "42\\n" in lying.read_text())
    result.dblclick()
    expect(lab.cell(0)).to_contain_text("42\n")
    show(page, "jp-bai-panel")


def test_a_session_says_what_it_prints_and_becomes_an_environment(lab: Lab, up: Up, made: list[str]) -> None:
    page = lab.page
    lab.run("import os; os.system('echo printed by a cell > /proc/1/fd/1')")
    lab.run("open('/home/work/kept', 'w').write('kept in the image')")
    session_of(page, "Untitled-").get_by_role("button", name="Log", exact=True).click()
    expect(page.get_by_role("log")).to_contain_text("printed by a cell")

    page.evaluate("void window.jupyterapp.commands.execute('bai:save-kernel-as-environment')")
    dialog = page.get_by_role("dialog", name=re.compile("^Save Untitled-.* as environment"))
    expect(dialog).to_contain_text("all else below /home/work, and mounted folders (/home/work/home")
    dialog.get_by_label("Name").fill("kept")
    dialog.get_by_role("button", name="Save", exact=True).click()
    said = page.get_by_text(re.compile("^The environment bai-user/.* is ready"))
    expect(said).to_be_visible(timeout=LONG_MS)
    found = re.search(r"bai-user/\S+", said.inner_text())
    assert found is not None
    made.append(found[0])
    assert found[0] in up.bai("image", "list")


def until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.1)
