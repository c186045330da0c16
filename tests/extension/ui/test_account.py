"""The tabs *My Account* and *My Environments* in a real Lab in front of a real manager, light and dark."""

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect
from real_manager import RealManager

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


def test_who_one_is_and_what_one_has_in_each_session(
    page: Page, cluster: RealManager, look_at: Any, tmp_path: Path
) -> None:
    page.evaluate("window.jupyterapp.commands.execute('bai:show-account')")
    mine = page.locator("#jp-bai-account")
    expect(mine).to_contain_text(cluster.config.access_key)
    expect(mine).to_contain_text("superadmin")
    assert cluster.config.secret_key not in page.content()
    look_at(page, "account-me", "#jp-bai-account", whole=True)
    the_ssh_keypair(page, mine, look_at, tmp_path)
    dotfiles(page, mine, look_at)
    the_script(page, mine, cluster, look_at)
    mine.get_by_role("tab", name="Access log").click()
    expect(mine.get_by_role("row").nth(1)).to_contain_text("done")
    look_at(page, "account-log", "#jp-bai-account", whole=True)


def the_ssh_keypair(page: Page, mine: Locator, look_at: Any, tmp_path: Path) -> None:
    """Shown this once, and saved as a file."""
    mine.get_by_role("button", name="New SSH keypair").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Create").click()
    expect(dialog).to_contain_text("BEGIN OPENSSH PRIVATE KEY")
    look_at(page, "account-ssh", ".jp-Dialog", whole=True)
    with page.expect_download() as download:
        dialog.get_by_role("button", name="Download").click()
    download.value.save_as(tmp_path / "key")
    assert (tmp_path / "key").read_text().startswith("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    dialog.get_by_role("button", name="OK").click()
    expect(dialog).to_have_count(0)
    expect(mine).to_contain_text("SHA256:")
    assert "PRIVATE KEY" not in page.content()


def dotfiles(page: Page, mine: Locator, look_at: Any) -> None:
    mine.get_by_role("tab", name="Dotfiles").click()
    mine.get_by_role("button", name="New Dotfile").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Path").fill("../up")
    dialog.get_by_label("Content").fill("alias ll='ls -l'\n")
    dialog.get_by_label("Content").press("Enter")  # a line, not the end
    dialog.get_by_role("button", name="Create").click()
    expect(dialog.get_by_role("alert")).to_contain_text("../up")
    look_at(page, "account-dotfile", ".jp-Dialog", whole=True)
    dialog.get_by_label("Path").fill(".bash_aliases")
    dialog.get_by_role("button", name="Create").click()
    row = mine.get_by_role("row", name=".bash_aliases")
    expect(row).to_contain_text("644")
    look_at(page, "account-dotfiles", "#jp-bai-account", whole=True)
    row.get_by_role("button", name="Change .bash_aliases").click()
    expect(dialog.get_by_label("Content")).to_have_value("alias ll='ls -l'\n\n")
    dialog.get_by_label("Permissions").fill("600")
    dialog.get_by_role("button", name="Save").click()
    expect(row).to_contain_text("600")
    row.get_by_role("button", name="Delete .bash_aliases").click()
    dialog.get_by_role("button", name="Delete").click()
    expect(row).to_have_count(0)


def the_script(page: Page, mine: Locator, cluster: RealManager, look_at: Any) -> None:
    mine.get_by_role("tab", name="Bootstrap script").click()
    mine.get_by_label("Script", exact=True).fill("pip list\n")
    mine.get_by_role("button", name="Save").click()
    expect(mine.get_by_role("status").filter(has_text=re.compile("^Saved"))).to_be_visible()
    assert cluster.ask("GET", "/user-config/bootstrap-script") == "pip list\n"
    look_at(page, "account-script", "#jp-bai-account", whole=True)


def test_ones_environments(page: Page, cluster: RealManager, look_at: Any) -> None:
    session = cluster.start_session("work")
    image = cluster.ask("POST", f"/session/{session}/commit", {"name": "with-torch"})["image"]
    page.evaluate("window.jupyterapp.commands.execute('bai:show-environments')")
    mine = page.locator("#jp-bai-environments")
    row = mine.get_by_role("row", name=re.compile("with-torch"))
    expect(row).to_contain_text("bai/python:test")
    look_at(page, "environments", "#jp-bai-environments", whole=True)
    row.get_by_role("button", name="Copy the name").click()
    expect(page.locator(".Toastify")).to_contain_text(image)

    body = {"name": "user", "image": image, "enqueueOnly": False, "maxWaitSeconds": 20}
    user = cluster.ask("POST", "/session", body)["sessionId"]
    dialog = page.get_by_role("dialog")
    row.get_by_role("button", name=f"Delete {image}").click()
    look_at(page, "environments-delete", ".jp-Dialog", whole=True)
    dialog.get_by_role("button", name="Delete").click()
    expect(dialog).to_contain_text("is in use by user.")
    dialog.get_by_role("button").last.click()
    cluster.ask("DELETE", f"/session/{user}?forced=true")
    row.get_by_role("button", name=f"Delete {image}").click()
    dialog.get_by_role("button", name="Delete").click()
    expect(mine).to_contain_text("You have none yet.")
