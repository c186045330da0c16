"""Copies between folders and the server's own files in Lab's file browsers, and zip files of what is chosen there."""

import re
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from playwright.sync_api import Locator, Page, expect
from real_manager import RealManager

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


def items(browser: Locator) -> Locator:
    return browser.locator(".jp-DirListing-item")


def choose(browser: Locator, name: str, *, more: bool = False) -> None:
    items(browser).filter(has_text=name).click(modifiers=["Control"] if more else [])


def from_menu(browser: Locator, name: str, label: str) -> None:
    items(browser).filter(has_text=name).click(button="right")
    browser.page.get_by_role("menuitem", name=label, exact=True).click()


def answer(page: Page, title: str, text: str, verb: str = "Copy") -> None:
    dialog = page.get_by_role("dialog").filter(has_text=title)
    dialog.locator("input").fill(text)
    dialog.get_by_role("button", name=verb).click()
    expect(dialog).to_have_count(0)


def test_things_are_copied_both_ways_and_nothing_is_overwritten(
    page: Page, lab: Any, cluster: RealManager, look_at: Any
) -> None:
    cluster.ask("POST", "/folders", {"name": "copied"})
    cluster.ask("POST", "/folders/copied/mkdir", {"path": "into"})
    (lying,) = cluster.folder.rglob("into")
    raw: Path = lab.home / "work" / "raw"
    (raw / "deep").mkdir(parents=True)
    (raw / "deep" / "one.txt").write_text("one")
    (lab.home / "work" / "two.txt").write_text("two")
    own = page.locator("#filebrowser")
    page.evaluate("window.jupyterapp.commands.execute('filebrowser:refresh')")
    choose(own, "raw")
    choose(own, "two.txt", more=True)
    from_menu(own, "two.txt", "Copy to Backend.AI Folder…")
    look_at(page, "copy-to-folder", ".jp-Dialog-content", whole=True)
    answer(page, "Copy to Backend.AI Folder", "copied/into")
    expect(page.get_by_text("2 copied to copied/into.")).to_be_visible()
    assert (lying / "raw" / "deep" / "one.txt").read_text() == "one"
    assert (lying / "two.txt").read_text() == "two"

    (lab.home / "work" / "two.txt").write_text("other")
    choose(own, "two.txt")
    from_menu(own, "two.txt", "Copy to Backend.AI Folder…")
    answer(page, "Copy to Backend.AI Folder", "copied/into")
    expect(page.get_by_role("dialog")).to_contain_text("two.txt exists already.")
    look_at(page, "copy-taken", ".jp-Dialog-content", whole=True)
    answer(page, "two.txt is taken", "three.txt")
    expect(page.get_by_text("One copied to copied/into.")).to_be_visible()
    assert [(lying / name).read_text() for name in ("two.txt", "three.txt")] == ["two", "other"]

    page.evaluate("window.jupyterapp.commands.execute('bai:browse-folders', {path: 'copied/into'})")
    folders = page.locator("#bai-file-browser")
    from_menu(folders, "raw", "Copy to This Server…")
    answer(page, "Copy to This Server", "/")
    expect(page.get_by_role("dialog")).to_contain_text("raw exists already.")
    page.get_by_role("dialog").get_by_role("button", name="Skip").click()
    expect(page.get_by_text("One skipped.")).to_be_visible()
    from_menu(folders, "raw", "Copy to This Server…")
    answer(page, "Copy to This Server", "/missing")
    expect(page.get_by_role("dialog")).to_contain_text("missing does not exist.")
    page.get_by_role("dialog").get_by_role("button", name="Ok").click()
    from_menu(folders, "three.txt", "Copy to This Server…")
    answer(page, "Copy to This Server", "/raw")
    expect(page.get_by_text("One copied to /raw.")).to_be_visible()
    assert (raw / "three.txt").read_text() == "other"

    choose(folders, "raw")
    choose(folders, "two.txt", more=True)
    with page.expect_download() as download:
        from_menu(folders, "two.txt", "Download as Zip File")
    assert download.value.suggested_filename == "into.zip"
    assert ZipFile(download.value.path()).namelist() == ["raw/", "raw/deep/", "raw/deep/one.txt", "two.txt"]


def test_things_are_moved_both_ways_and_what_stays_says_why(page: Page, lab: Any, cluster: RealManager) -> None:
    cluster.ask("POST", "/folders", {"name": "moved"})
    cluster.ask("POST", "/folders/moved/mkdir", {"path": "goal"})
    (lying,) = cluster.folder.rglob("goal")
    work: Path = lab.home / "work"
    (work / "part").mkdir()
    (work / "part" / ".kept").write_text("kept")
    (work / "all.txt").write_text("all")
    own, folders = page.locator("#filebrowser"), page.locator("#bai-file-browser")
    page.evaluate("window.jupyterapp.commands.execute('bai:browse-folders', {path: 'moved/goal'})")
    expect(folders).to_be_visible()
    page.evaluate("window.jupyterapp.shell.activateById('filebrowser')")
    page.evaluate("window.jupyterapp.commands.execute('filebrowser:refresh')")
    choose(own, "all.txt")
    choose(own, "part", more=True)
    from_menu(own, "part", "Move to Backend.AI Folder…")
    answer(page, "Move to Backend.AI Folder", "moved/goal", "Move")
    said = "One moved to moved/goal. part was copied, but is not deleted where it was: links or hidden files"
    expect(page.locator(".Toastify__toast", has_text=said)).to_be_visible()
    expect(items(own).filter(has_text="all.txt")).to_have_count(0)
    expect(items(own).filter(has_text="part")).to_have_count(1)
    assert ((lying / "all.txt").read_text(), (work / "part" / ".kept").read_text()) == ("all", "kept")

    page.evaluate("window.jupyterapp.shell.activateById('bai-file-browser')")
    from_menu(folders, "all.txt", "Move to This Server…")
    answer(page, "Move to This Server", "/", "Move")
    expect(page.get_by_text("One moved to /.")).to_be_visible()
    expect(items(folders).filter(has_text="all.txt")).to_have_count(0)
    assert ((work / "all.txt").read_text(), (lying / "all.txt").exists()) == ("all", False)


def test_a_copy_says_how_far_it_is_and_is_cancelled(page: Page, lab: Any, cluster: RealManager, look_at: Any) -> None:
    cluster.ask("POST", "/folders", {"name": "slow"})
    (lab.home / "work" / "slow.bin").write_bytes(b"slow")
    held: list[Any] = []
    page.route("**/bai/api/copies/*", lambda route: held.append(route))
    own = page.locator("#filebrowser")
    page.evaluate("window.jupyterapp.commands.execute('filebrowser:refresh')")
    from_menu(own, "slow.bin", "Copy to Backend.AI Folder…")
    answer(page, "Copy to Backend.AI Folder", "slow")
    toast = page.locator(".Toastify__toast", has_text="Copying slow.bin to slow")
    expect(toast).to_be_visible()
    look_at(page, "copying", ".Toastify__toast", whole=True)
    toast.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text(re.compile("^Cancelled; nothing is left"))).to_be_visible()
    page.unroute("**/bai/api/copies/*")


def move_over(one: Locator) -> None:
    """Where a drag is, Lab has a sheet over the page for the pointer, so nothing is hovered."""
    expect(one).to_be_visible()
    box = one.bounding_box()
    assert box is not None
    one.page.mouse.move(box["x"] + 20, box["y"] + 8)
    one.page.mouse.move(box["x"] + 24, box["y"] + 12)


def drag(browser: Locator, name: str, tab: str, goal: Locator, *keys: str) -> None:
    """From a file browser over the tab of the other one, which opens, to ``goal`` there."""
    page = browser.page
    items(browser).filter(has_text=name).hover()
    page.mouse.down()
    move_over(browser)
    move_over(page.locator(f".jp-SideBar .lm-TabBar-tab[data-id='{tab}']"))
    expect(page.locator(f"#{tab}")).to_be_visible()
    for key in keys:
        page.keyboard.down(key)
    move_over(goal)
    expect(page.locator(".jp-bai-DropTarget")).to_have_count(1)
    page.mouse.up()
    for key in keys:
        page.keyboard.up(key)


def test_what_is_dragged_to_the_other_file_browser_is_copied_or_moved(
    page: Page, lab: Any, cluster: RealManager, look_at: Any
) -> None:
    cluster.ask("POST", "/folders", {"name": "dragged"})
    cluster.ask("POST", "/folders/dragged/mkdir", {"path": "aim"})
    (lying,) = cluster.folder.rglob("aim")
    work: Path = lab.home / "work"
    (work / "shelf").mkdir()
    (work / "shelf" / "deep.txt").write_text("deep")
    (work / "loose.txt").write_text("loose")
    own, folders = page.locator("#filebrowser"), page.locator("#bai-file-browser")
    page.evaluate("window.jupyterapp.commands.execute('filebrowser:refresh')")
    drag(own, "shelf", "bai-file-browser", items(folders).filter(has_text="dragged"))
    expect(page.get_by_text("One copied to dragged.")).to_be_visible()
    assert (lying.parent / "shelf" / "deep.txt").read_text() == "deep"

    page.evaluate("window.jupyterapp.commands.execute('bai:browse-folders', {path: 'dragged'})")
    expect(items(folders)).to_have_text([re.compile("aim"), re.compile("shelf")])
    page.evaluate("window.jupyterapp.shell.activateById('filebrowser')")
    drag(own, "loose.txt", "bai-file-browser", items(folders).filter(has_text="aim"), "Shift")
    expect(page.get_by_text("One moved to dragged/aim.")).to_be_visible()
    assert ((lying / "loose.txt").read_text(), (work / "loose.txt").exists()) == ("loose", False)

    page.evaluate("window.jupyterapp.commands.execute('bai:browse-folders', {path: 'dragged/aim'})")
    drag(folders, "loose.txt", "filebrowser", items(own).filter(has_text="shelf"))
    expect(page.get_by_text("One copied to shelf.")).to_be_visible()
    assert (work / "shelf" / "loose.txt").read_text() == "loose"
    assert (lying / "loose.txt").read_text() == "loose"
