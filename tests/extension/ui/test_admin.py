"""What superadmins change in *Backend.AI Admin*, in a real Lab in front of a real manager, light and dark."""

import logging
import re
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from real_manager import RealManager, environ_of

from bai_jupyter.common.join_tokens import JoinToken
from bai_jupyter.extension.admin_lists import MONTHS, months_until

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


@pytest.fixture
def page(browser: Browser, lab: Any, open_lab: Callable[[Browser, Any], Page]) -> Iterator[Page]:
    page = open_lab(browser, lab)
    page.set_default_timeout(10_000)
    page.wait_for_function("window.jupyterapp.commands.isEnabled('bai:show-admin')")  # once it is known who is here
    page.evaluate("window.jupyterapp.commands.execute('bai:show-admin')")
    yield page
    page.close()


PARTS = {
    **dict.fromkeys(("Users", "Projects", "Domains", "Keypairs"), "People"),
    **dict.fromkeys(("Volumes", "Folders"), "Storage"),
    **dict.fromkeys(("This month", "By month"), "Usage"),
}


def open_list(page: Page, name: str) -> Locator:
    admin = page.locator(".jp-bai-Admin")
    for one in (PARTS.get(name), name):
        if one is not None:
            admin.get_by_role("tab", name=one, exact=True).click()
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


def test_the_command_that_joins_another_host_is_shown_once(page: Page, look_at: Any) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    admin = open_list(page, "Agents")
    admin.get_by_role("button", name="Add agent…").click()
    dialog = page.get_by_role("dialog", name="Add Agent")
    dialog.get_by_label("Good for").fill("400 d")
    dialog.get_by_role("button", name="Make command").click()
    expect(dialog.get_by_role("alert")).to_contain_text("Good for: ")
    dialog.get_by_label("Good for").fill("2 h")
    dialog.get_by_label("Hosts").fill("3")
    look_at(page, "admin-add-agent", ".jp-Dialog-content", whole=True)
    dialog.get_by_role("button", name="Make command").click()
    told = page.get_by_role("dialog").filter(has_text="bai agent join")
    command = told.locator("code").inner_text()
    assert JoinToken.parse(command.removeprefix("bai agent join ")).url
    told.get_by_role("button", name="Copy").click()
    expect(told.get_by_role("status")).to_have_text("Copied.")
    look_at(page, "admin-join-command", ".jp-Dialog-content", whole=True)
    assert page.evaluate("navigator.clipboard.readText()") == command
    expect(told.get_by_role("button", name="Download")).to_have_count(0)
    told.get_by_role("button", name="Ok").click()
    expect(page.get_by_text("bai agent join")).to_have_count(0)


def test_whom_a_change_of_limits_is_about_is_said_before(page: Page, cluster: RealManager, look_at: Any) -> None:
    session = cluster.start_session("held", resources={"cpu": "2", "mem": "1g"})
    admin = open_list(page, "Policies")
    admin.get_by_role("button", name="Change default").click()
    dialog = page.get_by_role("dialog", name="Limits of default")
    said = dialog.get_by_role("status")
    expect(said).to_have_text(re.compile(r"^Binds (one person|\d+ people)\.$"))
    dialog.get_by_label("Of resources").fill("cpu=1")
    expect(said).to_contain_text("admin@localhost is above the new limits: what runs goes on.")
    look_at(page, "admin-policy-effect", ".jp-Dialog-content", whole=True)
    dialog.get_by_label("Of resources").fill("cpu=many")
    expect(said).to_have_text("")
    dialog.get_by_role("button", name="Cancel").click()
    cluster.ask("DELETE", f"/session/{session}")


def test_sessions_are_found_by_a_key_chosen_and_ended_together(
    page: Page, cluster: RealManager, look_at: Any, wait_until: Any
) -> None:
    small = {"resources": {"cpu": "1", "mem": "1g"}}
    ended, kept = (
        [cluster.start_session(f"pair-{place}", **small) for place in (1, 2)],
        cluster.start_session("pair-3", **small),
    )
    admin = open_list(page, "Sessions")
    admin.get_by_role("checkbox", name="Choose pair-1").focus()
    page.keyboard.press("/")
    search = admin.get_by_role("searchbox", name="Search in Sessions")
    expect(search).to_be_focused()
    page.keyboard.type("pair-/")
    expect(search).to_have_value("pair-/")
    page.keyboard.press("Backspace")
    expect(admin.get_by_text("1 to 3 of 3")).to_be_visible()
    admin.get_by_role("checkbox", name="Choose pair-3").focus()
    for key in ("Space", "ArrowDown", "Space"):
        page.keyboard.press(key)
    expect(admin.get_by_role("button", name="End 2 sessions")).to_be_visible()
    admin.get_by_role("checkbox", name="Choose all that are shown").check()
    expect(admin.get_by_role("button", name="End 3 sessions")).to_be_visible()
    admin.get_by_role("checkbox", name="Choose pair-3").uncheck()
    look_at(page, "admin-chosen", ".jp-bai-Admin", whole=True)
    admin.get_by_role("button", name="End 2 sessions").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Their containers end.")
    dialog.get_by_role("button", name="End", exact=True).click()
    for session in ended:
        wait_until(lambda one=session: cluster.ask("GET", f"/session/{one}")["status"] == "TERMINATED", "its end")
    assert cluster.ask("GET", f"/session/{kept}")["status"] == "RUNNING"
    expect(admin.get_by_role("button", name="End 2 sessions")).to_have_count(0)  # what is over is not ended again
    open_list(page, "Agents").get_by_role("checkbox", name="Choose lab-1").check()
    expect(admin.get_by_role("button", name="Drain 1 agent")).to_be_visible()
    cluster.ask("DELETE", f"/session/{kept}")


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
    dialog.get_by_label("GPU-hours a week").fill("12.5")
    dialog.get_by_label("Stopped when idle for").fill("soon")
    dialog.get_by_role("button", name="Change").click()
    expect(dialog.get_by_role("alert")).to_contain_text("soon is no time")
    look_at(page, "admin-policy", ".jp-Dialog-content", whole=True)
    dialog.get_by_label("Stopped when idle for").fill("2 h")
    dialog.get_by_role("button", name="Change").click()
    expect(dialog).to_have_count(0)
    expect(few).to_contain_text("4 CPU · 16 GiB")
    expect(few).to_contain_text("2 h")
    expect(few.get_by_role("cell", name="12.5", exact=True)).to_be_visible()
    look_at(page, "admin-policies", ".jp-bai-Admin", whole=True)


def test_a_preset_is_made_changed_and_deleted(page: Page, look_at: Any) -> None:
    admin = open_list(page, "Presets")
    admin.get_by_role("button", name="New preset").click()
    dialog = page.get_by_role("dialog", name="New Preset")
    dialog.get_by_label("Name").fill("tiny")
    dialog.get_by_label("Resources").fill("cpu=1, mem=512m")
    dialog.get_by_label("Shared memory").fill("much")
    dialog.get_by_role("button", name="Create").click()
    expect(dialog.get_by_role("alert")).to_have_text(re.compile("^Shared memory: 'much' is not"))
    look_at(page, "admin-preset", ".jp-Dialog-content", whole=True)
    dialog.get_by_label("Shared memory").fill("64m")
    dialog.get_by_role("button", name="Create").click()
    expect(dialog).to_have_count(0)
    tiny = admin.get_by_role("row", name="tiny")
    expect(tiny).to_contain_text("1 CPU · 512 MiB")
    tiny.get_by_role("button", name="Change tiny").click()
    dialog = page.get_by_role("dialog", name="Preset tiny")
    expect(dialog.get_by_label("Shared memory")).to_have_value("64m")
    dialog.get_by_label("Resources").fill("cpu=2, mem=1g")
    dialog.get_by_role("button", name="Change").click()
    expect(tiny).to_contain_text("2 CPU · 1 GiB")
    look_at(page, "admin-presets", ".jp-bai-Admin", whole=True)
    tiny.get_by_role("button", name="Delete tiny").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(tiny).to_have_count(0)


def test_a_project_is_made_and_given_members_and_agents(page: Page, cluster: RealManager, look_at: Any) -> None:
    cluster.add_user("vera")
    admin = open_list(page, "Projects")
    admin.get_by_role("button", name="New project").click()
    dialog = page.get_by_role("dialog", name="New Project")
    dialog.get_by_label("Name").fill("default")
    dialog.get_by_role("button", name="Create").click()
    expect(dialog.get_by_role("alert")).to_contain_text("There is a project default in domain default already.")
    dialog.get_by_label("Name").fill("survey")
    dialog.get_by_label("Limits").fill("cpu=8")
    look_at(page, "admin-project", ".jp-Dialog-content", whole=True)
    dialog.get_by_role("button", name="Create").click()
    survey = admin.get_by_role("row", name="survey")
    expect(survey).to_contain_text("8 CPU")
    survey.get_by_role("button", name="Members of survey").click()
    dialog = page.get_by_role("dialog", name="Members of survey")
    dialog.get_by_label("vera@localhost").check()
    look_at(page, "admin-members", ".jp-Dialog-content", whole=True)
    dialog.get_by_role("button", name="Change").click()
    expect(dialog).to_have_count(0)
    open_list(page, "Users")
    expect(admin.get_by_role("row", name="vera@localhost")).to_contain_text("survey")

    open_list(page, "Groups")
    admin.get_by_role("button", name="New group").click()
    dialog = page.get_by_role("dialog", name="New Resource Group")
    dialog.get_by_label("Name").fill("gpu")
    dialog.get_by_label("Who goes first").select_option("who came last")
    look_at(page, "admin-group", ".jp-Dialog-content", whole=True)
    dialog.get_by_role("button", name="Create").click()
    gpu = admin.get_by_role("row", name="gpu")
    expect(gpu).to_contain_text("who came last")
    gpu.get_by_role("button", name="Who may use gpu").click()
    page.get_by_role("dialog", name="Who May Use gpu").get_by_label("default/survey").check()
    page.get_by_role("dialog").get_by_role("button", name="Change").click()
    expect(gpu).to_contain_text("default/survey")
    look_at(page, "admin-groups", ".jp-bai-Admin", whole=True)
    default = admin.get_by_role("row", name="default").filter(has_text="domain default")
    default.get_by_role("button", name="Delete default").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("dialog")).to_contain_text("Resource group default has 1 agent.")
    page.get_by_role("dialog").get_by_role("button").last.click()
    gpu.get_by_role("button", name="Delete gpu").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(gpu).to_have_count(0)

    open_list(page, "Projects")
    survey.get_by_role("button", name="Delete survey").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(survey).to_have_count(0)


def test_an_image_is_given_an_alias_forgotten_and_added_again(page: Page, look_at: Any) -> None:
    admin = open_list(page, "Images")
    image = admin.get_by_role("row", name="bai/python:test")
    image.get_by_role("button", name="Aliases of bai/python:test").click()
    dialog = page.get_by_role("dialog", name="Aliases of bai/python:test")
    dialog.get_by_label("Other names").fill("snake, py")
    dialog.get_by_role("button", name="Change").click()
    expect(image).to_contain_text("py, snake")
    look_at(page, "admin-images", ".jp-bai-Admin", whole=True)
    image.get_by_role("button", name="Forget bai/python:test").click()
    page.get_by_role("dialog").get_by_role("button", name="Forget").click()
    expect(image).to_have_count(0)
    admin.get_by_role("button", name="Add image").click()
    dialog = page.get_by_role("dialog", name="Add Image")
    dialog.get_by_label("Name").fill("bai/python:test")
    dialog.get_by_role("button", name="Add").click()
    expect(image).to_be_visible()


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


@pytest.fixture
def lab_of_domain_admin(make_lab: Callable[[Any], Any], cluster: RealManager) -> Iterator[Any]:
    server = make_lab(SimpleNamespace(environ=environ_of(cluster.add_domain_admin("physics", "dana"))))
    yield server
    server.stop(signal.SIGKILL)


def test_a_domains_admin_changes_its_people_and_only_looks_at_the_rest(
    browser: Browser, lab_of_domain_admin: Any, open_lab: Callable[[Browser, Any], Page], look_at: Any
) -> None:
    page = open_lab(browser, lab_of_domain_admin)
    page.wait_for_function("window.jupyterapp.commands.isEnabled('bai:show-admin')")
    page.evaluate("window.jupyterapp.commands.execute('bai:show-admin')")
    admin = open_list(page, "Projects")
    expect(admin.get_by_role("row")).to_have_count(2)  # the head, and the domain's own one
    admin.get_by_role("button", name="New project").click()
    dialog = page.get_by_role("dialog", name="New Project")
    expect(dialog.get_by_label("Description")).to_be_visible()
    expect(dialog.get_by_label("Limits")).to_have_count(0)
    dialog.get_by_label("Name").fill("optics")
    dialog.get_by_role("button", name="Create").click()
    optics = admin.get_by_role("row", name="optics")
    expect(optics.get_by_role("button", name="Members of optics")).to_be_visible()
    look_at(page, "admin-of-domain", ".jp-bai-Admin", whole=True)
    open_list(page, "Policies")
    expect(admin.get_by_role("row", name="default")).to_be_visible()
    expect(admin.get_by_role("button", name="New policy")).to_have_count(0)
    expect(admin.get_by_role("button", name="Change default")).to_have_count(0)
    page.close()


def test_users_are_made_of_a_file_after_a_look_at_each_line(page: Page, cluster: RealManager, look_at: Any) -> None:
    cluster.add_user("zoe")
    admin = open_list(page, "Users")
    admin.get_by_role("button", name="From CSV…").click()
    dialog = page.get_by_role("dialog", name="Users from CSV")
    expect(dialog.get_by_role("button", name="Create", exact=True)).to_have_attribute("aria-disabled", "true")
    content = (
        "email,username,password,role,projects\n"
        "yan@lab.org,yan,a long secret,user,default/default\n"
        "zoe@lab.org,zoe,a long secret,user,\n"
        "xia@lab.org,xia,short,king,\n"
        "wim@lab.org,wim,,user,\n"
    )
    file = {"name": "users.csv", "mimeType": "text/csv", "buffer": content.encode()}
    dialog.get_by_label("File", exact=True).set_input_files(file)
    row = dialog.get_by_role("row")
    expect(row.filter(has_text="yan@lab.org")).to_contain_text("As user in default/default.")
    expect(row.filter(has_text="zoe@lab.org")).to_contain_text("There is a user with the name zoe already.")
    expect(row.filter(has_text="xia@lab.org")).to_contain_text("role: 'king' is not one of")
    expect(row.filter(has_text="wim@lab.org")).to_contain_text("without a password")
    expect(dialog.get_by_role("status")).to_have_text("2 users would be created. 2 lines are refused.")
    look_at(page, "admin-import", ".jp-Dialog-content", whole=True)
    expect(admin.get_by_role("row", name="yan@lab.org")).to_have_count(0)

    dialog.get_by_role("button", name="Create 2 users").focus()
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("status")).to_have_text("2 users were created. 2 lines are refused.")
    expect(row.filter(has_text="yan@lab.org")).to_contain_text("Created")
    expect(dialog.get_by_role("button", name="Create")).to_have_count(0)
    expect(dialog.get_by_role("button", name="Close")).to_be_focused()
    look_at(page, "admin-imported", ".jp-Dialog-content", whole=True)
    dialog.get_by_role("button", name="Close").click()
    expect(admin.get_by_role("row", name="yan@lab.org")).to_be_visible()
    expect(admin.get_by_role("row", name="wim@lab.org")).to_be_visible()


def test_how_the_cluster_is_and_new_sessions_are_paused_and_taken_again(page: Page, look_at: Any) -> None:
    admin = open_list(page, "Health")
    checks = admin.get_by_role("list", name="Health").get_by_role("listitem")
    expect(checks.filter(has_text="AgentsOK")).to_contain_text("One is ready.")
    expect(checks.filter(has_text="Container engines")).to_contain_text("Each agent that answers reaches its own.")
    expect(checks.filter(has_text="New sessions")).to_contain_text("Are taken.")
    expect(checks.filter(has_text="Storage")).to_be_visible()
    admin.get_by_role("button", name="Pause new sessions…").press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("What waits keeps its place")
    dialog.get_by_role("button", name="Pause").click()
    expect(checks.filter(has_text="New sessions")).to_contain_text("Paused")
    look_at(page, "admin-health", ".jp-bai-Admin", whole=True)
    admin.get_by_role("button", name="Take new sessions again").click()
    expect(checks.filter(has_text="New sessions")).to_contain_text("Are taken.")


def test_a_domain_is_made_and_volumes_folders_and_errors_are_looked_at(
    page: Page, cluster: RealManager, look_at: Any
) -> None:
    admin = open_list(page, "Domains")
    admin.get_by_role("button", name="New domain").click()
    dialog = page.get_by_role("dialog", name="New Domain")
    dialog.get_by_label("Name").fill("chemistry")
    dialog.get_by_label("Limits").fill("cpu=8")
    dialog.get_by_role("button", name="Create").click()
    row = admin.get_by_role("row", name="chemistry")
    expect(row).to_contain_text("8 CPU")
    look_at(page, "admin-domains", ".jp-bai-Admin", whole=True)
    row.get_by_role("button", name="Delete chemistry").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(row).to_have_count(0)

    open_list(page, "Volumes")
    home = admin.get_by_role("row", name="local:home")
    expect(home).to_contain_text("lab-1")
    expect(home.get_by_role("meter")).to_have_attribute("aria-valuetext", re.compile(" of .*iB"))
    look_at(page, "admin-volumes", ".jp-bai-Admin", whole=True)
    cluster.ask("POST", "/folders", {"name": "shown", "host": "local:home"})
    open_list(page, "Folders")
    expect(admin.get_by_role("row", name="shown")).to_contain_text("admin@localhost")
    look_at(page, "admin-folders", ".jp-bai-Admin", whole=True)
    logging.getLogger("bai_jupyter.manager").error("a fault that is shown")
    open_list(page, "Errors")
    expect(admin.get_by_role("row").filter(has_text="a fault that is shown")).to_be_visible()
    look_at(page, "admin-errors", ".jp-bai-Admin", whole=True)


def test_how_the_manager_is_set_up_and_where(page: Page, cluster: RealManager, look_at: Any) -> None:
    admin = open_list(page, "Settings")
    row = admin.get_by_role("row", name="ManagerApp.data_dir")
    expect(row).to_contain_text("the program that started it")
    expect(admin.get_by_role("row", name="ManagerApp.join_token")).to_contain_text("not shown")
    expect(admin.get_by_role("row", name="ManagerApp.max_extensions")).to_contain_text("How often that may be")
    look_at(page, "admin-settings", ".jp-bai-Admin", whole=True)
    admin.get_by_role("button", name="Change the announcement").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("textbox").fill("Back at nine.")
    dialog.get_by_role("button", name="Announce").click()
    announced = admin.get_by_role("row", name="announcement")
    expect(announced).to_contain_text("the database")
    assert cluster.ask("GET", "/manager/announcement")["message"] == "Back at nine."
    cluster.ask("POST", "/manager/announcement", {"enabled": False})


def test_what_is_announced_is_read_above_the_sessions_until_it_is_dismissed(page: Page, look_at: Any) -> None:
    def announce(text: str) -> None:
        page.evaluate("window.jupyterapp.commands.execute('bai:show-admin')")
        open_list(page, "Health").get_by_role("button", name="Announcement…").click()
        dialog = page.get_by_role("dialog", name="Announcement")
        dialog.get_by_role("textbox").fill(text)
        dialog.get_by_role("button", name="Announce").click()
        expect(dialog).to_have_count(0)

    announce("Maintenance on 22 Nov, 08:00.\nWhat runs then is ended.")
    page.evaluate("window.jupyterapp.commands.execute('bai:show-panel')")
    panel = page.locator("#jp-bai-panel")
    told = panel.get_by_role("region", name="Announcement")
    expect(told).to_contain_text("Maintenance on 22 Nov")
    look_at(page, "announcement", "#jp-bai-panel")
    panel.get_by_role("button", name="Dismiss the announcement").press("Enter")
    expect(told).to_have_count(0)
    announce("")
