"""``/bai/api/contents``: folders as a drive of Lab's, in a real server in front of a real manager."""

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from real_manager import RealManager

from bai_jupyter.extension.folder_contents import names_of


def text(content: str, **more: Any) -> dict[str, Any]:
    return {"type": "file", "format": "text", "content": content, **more}


async def test_the_drive_holds_what_files_hold(bai: Callable[..., Any], cluster: RealManager, jp_fetch: Any) -> None:
    await bai("POST", "folders", {"name": "drive"})
    _, root = await bai("GET", "contents")
    assert ("drive", "directory", True) in [(one["name"], one["type"], one["writable"]) for one in root["content"]]
    assert root["writable"] is False
    _, answer = await bai("GET", "folders")
    assert "drive" in [one["drive_name"] for one in answer["folders"]]
    status, saved = await bai("PUT", "contents/drive/a.txt", text("één"))
    assert (status, saved["path"], saved["content"], saved["size"]) == (201, "drive/a.txt", None, 5)
    (lying,) = cluster.folder.rglob("a.txt")
    assert lying.read_text() == "één"
    _, read = await bai("GET", "contents/drive/a.txt")
    assert (read["content"], read["format"], read["mimetype"], read["writable"]) == ("één", "text", "text/plain", True)
    assert read["last_modified"] == saved["last_modified"]

    before = await bai("GET", "contents/drive/a.txt?content=0&hash=1")
    assert before == await bai("GET", "contents/drive/a.txt?content=0&hash=1")
    lying.write_bytes(b"\xff\x00")  # by a kernel, say: Lab asks for this before it saves, and compares
    os.utime(lying, (1, 1))
    _, changed = await bai("GET", "contents/drive/a.txt?content=0&hash=1")
    assert (changed["last_modified"], changed["content"]) == ("1970-01-01T00:00:01Z", None)
    assert changed["hash"] != before[1]["hash"]
    _, read = await bai("GET", "contents/drive/a.txt")
    assert (read["content"], read["format"]) == ("/wA=", "base64")
    code, answer = await bai("GET", "contents/drive/a.txt?format=text&type=file")
    assert (code, answer["message"]) == (400, "drive/a.txt is no text that can be read: it is not UTF-8.")
    code, answer = await bai("GET", "contents/drive/a.txt?type=notebook")
    assert (code, "no notebook" in answer["message"]) == (400, True)
    assert (await jp_fetch("bai", "api", "download", "drive", "a.txt")).body == b"\xff\x00"

    await bai("PUT", "contents/drive/raw", {"type": "directory"})
    assert (await bai("POST", "contents/drive/raw", {"copy_from": "drive/a.txt"}))[1]["path"] == "drive/raw/a.txt"
    assert (await bai("PATCH", "contents/drive/a.txt", {"path": "drive/b.txt"}))[1]["name"] == "b.txt"
    assert (await bai("PATCH", "contents/drive/b.txt", {"path": "drive/raw/b.txt"}))[1]["path"] == "drive/raw/b.txt"
    for taken in ("drive/raw/a.txt", "drive/raw"):
        code, answer = await bai("PATCH", "contents/drive/raw/b.txt", {"path": taken})
        assert (code, answer["message"].endswith("exists already.")) == (400, True)
    code, answer = await bai("PATCH", "contents/drive/raw/b.txt", {"path": "home/b.txt"})
    assert (code, "another folder" in answer["message"]) == (400, True)
    assert await bai("DELETE", "contents/drive/raw/a.txt") == (204, None)
    _, raw = await bai("GET", "contents/drive/raw")
    assert ([one["path"] for one in raw["content"]], raw["total"]) == (["drive/raw/b.txt"], 1)
    assert (await bai("POST", "contents/drive/raw/b.txt/checkpoints"))[0] == 201
    assert await bai("GET", "contents/drive/raw/b.txt/checkpoints") == (200, [])


async def test_notebooks_are_trusted_as_any_and_have_their_kernel_in_their_folder(
    bai: Callable[..., Any], jp_serverapp: Any
) -> None:
    await bai("POST", "folders", {"name": "books"})
    _, made = await bai("POST", "contents/books", {"type": "notebook", "ext": ".ipynb"})
    assert (made["path"], made["type"]) == ("books/Untitled.ipynb", "notebook")
    path = f"contents/{made['path']}"
    cell = {
        "cell_type": "code",
        "id": "a",
        "source": "1",
        "metadata": {"trusted": True},
        "outputs": [],
        "execution_count": None,
    }
    _, notebook = await bai("GET", path)
    status, _ = await bai("PUT", path, {"type": "notebook", "content": {**notebook["content"], "cells": [cell]}})
    assert status == 200
    _, again = await bai("GET", path)
    assert [one["metadata"] for one in again["content"]["cells"]] == [{"trusted": True}]
    code, answer = await bai("PUT", path, {"type": "notebook", "content": "none"})
    assert (code, "a notebook" in answer["message"]) == (400, True)
    kernel_in = jp_serverapp.session_manager.cwd_in_folder
    found = await kernel_in("bai:books/deep/x.ipynb")
    assert found == {"bai_cwd": {"mount": found["bai_cwd"]["mount"], "folder": "books", "path": "deep"}}
    assert await kernel_in("bai:nothing/x.ipynb") == {"bai_notice": "There is no folder nothing that you can see."}
    assert await kernel_in("books/x.ipynb") == {}
    asked = await bai("GET", "notebooks/bai:books/Untitled.ipynb/choice")
    assert asked == (200, {"choice": {}, "is_heard": True, "kernelspec": None})


async def test_a_large_file_comes_in_pieces_into_the_drive(
    bai: Callable[..., Any], cluster: RealManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bai("POST", "folders", {"name": "pieces", "quota": "1m"})
    piece = {"type": "file", "format": "base64", "content": "YWJj"}
    for chunk, status in ((1, 201), (2, 201), (-1, 201)):
        assert (await bai("PUT", "contents/pieces/x", {**piece, "chunk": chunk}))[0] == status
    assert [one.read_bytes() for one in cluster.folder.rglob("x") if one.is_file()] == [b"abcabcabc"]
    await bai("PUT", "contents/pieces/x", {**piece, "chunk": 1})
    code, answer = await bai("PUT", "contents/pieces/x", {**piece, "chunk": 3})
    assert (code, "Begin again" in answer["message"]) == (400, True)
    code, answer = await bai("PUT", "contents/pieces/big", text("x" * 2**21))
    assert (code, "1 MiB" in answer["message"]) == (412, True)
    monkeypatch.setattr("bai_jupyter.extension.folder_contents.LARGEST_FILE_BYTES", 8)
    code, answer = await bai("GET", "contents/pieces/x")
    assert (code, answer["message"].startswith("x has 9 B; files of at most 8 B are opened.")) == (400, True)


async def test_what_is_only_read_is_shown_so(bai: Callable[..., Any], cluster: RealManager) -> None:
    lea = cluster.add_user("lea")
    cluster.ask("POST", "/folders", {"name": "same"}, lea)
    cluster.ask("POST", "/folders/same/mkdir", {"path": "theirs"}, lea)
    cluster.ask("POST", "/folders/same/invite", {"perm": "ro", "user_ids": ["admin@localhost"]}, lea)
    _, answer = await bai("GET", "invitations")
    await bai("POST", f"invitations/{answer['invitations'][0]['id']}")
    _, alone = await bai("GET", "contents/same")
    assert [(one["name"], one["writable"]) for one in alone["content"]] == [("theirs", False)]
    code, answer = await bai("PUT", "contents/same/x", text("x"))
    assert (code, "read only for you" in answer["message"]) == (403, True)


def fill(folder: Path, count: int) -> None:
    """One file, by as many names as a file may have, and then another."""
    for number in range(count):
        if number % 30_000 == 0:
            source = folder / f"f{number:06}.txt"
            source.touch()
        else:
            os.link(source, folder / f"f{number:06}.txt")


async def test_of_very_many_entries_one_page_is_asked_for(bai: Callable[..., Any], cluster: RealManager) -> None:
    await bai("POST", "folders", {"name": "many"})
    await bai("PUT", "contents/many/deep", {"type": "directory"})
    (lying,) = cluster.folder.rglob("deep")
    await asyncio.to_thread(fill, lying, 100_000)
    status, first = await bai("GET", "contents/many/deep?content=1")
    assert (status, first["total"], len(first["content"])) == (200, 100_000, 500)
    _, page = await bai("GET", "pages/many/deep?offset=99500")
    shown = [one["name"] for one in page["content"]]
    assert (page["offset"], page["limit"], len(shown), shown[-1]) == (99_500, 500, 500, "f099999.txt")
    _, found = await bai("GET", "pages/many/deep?match=77.txt")
    assert (found["total"], found["content"][0]["path"]) == (1000, "many/deep/f000077.txt")
    for asked, sentence in (("offset=-1", "offset"), ("offset=x", "offset")):
        code, answer = await bai("GET", f"pages/many/deep?{asked}")
        assert (code, sentence in answer["message"]) == (400, True)
    assert (await bai("GET", "pages/"))[0] == 400
    await asyncio.to_thread(shutil.rmtree, lying)


def test_folders_of_one_name_are_told_apart_by_whose_they_are() -> None:
    def folder(name: str, owner: str, status: str = "ready") -> dict[str, Any]:
        return {"name": name, "user_email": owner, "group_name": None, "status": status}

    first, theirs, trashed = folder("a", "me"), folder("a", "lea"), folder("b", "me", "delete-pending")
    assert names_of([first, theirs, trashed]) == {"a": first, "a (lea)": theirs}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "sentence"),
    [
        ("GET", "contents/nothing/a.txt", None, 404, "There is no folder nothing that you can see."),
        ("PUT", "contents/nothing/a.txt", {"type": "file", "content": "x", "format": "text"}, 404, "nothing"),
        ("GET", "contents/home/../up", None, 400, "../up"),
        ("PUT", "contents/home/../up", {"type": "file", "content": "x", "format": "text"}, 400, "../up"),
        ("PATCH", "contents/home", {"path": "house"}, 400, "Only folders lie here."),
        ("POST", "contents", {"type": "notebook"}, 400, "Only folders lie here."),
        ("DELETE", "contents/home", None, 400, "Only folders lie here."),
        ("GET", "contents/home/missing", None, 404, "missing"),
        ("GET", "contents/home?type=file", None, 400, "a folder"),
        ("POST", "contents/home/checkpoints/none", None, 404, "checkpoint"),
        ("GET", "download/home/missing", None, 404, "missing"),
    ],
)
async def test_refusals(bai: Callable[..., Any], method: str, path: str, body: Any, status: int, sentence: str) -> None:
    code, answer = await bai(method, path, body)
    assert code == status, answer
    assert sentence in answer["message"]
