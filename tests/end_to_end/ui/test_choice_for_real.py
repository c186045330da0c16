"""What a notebook's kernel runs on, chosen in front of containers: where it waits, what it gets, why it ends."""

import json
import os
import re
from collections.abc import Iterator
from typing import Any

import pytest
from end_to_end.ui.conftest import DEADLINE_S, Lab, Up, lab_at, running_up
from end_to_end.ui.panel import section, show, tab_of
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import Browser, Locator, Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.docker, pytest.mark.timeout(400)]

LONG_MS = DEADLINE_S * 1000
expect.set_options(timeout=60_000)
OVER_THE_LIMIT = """
kept = []
while True:
    try:
        kept.append(bytearray(1 << 20))
    except KeyboardInterrupt:
        pass
"""


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, docker_client: Any, python_image: str) -> Iterator[Up]:
    with running_up(tmp_path_factory.mktemp("up")) as up:
        yield up


@pytest.fixture(scope="module")
def lab(browser: Browser, up: Up) -> Iterator[Lab]:
    with lab_at(up.url, browser, up, is_exposed=True) as lab:
        yield lab


def dialog_of(page: Page) -> Locator:
    dialog = page.get_by_role("dialog", name="Resources for")
    expect(dialog).to_be_visible()
    return dialog


def preset(dialog: Locator, name: str) -> Locator:
    return dialog.locator(".jp-bai-Preset").filter(has=dialog.page.get_by_role("radio", name=name, exact=True))


def notice_of(page: Page) -> Locator:
    return page.locator(".jp-NotebookPanel:visible .jp-bai-Notice")


def status_of(page: Page) -> Locator:
    return page.locator(".jp-bai-StatusItem button")


def names_of(up: Up) -> list[str]:
    return up.bai("session", "list", "-q").split()


def asked_for(up: Up, notebook: str) -> Any:
    return json.loads((up.data / "home" / notebook).read_text())["metadata"].get("bai")


def test_a_kernel_waits_in_its_place_is_cancelled_and_then_gets_what_was_chosen(
    lab: Lab, up: Up, python_image: str
) -> None:
    page = lab.page
    (agent,) = json.loads(up.bai("agent", "list", "--json"))["agents"]
    all_cpus = str(int(float(agent["slots"]["cpu"])))
    up.bai("session", "start", python_image, "--name", "filler", "--cpu", all_cpus, "--mem", "256m")
    lab.page.locator(".jp-LauncherCard[data-category='Notebook'][title*='bai/python-minimal']:visible").first.click()
    dialog = dialog_of(page)
    expect(preset(dialog, "small")).to_contain_text(re.compile("Has to wait|In "))
    expect(preset(dialog, "gpu")).to_contain_text("Not possible")
    assert names_of(up) == ["filler"]
    dialog.get_by_role("button", name="Queue").click()
    expect(notice_of(page)).to_contain_text(f"Waits for 1 CPU in group default: 0 of {all_cpus} free.")
    expect(status_of(page)).to_have_text("Queued, 1st")
    show(page, "jp-bai-panel")
    row = section(page, "Sessions").get_by_role("listitem").filter(has_text="Untitled-")
    expect(row).to_contain_text("Queued, 1st")
    notice_of(page).get_by_role("button", name="Cancel").click()
    expect(notice_of(page)).to_be_hidden()
    expect(row.filter(has_text="Queued")).to_have_count(0)
    assert names_of(up) == ["filler"]

    up.bai("session", "rm", "filler", "--yes")
    chip = page.locator(".jp-NotebookPanel:visible .jp-bai-Chip jp-button")
    chip.click()
    dialog = dialog_of(page)
    expect(preset(dialog, "small")).to_contain_text("Starts now")
    dialog.get_by_role("radio", name="small", exact=True).check()
    dialog.get_by_role("button", name=re.compile("^(Start|Restart and apply)$")).click()
    expect(dialog).to_have_count(0)
    expect(status_of(page)).to_contain_text(
        re.compile(r"Running, idle · [\d.]+ of 1 CPU · [\d.]+ .*of 2"), timeout=LONG_MS
    )
    expect(chip).to_have_text("1\u00a0CPU · 2\u00a0GiB")
    assert asked_for(up, "Untitled.ipynb")["preset"] == "small"
    assert "2 GiB" in up.bai("session", "list")


def test_a_notebook_from_elsewhere_joins_a_session_once_that_is_agreed(lab: Lab, up: Up, python_image: str) -> None:
    page = lab.page
    (running,) = names_of(up)
    own = lab.run("import socket; print(socket.gethostname())")
    spec = {"name": "bai-python-minimal-3.11-python3", "display_name": "Python 3", "language": "python"}
    choice = {"image": python_image, "kernelspec": "python3", "session": running}
    content = new_notebook(cells=[new_code_cell()], metadata={"bai": choice, "kernelspec": spec})
    home = up.data / "home"
    (home / "foreign.ipynb").write_text(json.dumps(content))
    os.chown(home / "foreign.ipynb", home.stat().st_uid, home.stat().st_gid)  # Lab may be another user's process
    page.evaluate("void window.jupyterapp.commands.execute('docmanager:open', {path: 'foreign.ipynb'})")
    dialog = dialog_of(page)
    expect(dialog).to_contain_text("foreign.ipynb comes from somewhere else")
    expect(dialog.get_by_label("Session", exact=True)).to_have_value(running)
    assert [one["path"] for one in kernels_of(page, up)] == ["Untitled.ipynb"]
    dialog.get_by_role("button", name="Start").click()
    expect(dialog).to_have_count(0)
    lab.until_idle()
    assert lab.run("import socket; print(socket.gethostname())") == own
    assert names_of(up) == [running]


def test_a_kernel_out_of_sight_tells_that_it_ran_out_of_memory_and_gets_more(
    lab: Lab, up: Up, holds_memory: bool
) -> None:
    page = lab.page
    tab_of(page, "Untitled.ipynb").click()
    (session,) = names_of(up)
    up.bai("session", "resize", session, "--mem", "256m")
    kernel = next(one["kernel"]["id"] for one in kernels_of(page, up) if one["path"] == "Untitled.ipynb")
    lab.start(OVER_THE_LIMIT)
    if holds_memory:
        expect(notice_of(page)).to_contain_text("Held at its memory limit", timeout=LONG_MS)
    page.evaluate("void window.jupyterapp.commands.execute('launcher:create')")
    if holds_memory:  # the margin that an interrupt has is used up, too
        assert ask(page, up, "POST", f"/api/kernels/{kernel}/interrupt").ok
    told = page.locator(".Toastify__toast").filter(has_text="Untitled.ipynb: Out of memory")
    told.get_by_role("button", name="Restart with more memory").click(timeout=LONG_MS)
    tab_of(page, "Untitled.ipynb").click()
    expect(status_of(page)).to_contain_text(re.compile(r"Running, idle · .* of 512"), timeout=LONG_MS)
    assert asked_for(up, "Untitled.ipynb")["resources"]["mem"] == "512m"
    assert lab.run("print(6 * 7)") == "42\n"


def test_a_warning_before_an_idle_session_is_stopped_is_answered_with_keep(lab: Lab, up: Up) -> None:
    page = lab.page
    tab_of(page, "Untitled.ipynb").click()
    up.bai("policy", "add", "short", "--idle", "130s")  # the last warning is two minutes ahead
    up.bai("policy", "bind", "short", "user:admin@localhost")
    keep = notice_of(page).get_by_role("button", name="Keep")
    keep.click(timeout=LONG_MS)
    expect(notice_of(page)).to_be_hidden()
    (session,) = json.loads(up.bai("session", "list", "--json"))["sessions"]
    assert session["idleChecks"]["network_timeout"]["extra"]["extensions_left"] == 2
    assert lab.run("print(6 * 7)") == "42\n"


def kernels_of(page: Page, up: Up) -> Any:
    return ask(page, up, "GET", "/api/sessions").json()


def ask(page: Page, up: Up, method: str, path: str) -> Any:
    server, _, token = up.url.partition("/lab?token=")
    return page.request.fetch(f"{server}{path}", method=method, headers={"Authorization": f"token {token}"})
