"""The tab *Usage* in a real Lab in front of a real manager, light and dark."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fakes_agent import IMAGE
from playwright.sync_api import Page, Route, expect
from real_manager import RealManager

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


def test_usage_is_opened_from_the_panel_and_says_what_is_held(page: Page, cluster: RealManager, look_at: Any) -> None:
    cluster.start_session("measured")
    page.evaluate("window.jupyterapp.commands.execute('bai:show-panel')")
    page.locator("#jp-bai-panel").get_by_role("button", name="Usage").click()
    usage = page.locator("#jp-bai-usage")
    today = usage.get_by_role("row").nth(1)
    expect(today).to_be_visible()
    usage.get_by_role("tab", name="Now").click()
    expect(usage).to_contain_text("Free now")
    look_at(page, "usage-now", "#jp-bai-usage", whole=True)


def test_a_budget_of_accelerators_is_told_among_what_is_in_use(page: Page, cluster: RealManager, look_at: Any) -> None:
    def allow(hours: float) -> None:
        props = f"{{gpu_hours_per_week: {hours}}}"
        change = f'mutation {{modify_keypair_resource_policy(name: "default", props: {props}) {{ok msg}}}}'
        assert cluster.ask("POST", "/admin/gql", {"query": change})["data"]["modify_keypair_resource_policy"]["ok"]

    def answer(route: Route) -> None:
        told = route.fetch().json()
        assert [one.pop("gpu_hours_used") for one in told["budgets"]] == [0]
        route.fulfill(json={**told, "budgets": [{**one, "gpu_hours_used": 10.2} for one in told["budgets"]]})

    allow(10)
    page.route("**/bai/api/capacity*", answer)
    page.evaluate("window.jupyterapp.commands.execute('bai:show-usage')")
    usage = page.locator("#jp-bai-usage")
    usage.get_by_role("tab", name="Now").click()
    meter = usage.get_by_role("meter", name="Your keypair: GPU-hours")
    expect(meter).to_have_attribute("aria-valuetext", re.compile(r"^10\.2 of 10 GPU-h this week, resets (Sun|Mon)"))
    sentence = usage.get_by_role("list", name="Presets").get_by_text(
        re.compile("^Over a limit: Your keypair, 10.2 of 10")
    )
    expect(sentence).to_have_count(1)
    look_at(page, "usage-budget", "#jp-bai-usage", whole=True)
    allow(0)


def test_usage_by_month_of_everybody_as_charts_figures_and_a_file(page: Page, look_at: Any, tmp_path: Path) -> None:
    now, asked = datetime.now(UTC), []

    def answer(route: Route) -> None:
        asked.append(route.request.url)
        days = [
            {
                "date": f"{now - timedelta(days=back):%Y-%m-%d}",
                "core_hours": back % 7,
                "gib_hours": back,
                "gpu_hours": 0.5,
            }
            for back in range(30)
        ]
        route.fulfill(json={"days": days})

    page.route("**/bai/api/usage?*", answer)
    page.evaluate("window.jupyterapp.commands.execute('bai:show-usage')")
    usage = page.locator("#jp-bai-usage")
    expect(usage.get_by_role("figure")).to_have_count(3)
    expect(usage.get_by_role("row").nth(1).get_by_role("cell").nth(2)).to_have_text("0.5")
    look_at(page, "usage-days", "#jp-bai-usage", whole=True)
    cpu, gpu = [usage.get_by_role("slider", name=name) for name in ("CPU core-hours at", "GPU-hours at")]
    cpu.focus()
    cpu.press("Home")
    cpu.press("ArrowRight")
    day = f"{now - timedelta(days=28):%b} {(now - timedelta(days=28)).day}"
    expect(cpu).to_have_attribute("aria-valuetext", f"{day}: 0")
    expect(gpu).to_have_attribute("aria-valuetext", f"{day}: 0.5")  # one cursor for all
    look_at(page, "usage-cursor", "#jp-bai-usage", whole=True)
    gpu.hover()  # its middle
    expect(usage.get_by_role("figure", name="GPU-hours")).to_contain_text(re.compile(r"[A-Z][a-z]+ \d+: 0.5"))
    cpu.press("t")
    expect(usage.get_by_role("group", name="Figures")).to_be_focused()
    usage.get_by_label("By").select_option("month")
    usage.get_by_role("combobox", name=re.compile("^Of")).select_option("everybody")
    expect(usage.get_by_role("figure", name="GPU-hours")).to_contain_text("15 in all")
    assert "scope=all" in asked[-1]
    look_at(page, "usage-months", "#jp-bai-usage", whole=True)
    with page.expect_download() as download:
        usage.get_by_role("button", name="Download CSV").click()
    download.value.save_as(tmp_path / "usage.csv")
    head, *rows = (tmp_path / "usage.csv").read_text().splitlines()
    assert (head, len(rows)) == ("date,core_hours,gib_hours,gpu_hours", 12)
    assert rows[-1].startswith(f"{now:%Y-%m}-01,")


def test_the_sessions_that_held_most_lead_to_their_tabs(page: Page, cluster: RealManager, look_at: Any) -> None:
    ida = cluster.add_user("ida")
    body = {"name": "of-ida", "image": IMAGE.name, "config": {"resources": {"cpu": "1", "mem": "1g"}}}
    theirs = cluster.ask("POST", "/session", {**body, "enqueueOnly": False, "maxWaitSeconds": 20}, ida)["sessionId"]
    own = cluster.start_session("costly")
    page.evaluate("window.jupyterapp.commands.execute('bai:show-usage')")
    usage = page.locator("#jp-bai-usage")
    usage.get_by_role("tab", name="Cost").click()
    expect(usage.get_by_role("row", name="costly")).to_be_visible()
    expect(usage.get_by_role("row", name="of-ida")).to_have_count(0)
    usage.get_by_role("combobox", name=re.compile("^In")).select_option("the last 30 days")
    usage.get_by_role("combobox", name=re.compile("^Of")).select_option("everybody")
    expect(usage.get_by_role("row", name="of-ida")).to_contain_text(ida.access_key)
    look_at(page, "usage-cost", "#jp-bai-usage", whole=True)
    usage.get_by_role("button", name="Details of of-ida").press("Enter")
    expect(page.locator(f"#jp-bai-session-{theirs}").get_by_role("definition").filter(has_text="ida@")).to_be_visible()
    page.evaluate("window.jupyterapp.commands.execute('bai:show-usage')")
    usage.get_by_role("combobox", name=re.compile("^Of")).select_option("me")
    usage.get_by_role("button", name="Details of costly").click()
    expect(page.locator(f"#jp-bai-session-{own}").get_by_role("tab", name="Apps")).to_be_visible()
