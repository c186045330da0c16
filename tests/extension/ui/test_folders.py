"""Folders, apps and resources in the panel, in a real Lab in front of a real manager, light and dark."""

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from fakes_agent import IMAGE
from playwright.sync_api import Browser, Locator, Page, expect
from real_manager import RealManager

from bai_jupyter.common.reasons import Reason

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

LONG = "a-folder-with-a-name-that-is-as-long-as-names-may-ever-be-in-here"[:64]


@pytest.fixture(scope="module")
def page(browser: Browser, lab: Any, open_lab: Callable[[Browser, Any], Page]) -> Iterator[Page]:
    page = open_lab(browser, lab)
    page.set_default_timeout(10_000)
    page.evaluate("window.jupyterapp.commands.execute('bai:show-panel')")
    yield page
    page.close()


def section(page: Page, *shown: str) -> list[Locator]:
    """The named sections, with all others closed."""
    found = {}
    for name in ("Sessions", "Folders", "Apps", "Resources"):
        title = page.locator("#jp-bai-panel .jp-AccordionPanel-title", has_text=name)
        if (title.get_attribute("aria-expanded") == "true") != (name in shown):
            title.click()
        found[name] = page.locator(f"#jp-bai-panel .jp-bai-Section[aria-labelledby='{title.get_attribute('id')}']")
    return [found[name] for name in shown]


def create(folders: Locator, name: str, limit: str = "") -> None:
    folders.get_by_role("button", name="New folder").click()
    form = folders.get_by_role("form", name="New folder")
    form.get_by_label("Name").fill(name)
    form.get_by_label("Limit").fill(limit)
    form.get_by_role("button", name="Create").click()


def row(folders: Locator, name: str) -> Locator:
    return folders.get_by_role("list", name="Folders").get_by_role(
        "listitem", name=re.compile(f"^{re.escape(name)}(,|$)")
    )


def actions(folders: Locator, name: str) -> Locator:
    """The row of the folder, with its actions shown."""
    found = row(folders, name)
    button = found.get_by_role("button", name=f"Actions on {name}")
    if button.get_attribute("aria-expanded") == "false":
        button.click()
    return found


def chooser_of(folders: Locator) -> Locator:
    """Where files are chosen to be uploaded."""
    return folders.locator(".jp-bai-Tools input[type=file]:not([webkitdirectory])")


def test_a_folder_from_its_beginning_to_the_trash_and_back(page: Page, cluster: RealManager, look_at: Any) -> None:
    cluster.add_user("kim")
    (folders,) = section(page, "Folders")
    expect(row(folders, "home")).to_be_visible()
    create(folders, "a/b")
    form = folders.get_by_role("form", name="New folder")
    expect(form.get_by_role("alert")).to_contain_text("a/b")
    look_at(page, "folder-refused", "#jp-bai-panel")
    form.get_by_label("Name").fill("data")
    form.get_by_label("Limit").fill("1g")
    form.get_by_role("button", name="Create").click()
    expect(row(folders, "data")).to_contain_text("0 of 1 GiB, a soft limit")
    create(folders, LONG)
    expect(row(folders, LONG)).to_be_visible()

    shared = actions(folders, "data")
    shared.get_by_role("button", name="Share").click()
    share = shared.get_by_role("form", name="Share data")
    share.get_by_label("E-mail address").fill("zoe@localhost")
    share.get_by_role("button", name="Share").click()
    expect(share.get_by_role("alert")).to_contain_text("zoe@localhost")
    look_at(page, "share-refused", "#jp-bai-panel")
    share.get_by_label("E-mail address").fill("kim@localhost")
    share.get_by_label("They can").select_option(label="read and write")
    share.get_by_role("button", name="Share").click()
    expect(shared.get_by_role("status")).to_have_text("kim@localhost was invited.")
    look_at(page, "folders", "#jp-bai-panel")
    shared.get_by_role("button", name="Share").click()
    page.keyboard.press("Escape")
    expect(share).to_have_count(0)
    expect(shared.get_by_role("button", name="Share")).to_be_focused()

    renamed = actions(folders, "data")
    renamed.get_by_role("button", name="Rename").click()
    renamed.get_by_label("New name").fill("datasets")
    page.keyboard.press("Enter")
    actions(folders, "datasets").get_by_role("button", name="Move to trash").click()
    expect(row(folders, "datasets")).to_have_count(0)
    folders.get_by_text("Trash (1)").click()
    look_at(page, "trash", "#jp-bai-panel")
    folders.get_by_role("button", name="Restore datasets").click()
    expect(row(folders, "datasets")).to_be_visible()
    expect(folders.get_by_text("Trash (")).to_have_count(0)


def test_an_invitation_is_accepted(page: Page, cluster: RealManager, look_at: Any) -> None:
    lee = cluster.add_user("lee")
    cluster.ask("POST", "/folders", {"name": "from-lee"}, lee)
    cluster.ask("POST", "/folders/from-lee/invite", {"perm": "ro", "user_ids": ["admin@localhost"]}, lee)
    (folders,) = section(page, "Folders")
    page.get_by_role("button", name="Refresh", exact=True).click()
    invitation = folders.get_by_role("group", name="Invitation to from-lee")
    expect(invitation).to_contain_text("lee@localhost shares from-lee with you: read only.")
    look_at(page, "invitation", "#jp-bai-panel")
    invitation.get_by_role("button", name="Accept").click()
    expect(row(folders, "from-lee")).to_contain_text("read only · from lee@localhost")
    row(folders, "from-lee").get_by_role("button", name="from-lee", exact=True).click()
    expect(folders).to_contain_text("You may read this folder, not write.")
    expect(folders.get_by_role("button", name="Upload")).to_have_count(0)
    folders.get_by_role("button", name="Folders", exact=True).click()


def test_files_go_up_and_come_down(page: Page, cluster: RealManager, look_at: Any, tmp_path: Path) -> None:
    made = cluster.ask("POST", "/folders", {"name": "files"})
    sent = tmp_path / "numbers of many years, and with a long name.bin"
    sent.write_bytes(bytes(range(256)) * 40_000)  # three pieces
    (folders,) = section(page, "Folders")
    page.get_by_role("button", name="Refresh", exact=True).click()
    row(folders, "files").focus()
    page.keyboard.press("Enter")
    expect(folders).to_contain_text("Nothing is in here.")
    folders.get_by_role("button", name="New directory").click()
    folders.get_by_label("Name").fill("raw")
    page.keyboard.press("Enter")
    files = folders.get_by_role("list", name="Files").get_by_role("listitem")
    files.filter(has_text="raw").get_by_role("button", name="raw").click()
    expect(folders.get_by_role("navigation", name="Path")).to_have_text("Folders/files/raw")
    chooser_of(folders).set_input_files(sent)
    expect(files).to_have_text([f"{sent.name}9.8 MiB"])
    expect(folders.get_by_role("list", name="Uploads").get_by_role("listitem")).to_have_count(0)
    look_at(page, "files", "#jp-bai-panel")
    with page.expect_download() as download:
        folders.get_by_role("link", name=f"Download {sent.name}").click()
    assert download.value.suggested_filename == sent.name
    assert download.value.path().read_bytes() == sent.read_bytes()
    with page.expect_download() as download:
        folders.get_by_role("link", name="Download all in here as a zip file").click()
    assert download.value.suggested_filename == "raw.zip"
    folders.get_by_role("button", name="files", exact=True).click()
    with page.expect_download() as download:
        folders.get_by_role("link", name="Download raw as a zip file").click()
    assert ZipFile(download.value.path()).namelist() == [f"raw/{sent.name}"]
    folders.get_by_role("button", name="Folders", exact=True).click()
    cluster.ask("DELETE", f"/folders/{made['id']}")


def upload_into(browser: Locator, name: str, content: bytes) -> None:
    with browser.page.expect_file_chooser() as chooser:
        browser.get_by_role("button", name="Upload").click()
    chooser.value.set_files({"name": name, "mimeType": "text/plain", "buffer": content})


def test_a_folder_in_labs_own_file_browser(page: Page, cluster: RealManager, look_at: Any) -> None:
    ned = cluster.add_user("ned")
    cluster.ask("POST", "/folders", {"name": "theirs"}, ned)
    cluster.ask("POST", "/folders/theirs/mkdir", {"path": "raw"}, ned)
    cluster.ask("POST", "/folders/theirs/invite", {"perm": "ro", "user_ids": ["admin@localhost"]}, ned)
    (invitation,) = cluster.ask("GET", "/folders/invitations/list")["invitations"]
    cluster.ask("POST", "/folders/invitations/accept", {"inv_id": invitation["id"]})
    cluster.ask("POST", "/folders", {"name": "driven"})
    (folders,) = section(page, "Folders")
    page.get_by_role("button", name="Refresh", exact=True).click()
    actions(folders, "driven").get_by_role("button", name="Open in file browser").click()
    browser = page.locator("#bai-file-browser")
    expect(browser.locator(".jp-BreadCrumbs")).to_contain_text("driven")

    upload_into(browser, "notes.txt", b"first\n")
    browser.locator(".jp-DirListing-item", has_text="notes.txt").dblclick()
    editor = page.locator(".jp-FileEditor .cm-content")
    expect(editor).to_contain_text("first")
    look_at(page, "drive", "#bai-file-browser .jp-DirListing", whole=True)
    editor.click()
    page.keyboard.press("Control+End")
    page.keyboard.type("second")
    page.keyboard.press("Control+s")
    (lying,) = cluster.folder.rglob("notes.txt")
    expect(page.locator("#jp-main-dock-panel .lm-mod-current.jp-mod-dirty")).to_have_count(0)
    assert lying.read_text() == "first\nsecond"
    lying.write_text("by a kernel\n")
    editor.click()
    page.keyboard.type("!")
    page.keyboard.press("Control+s")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("has changed on disk")
    dialog.get_by_role("button", name="Revert").click()
    expect(editor).to_contain_text("by a kernel")

    page.evaluate("window.jupyterapp.commands.execute('bai:browse-folders', {path: 'theirs'})")
    expect(browser.locator(".jp-BreadCrumbs")).to_contain_text("theirs")
    raw = browser.locator(".jp-DirListing-item", has_text="raw")
    expect(raw).to_have_attribute("title", re.compile("Writable: false"))
    upload_into(browser, "x", b"x")
    expect(page.get_by_role("dialog")).to_contain_text("Folder theirs is read only for you. Ask ned@localhost.")
    look_at(page, "drive-read-only", ".jp-Dialog-body", whole=True)
    page.get_by_role("dialog").get_by_role("button").click()
    page.evaluate("window.jupyterapp.shell.currentWidget.close()")
    page.evaluate("window.jupyterapp.commands.execute('bai:show-panel')")


def test_what_is_dropped_goes_into_the_directory_that_is_shown(
    page: Page, cluster: RealManager, look_at: Any, tmp_path: Path
) -> None:
    made = cluster.ask("POST", "/folders", {"name": "dropped"})
    (folders,) = section(page, "Folders")
    page.get_by_role("button", name="Refresh", exact=True).click()
    row(folders, "dropped").get_by_role("button", name="dropped", exact=True).click()
    expect(folders).to_contain_text("Nothing is in here.")
    zone = folders.locator(".jp-bai-Drop")
    transfer = page.evaluate_handle(
        "() => {const all = new DataTransfer(); all.items.add(new File(['one'], 'one.txt')); return all}"
    )
    zone.dispatch_event("dragover", {"dataTransfer": transfer})
    expect(zone).to_have_class("jp-bai-Drop jp-mod-over")
    look_at(page, "drop", "#jp-bai-panel")
    zone.dispatch_event("drop", {"dataTransfer": transfer})
    files = folders.get_by_role("list", name="Files").get_by_role("listitem")
    expect(files).to_have_text(["one.txt3 B"])
    expect(zone).to_have_class("jp-bai-Drop ")

    (tmp_path / "tree" / "deep").mkdir(parents=True)
    (tmp_path / "tree" / "top.txt").write_text("top")
    (tmp_path / "tree" / "deep" / "leaf.txt").write_text("leaf")
    folders.locator("input[webkitdirectory]").set_input_files(tmp_path / "tree")
    expect(files).to_have_text(["one.txt3 B", "tree"])
    expect(folders.get_by_role("list", name="Uploads").get_by_role("listitem")).to_have_count(0)
    files.filter(has_text="tree").get_by_role("button", name="tree").click()
    expect(files).to_have_text(["deep", "top.txt3 B"])
    files.filter(has_text="deep").get_by_role("button", name="deep").click()
    expect(files).to_have_text(["leaf.txt4 B"])
    folders.get_by_role("button", name="Folders", exact=True).click()
    cluster.ask("DELETE", f"/folders/{made['id']}")


def test_an_upload_goes_on_after_a_pause_and_after_a_reload(
    page: Page, cluster: RealManager, settle: Callable[[Page], None], look_at: Any, tmp_path: Path
) -> None:
    made = cluster.ask("POST", "/folders", {"name": "paused"})
    (folders,) = section(page, "Folders")
    page.get_by_role("button", name="Refresh", exact=True).click()
    row(folders, "paused").get_by_role("button", name="paused", exact=True).click()
    held: list[Any] = []
    page.route("**/bai/api/uploads*", lambda route: held.append(route))  # the piece stays on its way
    for name in ("big.bin", "late.bin"):
        (tmp_path / name).write_bytes(bytes(range(256)) * 8)
    uploads = folders.get_by_role("list", name="Uploads", exact=True).get_by_role("listitem")
    for name in ("big.bin", "late.bin"):
        chooser_of(folders).set_input_files(tmp_path / name)
        uploads.get_by_role("button", name=f"Pause {name}").click()
        expect(uploads.get_by_role("button", name=f"Go on with {name}")).to_be_visible()
    look_at(page, "upload-paused", "#jp-bai-panel")
    page.unroute("**/bai/api/uploads*")
    uploads.get_by_role("button", name="Go on with big.bin").click()
    files = folders.get_by_role("list", name="Files").get_by_role("listitem")
    expect(files).to_have_text(["big.bin2 KiB"])
    expect(uploads).to_have_count(1)

    page.on("dialog", lambda dialog: dialog.accept())
    page.reload()
    settle(page)
    page.evaluate("window.jupyterapp.commands.execute('bai:show-panel')")
    (folders,) = section(page, "Folders")
    row(folders, "paused").get_by_role("button", name="paused", exact=True).click()
    stopped = folders.get_by_role("list", name="Uploads that stopped").get_by_role("listitem")
    expect(stopped).to_contain_text("Stopped at 0\u00a0%; goes on when you choose the same file.")
    again = stopped.locator("input[type=file]")
    again.set_input_files(tmp_path / "big.bin")
    expect(stopped.get_by_role("alert")).to_contain_text("This is not the file that was begun")
    look_at(page, "upload-stopped", "#jp-bai-panel")
    again.set_input_files(tmp_path / "late.bin")
    expect(files).to_have_text(["big.bin2 KiB", "late.bin2 KiB"])
    expect(stopped).to_have_count(0)
    folders.get_by_role("button", name="Folders", exact=True).click()
    cluster.ask("DELETE", f"/folders/{made['id']}")


def test_who_has_a_folder_is_seen_and_changed(page: Page, cluster: RealManager, look_at: Any) -> None:
    mia = cluster.add_user("mia")
    cluster.ask("POST", "/folders", {"name": "shared"})
    cluster.ask("POST", "/folders/shared/invite", {"perm": "ro", "user_ids": ["mia@localhost"]})
    invitation = cluster.ask("GET", "/folders/invitations/list", config=mia)["invitations"][0]["id"]
    cluster.ask("POST", "/folders/invitations/accept", {"inv_id": invitation}, mia)
    (folders,) = section(page, "Folders")
    page.get_by_role("button", name="Refresh", exact=True).click()
    shared = actions(folders, "shared")
    shared.get_by_role("button", name="People").click()
    person = shared.get_by_role("list", name="People who have shared").get_by_role("listitem")
    expect(person).to_contain_text("mia@localhost")
    can = person.get_by_label("What mia@localhost can")
    expect(can).to_have_value("ro")
    look_at(page, "people", "#jp-bai-panel")
    can.select_option("rw")
    expect(can).to_have_value("rw")
    (theirs,) = [one for one in cluster.ask("GET", "/folders", config=mia) if one["name"] == "shared"]
    assert theirs["permission"] == "rw"
    person.get_by_role("button", name="Stop sharing with mia@localhost").click()
    expect(shared).to_contain_text("Nobody but you.")
    assert "shared" not in [one["name"] for one in cluster.ask("GET", "/folders", config=mia)]


def test_the_trash_deletes_for_good_who_types_the_name(page: Page, cluster: RealManager, look_at: Any) -> None:
    made = cluster.ask("POST", "/folders", {"name": "obsolete"})
    cluster.ask("DELETE", f"/folders/{made['id']}")
    (folders,) = section(page, "Folders")
    page.get_by_role("button", name="Refresh", exact=True).click()
    folders.get_by_text("Trash (").click()
    folders.get_by_role("button", name="Delete obsolete for good").click()
    form = folders.get_by_role("form", name="Delete obsolete for good")
    form.get_by_role("textbox").fill("absolute")
    page.keyboard.press("Enter")
    expect(form.get_by_role("alert")).to_contain_text("This is not its name.")
    look_at(page, "purge", "#jp-bai-panel")
    form.get_by_role("textbox").fill("obsolete")
    page.keyboard.press("Enter")
    expect(folders.get_by_role("button", name="Restore obsolete")).to_have_count(0)
    assert made["id"] not in [one["id"] for one in cluster.ask("GET", "/folders")]


def test_an_upload_that_is_cancelled_or_refused(page: Page, cluster: RealManager, look_at: Any) -> None:
    made = cluster.ask("POST", "/folders", {"name": "small", "quota": "1m"})
    (folders,) = section(page, "Folders")
    page.get_by_role("button", name="Refresh", exact=True).click()
    row(folders, "small").get_by_role("button", name="small", exact=True).click()
    chooser = chooser_of(folders)
    big = {"name": "big.bin", "mimeType": "application/octet-stream", "buffer": bytes(2 * 1024**2)}
    chooser.set_input_files(big)
    uploads = folders.get_by_role("list", name="Uploads").get_by_role("listitem")
    expect(uploads.get_by_role("alert")).to_contain_text("1 MiB")
    look_at(page, "upload-refused", "#jp-bai-panel")
    uploads.get_by_role("button", name="Dismiss big.bin").click()
    expect(uploads).to_have_count(0)

    page.route("**/bai/api/uploads*", lambda route: route.abort())
    chooser.set_input_files({**big, "name": "slow.bin", "buffer": bytes(1024)})
    expect(uploads).to_contain_text("Waiting for the network; goes on by itself.")
    look_at(page, "upload-waiting", "#jp-bai-panel")
    uploads.get_by_role("button", name="Cancel slow.bin").click()
    expect(uploads).to_have_count(0)
    chooser.set_input_files({**big, "name": "late.bin", "buffer": bytes(1024)})
    expect(uploads).to_contain_text("Waiting for the network; goes on by itself.")
    page.unroute("**/bai/api/uploads*")
    files = folders.get_by_role("list", name="Files").get_by_role("listitem")
    expect(files).to_have_text(["late.bin1 KiB"], timeout=15_000)
    folders.get_by_role("button", name="Folders", exact=True).click()
    cluster.ask("DELETE", f"/folders/{made['id']}")


def test_many_files_come_in_pages(page: Page, cluster: RealManager, look_at: Any) -> None:
    made = cluster.ask("POST", "/folders", {"name": "many"})
    names = [f"d{number:03}" for number in range(150)]
    cluster.ask("POST", "/folders/many/mkdir", {"path": names})
    (folders,) = section(page, "Folders")
    page.get_by_role("button", name="Refresh", exact=True).click()
    row(folders, "many").get_by_role("button", name="many", exact=True).click()
    files = folders.get_by_role("list", name="Files").get_by_role("listitem")
    expect(files).to_have_text(names[:100])
    folders.get_by_role("button", name="Next").click()
    expect(files).to_have_text(names[100:])
    pages = folders.get_by_role("group", name="Pages")
    expect(pages.get_by_role("status")).to_have_text("101 to 150 of 150")
    expect(pages.get_by_role("button", name="Next")).to_be_disabled()
    pages.scroll_into_view_if_needed()
    look_at(page, "pages", "#jp-bai-panel")
    folders.get_by_role("button", name="Folders", exact=True).click()
    cluster.ask("DELETE", f"/folders/{made['id']}")


def test_a_folder_is_mounted_for_the_next_kernel(page: Page, cluster: RealManager, lab: Any) -> None:
    cluster.ask("POST", "/folders", {"name": "mounted"})
    (folders,) = section(page, "Folders")
    page.get_by_role("button", name="Refresh", exact=True).click()
    actions(folders, "mounted").get_by_role("button", name="Mount", exact=True).click()
    expect(row(folders, "mounted").get_by_role("alert")).to_contain_text("No notebook is open.")
    page.evaluate("void window.jupyterapp.commands.execute('notebook:create-new', {kernelName: 'survivor'})")
    expect(page.locator(".jp-NotebookPanel:visible")).to_be_visible(timeout=15_000)
    actions(folders, "mounted").get_by_role("button", name="Mount", exact=True).click()
    said = "Mounted at /home/work/mounted when the kernel of Untitled.ipynb starts next."
    expect(row(folders, "mounted").get_by_role("status")).to_have_text(said)
    metadata = lab.ask("GET", "/api/contents/Untitled.ipynb")["content"]["metadata"]
    assert metadata["bai"] == {"mounts": ["mounted"]}


@pytest.fixture
def here(page: Page, cluster: RealManager, lab: Any) -> Iterator[str]:
    """The session, with 8 GiB, of the kernel of a notebook in front, whose sentence says that it is held."""
    session = cluster.start_session("here", resources={"cpu": "1", "mem": "8g"})
    files = {"session": session, "reason": "held Held at its memory limit: 8 of 8 GiB."}
    for name, text in files.items():
        (lab.home / name).write_text(text)
    page.evaluate("void window.jupyterapp.commands.execute('notebook:create-new', {kernelName: 'survivor'})")
    expect(page.locator(".jp-NotebookPanel:visible .jp-bai-Notice")).to_contain_text("Held at its memory limit")
    yield session
    for name in files:
        (lab.home / name).unlink()
    cluster.ask("DELETE", f"/session/{session}")


def test_a_folder_is_attached_to_the_kernel_in_front_and_detached(
    page: Page, cluster: RealManager, here: str, look_at: Any
) -> None:
    lee = cluster.add_user("noa")
    cluster.ask("POST", "/folders", {"name": "reading"}, lee)
    cluster.ask("POST", "/folders/reading/invite", {"perm": "ro", "user_ids": ["admin@localhost"]}, lee)
    (invitation,) = cluster.ask("GET", "/folders/invitations/list")["invitations"]
    cluster.ask("POST", "/folders/invitations/accept", {"inv_id": invitation["id"]})
    cluster.ask("POST", "/folders", {"name": "attached"})
    (folders,) = section(page, "Folders")
    page.get_by_role("button", name="Refresh", exact=True).click()

    attached = actions(folders, "attached")
    attached.get_by_role("button", name="Attach", exact=True).click()
    form = attached.get_by_role("form", name="Attach attached to this kernel")
    form.get_by_label("The kernel can").select_option("ro")
    form.get_by_label("At").fill("home")
    page.keyboard.press("Enter")
    expect(form.get_by_role("alert")).to_contain_text("home")
    look_at(page, "attach-refused", "#jp-bai-panel")
    form.get_by_label("At").fill("deep/er")
    page.keyboard.press("Enter")
    expect(attached.get_by_role("status")).to_contain_text(".ipynb: /home/work/deep/er, read only")
    expect(attached).to_contain_text("attached to here: /home/work/deep/er, read only")
    look_at(page, "attached", "#jp-bai-panel")

    row(folders, "reading").click(button="right")
    menu = page.get_by_role("menu").last
    expect(menu.get_by_role("menuitem", name="Attach to This Kernel", exact=True)).to_have_class(
        re.compile("lm-mod-disabled")
    )
    menu.get_by_role("menuitem", name="Attach to This Kernel, Read Only").click()
    expect(row(folders, "reading")).to_contain_text("attached to here: /home/work/reading, read only")
    mounts = {one["name"]: one["read_only"] for one in cluster.ask("GET", f"/session/{here}")["mounts"]}
    assert mounts == {"home": False, "attached": True, "reading": True}

    cluster.fail_calls(release_mount=Reason.of("folder-busy", path="/home/work/reading", users="sleep (7)"))
    detach = row(folders, "reading").get_by_role("button", name="Detach reading from here")
    detach.click()
    expect(row(folders, "reading").get_by_role("alert")).to_contain_text("is in use: sleep (7)")
    look_at(page, "detach-refused", "#jp-bai-panel")
    cluster.fail_calls()
    row(folders, "reading").get_by_role("button", name="End what uses it and detach").click()
    expect(detach).to_have_count(0)
    attached.get_by_role("button", name="Detach attached from here").click()
    expect(attached).not_to_contain_text("attached to here")
    assert [one["name"] for one in cluster.ask("GET", f"/session/{here}")["mounts"]] == ["home"]


def test_without_a_kernel_of_ours_in_front_nothing_is_attached(page: Page, cluster: RealManager) -> None:
    cluster.ask("POST", "/folders", {"name": "homeless"})
    page.evaluate("window.jupyterapp.commands.execute('launcher:create').then(() => undefined)")
    (folders,) = section(page, "Folders")
    page.get_by_role("button", name="Refresh", exact=True).click()
    homeless = actions(folders, "homeless")
    homeless.get_by_role("button", name="Attach", exact=True).click()
    homeless.get_by_role("form").get_by_role("button", name="Attach").click()
    expect(homeless.get_by_role("alert")).to_contain_text("No notebook or console is in front.")


def test_a_held_session_grows_or_the_figures_say_why_not(
    page: Page, cluster: RealManager, here: str, look_at: Any
) -> None:
    other = cluster.start_session("other", resources={"cpu": "1", "mem": "20g"})
    notice = page.locator(".jp-NotebookPanel:visible .jp-bai-Notice")
    grow = notice.get_by_role("button", name="Grow to 16\u00a0GiB")
    expect(grow).to_be_visible()
    expect(notice.get_by_role("button")).to_have_text(["Grow to 16\u00a0GiB", "Interrupt", "End kernel"])
    look_at(page, "held", ".jp-NotebookPanel:not(.lm-mod-hidden) .jp-bai-Notice", whole=True)
    grow.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("The session does not grow")
    expect(dialog).to_contain_text("4 GiB")
    dialog.get_by_role("button").last.click()
    assert cluster.ask("GET", f"/session/{here}")["slots"]["mem"] == str(8 * 2**30)
    cluster.ask("DELETE", f"/session/{other}")
    with page.expect_response(lambda answer: "/resize" in answer.url) as answered:
        grow.click()
    assert answered.value.status == 200
    assert cluster.ask("GET", f"/session/{here}")["slots"]["mem"] == str(16 * 2**30)


def test_a_kernel_out_of_memory_starts_again_with_more(
    page: Page, cluster: RealManager, lab: Any, look_at: Any
) -> None:
    huge = cluster.start_session("huge", resources={"cpu": "1", "mem": "20g"})
    full = cluster.start_session("full", resources={"cpu": "1", "mem": "4g"})
    (lab.home / "ended").write_text("TERMINATED oom-killed Out of memory: the session used 20 GiB of 20 GiB.")
    (lab.home / "session").write_text(huge)
    page.evaluate("void window.jupyterapp.commands.execute('notebook:create-new', {kernelName: 'survivor'})")
    notice = page.locator(".jp-NotebookPanel:visible .jp-bai-Notice")
    item = page.locator(".jp-bai-StatusItem button")

    def run_out() -> None:
        page.wait_for_function("window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'idle'")
        os.kill(int(lab.survivors[-1][2]), signal.SIGKILL)
        expect(notice.get_by_role("status")).to_contain_text("Out of memory")

    expect(item).to_contain_text("Running")
    page.evaluate("image => window.jupyterapp.shell.currentWidget.model.setMetadata('bai', {image})", IMAGE.name)
    run_out()
    expect(notice).to_contain_text("With 40\u00a0GiB: Asked for 1\u00a0CPU, 40\u00a0GiB; the largest agent")
    expect(notice.get_by_role("button")).to_have_text(["Start again"])
    (lab.home / "ended").write_text("RUNNING oom-killed Out of memory: the kernel used 4 GiB of 4 GiB.")
    (lab.home / "session").write_text(full)
    notice.get_by_role("button", name="Start again").click()
    expect(notice).to_be_hidden()
    run_out()
    for name in ("ended", "session"):
        (lab.home / name).unlink()
    more = notice.get_by_role("button", name="Restart with 8\u00a0GiB")
    expect(more).to_be_visible()
    look_at(page, "out-of-memory", ".jp-NotebookPanel:not(.lm-mod-hidden) .jp-bai-Notice", whole=True)
    more.click()
    expect(notice).to_be_hidden()
    expect(item).to_contain_text("Running")
    assert cluster.ask("GET", f"/session/{full}")["slots"]["mem"] == str(8 * 2**30)
    kept = page.evaluate("window.jupyterapp.shell.currentWidget.model.getMetadata('bai')")
    assert kept == {"image": IMAGE.name, "resources": {"cpu": "1", "mem": "8g"}}
    for session in (huge, full):
        cluster.ask("DELETE", f"/session/{session}")


WHO = """async () => {
  const refused = () => 'refused';
  const api = await fetch('/api/contents', {credentials: 'include'}).then(answer => answer.status, refused);
  document.cookie = 'mine=1; path=/';
  localStorage.setItem('a', 'kept');
  const more = await (await fetch('more')).text();
  return [origin, api, document.cookie, more.includes('It answers.') && localStorage.getItem('a')];
}"""


def test_an_app_opens_and_is_nobody_here(page: Page, cluster: RealManager, look_at: Any) -> None:
    """It comes from Lab's origin, and must not have it; its own address it may ask."""
    (apps,) = section(page, "Apps")
    expect(apps).to_contain_text("No session is running.")
    look_at(page, "apps-none", "#jp-bai-panel")
    session = cluster.start_session("served", preopen_ports=[8080])
    page.get_by_role("button", name="Refresh", exact=True).click()
    expect(apps.get_by_role("combobox", name="Session")).to_have_value(session)
    expect(apps.get_by_role("listitem")).to_contain_text("Port 8080")
    look_at(page, "apps", "#jp-bai-panel")
    apps.get_by_role("button", name="Open Port 8080", exact=True).click()
    frame = page.frame_locator("iframe[title='Port 8080 of served']")
    expect(frame.locator("body")).to_have_text("It answers.")
    look_at(page, "app", ".jp-MainAreaWidget:has(iframe)")
    inside = next(one for one in page.frames if "/bai/apps/" in one.url)
    assert inside.evaluate(WHO) == ["null", "refused", "mine=1", "kept"]
    with page.context.expect_page() as opened:
        apps.get_by_role("button", name="Open Port 8080 in a tab of the browser").click()
    expect(opened.value.locator("body")).to_have_text("It answers.")
    assert opened.value.evaluate(WHO) == ["null", "refused", "mine=1", "kept"]
    opened.value.close()
    page.evaluate("[...window.jupyterapp.shell.widgets('main')].find(one => one.id.startsWith('jp-bai-app')).close()")
    cluster.list_ports(8050)
    expect(apps.get_by_role("listitem")).to_have_text([re.compile("Port 8080"), re.compile("Port 8050")])
    cluster.list_ports()
    expect(apps.get_by_role("listitem")).to_have_text([re.compile("Port 8080")])
    cluster.ask("DELETE", f"/session/{session}")


def test_what_all_folders_together_may_hold(page: Page, cluster: RealManager, look_at: Any) -> None:
    refresh = page.get_by_role("button", name="Refresh", exact=True)
    (folders,) = section(page, "Folders")
    expect(row(folders, "home")).to_be_visible()
    assert folders.get_by_role("meter").count() == 0
    made = cluster.ask("POST", "/folders", {"name": "counted", "host": "local:data"})
    cluster.write_file(made["id"], "x", 3 * 1024**2)
    cluster.limit_folders(100 * 1024**2)
    refresh.click()
    together = folders.get_by_role("region", name="Your folders on local:data, a soft limit")
    expect(together.get_by_role("meter")).to_have_attribute("aria-valuetext", re.compile(r"^\d+(\.\d)? of 100 MiB$"))
    look_at(page, "folders-together", "#jp-bai-panel")
    cluster.limit_folders(1024**2)
    refresh.click()
    expect(together).to_contain_text("nothing can be uploaded until enough is deleted")
    look_at(page, "folders-together-full", "#jp-bai-panel")
    cluster.limit_folders(0)
    refresh.click()
    expect(folders.get_by_role("meter")).to_have_count(0)
    cluster.ask("DELETE", "/folders/counted")
    cluster.ask("POST", f"/folders/{made['id']}/purge")


def test_limits_and_presets(page: Page, cluster: RealManager, look_at: Any) -> None:
    change = (
        "mutation ($limits: JSONString) {modify_keypair_resource_policy"
        '(name: "default", props: {total_resource_slots: $limits}) {ok}}'
    )
    variables = {"limits": json.dumps({"cpu": "8", "mem": "32g"})}
    changed = cluster.ask("POST", "/admin/gql", {"query": change, "variables": variables})
    assert changed["data"]["modify_keypair_resource_policy"]["ok"]
    session = cluster.start_session("hungry", resources={"cpu": "7", "mem": "8g"})
    (resources,) = section(page, "Resources")
    page.get_by_role("button", name="Refresh", exact=True).click()
    level = resources.get_by_role("region", name="Your keypair")
    cpu, memory = level.get_by_role("meter").all()
    expect(cpu).to_have_attribute("aria-valuetext", "7 of 8 CPU")
    expect(cpu.locator(".jp-bai-State-attention")).to_be_visible()
    expect(memory).to_have_attribute("aria-valuetext", "8 of 32 GiB")
    expect(resources.locator("dl")).to_have_text("default1\u00a0CPU · 24\u00a0GiB")
    presets = resources.get_by_role("list", name="Presets").get_by_role("listitem")
    expect(presets.filter(has_text="small")).to_contain_text("Starts now")
    expect(presets.filter(has_text="medium")).to_contain_text("Over a limit: Your keypair, 7 of 8\u00a0CPU in use.")
    expect(presets.filter(has_text="gpu")).to_contain_text("No agent offers GPU.")
    look_at(page, "resources", "#jp-bai-panel")
    cluster.ask("DELETE", f"/session/{session}")


def test_a_section_that_is_opened_for_the_first_time_has_room(browser: Browser, lab: Any, open_lab: Any) -> None:
    page = open_lab(browser, lab)
    page.evaluate("window.jupyterapp.commands.execute('bai:show-panel')")
    for name in ("Apps", "Resources"):
        title = page.locator("#jp-bai-panel .jp-AccordionPanel-title", has_text=name)
        expect(title).to_have_attribute("aria-expanded", "false")
        title.click()
        shown = page.locator(f"#jp-bai-panel .jp-bai-Section[aria-labelledby='{title.get_attribute('id')}']")
        expect(shown).to_be_visible()
        page.wait_for_function("node => node.clientHeight > 80", arg=shown.element_handle())
    page.close()
