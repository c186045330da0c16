"""New notebooks from the launcher's cards: when their resources are asked for first, in a real Lab, light and dark."""

import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes_agent import IMAGE
from playwright.sync_api import Browser, Locator, Page, Route, expect
from real_manager import RealManager

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def page(browser: Browser, cluster: RealManager, lab: Any, open_lab: Callable[[Browser, Any], Page]) -> Iterator[Page]:
    cluster.ask("POST", "/folders", {"name": "data"})
    page = open_lab(browser, lab)
    page.set_default_timeout(60_000)
    yield page
    page.close()


def click_card(page: Page) -> None:
    page.evaluate("void window.jupyterapp.commands.execute('launcher:create')")
    card = page.locator(f".jp-LauncherCard[data-category='Notebook'][title*='{IMAGE.name}']:visible").first
    card.click()


def dialog_of(page: Page) -> Locator:
    dialog = page.get_by_role("dialog", name="Resources for")
    expect(dialog).to_be_visible()
    return dialog


def path_in_front(page: Page) -> str:
    return str(page.evaluate("window.jupyterapp.shell.currentWidget.context.path"))


def sessions_of(lab: Any, path: str) -> list[Any]:
    return [one for one in lab.ask("GET", "/api/sessions") if one["path"] == path]


def test_a_card_that_cannot_start_now_asks_first(page: Page, cluster: RealManager, lab: Any, look_at: Any) -> None:
    filler = cluster.start_session("filler", resources={"cpu": "8", "mem": "1g"})
    click_card(page)
    dialog = dialog_of(page)
    expect(dialog.get_by_label("Environment")).to_contain_text(IMAGE.name)
    expect(dialog.get_by_role("status")).to_contain_text("Waits")
    expect(dialog.get_by_role("button", name="Queue")).to_be_focused()
    look_at(page, "launch", ".jp-Dialog", whole=True)
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(page.locator(".jp-NotebookPanel:visible").get_by_role("button", name="No Kernel")).to_be_visible()
    assert sessions_of(lab, path_in_front(page)) == []
    cluster.ask("DELETE", f"/session/{filler}")


def test_one_that_starts_now_does_so(page: Page, lab: Any, wait_until: Any) -> None:
    click_card(page)
    expect(page.locator(".jp-bai-StatusItem button")).to_contain_text("Running")
    assert page.get_by_role("dialog").all_inner_texts() == []
    assert sessions_of(lab, path_in_front(page))


def measured() -> Callable[[Route], None]:
    """Answers the page's question for sessions with figures, which no agent of a test has."""
    asked = itertools.count()
    gpu = {"cuda_mem_used_bytes": 2 * 1024**3, "cuda_mem_total_bytes": 8 * 1024**3}
    common = {"policy": "user kim", "extensions_left": 2}
    checks = {
        "network_timeout": {"remaining": 2520, "extra": {**common, "limit": 3600, "last": "execution"}},
        "utilization": {"remaining": 7200, "extra": {**common, "limit": 7200, "resources": {"cpu_util": [3.2, 5]}}},
    }

    def answer(route: Route) -> None:
        told = route.fetch()
        sessions = told.json()["sessions"]
        turn = next(asked)
        for one in sessions:
            own = {"cpu_used_s": turn * 1.4, "mem_used_bytes": (3 + turn % 3) * 2**27, "mem_limit_bytes": None}
            one["liveStat"] = {**own, **gpu, "cuda_util_pct": 20 + 10 * (turn % 7)}
            one["idleChecks"], one["runningFor"] = checks, 30 * 60 * 1000
        route.fulfill(response=told, json={"sessions": sessions})

    return answer


def test_the_status_item_opens_what_is_known_of_the_kernel(
    page: Page, cluster: RealManager, lab: Any, shots: Path, set_theme: Any, faults_of: Any
) -> None:
    session = cluster.start_session("known", resources={"cpu": "1", "mem": "1g"})
    (lab.home / "session").write_text(session)
    click_card(page)
    item = page.locator(".jp-bai-StatusItem button")
    popover = page.get_by_role("dialog", name="Kernel")
    page.route("**/bai/api/sessions?*", measured())
    for theme in ("light", "dark"):
        set_theme(page, theme)
        expect(item).to_contain_text("Running, idle")
        item.focus()
        page.keyboard.press("Enter")
        expect(popover).to_contain_text("Running on lab-3.")
        expect(popover).to_contain_text("known · 1\u00a0CPU · 1\u00a0GiB")
        expect(popover).to_contain_text("Held so far: 0.5\u00a0core-hours · 0.5\u00a0GiB-hours")
        expect(popover.get_by_text(re.compile("^In the last .*min.* between .*% and .*%"))).to_have_count(3)
        expect(popover.locator(".jp-bai-Sparkline path")).to_have_count(3)
        expect(popover.get_by_text("Stops if idle for 1\u00a0h")).to_be_visible()
        expect(popover).to_contain_text(re.compile("42\u00a0min left, until .*user kim · last: execution"))
        expect(popover).to_contain_text("CPU 3.2\u00a0%, below 5\u00a0% is idle")
        expect(popover.get_by_role("button", name="Keep")).to_be_visible()
        expect(item).to_have_attribute("aria-expanded", "true")
        assert faults_of(page, ".jp-bai-Popover") == []
        page.screenshot(path=shots / f"kernel-popover-{theme}.png")
        page.keyboard.press("Escape")
        expect(popover).to_have_count(0)
        expect(item).to_be_focused()
    page.unroute("**/bai/api/sessions?*")
    item.click()
    popover.get_by_role("button", name="Attach folder…").click()
    folders = page.get_by_role("dialog").filter(has_text="Attach folder")
    folders.get_by_role("combobox").select_option("data")
    folders.get_by_role("button", name="Cancel").click()
    expect(folders).to_have_count(0)
    (lab.home / "session").unlink()
    item.click()
    popover.get_by_role("button", name="Resources…").click()
    expect(popover).to_have_count(0)
    dialog_of(page)
    page.keyboard.press("Escape")

    tab = page.locator(f"#jp-bai-session-{session}")
    for show in (
        lambda: page.evaluate("window.jupyterapp.commands.execute('bai:show-own-session')"),
        lambda: (item.click(), popover.get_by_role("button", name="Details").click()),
    ):
        show()
        expect(tab).to_contain_text("Running on lab-1.")
        page.evaluate("window.jupyterapp.shell.currentWidget.close()")
        expect(tab).to_have_count(0)


def test_a_kernel_whose_notebook_is_not_in_view_tells_that_it_stops_soon(page: Page, lab: Any) -> None:
    gate, reason = lab.home / "gate", lab.home / "reason"
    gate.touch()
    reason.write_text("idle-soon Idle since 12:00; stops at 13:00.")
    try:
        page.evaluate("void window.jupyterapp.commands.execute('notebook:create-new', {kernelName: 'survivor'})")
        expect(page.locator(".jp-NotebookPanel:visible .jp-bai-Notice")).to_contain_text("in the queue")
        path = path_in_front(page)
        page.evaluate("void window.jupyterapp.commands.execute('launcher:create')")
        expect(page.locator(".jp-NotebookPanel:visible")).to_have_count(0)
        gate.unlink()
        told = page.locator(".Toastify__toast").filter(has_text=f"{path}: Idle since 12:00; stops at 13:00.")
        expect(told.get_by_role("button", name="Keep")).to_be_visible()
        told.get_by_role("button", name="Open").click()
        expect(page.locator(".jp-NotebookPanel:visible .jp-bai-Notice")).to_contain_text("Idle since 12:00")
        expect(told).to_have_count(0)
    finally:
        gate.unlink(missing_ok=True)
        reason.unlink()


def test_a_folder_is_mounted_read_only_if_that_is_chosen(page: Page, lab: Any, look_at: Any, settle: Any) -> None:
    lab.ask("PUT", "/lab/api/settings/@bai-jupyter/labextension:sessions", {"raw": '{"ask": "always"}'})
    page.goto(f"{lab.url}/lab?token=test-token&reset")
    settle(page)
    click_card(page)
    dialog = dialog_of(page)
    expect(dialog.get_by_role("status")).to_contain_text("Starts now")
    dialog.get_by_role("checkbox", name="data").check()
    access = dialog.get_by_role("combobox", name="What the kernel may do in data")
    expect(access.locator("option:checked")).to_have_text("read and write")
    access.select_option("read only")
    expect(dialog.get_by_role("status")).to_contain_text("Starts now")
    look_at(page, "launch-folders", ".jp-Dialog", whole=True)
    dialog.get_by_role("button", name="Start").click()
    expect(dialog).to_have_count(0)
    expect(page.locator(".jp-bai-StatusItem button")).to_contain_text("Running")
    content = lab.ask("GET", f"/api/contents/{path_in_front(page)}")["content"]
    assert content["metadata"]["bai"]["mounts"] == ["data:ro"]

    page.evaluate("void window.jupyterapp.commands.execute('bai:resources')")
    expect(dialog_of(page).get_by_role("combobox", name="What the kernel may do in data")).to_have_value("ro")
    page.keyboard.press("Escape")
