"""What superadmins change in *Backend.AI Admin*, in a real Lab in front of a real manager, light and dark."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from real_manager import RealManager

from bai_jupyter.extension.admin import MONTHS, months_until

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


@pytest.fixture
def page(browser: Browser, lab: Any, open_lab: Callable[[Browser, Any], Page]) -> Iterator[Page]:
    page = open_lab(browser, lab)
    page.set_default_timeout(10_000)
    page.evaluate("window.jupyterapp.commands.execute('bai:show-admin')")
    yield page
    page.close()


def open_list(page: Page, name: str) -> Locator:
    admin = page.locator(".jp-bai-Admin")
    admin.get_by_role("tab", name=name, exact=True).click()
    return admin


def test_a_user_is_made_and_given_a_keypair_whose_secret_is_shown_once(
    page: Page, cluster: RealManager, look_at: Any
) -> None:
    admin = open_list(page, "Users")
    expect(admin.get_by_role("row", name="admin@localhost")).to_be_visible()
    admin.get_by_role("button", name="New user").click()
    dialog = page.get_by_role("dialog", name="New User")
    expect(dialog.get_by_label("E-mail")).to_be_focused()
    dialog.get_by_label("E-mail").fill("kim")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("alert")).to_have_text("Name is missing.")
    expect(dialog.get_by_label("Name")).to_be_focused()
    dialog.get_by_label("Name").fill("kim")
    dialog.get_by_label("Password").fill("a long secret of kim")
    dialog.get_by_role("button", name="Create").click()
    expect(dialog.get_by_role("alert")).to_contain_text("is not an e-mail address")
    look_at(page, "admin-new-user", ".jp-Dialog-content", whole=True)
    dialog.get_by_label("E-mail").fill("kim@lab.org")
    page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    kim = admin.get_by_role("row", name="kim@lab.org")
    expect(kim).to_contain_text("active")
    look_at(page, "admin-users", ".jp-bai-Admin", whole=True)

    kim.get_by_role("button", name="Issue keypair for kim@lab.org").click()
    page.get_by_role("dialog").get_by_role("button", name="Issue").click()
    told = page.get_by_role("dialog").locator(".jp-bai-Secret")
    expect(told).to_contain_text("The secret key is shown this once only.")
    look_at(page, "admin-secret", ".jp-Dialog-content", whole=True)
    access_key, secret_key = told.locator("code").all_inner_texts()
    page.get_by_role("dialog").get_by_role("button").click()
    theirs = type(cluster.config)(cluster.config.endpoint, access_key, secret_key)
    assert cluster.ask("GET", "/auth", config=theirs)["user"]["name"] == "kim"
    kim.get_by_role("button", name="Deactivate kim@lab.org").click()
    page.get_by_role("dialog").get_by_role("button", name="Deactivate").click()
    expect(kim).to_contain_text("inactive")


def test_limits_of_a_policy_are_changed(page: Page, cluster: RealManager, look_at: Any) -> None:
    made = 'mutation {create_keypair_resource_policy(name: "few", props: {max_concurrent_sessions: 9}) {ok msg}}'
    cluster.ask("POST", "/admin/gql", {"query": made})
    admin = open_list(page, "Policies")
    few = admin.get_by_role("row", name="few")
    few.get_by_role("button", name="Change few").click()
    dialog = page.get_by_role("dialog", name="Limits of few")
    expect(dialog.get_by_label("Sessions at once")).to_have_value("9")
    dialog.get_by_label("Of resources").fill("cpu=4, mem=16g")
    dialog.get_by_label("Other resources").select_option("none")
    dialog.get_by_label("Stopped when idle for").fill("soon")
    dialog.get_by_role("button", name="Change").click()
    expect(dialog.get_by_role("alert")).to_contain_text("soon is no time")
    look_at(page, "admin-policy", ".jp-Dialog-content", whole=True)
    dialog.get_by_label("Stopped when idle for").fill("2 h")
    dialog.get_by_role("button", name="Change").click()
    expect(dialog).to_have_count(0)
    expect(few).to_contain_text("4 CPU · 16 GiB")
    expect(few).to_contain_text("2 h")
    look_at(page, "admin-policies", ".jp-bai-Admin", whole=True)


def test_usage_by_month_is_a_chart_with_its_figures_beside_it(page: Page, cluster: RealManager, look_at: Any) -> None:
    row: dict[str, Any] = {"name": "lab", "domain_name": "default"}
    now = datetime.now(UTC)
    row["months"] = {f"{begin:%Y%m}": 10.0 * place for place, begin in enumerate(months_until(now, MONTHS))}
    page.route("**/bai/api/admin/months?*", lambda route: route.fulfill(json={"items": [row], "total": 1}))
    admin = open_list(page, "By month")
    lab = admin.get_by_role("row", name="lab")
    expect(lab.get_by_role("cell").nth(2)).to_have_text("0")
    expect(lab.get_by_role("cell").last).to_have_text("50")
    expect(lab.locator("svg rect")).to_have_count(MONTHS)
    look_at(page, "admin-months", ".jp-bai-Admin", whole=True)
