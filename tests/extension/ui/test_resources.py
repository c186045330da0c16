"""What a notebook's kernel runs on, chosen in a real Lab in front of a real manager, light and dark."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
from fakes_agent import IMAGE
from nbformat.v4 import new_code_cell, new_notebook, new_output
from playwright.sync_api import Browser, Locator, Page, expect
from real_manager import RealManager

from bai_jupyter.common.reasons import Reason

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

PYTHON = {"image": IMAGE.name, "kernelspec": "python3"}


@pytest.fixture(scope="module")
def page(browser: Browser, cluster: RealManager, lab: Any, open_lab: Callable[[Browser, Any], Page]) -> Iterator[Page]:
    cluster.ask("POST", "/folders", {"name": "data"})
    page = open_lab(browser, lab)
    page.set_default_timeout(60_000)
    # What a kernel says of its language is written into a notebook when it says so, perhaps after it was saved.
    changed = page.get_by_role("dialog").filter(has_text="Save your work")
    page.add_locator_handler(changed, lambda dialog: dialog.get_by_role("button", name="Save", exact=True).click())
    yield page
    page.close()


def run(page: Page, command: str, **arguments: str) -> None:
    page.evaluate("([command, args]) => void window.jupyterapp.commands.execute(command, args)", [command, arguments])


def dialog_of(page: Page) -> Locator:
    dialog = page.get_by_role("dialog", name="Resources for")
    expect(dialog).to_be_visible()
    return dialog


def preset(dialog: Locator, name: str) -> Locator:
    return dialog.locator(".jp-bai-Preset").filter(has=dialog.page.get_by_role("radio", name=name, exact=True))


def metadata_of(lab: Any, name: str) -> Any:
    return lab.ask("GET", f"/api/contents/{name}")["content"]["metadata"]


def kernel_of(lab: Any, name: str) -> str | None:
    """The id of the notebook's kernel."""
    return next((one["kernel"]["id"] for one in lab.ask("GET", "/api/sessions") if one["path"] == name), None)


def is_started_with(lab: Any, name: str, choice: Any) -> bool:
    kernel = kernel_of(lab, name)
    options = lab.home / f"options-{kernel}.json"
    return bool(kernel) and options.exists() and json.loads(options.read_text()).get("bai_metadata") == choice


def test_resources_are_changed_from_the_toolbar(page: Page, lab: Any, look_at: Any, wait_until: Any) -> None:
    (lab.home / "slots").write_text(json.dumps({"cpu": "1", "mem": str(2 * 2**30)}))
    run(page, "notebook:create-new", kernelName="survivor")
    chip = page.locator(".jp-NotebookPanel:visible .jp-bai-Chip jp-button")
    expect(chip).to_have_text("1\u00a0CPU · 2\u00a0GiB")
    (lab.home / "slots").unlink()
    expect(page.locator(".jp-bai-StatusItem button")).to_contain_text(
        "Running"
    )  # then the kernel is there to be restarted
    chip.click()
    dialog = dialog_of(page)
    expect(dialog.get_by_label("Environment")).to_contain_text(IMAGE.name)
    expect(preset(dialog, "small")).to_contain_text("Starts now")
    expect(preset(dialog, "gpu")).to_contain_text("Not possible")
    look_at(page, "resources", ".jp-Dialog", whole=True)

    dialog.get_by_role("radio", name="gpu", exact=True).check()
    expect(dialog.get_by_role("status")).to_contain_text("No agent offers")
    accept = dialog.get_by_role("button", name="Restart and apply")
    expect(accept).to_have_attribute("aria-disabled", "true")
    accept.focus()
    page.keyboard.press("Enter")
    expect(dialog).to_be_visible()

    dialog.get_by_role("radio", name="Custom", exact=True).check()
    cpu = dialog.get_by_role("slider", name="CPU")
    cpu.focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    expect(cpu).to_have_attribute("aria-valuetext", "2 of 8")
    dialog.get_by_role("slider", name="Memory").fill("3")
    dialog.get_by_role("checkbox", name="data").check()
    dialog.get_by_text("Group, project").click()
    dialog.get_by_label("Project whose limits count").select_option("default")
    expect(dialog.get_by_role("status")).to_contain_text("Starts now")
    look_at(page, "resources-custom", ".jp-Dialog", whole=True)
    accept.click()
    expect(dialog).to_have_count(0)

    choice = {**PYTHON, "resources": {"cpu": "2", "mem": "3g"}, "mounts": ["data"], "project": "default"}
    expect(page.locator(".jp-NotebookPanel:visible .jp-bai-Chip")).to_have_text("2\u00a0CPU · 3\u00a0GiB")
    metadata = metadata_of(lab, "Untitled.ipynb")
    assert metadata["bai"] == choice
    assert metadata["kernelspec"]["name"].startswith("bai-python-test-cpu-2-mem-3g")
    wait_until(lambda: is_started_with(lab, "Untitled.ipynb", choice), "the kernel with what was chosen", 60)


def test_keys_reach_the_dialog_of_a_page_that_is_never_idle(page: Page) -> None:
    """A slow machine's page is not idle for seconds, and Lab's own dialog takes the focus only then."""
    page.evaluate("() => { window.whenIdle = window.requestIdleCallback; window.requestIdleCallback = () => 0; }")
    try:
        run(page, "bai:resources")
        dialog = dialog_of(page)
        expect(dialog.get_by_role("button", name="Restart and apply")).to_be_focused()
        page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
    finally:
        page.evaluate("() => { window.requestIdleCallback = window.whenIdle; }")


def test_a_copy_is_run_by_a_session_of_its_own(page: Page, lab: Any, cluster: RealManager, look_at: Any) -> None:
    run(page, "bai:run-on-cluster")
    dialog = dialog_of(page)
    expect(dialog.get_by_role("status")).to_contain_text("Starts now")
    dialog.get_by_text("Start time, parameters").click()
    parameters = dialog.get_by_label("Parameters", exact=True)
    parameters.click()
    page.keyboard.type("epochs = ten\nfast = True")
    page.keyboard.press("Enter")
    dialog.get_by_role("button", name="Run").click()
    expect(dialog.get_by_role("alert")).to_contain_text("epochs is ten, which is neither")
    look_at(page, "run-on-cluster", ".jp-Dialog", whole=True)
    parameters.fill("epochs = 10\nfast = True")
    dialog.get_by_role("button", name="Run").click()
    expect(dialog).to_have_count(0)
    expect(page.get_by_text("Untitled.ipynb runs in session Untitled-")).to_be_visible()
    (view,) = [one for one in cluster.ask("GET", "/sessions")["sessions"] if one["type"] == "batch"]
    assert view["name"].startswith("Untitled-")
    (result,) = (lab.home / "work").glob("Untitled-result-*.ipynb")
    assert "epochs = 10" in "".join(json.loads(result.read_text())["cells"][0]["source"])
    cluster.ask("DELETE", f"/session/{view['id']}")
    page.get_by_role("button", name="Hide notification").click()


def test_a_notebook_in_a_folder_is_run_beside_it_and_not_before_its_time(
    browser: Browser, lab: Any, open_lab: Callable[[Browser, Any], Page], cluster: RealManager
) -> None:
    page = open_lab(browser, lab)  # Lab makes new notebooks where the file browser is that was used last
    cluster.ask("POST", "/folders", {"name": "batch"})
    cluster.ask("POST", "/folders/batch/mkdir", {"path": "deep"})
    (lying,) = cluster.folder.rglob("deep")
    (lying / "nightly.ipynb").write_text(json.dumps(new_notebook(cells=[new_code_cell("1")])))
    page.evaluate("window.jupyterapp.commands.execute('bai:browse-folders', {path: 'batch/deep'})")
    page.locator("#bai-file-browser .jp-DirListing-item", has_text="nightly").click(button="right")
    page.get_by_role("menuitem", name="Run on Cluster…").click()
    dialog = dialog_of(page)
    dialog.get_by_text("Start time, parameters").click()
    dialog.get_by_label("Not before").fill("2090-01-01T03:00")
    dialog.get_by_role("button", name="Run").click()
    expect(dialog).to_have_count(0)
    expect(page.get_by_text("nightly.ipynb runs in session nightly-")).to_be_visible()
    assert [*lying.glob("nightly-result-*.ipynb")]
    (view,) = [one for one in cluster.ask("GET", "/sessions")["sessions"] if one["name"].startswith("nightly-")]
    assert view["status"] == "PENDING"
    cluster.ask("DELETE", f"/session/{view['id']}")
    page.close()


def test_a_superadmin_sees_the_cluster_and_drains_an_agent(
    page: Page, cluster: RealManager, look_at: Any, wait_until: Any
) -> None:
    session = cluster.start_session("long")
    run(page, "bai:show-admin")
    admin = page.locator(".jp-bai-Admin")
    admin.get_by_role("tab", name="Agents").click()
    agent = admin.get_by_role("row", name="lab-1")
    expect(agent).to_contain_text("Ready")
    look_at(page, "admin-agents", ".jp-bai-Admin", whole=True)
    agent.get_by_role("button", name="Drain lab-1").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("long (admin@localhost)")
    look_at(page, "admin-drain", ".jp-Dialog-content", whole=True)
    dialog.get_by_role("button", name="Drain", exact=True).click()
    expect(agent).to_contain_text("Draining")
    agent.get_by_role("button", name="Resume lab-1").click()
    expect(agent).to_contain_text("Ready")
    assert cluster.ask("GET", f"/session/{session}")["status"] == "RUNNING"

    agent.get_by_role("button", name="Drain lab-1").click()
    dialog.get_by_role("button", name="End later…").click()
    expect(dialog).to_contain_text("warned 10 and 2 minutes before")
    by = dialog.get_by_label("End what is left at")
    expect(by).to_have_value(re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d$"))
    at = datetime.fromisoformat(by.input_value())
    look_at(page, "admin-drain-at", ".jp-Dialog-content", whole=True)
    by.fill("2020-01-01T18:00")
    dialog.get_by_role("button", name="Drain", exact=True).click()
    expect(dialog.get_by_role("alert")).to_contain_text("is not a moment within the next year")
    by.fill(at.isoformat(timespec="minutes"))
    dialog.get_by_role("button", name="Drain", exact=True).click()
    expect(agent).to_contain_text("Draining · one session left, by ")
    look_at(page, "admin-draining", ".jp-bai-Admin", whole=True)
    (told,) = cluster.ask("GET", "/agents")["agents"]
    assert datetime.fromisoformat(told["drain_by"]) == at.astimezone()
    agent.get_by_role("button", name="What is left on lab-1").click()
    expect(dialog).to_contain_text("long (admin@localhost)")
    dialog.get_by_role("button", name="End none").click()
    expect(agent).not_to_contain_text("left, by")
    agent.get_by_role("button", name="Resume lab-1").click()
    expect(agent).to_contain_text("Ready")

    agent.get_by_role("button", name="Drain lab-1").click()
    dialog.get_by_role("button", name="End sessions now…").click()
    dialog.get_by_role("button", name="Cancel").click()
    expect(agent).to_contain_text("Ready")
    agent.get_by_role("button", name="Drain lab-1").click()
    dialog.get_by_role("button", name="End sessions now…").click()
    expect(dialog).to_contain_text("Its container ends.")
    look_at(page, "admin-drain-end", ".jp-Dialog-content", whole=True)
    dialog.get_by_role("button", name="End sessions", exact=True).click()
    expect(agent).to_contain_text("Draining")
    wait_until(lambda: cluster.ask("GET", f"/session/{session}")["status"] != "RUNNING", "the end of the session")
    agent.get_by_role("button", name="Resume lab-1").click()
    expect(agent).to_contain_text("Ready")
    session = cluster.start_session("later")
    admin.get_by_role("tab", name="Sessions").click()
    admin.get_by_role("searchbox", name="Search in Sessions").fill("later")
    expect(admin.get_by_role("row", name="later")).to_contain_text("Running")
    look_at(page, "admin-sessions", ".jp-bai-Admin", whole=True)
    cluster.ask("DELETE", f"/session/{session}")
    run(page, "application:close")


def test_what_the_manager_refuses_stays_in_the_dialog(page: Page, lab: Any, cluster: RealManager) -> None:
    run(page, "bai:resources")
    dialog = dialog_of(page)
    expect(dialog.get_by_role("status")).to_contain_text("Starts now")
    before = metadata_of(lab, "Untitled.ipynb")
    made = cluster.ask("GET", "/folders/data")
    cluster.ask("DELETE", f"/folders/{made['id']}")  # after the page has heard that it would do
    try:
        dialog.get_by_role("button", name="Restart and apply").click()
        expect(dialog.get_by_role("alert")).to_contain_text("data")
    finally:
        cluster.ask("POST", f"/folders/{made['id']}/restore")
    assert metadata_of(lab, "Untitled.ipynb") == before
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


def test_a_notebook_from_elsewhere_asks_before_anything_starts(
    page: Page, lab: Any, look_at: Any, wait_until: Any
) -> None:
    choice = {**PYTHON, "preset": "small", "mounts": ["data"]}
    cell = new_code_cell("1", outputs=[new_output("display_data", {"text/html": "<b>1</b>"})])
    kernelspec = {"name": "bai-python-test-python3", "display_name": "Python 3", "language": "python"}
    content = new_notebook(cells=[cell], metadata={"bai": choice, "kernelspec": kernelspec})
    (lab.home / "work" / "foreign.ipynb").write_text(json.dumps(content))

    run(page, "docmanager:open", path="foreign.ipynb")
    dialog = dialog_of(page)
    expect(dialog).to_contain_text("foreign.ipynb comes from somewhere else")
    expect(dialog.get_by_role("checkbox", name="data")).to_be_checked()
    expect(preset(dialog, "small").get_by_role("radio")).to_be_checked()
    look_at(page, "resources-foreign", ".jp-Dialog", whole=True)
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_have_count(0)
    assert kernel_of(lab, "foreign.ipynb") is None
    save_and_close(page)

    run(page, "docmanager:open", path="foreign.ipynb")
    dialog = dialog_of(page)
    expect(preset(dialog, "small")).to_contain_text("Starts now")
    expect(dialog.get_by_role("button", name="Start")).to_be_focused()
    page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    wait_until(lambda: is_started_with(lab, "foreign.ipynb", choice), "the kernel with what was confirmed", 60)
    save_and_close(page)
    lab.ask("DELETE", f"/api/sessions/{session_of(lab, 'foreign.ipynb')}")

    run(page, "docmanager:open", path="foreign.ipynb")
    wait_until(lambda: is_started_with(lab, "foreign.ipynb", choice), "the kernel, without a question", 60)
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_one_that_cannot_be_written_asks_and_then_gets_what_was_chosen(
    page: Page, lab: Any, cluster: RealManager, wait_until: Any
) -> None:
    cluster.start_session("shared")
    folder = cluster.folder_to_read("theirs", cluster.add_user("lea"))
    kernelspec = {"name": "bai-python-test-python3", "display_name": "Python 3", "language": "python"}
    metadata = {"bai": {**PYTHON, "session": "shared"}, "kernelspec": kernelspec}
    (folder / "foreign.ipynb").write_text(json.dumps(new_notebook(cells=[new_code_cell()], metadata=metadata)))
    name = "bai:theirs/foreign.ipynb"

    run(page, "docmanager:open", path=name)
    dialog = dialog_of(page)
    expect(dialog).to_contain_text("foreign.ipynb comes from somewhere else")
    expect(dialog.get_by_label("Session", exact=True)).to_have_value("shared")
    assert kernel_of(lab, name) is None
    dialog.get_by_role("button", name="Start").click()
    expect(dialog).to_have_count(0)
    choice = {**PYTHON, "preset": "small", "session": "shared"}
    wait_until(lambda: is_started_with(lab, name, choice), "the kernel in the session that was agreed to", 60)
    close_unsaved(page)
    lab.ask("DELETE", f"/api/sessions/{session_of(lab, name)}")

    run(page, "docmanager:open", path=name)
    wait_until(lambda: is_started_with(lab, name, choice), "the kernel, without a question", 60)
    expect(page.locator(".jp-NotebookPanel:visible .jp-bai-Chip")).to_have_text("shared")
    expect(page.get_by_role("dialog")).to_have_count(0)
    close_unsaved(page)


def close_unsaved(page: Page) -> None:
    page.evaluate("window.jupyterapp.shell.currentWidget.dispose()")


def test_what_a_session_had_that_is_over_is_used_again(
    page: Page, lab: Any, cluster: RealManager, look_at: Any, wait_until: Any
) -> None:
    cluster.ask("POST", "/folders", {"name": "again"})
    session = cluster.start_session("used", resources={"cpu": "2", "mem": "3g"}, mounts=["again"])
    cluster.ask("DELETE", f"/session/{session}")
    wait_until(lambda: cluster.ask("GET", f"/session/{session}")["terminationTime"], "its end", 60)
    run(page, "bai:show-panel")
    panel = page.locator("#jp-bai-panel")
    panel.get_by_role("button", name="Refresh").click()
    panel.get_by_text("Ended today").click()
    row = panel.get_by_role("list", name="Ended today").get_by_role("listitem", name="used,")
    row.get_by_role("button", name="Actions on used").click()
    row.get_by_role("button", name="Use again…").click()
    dialog = dialog_of(page)
    expect(dialog).to_contain_text("A new notebook gets a session like used, with its folders.")
    expect(dialog.get_by_role("radio", name="Custom", exact=True)).to_be_checked()
    expect(dialog.get_by_role("slider", name="CPU")).to_have_attribute("aria-valuetext", "2 of 8")
    expect(dialog.get_by_role("checkbox", name="again")).to_be_checked()
    expect(dialog.get_by_label("Resource group")).to_have_value("default")
    expect(dialog.get_by_label("Project whose limits count")).to_have_value("default")
    expect(dialog.get_by_role("status")).to_contain_text("Starts now")
    look_at(page, "resources-again", ".jp-Dialog", whole=True)

    there = {one["path"] for one in lab.ask("GET", "/api/contents/")["content"]}
    refused = {"code": "over-quota", "message": "There is no room for it."}
    page.route("**/choice*", lambda route: route.fulfill(status=400, json=refused))
    dialog.get_by_role("button", name="Start").click()
    expect(dialog.get_by_role("alert")).to_contain_text("There is no room for it.")
    assert {one["path"] for one in lab.ask("GET", "/api/contents/")["content"]} == there
    page.unroute("**/choice*")
    dialog.get_by_role("button", name="Start").click()
    expect(dialog).to_have_count(0)

    amounts = {"resources": {"cpu": "2", "mem": "3g"}, "mounts": ["again"]}
    choice = {**PYTHON, **amounts, "resource_group": "default", "project": "default"}
    name = wait_until(lambda: {notebook_in_front(page)} - there - {None}, "the new notebook", 60).pop()
    wait_until(lambda: is_started_with(lab, name, choice), "the kernel, without another question", 60)
    panel.get_by_text("Ended today").click()


def save_and_close(page: Page) -> None:
    page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")  # until it has been
    run(page, "application:close")


def session_of(lab: Any, name: str) -> str:
    return next(str(one["id"]) for one in lab.ask("GET", "/api/sessions") if one["path"] == name)


def test_by_keyboard(page: Page, lab: Any, wait_until: Any) -> None:
    run(page, "notebook:create-new", kernelName="survivor")
    expect(page.locator(".jp-NotebookPanel:visible .jp-bai-Chip")).to_have_text("Resources")
    expect(page.locator(".jp-bai-StatusItem button")).to_contain_text("Running")
    name = page.evaluate("window.jupyterapp.shell.currentWidget.context.path")
    run(page, "bai:resources")
    dialog = dialog_of(page)
    expect(preset(dialog, "small")).to_contain_text("Starts now")
    preset(dialog, "small").get_by_role("radio").focus()
    page.keyboard.press("ArrowDown")
    expect(preset(dialog, "medium").get_by_role("radio")).to_be_checked()
    expect(preset(dialog, "medium")).to_contain_text("Starts now")
    page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    wait_until(
        lambda: is_started_with(lab, name, {**PYTHON, "preset": "medium"}),
        "the kernel that was chosen",
        60,
    )


def test_actions_of_the_panel_are_commands_that_ask_what_they_are_about(
    page: Page, cluster: RealManager, wait_until: Any
) -> None:
    run(page, "bai:new-folder")
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("textbox").fill("a/b")
    page.keyboard.press("Enter")
    expect(dialog).to_contain_text("a/b")
    dialog.get_by_role("button").last.click()
    run(page, "bai:trash-folder")
    expect(dialog).to_contain_text("Move to trash")
    dialog.get_by_role("combobox").select_option("data")
    dialog.get_by_role("button", name="Ok").click()
    expect(dialog).to_have_count(0)
    wait_until(lambda: cluster.ask("GET", "/folders/data")["status"] == "delete-pending", "the trash", 60)


def test_a_kernel_with_a_preset_a_folder_and_an_app_by_keyboard_alone(
    page: Page, cluster: RealManager, lab: Any, wait_until: Any
) -> None:
    session = cluster.start_session("served", preopen_ports=[8080])
    cluster.ask("POST", "/folders", {"name": "keyed"})
    type_into_palette(page, "New Launcher")
    tab_to(page, page.locator(".jp-LauncherCard[title*='Backend.AI']:visible").first)
    page.keyboard.press("Enter")
    name = wait_until(lambda: notebook_in_front(page), "the notebook", 60)
    expect(page.locator(".jp-bai-StatusItem button")).to_contain_text("Running")

    (lab.home / "session").write_text(session)  # of the kernel that comes next
    type_into_palette(page, "Resources…")
    dialog = dialog_of(page)
    expect(preset(dialog, "medium")).to_contain_text("Starts now")
    tab_to(page, dialog.get_by_role("radio", checked=True))
    while not preset(dialog, "medium").get_by_role("radio").is_checked():
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    wait_until(lambda: is_started_with(lab, name, {**PYTHON, "preset": "medium"}), "the kernel", 60)
    expect(page.locator(".jp-bai-StatusItem button")).to_contain_text("Running")

    type_into_palette(page, "Attach Folder to This Kernel…")
    answer(page, "Attach folder", "keyed")
    answer(page, "Attach keyed", "read and write")
    wait_until(
        lambda: "keyed" in [one["name"] for one in cluster.ask("GET", f"/session/{session}")["mounts"]],
        "the folder in the session",
        60,
    )

    type_into_palette(page, "Open App…")
    answer(page, "Session", "served")
    answer(page, "App of served", "Port 8080")
    expect(page.frame_locator("iframe[title='Port 8080 of served']").locator("body")).to_have_text("It answers.")
    (lab.home / "session").unlink()
    cluster.ask("DELETE", f"/session/{session}")


def test_cpu_and_memory_change_while_the_kernel_runs_on(
    page: Page, lab: Any, cluster: RealManager, look_at: Any, wait_until: Any
) -> None:
    session = cluster.start_session("grown", resources={"cpu": "2", "mem": "4g"})
    (lab.home / "session").write_text(session)
    try:
        before = notebook_in_front(page)
        run(page, "notebook:create-new", kernelName="survivor")
        page.wait_for_function(
            "before => ![undefined, before].includes(window.jupyterapp.shell.currentWidget?.context?.path)", arg=before
        )
        name = notebook_in_front(page) or ""
        kernel = wait_until(lambda: kernel_of(lab, name), "its kernel", 60)
        wait_until(lambda: lab.ask("GET", f"/api/kernels/{kernel}")["bai"]["session_id"] == session, "its session", 60)
        run(page, "bai:resources")
        dialog = dialog_of(page)
        expect(preset(dialog, "gpu")).to_contain_text("Not possible")
        expect(dialog.get_by_role("button", name="Restart and apply")).to_be_visible()
        free = cluster.ask("POST", "/resource/check-presets", {"group": "default"})["scaling_groups"]["default"]
        filler = cluster.start_session("filler", resources={"cpu": free["remaining"]["cpu"], "mem": "1g"})
        choose_amounts(dialog, cpu="4", memory="6")
        expect(dialog.get_by_role("status")).to_contain_text("Not without a restart")
        expect(dialog.get_by_role("status")).to_contain_text("asked for 4, 2 more than the session has")
        expect(dialog.get_by_role("button", name="Apply now")).to_have_attribute("aria-disabled", "true")
        look_at(page, "resources-no-room", ".jp-Dialog", whole=True)
        cluster.ask("DELETE", f"/session/{filler}?forced=true")
        choose_amounts(dialog, cpu="4", memory="5")
        choose_amounts(dialog, cpu="4", memory="6")
        expect(dialog.get_by_role("status")).to_have_text(
            "Without a restartFrom 2\u00a0CPU · 4\u00a0GiB to 4\u00a0CPU · 6\u00a0GiB."
        )
        expect(dialog).to_contain_text("Nothing is restarted")
        look_at(page, "resources-apply-now", ".jp-Dialog", whole=True)
        dialog.get_by_role("checkbox", name="Restart the kernel all the same").check()
        expect(dialog.get_by_role("button", name="Restart and apply")).to_be_visible()
        dialog.get_by_role("checkbox", name="Restart the kernel all the same").uncheck()
        dialog.get_by_role("button", name="Apply now").click()
        expect(dialog).to_have_count(0)
        chip = page.locator(".jp-NotebookPanel:visible .jp-bai-Chip")
        expect(chip).to_have_text("4\u00a0CPU · 6\u00a0GiB")
        assert cluster.ask("GET", f"/session/{session}")["slots"] == {"cpu": "4", "mem": str(6 * 2**30)}
        metadata = metadata_of(lab, name)
        assert metadata["bai"] == {**PYTHON, "resources": {"cpu": "4", "mem": "6g"}}
        assert metadata["kernelspec"]["name"].startswith("bai-python-test-cpu-4-mem-6g")

        in_use = Reason.of("resize-in-use", used="3 GiB", asked="1 GiB")
        cluster.refuse_resizes(in_use)
        run(page, "bai:resources")
        choose_amounts(dialog_of(page), cpu="4", memory="1")
        dialog.get_by_role("button", name="Apply now").click()
        expect(dialog.get_by_role("alert")).to_have_text(in_use.text)
        look_at(page, "resources-refused-shrink", ".jp-Dialog", whole=True)
        cluster.refuse_resizes(None)
        dialog.get_by_role("button", name="Apply now").click()
        expect(dialog).to_have_count(0)
        assert cluster.ask("GET", f"/session/{session}")["slots"]["mem"] == str(2**30)
        assert metadata_of(lab, name)["bai"]["resources"] == {"cpu": "4", "mem": "1g"}
        assert kernel_of(lab, name) == kernel
        assert [line[0] for line in lab.survivors if line[1] == kernel] == ["launched"]
    finally:
        cluster.refuse_resizes(None)
        (lab.home / "session").unlink()
        cluster.ask("DELETE", f"/session/{session}")


def choose_amounts(dialog: Locator, cpu: str, memory: str) -> None:
    dialog.get_by_role("radio", name="Custom", exact=True).check()
    dialog.get_by_role("slider", name="CPU").fill(cpu)
    dialog.get_by_role("slider", name="Memory").fill(memory)


def notebook_in_front(page: Page) -> str | None:
    path: str | None = page.evaluate("window.jupyterapp.shell.currentWidget?.context?.path ?? null")
    return path


def type_into_palette(page: Page, label: str) -> None:
    page.keyboard.press("Control+Shift+C")
    found = page.locator(".jp-ModalCommandPalette")
    expect(found.locator("input")).to_be_focused()
    page.keyboard.type(label)
    expect(found.locator(".lm-CommandPalette-item.lm-mod-active")).to_contain_text(label)
    page.keyboard.press("Enter")


def tab_to(page: Page, wanted: Locator) -> None:
    expect(wanted).to_be_visible()
    for _ in range(100):
        if wanted.evaluate("node => node === document.activeElement"):
            return
        page.keyboard.press("Tab")
    pytest.fail(f"Tab does not come to {wanted}")


def answer(page: Page, title: str, choice: str) -> None:
    """Choose in a dialog with one list. By arrows: a list forgets first letters that come slowly."""
    dialog = page.get_by_role("dialog").filter(has_text=title)
    box = dialog.get_by_role("combobox")
    expect(box).to_be_focused()
    page.keyboard.press("Home")
    for _ in range(box.locator("option").all_inner_texts().index(choice)):
        page.keyboard.press("ArrowDown")
    expect(box.locator("option:checked")).to_have_text(choice)
    page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
