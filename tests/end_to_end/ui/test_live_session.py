"""The commands on the session of the notebook in front, on containers."""

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.docker, pytest.mark.timeout(400)]

DEADLINE_MS = 120_000


def test_variables_are_saved_and_woken(lab: Any, up: Any) -> None:
    page: Page = lab.page
    page.set_default_timeout(DEADLINE_MS)
    lab.new_notebook("bai/python-minimal")
    lab.run("kept = [1, 2, 3]; source = open('/etc/hostname')")
    choose(page, "Save Variables")
    said = page.locator(".jp-toast-message, .Toastify__toast-body")
    expect(said.filter(has_text="Not saved: source (an open file)").first).to_contain_text(
        "saved 1 variable, ", timeout=DEADLINE_MS
    )

    before = lab.run("import os; print(os.getpid())")
    page.locator('.jp-ToolbarButtonComponent[title*="Restart the kernel"]').first.click()
    page.get_by_role("dialog").get_by_role("button", name="Confirm Kernel Restart").click()
    expect(page.get_by_role("dialog")).to_have_count(0)  # from then on cells wait for the new kernel
    assert "NameError" in lab.run("print(kept)")

    choose(page, "Wake with Saved Variables…")
    dialog = page.get_by_role("dialog").filter(has_text="what it holds now is lost")
    expect(dialog.get_by_role("combobox")).to_contain_text("1 variable, ")
    dialog.get_by_role("button", name="Restart and wake").click()
    notice = page.get_by_role("region", name="Kernel notice")
    expect(notice).to_contain_text("Restored: 1 variable", timeout=DEADLINE_MS)
    assert lab.run("print(kept)") == "[1, 2, 3]\n"
    assert lab.run("import os; print(os.getpid())") != before

    choose(page, "Keep Longer")
    expect(said.filter(has_text="Nothing stops this session for being idle.").first).to_be_visible(timeout=DEADLINE_MS)
    choose(page, "Show Log")
    expect(page.get_by_role("tab", name="Log of Untitled.ipynb")).to_be_visible()


def item(page: Page, label: str) -> Any:
    """In the menu of the kernel, which is opened."""
    page.get_by_role("menuitem", name="Kernel", exact=True).click()
    page.locator(".lm-Menu-item", has_text="Backend.AI").click()
    return page.locator(".lm-Menu-item").filter(has_text=label)


def choose(page: Page, label: str) -> None:
    entry = item(page, label)
    expect(entry).not_to_have_class(re.compile("lm-mod-disabled"))
    entry.click()
