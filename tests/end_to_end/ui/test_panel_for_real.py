"""The panel in front of containers: folders, files, apps, a terminal, and what is done with sessions."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit, urlunsplit
from zipfile import ZipFile

import pytest
from end_to_end.ui.conftest import DEADLINE_S, Lab, Up, lab_at, running_up
from end_to_end.ui.panel import section, session_of, show, tab_of, with_actions
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import Browser, Locator, expect

pytestmark = [pytest.mark.browser, pytest.mark.docker, pytest.mark.timeout(400)]

LONG_MS = DEADLINE_S * 1000
expect.set_options(timeout=60_000)
HOME = "/home/work/home"
APP = """
import asyncio, tornado.web, tornado.websocket

class Page(tornado.web.RequestHandler):
    def get(self):
        self.set_cookie("of-the-app", "1")
        self.write("<title>Mine</title>It is served.")

class Seen(tornado.web.RequestHandler):
    def get(self):
        names = {name.lower() for name in self.request.headers}
        self.write({"headers": sorted(names), "query": self.request.query})

class Script(tornado.web.RequestHandler):
    def get(self):
        self.set_header("Content-Type", "text/javascript")
        self.write("postMessage(6 * 7)")

class Echo(tornado.websocket.WebSocketHandler):
    def on_message(self, message):
        names = {name.lower() for name in self.request.headers}
        told = sorted(names & {"cookie", "authorization", "x-xsrftoken"})
        self.write_message(f"{message} {told}")

async def main():
    tornado.web.Application([("/", Page), ("/seen", Seen), ("/echo", Echo), ("/worker.js", Script)]).listen(8765)
    await asyncio.Event().wait()

asyncio.run(main())
"""
SERVE = """
import subprocess, sys
server = subprocess.Popen([sys.executable, "app.py"])
"""
ECHO = """() => new Promise((resolve, reject) => {
  const address = new URL('echo', location.href);
  address.protocol = 'ws:';
  const socket = new WebSocket(address);
  socket.onopen = () => socket.send('hello');
  socket.onmessage = event => resolve(event.data);
  socket.onerror = () => reject(new Error('no socket'));
})"""
WORK = """() => new Promise((resolve, reject) => {
  const worker = new Worker('worker.js');
  worker.onmessage = event => resolve(event.data);
  worker.onerror = () => reject(new Error('no worker'));
})"""
SHOWN = """() => {
  const tab = [...window.jupyterapp.shell.widgets('main')].find(one => one.id.startsWith('jp-bai-terminal-'));
  const lines = tab?.content._term?.buffer.active;
  return Array.from({length: lines?.length ?? 0}, (_, at) => lines.getLine(at).translateToString(true)).join('\\n');
}"""
"""A terminal is drawn as a picture, so this is asked of what draws it."""


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, docker_client: Any, python_image: str) -> Iterator[Up]:
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


def test_a_file_goes_up_is_read_and_changed_beside_the_kernel(lab: Lab, up: Up, tmp_path: Path) -> None:
    page = lab.page
    folders = section(page, "Folders")
    create_folder(folders, "data")
    data = row_of(folders, "data")
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


def test_what_a_cell_serves_is_an_app_that_learns_nothing_of_its_user(lab: Lab, up: Up) -> None:
    page = lab.page
    (up.data / "home" / "app.py").write_text(APP)
    port = section(page, "Apps").get_by_role("listitem").filter(has_text="Port 8765")
    lab.run(SERVE)
    expect(port).to_contain_text("a program listens there", timeout=LONG_MS)
    port.get_by_role("button", name="Open Port 8765", exact=True).click()
    expect(page.frame_locator("iframe[title^='Port 8765 of Untitled-']").locator("body")).to_have_text("It is served.")
    inside = next(one for one in page.frames if "/bai/apps/" in one.url)
    assert inside.evaluate(ECHO) == "hello []"
    assert inside.evaluate(WORK) == 42
    with page.context.expect_page() as opened:
        port.get_by_role("button", name="Open Port 8765 in a tab of the browser").click()
    expect(opened.value.locator("body")).to_have_text("It is served.")
    opened.value.close()

    cookies = {one["name"] for one in page.context.cookies()}
    assert any(name.startswith("username-") for name in cookies)  # those of Lab's login go with what is asked next
    assert "of-the-app" not in cookies
    ours = {"Authorization": f"token {token_of(up)}", "X-XSRFToken": "mine"}
    query = {"token": token_of(up), "_xsrf": "mine", "kept": "1"}
    seen = page.request.get(urljoin(inside.url, "seen"), headers=ours, params=query).json()
    assert not {"cookie", "authorization", "x-xsrftoken", "referer"} & set(seen["headers"])
    assert seen["query"] == "kept=1"

    for place in ("/proxy/8765/", "/bai/proxy/8765/"):  # what jupyter-server-proxy has, and what %tensorboard is told
        with page.context.expect_page() as opened:
            page.evaluate("place => void window.open(place)", place)
        expect(opened.value.locator("body")).to_have_text("It is served.")
        opened.value.close()
    tab_of(page, "Untitled.ipynb").click()
    assert lab.run("import os; print(os.environ['TENSORBOARD_PROXY_URL'])") == "/bai/proxy/%PORT%/\n"
    lab.run("server.terminate()")
    section(page, "Apps")
    expect(port).to_have_count(0)


def test_a_terminal_is_beside_the_kernel(lab: Lab) -> None:
    page = lab.page
    lab.run("open('greeting.txt', 'w').write('hello from the kernel')")
    session = session_of(page, "Untitled-")
    session.get_by_role("button", name="Terminal", exact=True).click()
    expect(page.locator("[id^='jp-bai-terminal-']").get_by_role("textbox")).to_be_focused()
    page.wait_for_function(f"({SHOWN})().trim() !== ''", timeout=LONG_MS)  # its prompt
    page.keyboard.type(f"cat {HOME}/greeting.txt\n")
    page.wait_for_function(f"({SHOWN})().includes('\\nhello from the kernel')", timeout=LONG_MS)


def test_a_folder_is_shared_both_ways_and_comes_back_from_the_trash(lab: Lab, up: Up, tmp_path: Path) -> None:
    page = lab.page
    kim = tmp_path / "kim.json"
    up.bai("user", "add", "kim@example.org", "--name", "kim", "--credentials", str(kim))
    folders = section(page, "Folders")
    create_folder(folders, "plan")
    plan = with_actions(row_of(folders, "plan"), "plan")
    plan.get_by_role("button", name="Rename").click()
    plan.get_by_label("New name").fill("plans")
    page.keyboard.press("Enter")
    plans = row_of(folders, "plans")
    plans.get_by_role("button", name="plans", exact=True).click()
    transfer = page.evaluate_handle(
        "() => {const all = new DataTransfer(); all.items.add(new File(['first'], 'one.txt')); return all}"
    )
    folders.locator(".jp-bai-Drop").dispatch_event("drop", {"dataTransfer": transfer})
    expect(folders.get_by_role("list", name="Files").get_by_role("listitem")).to_have_text(["one.txt5 B"])
    with page.expect_download() as download:
        folders.get_by_role("link", name="Download one.txt").click()
    assert download.value.path().read_text() == "first"
    with page.expect_download() as download:
        folders.get_by_role("link", name="Download all in here as a zip file").click()
    with ZipFile(download.value.path()) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {"plans/one.txt": b"first"}
    folders.get_by_role("button", name="Folders", exact=True).click()

    with_actions(plans, "plans").get_by_role("button", name="Share").click()
    share = plans.get_by_role("form", name="Share plans")
    share.get_by_label("E-mail address").fill("kim@example.org")
    share.get_by_label("They can").select_option(label="read")
    share.get_by_role("button", name="Share").click()
    expect(plans.get_by_role("status")).to_have_text("kim@example.org was invited.")
    up.bai("vfolder", "accept", "plans", credentials=kim)
    assert "one.txt" in up.bai("vfolder", "ls", "plans", credentials=kim)

    (tmp_path / "theirs.txt").write_text("of kim")
    up.bai("vfolder", "create", "from-kim", credentials=kim)
    up.bai("vfolder", "put", str(tmp_path / "theirs.txt"), "from-kim", credentials=kim)
    up.bai("vfolder", "share", "from-kim", "admin@localhost", credentials=kim)
    page.get_by_role("button", name="Refresh", exact=True).click()
    folders.get_by_role("group", name="Invitation to from-kim").get_by_role("button", name="Accept").click()
    theirs = row_of(folders, "from-kim")
    expect(theirs).to_contain_text("read only · from kim@example.org")
    theirs.get_by_role("button", name="from-kim", exact=True).click()
    expect(folders).to_contain_text("You may read this folder, not write.")
    expect(folders.get_by_role("button", name="Upload")).to_have_count(0)
    folders.get_by_role("button", name="Folders", exact=True).click()
    with_actions(theirs, "from-kim").get_by_role("button", name="Attach", exact=True).click()
    theirs.get_by_role("form", name="Attach from-kim to this kernel").get_by_role("button", name="Attach").click()
    expect(theirs).to_contain_text(re.compile("attached to Untitled-.*: /home/work/from-kim, read only"))
    assert lab.run("print(open('/home/work/from-kim/theirs.txt').read())") == "of kim\n"
    assert "Read-only file system" in lab.run("open('/home/work/from-kim/mine', 'w')")
    theirs.get_by_role("button", name=re.compile("^Detach from-kim from ")).click()
    expect(theirs).not_to_contain_text("attached to")

    with_actions(plans, "plans").get_by_role("button", name="Move to trash").click()
    expect(plans).to_have_count(0)
    folders.get_by_text("Trash (1)").click()
    folders.get_by_role("button", name="Restore plans").click()
    expect(plans).to_be_visible()
    assert "one.txt" in up.bai("vfolder", "ls", "plans", credentials=kim)


def test_sessions_are_restarted_ended_and_used_again_where_they_are_listed(lab: Lab, up: Up, python_image: str) -> None:
    page = lab.page

    def names() -> set[str]:
        return set(up.bai("session", "list", "-q").split())

    up.bai("session", "start", python_image, "--name", "beside", "--cpu", "1", "--mem", "256m")
    inside = ("session", "exec", "beside", "--", "sh", "-c")
    up.bai(*inside, "echo kept > kept")
    began = up.bai(*inside, "stat -c %Y /proc/1")
    beside = session_of(page, "beside")
    expect(beside).to_contain_text("Running")
    beside.get_by_role("button", name="Restart", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Restart beside?")
    dialog.get_by_role("button", name="Restart session").click()
    expect(beside).to_contain_text("Restarting")
    expect(beside).to_contain_text("Running")
    assert up.bai(*inside, "cat kept") == "kept\n"
    assert up.bai(*inside, "stat -c %Y /proc/1") != began

    page.evaluate("window.jupyterapp.shell.activateById('jp-running-sessions')")
    running = page.locator("#jp-running-sessions .jp-RunningSessions-item").filter(has_text="beside")
    expect(running).to_contain_text("Running")
    running.hover()
    running.get_by_title("End session").click()
    expect(dialog).to_contain_text("End beside?")
    dialog.get_by_role("button", name="End session").click()
    expect(running).to_have_count(0)
    show(page, "jp-bai-panel")
    assert "beside" not in up.bai("session", "list", "-q")

    sessions = section(page, "Sessions")
    sessions.get_by_text("Ended today").click()
    ended = sessions.get_by_role("list", name="Ended today").get_by_role("listitem").filter(has_text="beside")
    before = names()
    with_actions(ended, "beside").get_by_role("button", name="Use again…").click()
    dialog = page.get_by_role("dialog", name="Resources for beside")
    expect(dialog.get_by_role("status")).to_contain_text("Starts now")
    dialog.get_by_role("button", name="Start").click()
    expect(dialog).to_have_count(0)
    item = page.locator(".jp-bai-StatusItem button")
    expect(item).to_contain_text("of 1 CPU")
    expect(item).to_contain_text("of 256 MiB")
    until(lambda: names() > before)  # the item may be of the notebook before
    up.bai("session", "rm", "--yes", *(names() - before))
    page.evaluate("window.jupyterapp.shell.currentWidget.dispose()")
    sessions.get_by_text("Ended today").click()


def test_a_notebook_runs_on_the_cluster_and_its_result_is_beside_it(lab: Lab, up: Up) -> None:
    page = lab.page
    server = urlsplit(up.url)
    headers = {"Authorization": f"token {token_of(up)}"}
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


def test_a_session_says_what_it_prints_and_becomes_an_environment(lab: Lab, up: Up) -> None:
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
    assert found[0] in up.bai("image", "list")


def create_folder(folders: Locator, name: str) -> None:
    folders.get_by_role("button", name="New folder").click()
    form = folders.get_by_role("form", name="New folder")
    form.get_by_label("Name").fill(name)
    form.get_by_role("button", name="Create").click()


def row_of(folders: Locator, name: str) -> Locator:
    rows = folders.get_by_role("list", name="Folders").get_by_role("listitem")
    return rows.filter(has=folders.page.get_by_role("button", name=name, exact=True))


def token_of(up: Up) -> str:
    return urlsplit(up.url).query.partition("=")[2]


def until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.1)
