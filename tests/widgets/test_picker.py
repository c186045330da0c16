"""The folder picker against real folders of a real manager, driven by its controls."""

import pytest

from bai_jupyter.client import ManagerClient
from bai_jupyter.widgets import FolderPicker


@pytest.fixture(scope="module")
def folders(cluster):
    """``mixed`` with two directories; ``theirs``, of somebody else, to read only."""
    cluster.ask("POST", "/folders", {"name": "mixed"})
    for path in ("runs/7", "<b>bold"):
        cluster.ask("POST", "/folders/mixed/mkdir", {"path": path, "parents": True, "exist_ok": True})
    kim = cluster.add_user("kim")
    cluster.ask("POST", "/folders", {"name": "theirs"}, config=kim)
    cluster.ask("POST", "/folders/theirs/invite", {"perm": "ro", "user_ids": ["admin@localhost"]}, config=kim)
    [invitation] = cluster.ask("GET", "/folders/invitations/list")["invitations"]
    cluster.ask("POST", "/folders/invitations/accept", {"inv_id": invitation["id"]})
    return cluster


def labels(control):
    return list(control._options_labels)


async def opened(folders, shown, until, label):
    picker = shown(FolderPicker(config=folders.config))
    await until(lambda: label in labels(picker._folder))
    picker._folder.label = label
    await until(lambda: ": " in picker._place.text)
    return picker


@pytest.mark.asyncio
async def test_into_a_directory_and_up_again(folders, shown, until):
    picker = await opened(folders, shown, until, "mixed (read and write)")
    assert (picker.value, picker.is_read_only) == (("mixed", ""), False)
    assert sorted(labels(picker._list)) == ["<b>bold/", "runs/"]
    assert picker._place.text == "mixed: 2 entries"
    chosen = []
    picker.observe(lambda change: chosen.append(change["new"]), "value")
    picker._list.label = "runs/"
    picker._open.click()
    await until(lambda: picker._place.text == "mixed / runs: 1 entry")
    picker._list.label = "7/"
    picker._up.click()
    await until(lambda: picker._place.text == "mixed: 2 entries")
    assert picker._up.disabled
    assert chosen == [("mixed", "runs"), ("mixed", "runs/7"), ("mixed", "")]


@pytest.mark.asyncio
async def test_names_are_no_markup(folders, shown, until):
    picker = await opened(folders, shown, until, "mixed (read and write)")
    picker._list.label = "<b>bold/"
    picker._open.click()
    await until(lambda: picker._place.text == "mixed / <b>bold: empty")
    assert "&lt;b&gt;bold" in picker._place.value


@pytest.mark.asyncio
async def test_read_only_is_said(folders, shown, until):
    picker = await opened(folders, shown, until, "theirs (read only, from kim@localhost)")
    assert (picker.value, picker.is_read_only) == (("theirs", ""), True)
    assert picker._place.text == "theirs, read only: empty"
    picker._folder.value = ""
    assert (picker.value, picker._place.text, picker.is_read_only) == (None, "", False)


@pytest.mark.asyncio
async def test_more_than_a_page(folders, shown, until, monkeypatch):
    folders.ask("POST", "/folders", {"name": "many"})
    for path in "abc":
        folders.ask("POST", "/folders/many/mkdir", {"path": path})
    whole = ManagerClient.list_files

    async def two_at_a_time(self, folder, path="", offset=0):
        return await whole(self, folder, path, offset, 2)

    monkeypatch.setattr(ManagerClient, "list_files", two_at_a_time)
    picker = await opened(folders, shown, until, "many (read and write)")
    assert picker._place.text == "many: the first 2 of 3 entries"
    picker._list.index = 1
    chosen = picker.value
    picker._more.click()
    await until(lambda: picker._place.text == "many: 3 entries")
    assert sorted(labels(picker._list)) == ["a/", "b/", "c/"]
    assert picker.value == chosen
    assert picker._more.disabled


@pytest.mark.asyncio
async def test_a_folder_that_is_gone_is_its_sentence(folders, shown, until):
    folders.ask("POST", "/folders", {"name": "brief"})
    picker = shown(FolderPicker(config=folders.config))
    await until(lambda: "brief (read and write)" in labels(picker._folder))
    folders.ask("DELETE", "/folders/brief")
    picker._folder.label = "brief (read and write)"
    await until(lambda: picker._place.text.startswith("Folder brief is"))
