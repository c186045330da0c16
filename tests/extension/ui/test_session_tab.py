"""The tab of a session, in a real Lab in front of a real manager, light and dark."""

from collections.abc import Callable
from typing import Any

import pytest
from fakes_agent import IMAGE
from playwright.sync_api import Page, expect
from real_manager import RealManager

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

REFUSED = {"code": "internal", "message": "It is not told."}


def show_panel(page: Page) -> Any:
    page.evaluate("window.jupyterapp.commands.execute('bai:show-panel')")
    return page.locator("#jp-bai-panel")


def test_all_about_a_session_by_keyboard_and_again_after_a_reload(
    page: Page, cluster: RealManager, settle: Callable[[Page], None], look_at: Any
) -> None:
    cluster.list_ports(8050)
    session = cluster.start_session("studied", resources={"cpu": "1", "mem": "1g"})
    row = show_panel(page).get_by_role("listitem", name="studied")
    row.focus()
    row.press("Enter")
    tab = page.locator(f"#jp-bai-session-{session}")
    expect(tab.get_by_role("definition").filter(has_text=session)).to_be_visible()
    expect(tab).to_contain_text("Running on lab-1")
    expect(tab.get_by_role("definition").filter(has_text="default").first).to_be_visible()
    look_at(page, "session-overview", f"#jp-bai-session-{session}", whole=True)

    cluster.start_session("other", resources={"cpu": "1", "mem": "1g"})
    tab.get_by_role("button", name="Rename…").click()
    dialog = page.get_by_role("dialog", name="Rename studied")
    for name, refusal in (
        ("a b", "Name: 'a b' is not 4 to 64 letters"),
        ("other", "You already have a session other."),
    ):
        dialog.get_by_role("textbox").fill(name)
        page.keyboard.press("Enter")
        expect(dialog.get_by_role("alert")).to_contain_text(refusal)
    expect(dialog.get_by_role("textbox", name="Name")).to_have_attribute("aria-invalid", "true")
    look_at(page, "session-rename", ".jp-Dialog-content", whole=True)
    dialog.get_by_role("textbox").fill("known")
    page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    expect(page.locator(".lm-DockPanel-tabBar").get_by_role("tab", name="known")).to_be_visible()
    row = show_panel(page).get_by_role("listitem", name="known")
    row.focus()
    row.press("F2")
    dialog = page.get_by_role("dialog", name="Rename known")
    dialog.get_by_role("textbox").fill("studied")
    dialog.get_by_role("button", name="Rename").click()
    expect(show_panel(page).get_by_role("listitem", name="studied")).to_be_visible()

    tab.get_by_role("tab", name="Timeline").click()
    steps = tab.get_by_role("list", name="Timeline").get_by_role("listitem")
    expect(steps.first).to_contain_text("Queued")
    expect(steps.last).to_contain_text("Running")
    look_at(page, "session-timeline", f"#jp-bai-session-{session}", whole=True)
    tab.get_by_role("tab", name="Log").click()
    expect(tab.get_by_role("log", name="Log of studied")).to_be_visible()
    look_at(page, "session-log", f"#jp-bai-session-{session}", whole=True)
    tab.get_by_role("tab", name="Apps").click()
    expect(tab.get_by_role("button", name="Open Port 8050", exact=True)).to_be_visible()
    look_at(page, "session-apps", f"#jp-bai-session-{session}", whole=True)
    tab.get_by_role("tab", name="Audit").click()
    expect(tab.get_by_role("row", name="POST session:create")).to_contain_text("Asked for")
    look_at(page, "session-audit", f"#jp-bai-session-{session}", whole=True)

    with page.expect_response(lambda answer: "/api/workspaces" in answer.url and answer.request.method == "PUT"):
        page.evaluate("window.jupyterapp.commands.execute('application:toggle-left-area')")
    page.reload()
    settle(page)
    expect(tab.get_by_role("definition").filter(has_text=session)).to_be_visible()

    tab.get_by_role("button", name="End…").click()
    page.get_by_role("dialog").get_by_role("button", name="End session").click()
    expect(tab).to_contain_text("Ended by")
    expect(tab.get_by_role("button", name="End…")).to_have_count(0)
    tab.get_by_role("tab", name="Apps").click()
    expect(tab).to_contain_text("It does not run.")


def test_a_cluster_its_limits_and_its_folders(page: Page, cluster: RealManager, look_at: Any) -> None:
    session = cluster.start_session("two-of-it", resources={"cpu": "1", "mem": "1g"})
    view = cluster.ask("GET", f"/session/{session}")
    [main] = view["kernels"]
    used = {"cpu_used_s": 3, "mem_used_bytes": 2**29, "mem_limit_bytes": None}
    sub = {**main, "id": "other", "role": "sub", "host": "sub1", "liveStat": {**used, "mem_used_bytes": 0.9 * 2**30}}
    extra = {"limit": 3600, "policy": "user kim", "last": "a cell", "running": False, "extensions_left": 2}
    view |= {
        "clusterSize": 2,
        "kernels": [{**main, "liveStat": used}, sub],
        "mounts": [
            {"folder": None, "name": "home", "target": "/home/work", "read_only": False},
            {"folder": "f", "name": "data", "target": "/home/work/data", "read_only": True},
        ],
        "idleChecks": {
            "network_timeout": {"remaining": 540, "extra": extra},
            "session_lifetime": {"remaining": 7000, "extra": {"limit": 10800, "policy": "user kim"}},
        },
    }
    page.route(f"**/bai/api/sessions/{session}?*", lambda route: route.fulfill(json=view))
    show_panel(page).get_by_role("listitem", name="two-of-it").dispatch_event("dblclick")
    tab = page.locator(f"#jp-bai-session-{session}")
    expect(tab.get_by_role("row", name="sub1")).to_contain_text("sub")
    expect(tab.get_by_role("meter", name="sub1: mem")).to_have_attribute("aria-valuetext", "0.9 of 1 GiB")
    expect(tab).to_contain_text("/home/work/data · read only")
    expect(tab).to_contain_text("Stops if idle for 1 h")
    expect(tab).to_contain_text("can be kept 2 times more")
    look_at(page, "session-cluster", f"#jp-bai-session-{session}", whole=True)
    with page.expect_response(f"**/bai/api/sessions/{session}/extend?*") as answered:
        tab.get_by_role("button", name="Keep").click()
    assert answered.value.json()["message"] == "Nothing stops this session for being idle."
    refused = page.get_by_role("dialog")
    expect(refused).to_contain_text("two-of-it is not kept")
    refused.get_by_role("button").click()
    extra["extensions_left"] = 0
    expect(tab.get_by_role("button", name="Keep")).to_have_count(0)
    page.route(f"**/bai/api/sessions/{session}?*", lambda route: route.fulfill(status=500, json=REFUSED))
    expect(tab.get_by_text("It is not told.")).to_be_visible()
    expect(tab).to_contain_text("/home/work/data · read only")
    cluster.ask("DELETE", f"/session/{session}")


def test_an_admin_looks_at_somebody_elses_session_and_ends_it(
    page: Page, cluster: RealManager, settle: Callable[[Page], None], look_at: Any
) -> None:
    kim = cluster.add_user("kim")
    body = {"name": "of-kim", "image": IMAGE.name, "config": {"resources": {"cpu": "1", "mem": "1g"}}}
    session = cluster.ask("POST", "/session", {**body, "enqueueOnly": False, "maxWaitSeconds": 20}, kim)["sessionId"]
    page.wait_for_function("window.jupyterapp.commands.isEnabled('bai:show-admin')")
    page.evaluate("window.jupyterapp.commands.execute('bai:show-admin')")
    page.locator(".jp-bai-Admin").get_by_role("tab", name="Sessions").click()
    name = page.get_by_role("button", name="Details of of-kim")
    name.focus()
    name.press("Enter")
    tab = page.locator(f"#jp-bai-session-{session}")
    expect(tab.get_by_role("definition").filter(has_text=session)).to_be_visible()
    expect(tab.get_by_role("tab")).to_have_text(["Overview", "Timeline", "Log", "Audit"])
    expect(tab.get_by_role("definition").filter(has_text="kim@localhost")).to_be_visible()
    look_at(page, "session-of-another", f"#jp-bai-session-{session}", whole=True)
    tab.get_by_role("tab", name="Audit").click()
    expect(tab.get_by_role("row", name="POST session:create")).to_contain_text("Asked for")
    tab.get_by_role("tab", name="Log").click()
    expect(tab.get_by_role("log", name="Log of of-kim")).to_be_visible()

    with page.expect_response(lambda answer: "/api/workspaces" in answer.url and answer.request.method == "PUT"):
        page.evaluate("window.jupyterapp.commands.execute('application:toggle-left-area')")
    page.reload()
    settle(page)
    expect(tab.get_by_role("definition").filter(has_text=session)).to_be_visible()
    expect(tab.get_by_role("tab", name="Apps")).to_have_count(0)
    tab.get_by_role("button", name="End…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Its owner sees that an admin has ended it.")
    dialog.get_by_role("button", name="End session").click()
    expect(tab).to_contain_text("Ended by")
