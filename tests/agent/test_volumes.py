"""Folders of a volume as the manager asks for them: made, filled, measured, read and deleted."""

import asyncio
import io
import json
import os
import shutil
import threading
import zipfile
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from bai_agent import files
from bai_agent.files import FileFault
from bai_agent.volumes import Volumes

pytestmark = pytest.mark.asyncio

DATA = {"volume": "local:data", "subpath": ".vfolders/f1"}
ME = os.geteuid() or 1000


class Pipe:
    """The agent's end of a stream whose other end is this test."""

    def __init__(self, *frames: bytes | None) -> None:
        self.to_agent: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.received: list[bytes] = []
        for frame in frames:
            self.to_agent.put_nowait(frame)

    async def read_message(self) -> bytes | None:
        return await self.to_agent.get()

    async def write_message(self, message: bytes, binary: bool = True) -> None:
        self.received.append(message)

    @property
    def told(self) -> Any:
        return json.loads(self.received[0])


@pytest.fixture
def disk(open_tmp: Path) -> Path:
    for name in ("data", "home"):
        (open_tmp / name).mkdir()
    return open_tmp


@pytest_asyncio.fixture
async def volumes(disk: Path) -> AsyncIterator[Volumes]:
    made = Volumes({"local:data": disk / "data", "local:home": disk / "home"}, "lab-1", None)
    await made.calls["make_folder"]({**DATA, "beside": None})
    yield made
    await made.close()


@pytest.fixture
def folder(disk: Path, volumes: Volumes) -> Path:
    return disk / "data" / ".vfolders" / "f1"


def upload(path: str, size: int, offset: int = 0, **more: Any) -> dict[str, Any]:
    values = {"name": "data", "upload_id": "u1", "quota_bytes": None, **more}
    return {**DATA, "kind": "upload", "path": path, "size": size, "offset": offset, **values}


async def send(volumes: Volumes, params: dict[str, Any], *frames: bytes | None) -> Any:
    pipe = Pipe(*frames)
    await volumes.streams["upload"](pipe, params)
    return pipe.told


async def refused(work: Any) -> str:
    with pytest.raises(FileFault) as caught:
        await work
    return caught.value.reason.code


async def test_a_new_folder_is_its_users_alone(folder: Path) -> None:
    found = folder.stat()
    assert (found.st_uid, found.st_mode & 0o777) == (ME, 0o700)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives folders away, which takes root")
async def test_a_new_folder_belongs_to_whom_the_home_belongs(volumes: Volumes, disk: Path) -> None:
    (disk / "home" / "kim").mkdir()
    os.chown(disk / "home" / "kim", 1234, 55)
    home = {"volume": "local:home", "subpath": "kim"}
    await volumes.calls["make_folder"]({**DATA, "subpath": ".vfolders/f2", "beside": home})
    found = (disk / "data" / ".vfolders" / "f2").stat()
    assert (found.st_uid, found.st_gid) == (1234, 55)
    await volumes.calls["make_directory"](
        {**DATA, "subpath": ".vfolders/f2", "path": "sub", "parents": False, "exist_ok": False}
    )
    assert (disk / "data" / ".vfolders" / "f2" / "sub").stat().st_uid == 1234


@pytest.mark.skipif(os.geteuid() != 0, reason="gives folders away, which takes root")
async def test_a_folder_is_given_with_what_its_owner_has_in_it(volumes: Volumes, folder: Path, disk: Path) -> None:
    """Not what others have there, nor what lies outside; the folder comes last, so it can be done again."""
    outside = disk / "outside"
    outside.touch()
    os.chown(outside, ME, ME)
    (folder / "sub").mkdir()
    for name in ("x", "sub/y", "others"):
        (folder / name).touch()
    (folder / "sub" / "link").symlink_to(outside)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, ME, ME, follow_symlinks=False)
    os.chown(folder / "others", 77, 77)
    (disk / "home" / "kim").mkdir()
    os.chown(disk / "home" / "kim", 1234, 55)
    home = {"volume": "local:home", "subpath": "kim"}
    deep = folder / "/".join(["d"] * 102)
    deep.mkdir(parents=True)
    assert await refused(volumes.calls["give_folder"]({**DATA, "beside": home})) == "too-deep"
    assert folder.stat().st_uid == ME
    shutil.rmtree(folder / "d")
    await volumes.calls["give_folder"]({**DATA, "beside": home})
    given = [folder, folder / "sub", folder / "x", folder / "sub" / "y", folder / "sub" / "link"]
    assert [(path.lstat().st_uid, path.lstat().st_gid) for path in given] == [(1234, 55)] * 5
    assert ((folder / "others").stat().st_uid, outside.stat().st_uid) == (77, ME)


@pytest.fixture
def homes(disk: Path) -> dict[int, dict[str, str]]:
    """By whose they are."""
    for uid in (1234, 4321):
        (disk / "home" / str(uid)).mkdir()
        os.chown(disk / "home" / str(uid), uid, 55)
    return {uid: {"volume": "local:home", "subpath": str(uid)} for uid in (1234, 4321)}


@pytest.mark.skipif(os.geteuid() != 0, reason="gives folders away, which takes root")
async def test_what_came_only_in_part_to_who_had_it_is_given_on_whole(
    volumes: Volumes, folder: Path, homes: dict[int, dict[str, str]]
) -> None:
    for name, uid in (("x", ME), ("y", 1234), ("others", 77)):
        (folder / name).touch()
        os.chown(folder / name, uid, uid)
    os.chown(folder, ME, ME)
    await volumes.calls["give_folder"]({**DATA, "beside": homes[4321], "was": homes[1234]})
    owners = {path.name: path.stat().st_uid for path in (folder, *folder.iterdir())}
    assert owners == {folder.name: 4321, "x": 4321, "y": 4321, "others": 77}


@pytest.mark.skipif(os.geteuid() != 0, reason="gives folders away, which takes root")
async def test_a_folder_is_given_to_one_after_the_other(
    volumes: Volumes, folder: Path, homes: dict[int, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    give_tree, together = files.give_tree, threading.Barrier(2)

    def met(*args: Any) -> None:
        with suppress(threading.BrokenBarrierError):
            together.wait(0.5)
        give_tree(*args)

    monkeypatch.setattr(files, "give_tree", met)
    os.chown(folder, ME, ME)
    give = volumes.calls["give_folder"]
    await asyncio.gather(*(give({**DATA, "beside": home}) for home in homes.values()))
    assert together.broken


@pytest.mark.parametrize("subpath", ["", ".", "../x", "/etc", ".vfolders/../../x"])
async def test_a_volume_itself_and_what_lies_outside_cannot_be_deleted(volumes: Volumes, subpath: str) -> None:
    assert await refused(volumes.calls["delete_folder"]({**DATA, "subpath": subpath})) == "files-failed"


async def test_a_folder_exchanged_for_a_link_is_not_opened(volumes: Volumes, folder: Path, disk: Path) -> None:
    (disk / "secret").mkdir()
    folder.rmdir()
    folder.symlink_to(disk / "secret")
    asked = {**DATA, "path": "", "offset": 0, "limit": 10}
    assert await refused(volumes.calls["list_files"](asked)) == "files-failed"
    assert "error" in await send(volumes, upload("x", 1), b"x", b"")
    await volumes.calls["delete_folder"](DATA)
    assert (disk / "secret").is_dir()


async def test_an_unknown_volume_is_away(volumes: Volumes) -> None:
    assert await refused(volumes.calls["folder_usage"]({"volume": "nas:x", "subpath": "y"})) == "volume-away"


# Uploads


async def test_a_file_appears_when_it_is_complete_and_is_its_users(volumes: Volumes, folder: Path) -> None:
    assert await send(volumes, upload("sub/x", 6), b"abc", b"") == {"offset": 3}
    assert list(folder.iterdir()) == []
    assert (await volumes.calls["upload_offset"]({**DATA, "upload_id": "u1"})) == {"offset": 3}
    assert await send(volumes, upload("sub/x", 6, 3), b"def", b"") == {"offset": 6}
    assert (folder / "sub" / "x").read_bytes() == b"abcdef"
    assert ((folder / "sub" / "x").stat().st_uid, (folder / "sub").stat().st_uid) == (ME, ME)
    assert (await volumes.calls["upload_offset"]({**DATA, "upload_id": "u1"})) == {"offset": None}


async def test_what_came_before_a_cut_is_kept(volumes: Volumes, folder: Path) -> None:
    assert await send(volumes, upload("x", 6), b"abcd", None) == {"offset": 4}
    told = await send(volumes, upload("x", 6, 2), b"cd", b"")
    assert told["error"]["code"] == "upload-offset"
    assert told["error"]["params"]["offset"] == "4"
    assert await send(volumes, upload("x", 6, 4), b"ef", b"") == {"offset": 6}
    assert (folder / "x").read_bytes() == b"abcdef"


async def test_who_asks_how_far_it_is_goes_on_from_there(volumes: Volumes, folder: Path) -> None:
    """A connection that was cut may live on here for a while, with data that has not been written."""
    stuck = Pipe(b"ab")
    first = asyncio.create_task(volumes.streams["upload"](stuck, upload("x", 4)))
    while not stuck.to_agent.empty():
        await asyncio.sleep(0)
    offset = (await volumes.calls["upload_offset"]({**DATA, "upload_id": "u1"}))["offset"]
    assert offset == 2
    assert first.cancelled()
    assert await send(volumes, upload("x", 4, offset), b"cd", b"") == {"offset": 4}
    assert (folder / "x").read_bytes() == b"abcd"


async def test_the_newest_stream_takes_an_upload_over(volumes: Volumes, folder: Path) -> None:
    stuck = Pipe()
    first = asyncio.create_task(volumes.streams["upload"](stuck, upload("x", 4)))
    while not list(folder.parent.parent.glob(".uploads/*/u1")):  # it waits for data
        await asyncio.sleep(0)
    assert await send(volumes, upload("x", 4), b"abcd", b"") == {"offset": 4}
    assert first.cancelled()
    assert (folder / "x").read_bytes() == b"abcd"


async def test_more_than_was_told_is_refused(volumes: Volumes, folder: Path) -> None:
    assert (await send(volumes, upload("x", 3), b"abcd", b""))["error"]["code"] == "upload-too-long"
    assert list(folder.iterdir()) == []


async def test_an_empty_file_needs_no_data(volumes: Volumes, folder: Path) -> None:
    assert await send(volumes, upload("empty", 0), b"") == {"offset": 0}
    assert (folder / "empty").stat().st_size == 0


@pytest.mark.parametrize("path", ["leak/x", "../x", ""])
async def test_no_upload_leads_out(volumes: Volumes, folder: Path, disk: Path, path: str) -> None:
    (disk / "outside").mkdir()
    (folder / "leak").symlink_to(disk / "outside")
    assert "error" in await send(volumes, upload(path, 1), b"x", b"")
    assert list((disk / "outside").iterdir()) == []
    assert await volumes.calls["upload_offset"]({**DATA, "upload_id": "u1"}) == {"offset": None}


async def test_an_upload_replaces_a_link_and_not_what_it_points_to(volumes: Volumes, folder: Path, disk: Path) -> None:
    (disk / "secret").write_text("secret")
    (folder / "x").symlink_to(disk / "secret")
    assert await send(volumes, upload("x", 3), b"new", b"") == {"offset": 3}
    assert ((disk / "secret").read_text(), (folder / "x").read_text()) == ("secret", "new")


async def test_a_quota_reached_meanwhile_refuses_with_figures_and_leaves_nothing(
    volumes: Volumes, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bai_agent.quotas._SCAN_SHARE", 0)  # however long the last look took
    limited = {"quota_bytes": 1024**2}
    assert await send(volumes, upload("x", 800 * 1024, **limited), bytes(400 * 1024), b"") == {"offset": 400 * 1024}
    (folder / "by-a-session").write_bytes(bytes(600 * 1024))
    reason = (await send(volumes, upload("x", 800 * 1024, 400 * 1024, **limited), bytes(400 * 1024), b""))["error"]
    assert reason["text"] == (
        "data may hold 1 MiB; 600 KiB used, x needs 800 KiB: 376 KiB too much. Nothing was changed."
    )
    assert [one.name for one in folder.iterdir()] == ["by-a-session"]
    assert await volumes.calls["upload_offset"]({**DATA, "upload_id": "u1"}) == {"offset": None}


async def test_what_an_upload_replaces_counts_for_it(volumes: Volumes, folder: Path) -> None:
    (folder / "x").write_bytes(bytes(900))
    assert await send(volumes, upload("x", 1000, quota_bytes=1000), bytes(1000), b"") == {"offset": 1000}


async def test_many_uploads_do_not_have_a_folder_measured_each_time(
    volumes: Volumes, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, look = [], files.usage_of
    monkeypatch.setattr("bai_agent.quotas._SCAN_SHARE", 10**9)  # however short the last look was
    monkeypatch.setattr(files, "usage_of", lambda root: looks.append(root) or look(root))
    for path, size in (("a", 400), ("b", 300), ("a", 500)):
        assert await send(volumes, upload(path, size, quota_bytes=1000), bytes(size), b"") == {"offset": size}
    assert await volumes.calls["folder_usage"](DATA) == {"used_bytes": 800, "num_files": 2}
    refusal = (await send(volumes, upload("c", 300, quota_bytes=1000), bytes(300), b""))["error"]
    assert "800 B used, c needs 300 B" in refusal["text"]
    assert len(looks) == 1


async def test_a_full_disk_refuses_and_leaves_nothing(
    small_disk: Any, disk: Path, volumes: Volumes, folder: Path
) -> None:
    full = small_disk(disk / "home", "1m")
    (disk / "home" / "kim").mkdir()
    home = {"volume": "local:home", "subpath": "kim"}
    reason = (await send(volumes, {**upload("x", 2 * 1024**2), **home}, bytes(2 * 1024**2), b""))["error"]
    assert reason["text"] == "The disk on lab-1 is full. Nothing was changed."
    assert list((disk / "home" / "kim").iterdir()) == []
    assert full.free_bytes > 900_000


async def test_forgotten_uploads_are_dropped(volumes: Volumes, disk: Path) -> None:
    await send(volumes, upload("x", 6), b"abc", b"")
    (draft,) = (disk / "data" / ".uploads").glob("*/u1")
    os.utime(draft, (0, 0))
    await send(volumes, upload("y", 6, upload_id="u2"), b"abc", b"")
    assert [one.name for one in draft.parent.iterdir()] == ["u2"]
    await volumes.calls["drop_upload"]({**DATA, "upload_id": "u2"})
    assert list(draft.parent.iterdir()) == []


# Downloads


async def download(volumes: Volumes, kind: str = "download", **params: Any) -> Pipe:
    pipe = Pipe()
    await volumes.streams[kind](pipe, {**DATA, **params})
    return pipe


async def test_a_part_of_a_file(volumes: Volumes, folder: Path) -> None:
    content = os.urandom(3 * 1024**2)
    (folder / "x").write_bytes(content)
    facts = await volumes.calls["file_facts"]({**DATA, "path": "x"})
    version = [facts["mtime_ns"], facts["size"]]
    pipe = await download(volumes, path="x", start=1000, length=2 * 1024**2, version=version)
    assert (pipe.told, pipe.received[-1]) == ({}, b"")
    assert b"".join(pipe.received[1:]) == content[1000 : 1000 + 2 * 1024**2]
    (folder / "x").write_bytes(b"other")
    pipe = await download(volumes, path="x", start=0, length=1000, version=version)
    assert (pipe.told["error"]["code"], len(pipe.received)) == ("file-changed", 1)


async def test_an_archive(volumes: Volumes, folder: Path, disk: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "x").write_text("x")
    (folder / "sub" / "leak").symlink_to(disk)
    pipe = await download(volumes, "archive", path="sub", called="sub")
    assert (pipe.told, pipe.received[-1]) == ({}, b"")
    with zipfile.ZipFile(io.BytesIO(b"".join(pipe.received[1:]))) as archive:
        assert archive.namelist() == ["sub/x"]
    assert (await download(volumes, "archive", path="no", called="no")).told["error"]["code"] == "file-missing"


# Copies, figures, the end


async def test_a_clone_and_its_figures(volumes: Volumes, folder: Path, disk: Path) -> None:
    (folder / "x").write_bytes(bytes(1000))
    target = {"volume": "local:data", "subpath": ".vfolders/f2", "beside": None}
    await volumes.calls["clone_folder"]({"source": DATA, "target": target})
    assert await volumes.calls["folder_usage"](target) == {"used_bytes": 1000, "num_files": 1}
    assert (disk / "data" / ".vfolders" / "f2" / "x").stat().st_uid == ME


async def test_the_end_of_a_folder_is_the_end_of_its_uploads(volumes: Volumes, folder: Path, disk: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "x").write_text("x")
    await send(volumes, upload("y", 6), b"abc", b"")
    for _ in range(2):  # may be repeated
        await volumes.calls["delete_folder"](DATA)
    assert not folder.exists()
    assert list((disk / "data" / ".uploads").iterdir()) == []


async def test_space_on_a_volume(volumes: Volumes) -> None:
    found = await volumes.calls["volume_usage"]({"volume": "local:data"})
    assert 0 < found["free_bytes"] <= found["total_bytes"]
