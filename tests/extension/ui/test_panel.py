"""The panel, the status item and the notice in a real Lab and a real browser, light and dark."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from bai_jupyter.common.reasons import Reason

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

THEMES = ("light", "dark")


@pytest.fixture(scope="module")
def page(browser: Browser, stub_lab: Any, open_lab: Callable[[Browser, Any], Page]) -> Iterator[Page]:
    page = open_lab(browser, stub_lab)
    yield page
    page.close()


@pytest.fixture
def quiet(page: Page) -> Iterator[None]:
    """The test leaves no error in the console."""
    errors: list[str] = []

    def hear(message: Any) -> None:
        if message.type == "error":
            errors.append(f"{message.text} ({message.location.get('url')})")

    page.on("console", hear)
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield
    page.remove_listener("console", hear)
    assert errors == []


def show_panel(page: Page) -> Any:
    page.evaluate("window.jupyterapp.commands.execute('bai:show-panel')")
    panel = page.locator("#jp-bai-panel")
    expect(panel).to_be_visible()
    return panel


@pytest.fixture
def sessions(ui_manager: Any, make_session: Callable[..., dict[str, Any]]) -> Iterator[Any]:
    queue = {"position": 3, "of": 5, "estimate_s": 720}
    room = {"asked": "1 GPU", "group": "gpu", "free": "0", "total": "4 GPU", "estimate": "About 12 min."}
    pull = {"image": "pytorch:2.3", "agent": "lab-3", "pct": "43", "done": "1.2 GiB", "total": "2.8 GiB"}
    silent = {"agent": "lab-3", "time": "14:05"}
    idle = {"since": "12:00", "stop": "13:00", "limit": "1 h", "level": "user", "name": "kim"}
    long_idle = {"limit": "20 min", "level": "user", "name": "kim"}
    oom = {"process": "python", "used": "8 GiB", "limit": "8 GiB"}
    ui_manager.sessions = [
        make_session("demo"),
        make_session("train-7", "PENDING", "no-room", params=room, queue=queue, age=5 * 60_000),
        make_session("evaluate", "PULLING", "pulling", params=pull, progress=43, age=50_000),
        make_session("explore", "RUNNING", "unreachable", params=silent, unreachable=True, age=7_200_000),
        make_session("a-session-with-a-name-that-is-as-long-as-names-may-ever-be-here", age=90_000_000),
        make_session("idle", code="idle-soon", params=idle),
        make_session("frozen", code="idle-suspended", params=long_idle),
        make_session("oops", "ERROR", "oom-killed", params=oom, slots={"cpu": "1", "mem": "8589934592"}),
    ]
    yield ui_manager
    ui_manager.sessions = []


@pytest.mark.parametrize("theme", THEMES)
def test_sessions(
    page: Page, sessions: Any, shots: Path, quiet: None, theme: str, faults_of: Any, set_theme: Any
) -> None:
    set_theme(page, theme)
    panel = show_panel(page)
    panel.get_by_role("button", name="Refresh").click()
    rows = panel.get_by_role("listitem")
    expect(rows).to_have_count(8)
    expect(rows.nth(0)).to_have_attribute("aria-label", "demo, Running, 2 CPU · 8 GiB · 0.5 GPU")
    expect(rows.nth(1)).to_contain_text("Queued, 3rd")
    expect(rows.nth(1)).to_contain_text("Waits for 1 GPU in group gpu: 0 of 4 GPU free. About 12 min.")
    expect(rows.nth(2)).to_contain_text("Pulling 43 %")
    expect(rows.nth(2).get_by_role("progressbar")).to_have_attribute("aria-valuenow", "43")
    expect(rows.nth(3)).to_contain_text("Unreachable")
    expect(rows.nth(5)).to_contain_text("Stops soon")
    expect(rows.nth(5)).to_contain_text("Idle since 12:00; stops at 13:00 unless it is used or kept")
    expect(rows.nth(6)).to_contain_text("Suspended after 20 min idle, as your user kim has it; the next cell")
    expect(rows.nth(7)).to_contain_text("Failed")
    assert faults_of(page, "#jp-bai-panel") == []
    rows.nth(0).focus()
    page.screenshot(path=shots / f"sessions-{theme}.png")
    panel.screenshot(path=shots / f"panel-{theme}.png")


def test_nothing_is_cut_at_the_smallest_width(page: Page, sessions: Any, quiet: None) -> None:
    panel = show_panel(page)
    expect(panel.get_by_role("listitem")).to_have_count(8)
    too_wide = panel.evaluate(
        "node => [...node.querySelectorAll('*')].filter(e => e.scrollWidth > 250 && e.matches('.jp-bai-Row')).length"
    )
    assert too_wide == 0
    assert panel.locator(".jp-bai-Section").first.evaluate("node => node.scrollWidth <= node.clientWidth")


def test_keys_actions_and_the_end_of_a_session(page: Page, sessions: Any, quiet: None, look_at: Any) -> None:
    page.evaluate("window.jupyterapp.restored.then(() => undefined)")  # until then Lab may take the focus away
    rows = show_panel(page).get_by_role("listitem")
    expect(rows).to_have_count(8)
    rows.nth(0).focus()
    expect(rows.nth(0)).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(rows.nth(1)).to_be_focused()
    page.keyboard.press("End")
    expect(rows.nth(7)).to_be_focused()
    page.keyboard.press("Home")
    page.keyboard.press("Shift+F10")
    expect(rows.nth(0)).to_contain_text("Held so far: 1.4\u00a0core-hours · 5.6\u00a0GiB-hours · 0.35\u00a0GPU-hours")
    look_at(page, "session-actions", "#jp-bai-panel")
    rows.nth(0).get_by_role("button", name="Log").click()
    log = page.get_by_role("log", name="Log of demo")
    expect(log).to_have_text("demo printed this.\n")
    look_at(page, "log", ".jp-bai-Log", whole=True)
    page.evaluate("[...window.jupyterapp.shell.widgets('main')].find(one => one.id.startsWith('jp-bai-log')).close()")
    expect(log).to_have_count(0)
    rows.nth(0).click(button="right")
    expect(rows.nth(0)).not_to_contain_text("Held so far")
    rows.nth(0).focus()
    page.keyboard.press("ArrowDown")
    expect(rows.nth(1)).to_be_focused()
    page.keyboard.press("Delete")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("End train-7?")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert len(sessions.sessions) == 8

    rows.nth(1).get_by_role("button", name="End train-7").click()
    page.get_by_role("dialog").get_by_role("button", name="End session").click()
    expect(rows).to_have_count(7)
    assert "train-7" not in [view["name"] for view in sessions.sessions]


def test_sessions_are_found_by_a_key_chosen_and_ended_together(
    page: Page, sessions: Any, quiet: None, look_at: Any
) -> None:
    panel = show_panel(page)
    panel.get_by_role("button", name="Refresh").click()
    rows = panel.get_by_role("list", name="Sessions").get_by_role("listitem")
    expect(rows).to_have_count(8)
    rows.nth(0).focus()
    page.keyboard.press("/")
    field = panel.get_by_role("searchbox", name="Filter sessions")
    expect(field).to_be_focused()
    page.keyboard.type("python: running")
    expect(rows).to_have_count(2)
    expect(panel.get_by_text("2 of 8")).to_be_visible()
    page.keyboard.press("Escape")
    expect(rows).to_have_count(8)

    rows.nth(0).focus()
    for key in ("Space", "ArrowDown", "Space", "ArrowDown", "Space", "Space"):
        page.keyboard.press(key)
    expect(rows.nth(1)).to_have_attribute("aria-label", re.compile(", chosen$"))
    end = panel.get_by_role("button", name="End 2 sessions…")
    expect(end).to_be_visible()
    rows.nth(3).get_by_role("checkbox", name="Choose explore").check()
    page.keyboard.press("ArrowDown")  # from the box to the next row
    expect(rows.nth(4)).to_be_focused()
    expect(rows.nth(7).get_by_role("checkbox")).to_have_count(0)  # it has ended
    look_at(page, "sessions-chosen", "#jp-bai-panel")
    field.fill("train")
    expect(panel.get_by_role("button", name="End 1 session…")).to_be_visible()  # what is not seen is not ended
    field.fill("")

    dialog = page.get_by_role("dialog")
    rows.nth(3).focus()
    page.keyboard.press("Delete")
    expect(dialog).to_contain_text("End 3 sessions?")
    expect(dialog).to_contain_text("The containers of demo, train-7, explore end.")
    expect(dialog).to_contain_text("variables and other files are gone")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert len(sessions.sessions) == 8
    rows.nth(3).get_by_role("checkbox", name="Choose explore").uncheck()
    rows.nth(3).focus()
    page.keyboard.press("Delete")  # of one that is not among those chosen
    expect(dialog).to_contain_text("End explore?")
    page.keyboard.press("Escape")
    end.click()
    dialog.get_by_role("button", name="End sessions").click()
    expect(rows).to_have_count(6)
    assert {"demo", "train-7"}.isdisjoint(view["name"] for view in sessions.sessions)
    expect(panel.get_by_role("group", name="With those chosen")).to_have_count(0)


def test_those_that_ended_today_are_below(page: Page, ui_manager: Any, quiet: None, look_at: Any) -> None:
    common = {"type": "interactive", "image": "python:3.11", "cluster_size": 1}
    slots = json.dumps({"cpu": "2", "mem": str(8 * 1024**3)})
    how = {
        "done-1": ("TERMINATED", Reason.of("user-requested", who="you"), {}),
        "nightly": ("TERMINATED", Reason.of("task-finished"), {"type": "batch"}),
        "never": ("CANCELLED", Reason.of("pending-timeout", limit="1 h", group="gpu"), {}),
    }
    ui_manager.ended = [
        {
            "id": f"ended-{name}",
            "name": name,
            "status": status,
            "status_data": json.dumps({"reason": reason.to_json()}),
            "terminated_at": "2026-11-30T14:05:00+00:00",
            "requested_slots": slots,
            **common,
            **more,
        }
        for name, (status, reason, more) in how.items()
    ]
    panel = show_panel(page)
    panel.get_by_role("button", name="Refresh").click()
    panel.get_by_text("Ended today (3)").click()
    rows = panel.get_by_role("list", name="Ended today").get_by_role("listitem")
    expect(rows).to_have_count(3)
    expect(rows.nth(0)).to_contain_text("Ended by you.")
    expect(rows.nth(2)).to_contain_text("Cancelled")
    rows.nth(1).focus()
    page.keyboard.press("Shift+F10")
    expect(rows.nth(1).get_by_role("button", name="Log")).to_be_visible()
    expect(rows.nth(1).get_by_role("button", name="Use again…")).to_have_count(0)  # a run of a notebook
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Shift+F10")
    expect(rows.nth(0).get_by_role("button", name="Use again…")).to_be_visible()
    look_at(page, "sessions-ended", "#jp-bai-panel")
    ui_manager.ended = []
    panel.get_by_role("button", name="Refresh").click()
    expect(panel.get_by_text("Ended today")).to_have_count(0)


def test_empty(page: Page, ui_manager: Any, quiet: None, look_at: Any) -> None:
    panel = show_panel(page)
    panel.get_by_role("button", name="Refresh").click()
    expect(panel).to_contain_text("No sessions. Choose an environment in the Launcher to start one.")
    look_at(page, "empty", "#jp-bai-panel")


def test_a_page_of_another_version_than_the_server_says_so(
    page: Page, ui_manager: Any, quiet: None, look_at: Any
) -> None:
    newer = {"versions": {"extension": "9.9.9"}, "user": None}
    page.route("**/bai/api/status*", lambda route: route.fulfill(json=newer))
    panel = show_panel(page)
    panel.get_by_role("button", name="Refresh").click()
    said = panel.get_by_text("the Jupyter server version 9.9.9: reload the page")
    expect(said).to_be_visible()
    look_at(page, "versions", "#jp-bai-panel")
    page.unroute("**/bai/api/status*")
    panel.get_by_role("button", name="Refresh").click()
    expect(said).to_have_count(0)


def test_manager_away_keeps_what_was_known(page: Page, sessions: Any, look_at: Any) -> None:
    panel = show_panel(page)
    panel.get_by_role("button", name="Refresh").click()
    expect(panel.get_by_role("listitem")).to_have_count(8)
    sessions.is_away = True
    try:
        panel.get_by_role("button", name="Refresh").click()
        expect(panel).to_contain_text("does not answer. Running kernels go on.")
        expect(panel.get_by_role("listitem")).to_have_count(8)
        look_at(page, "away", "#jp-bai-panel")
    finally:
        sessions.is_away = False
    again = panel.locator(".jp-bai-Section").first.get_by_role("button", name="Try again")
    again.click()
    expect(again).to_have_count(0)


@pytest.mark.parametrize("theme", THEMES)
def test_a_notebook_in_the_queue(
    page: Page,
    stub_lab: Any,
    sessions: Any,
    make_session: Any,
    shots: Path,
    quiet: None,
    theme: str,
    faults_of: Any,
    set_theme: Any,
) -> None:
    gate = stub_lab.home / "gate"
    gate.touch()
    set_theme(page, theme)
    show_panel(page)
    page.evaluate("void window.jupyterapp.commands.execute('notebook:create-new', {kernelName: 'survivor'})")
    notice = page.locator(".jp-NotebookPanel:visible .jp-bai-Notice")
    expect(notice).to_be_visible(timeout=15_000)
    expect(notice).to_contain_text("3rd in the queue of group gpu.")
    item = page.locator(".jp-bai-StatusItem button")
    expect(item).to_have_text("Queued, 3rd")
    expect(item).to_have_attribute("title", "3rd in the queue of group gpu.")
    assert faults_of(page, ".jp-NotebookPanel:not(.lm-mod-hidden) .jp-bai-Notice") == []
    assert faults_of(page, ".jp-bai-StatusItem") == []
    page.screenshot(path=shots / f"queued-{theme}.png")
    kernel_id = page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.id")
    gpu = {"cuda_util_pct": 41.7, "cuda_mem_used_bytes": 1.5 * 2**30, "cuda_mem_total_bytes": 2**33}
    own = {"cpu_used_s": 1.0, "mem_used_bytes": 1.2 * 2**30}
    sessions.sessions.append(make_session("its-own", id=f"s-{kernel_id}", liveStat={**own, **gpu}))
    gate.unlink()
    expect(notice).to_be_hidden(timeout=15_000)
    used = "0 of 2 CPU · 1.2 of 8 GiB · GPU 42 %, 1.5 of 8 GiB"
    expect(item).to_have_text(f"Running, idle · {used}", timeout=60_000)
    assert faults_of(page, ".jp-bai-StatusItem") == []
    page.screenshot(path=shots / f"running-{theme}.png")


def test_what_was_not_done_as_asked_is_said_until_dismissed(
    page: Page, stub_lab: Any, sessions: Any, faults_of: Any
) -> None:
    elsewhere = stub_lab.home / "elsewhere"
    elsewhere.touch()
    try:
        page.evaluate("void window.jupyterapp.commands.execute('notebook:create-new', {kernelName: 'survivor'})")
        notice = page.locator(".jp-NotebookPanel:visible .jp-bai-Notice")
        expect(notice.get_by_role("status")).to_have_text("It starts elsewhere.", timeout=15_000)
        assert faults_of(page, ".jp-NotebookPanel:not(.lm-mod-hidden) .jp-bai-Notice") == []
        notice.get_by_role("button", name="Dismiss").click()
        expect(notice).to_be_hidden(timeout=10_000)
    finally:
        elsewhere.unlink()


def test_a_session_that_stops_soon_is_kept_with_one_click(
    page: Page, stub_lab: Any, sessions: Any, look_at: Any
) -> None:
    reason = stub_lab.home / "reason"
    reason.write_text("idle-soon Idle since 12:00; stops at 13:00.")
    try:
        page.evaluate("void window.jupyterapp.commands.execute('notebook:create-new', {kernelName: 'survivor'})")
        notice = page.locator(".jp-NotebookPanel:visible .jp-bai-Notice")
        expect(notice.get_by_role("status")).to_have_text("Idle since 12:00; stops at 13:00.", timeout=15_000)
        look_at(page, "idle", ".jp-NotebookPanel:not(.lm-mod-hidden) .jp-bai-Notice", whole=True)
        with page.expect_response(lambda answer: "/extend" in answer.url) as answered:
            notice.get_by_role("button", name="Keep").click()
        assert answered.value.status == 204
        assert any(method == "POST" and path.endswith("/extend") for method, path in sessions.calls)
    finally:
        reason.unlink()


def test_that_its_agent_is_emptied_is_said_and_cannot_be_put_off(page: Page, stub_lab: Any, look_at: Any) -> None:
    reason, said = stub_lab.home / "reason", "Ends at 18:00: lab-1 is emptied for maintenance."
    reason.write_text(f"drain-soon {said}")
    try:
        page.evaluate("void window.jupyterapp.commands.execute('notebook:create-new', {kernelName: 'survivor'})")
        notice = page.locator(".jp-NotebookPanel:visible .jp-bai-Notice")
        expect(notice.get_by_role("status")).to_have_text(said, timeout=15_000)
        expect(notice.get_by_role("button", name="Keep")).to_have_count(0)
        look_at(page, "drained", ".jp-NotebookPanel:not(.lm-mod-hidden) .jp-bai-Notice", whole=True)
        notice.get_by_role("button", name="Dismiss").click()
        expect(notice).to_be_hidden(timeout=10_000)
    finally:
        reason.unlink()


def test_cancel_in_the_notice(page: Page, stub_lab: Any, sessions: Any) -> None:
    gate = stub_lab.home / "gate"
    gate.touch()
    page.evaluate("void window.jupyterapp.commands.execute('notebook:create-new', {kernelName: 'survivor'})")
    notice = page.locator(".jp-NotebookPanel:visible .jp-bai-Notice")
    expect(notice).to_be_visible(timeout=15_000)
    notice.get_by_role("button", name="Cancel").click()
    expect(notice).to_be_hidden(timeout=10_000)
    gate.unlink()
    assert [what for what, *_ in stub_lab.survivors][-1] == "withdrawn"
