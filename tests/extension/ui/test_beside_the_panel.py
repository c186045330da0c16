"""Sessions among what Lab has running, *Save as environment…*, and *Import from URL…*, in a real Lab and browser."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

ELSEWHERE = "https://127.0.0.1:1/a.ipynb?raw=1"


@pytest.fixture(scope="module")
def page(browser: Browser, stub_lab: Any, open_lab: Callable[[Browser, Any], Page]) -> Iterator[Page]:
    page = open_lab(browser, stub_lab)
    yield page
    page.close()


@pytest.fixture
def sessions(ui_manager: Any, make_session: Callable[..., dict[str, Any]]) -> Iterator[Any]:
    mounts = [{"name": "home", "target": "/home/work", "read_only": False}]
    queue = {"position": 3, "of": 5, "estimate_s": 720}
    ui_manager.images = [{"name": "python:3.11", "kernelspecs": [], "size_bytes": 3 * 2**29}]
    ui_manager.sessions = [
        make_session("demo", mounts=mounts),
        make_session("train-7", "PENDING", "queued", params={"place": "3rd", "group": "gpu"}, queue=queue),
        make_session("over", "TERMINATED", "user-requested", params={"who": "you", "time": "12:00"}),
    ]
    yield ui_manager
    ui_manager.sessions, ui_manager.images = [], []


def test_what_runs_is_listed_opened_and_ended(page: Page, sessions: Any, shots: Path) -> None:
    page.evaluate("window.jupyterapp.shell.activateById('jp-running-sessions')")
    running = page.locator("#jp-running-sessions")
    items = running.locator(".jp-RunningSessions-item").filter(has_text=re.compile("demo|train-7|over"))
    expect(items).to_have_count(2)
    expect(items.nth(0)).to_contain_text("demoRunning")
    expect(items.nth(1)).to_contain_text("train-7Queued, 3rd")
    sessions.sessions[0] = {**sessions.sessions[0], "unreachable": True}
    expect(items.nth(0)).to_contain_text("Unreachable")  # seen, so looked at again without a click
    page.screenshot(path=shots / "running.png")

    items.nth(1).locator(".jp-RunningSessions-itemLabel").click()
    tab = page.locator(f"#jp-bai-session-{sessions.sessions[1]['id']}")
    expect(tab).to_contain_text("3rd in the queue of group gpu.")
    page.evaluate("window.jupyterapp.shell.currentWidget.close()")
    expect(items).to_have_count(2)  # the tab was one of what is open
    items.nth(1).hover()
    items.nth(1).get_by_title("End session").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("End train-7?")
    dialog.get_by_role("button", name="End session").click()
    expect(items).to_have_count(1)
    assert [one["name"] for one in sessions.sessions] == ["demo", "over"]

    running.get_by_role("button", name="End All").click()
    expect(dialog).to_contain_text("The containers of demo end.")
    dialog.get_by_role("button", name="Cancel").click()
    assert len(sessions.sessions) == 2
    running.get_by_role("button", name="End All").click()
    dialog.get_by_role("button", name="End All").click()
    expect(items).to_have_count(0)
    assert [one["name"] for one in sessions.sessions] == ["over"]


def test_a_session_is_saved_as_an_environment(page: Page, sessions: Any, make_session: Any, look_at: Any) -> None:
    page.evaluate("void window.jupyterapp.commands.execute('notebook:create-new', {kernelName: 'survivor'})")
    page.wait_for_function("window.jupyterapp.commands.isEnabled('bai:save-kernel-as-environment')")
    kernel_id = page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.id")
    mounts = [{"name": "data", "target": "/home/work/data", "read_only": True}]
    sessions.sessions.append(make_session("its-own", id=f"s-{kernel_id}", mounts=mounts))

    page.get_by_role("menubar").get_by_text("Kernel", exact=True).click()
    page.get_by_role("menuitem", name="Save as Environment…").click()
    dialog = page.get_by_role("dialog", name="Save its-own as environment")
    expect(dialog).to_contain_text("and packages that pip or R put into ~/.local.")
    expect(dialog).to_contain_text("all else below /home/work, and mounted folders (/home/work/data).")
    expect(dialog).to_contain_text("It comes from python:3.11, 1.5 GiB,")
    look_at(page, "save-environment", ".jp-bai-FormDialog")
    name = dialog.get_by_label("Name")
    expect(name).to_have_value(re.compile("^Untitled"))
    name.fill("")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_contain_text("Name is missing.")
    name.fill("mine")
    spec = {"name": "python3", "display_name": "Python", "language": "python"}
    sessions.images.append({"name": "user/kim:mine", "kernelspecs": [spec], "size_bytes": 2**31})
    name.press("Enter")
    toast = page.locator(".Toastify__toast", has_text="The environment user/kim:mine is ready.")
    expect(toast).to_be_visible()
    assert ("POST", f"/session/s-{kernel_id}/commit") in sessions.calls

    page.evaluate("void window.jupyterapp.commands.execute('launcher:create')")
    card = page.locator(".jp-LauncherCard:visible", has_text="Python (user/kim:mine)")
    expect(card.first).to_be_visible()


def test_an_environment_that_was_not_made_says_why(page: Page, sessions: Any) -> None:
    sessions.task_status = "failed"
    try:
        page.evaluate("window.jupyterapp.commands.execute('bai:show-panel')")
        row = page.locator("#jp-bai-panel").get_by_role("listitem", name=re.compile("^demo"))
        row.get_by_role("button", name="Actions on demo").click()
        row.get_by_role("button", name="Save as environment…").click()
        page.get_by_role("dialog").get_by_role("button", name="Save").click()
        said = "The environment demo was not made: What it says."
        expect(page.locator(".Toastify__toast", has_text=said)).to_be_visible()
    finally:
        sessions.task_status = "done"


def test_a_link_offers_a_notebook_and_fetches_nothing_unasked(
    browser: Browser, stub_lab: Any, sessions: Any, settle: Any, look_at: Any
) -> None:
    with browser.new_page() as page:
        fetched: list[str] = []
        page.on("request", lambda one: fetched.append(one.url) if "/bai/api/imports" in one.url else None)
        link = f"{stub_lab.url}/lab?token=test-token&reset&bai-import={ELSEWHERE.replace('?', '%3F')}"
        page.goto(link)
        settle(page)
        dialog = page.get_by_role("dialog", name="Import from URL")
        address = dialog.get_by_label("Address of a notebook (https)")
        expect(address).to_have_value(ELSEWHERE)
        assert "bai-import" not in page.url
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        dialog.get_by_role("button", name="Copy badge").click()
        expect(dialog.get_by_role("status")).to_contain_text("Copied, as Markdown")
        badge = page.evaluate("navigator.clipboard.readText()")
        expect(address).to_have_value(ELSEWHERE)
        assert f"]({stub_lab.url}/lab?bai-import=https%3A%2F%2F" in badge
        look_at(page, "import", ".jp-bai-FormDialog")
        assert fetched == []

        address.press("Enter")
        expect(dialog).to_contain_text("not on the public Internet")  # it stays, to be put right
        assert len(fetched) == 1
        page.route("**/bai/api/imports*", lambda route: route.fulfill(status=201, json={"path": "a.ipynb"}))
        dialog.get_by_role("button", name="Import").click()
        expect(dialog).to_have_count(0)
        expect(page.locator(".Toastify__toast", has_text="Imported as a.ipynb.")).to_be_visible()

        page.reload()
        settle(page)
        expect(dialog).to_have_count(0)
        assert len(fetched) == 2
