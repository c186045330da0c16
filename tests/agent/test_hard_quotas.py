"""Limits that the file system keeps: folders in subvolumes of a real btrfs with simple quotas."""

import errno
import fcntl
import os
import struct
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from agent.test_volumes import Pipe
from bai_agent import btrfs
from bai_agent.acting import acting_as
from bai_agent.files import FileFault
from bai_agent.runtimes.base import Identity
from bai_agent.volumes import Volumes

pytestmark = pytest.mark.asyncio

KIB, MIB = 1024, 1024**2
FOLDER = {"volume": "nas:data", "subpath": ".vfolders/f1"}
KIM, LEE = Identity(1000, 1000), Identity(1001, 1001)


@pytest.fixture
def volume(open_tmp: Path, limited_disk: Callable[[Path], None]) -> Path:
    place = open_tmp / "nas"
    place.mkdir()
    limited_disk(place)
    return place


@pytest_asyncio.fixture
async def volumes(volume: Path) -> AsyncIterator[Volumes]:
    made = Volumes({"nas:data": volume}, "lab-1", None)
    yield made
    await made.close()


async def make(volumes: Volumes, quota_bytes: int | None) -> dict[str, Any]:
    """The folder as the manager knows it afterwards."""
    return await make_in(volumes, "f1", None, quota_bytes)


async def make_in(
    volumes: Volumes, name: str, scope: dict[str, Any] | None, quota_bytes: int | None = None
) -> dict[str, Any]:
    place = {**FOLDER, "subpath": f".vfolders/{name}"}
    made = await volumes.calls["make_folder"]({**place, "beside": None, "quota_bytes": quota_bytes, "scope": scope})
    return {**place, **made}


def scope_of(key: str, limit_bytes: int | None, *folders: dict[str, Any]) -> dict[str, Any]:
    """All folders of one owner; ``folders`` are those that the manager would name, with limits if they say so."""
    own = {one["subpath"]: one.get("quota_bytes") for one in folders}
    return {"key": key, "name": "All of kim", "limit_bytes": limit_bytes, "others": list(own), "folders": own}


async def gather(volumes: Volumes, *scopes: dict[str, Any]) -> None:
    await volumes.calls["limit_scopes"]({"volume": "nas:data", "scopes": list(scopes)})


def write(file: Path, size: int, who: Identity = KIM) -> None:
    """As a session's process would."""
    with acting_as(who), file.open("wb") as opened:
        opened.write(bytes(size))
        opened.flush()
        os.fsync(opened.fileno())


@contextmanager
def no_room():
    with pytest.raises(OSError, match=os.strerror(errno.EDQUOT)):
        yield


def commit(volume: Path, *, wait_for_deleted: bool = False) -> None:
    """What was freed counts as free when btrfs has written it down."""
    subprocess.run(["sync", "-f", volume], check=True)
    if wait_for_deleted:
        subprocess.run(["btrfs", "subvolume", "sync", volume], check=True, capture_output=True)


async def test_nobody_writes_beyond_the_limit_and_deleting_gives_room_back(volumes: Volumes, volume: Path) -> None:
    assert (await volumes.calls["volume_usage"]({"volume": "nas:data"}))["hard_quota"] is True
    place = await make(volumes, 10 * MIB)
    files = volume / place["subpath"]
    assert (files.stat().st_uid, files.stat().st_mode & 0o777) == (KIM.uid, 0o700)
    write(files / "half", 6 * MIB)
    with no_room():
        write(files / "more", 6 * MIB)
    for name in ("half", "more"):
        (files / name).unlink()
    commit(volume)
    write(files / "again", 6 * MIB)


async def test_a_limit_is_changed_and_taken_away(volumes: Volumes, volume: Path) -> None:
    place = await make(volumes, 2 * MIB)
    files = volume / place["subpath"]
    await volumes.calls["limit_folder"]({**place, "quota_bytes": 10 * MIB})
    write(files / "x", 6 * MIB)
    with no_room():
        write(files / "y", 6 * MIB)
    await volumes.calls["limit_folder"]({**place, "quota_bytes": None})
    write(files / "y", 20 * MIB)


async def test_a_subvolume_made_inside_is_no_way_around_it(volumes: Volumes, volume: Path) -> None:
    place = await make(volumes, 10 * MIB)
    files = volume / place["subpath"]
    with acting_as(KIM):
        folder = os.open(files, os.O_RDONLY)
        fcntl.ioctl(folder, btrfs._SUBVOL_CREATE, bytearray(struct.pack("q4088s", 0, b"mine")))
        os.close(folder)
        (files / "mine" / "deep").mkdir()
    with no_room():
        write(files / "mine" / "deep" / "x", 12 * MIB)
    await volumes.calls["delete_files"]({**place, "paths": ["mine"], "recursive": True})
    assert list(files.iterdir()) == []
    await volumes.calls["delete_folder"](place)
    assert list((volume / ".vfolders").iterdir()) == []


async def test_an_upload_counts_from_its_first_byte_and_appears_whole(volumes: Volumes, volume: Path) -> None:
    place = await make(volumes, 10 * MIB)
    files = volume / place["subpath"]
    asked = {**place, "kind": "upload", "name": "data", "upload_id": "u1", "path": "a/x", "size": 6 * MIB, "offset": 0}
    first = Pipe(bytes(4 * MIB), b"")
    await volumes.streams["upload"](first, {**asked, "quota_bytes": 10 * MIB})
    assert (first.told, list(files.iterdir())) == ({"offset": 4 * MIB}, [])
    with no_room():
        write(files / "of a session", 8 * MIB)
    os.unlink(files / "of a session")
    commit(volume)
    rest = Pipe(bytes(2 * MIB), b"")
    await volumes.streams["upload"](rest, {**asked, "offset": 4 * MIB, "quota_bytes": 10 * MIB})
    assert (rest.told, (files / "a" / "x").stat().st_size) == ({"offset": 6 * MIB}, 6 * MIB)


async def test_an_upload_that_the_file_system_stops_leaves_no_torn_file(volumes: Volumes, volume: Path) -> None:
    """What the agent counted left room: as when a session writes at the same time."""
    place = await make(volumes, 4 * MIB)
    asked = {**place, "kind": "upload", "name": "data", "upload_id": "u1", "path": "x", "size": 8 * MIB, "offset": 0}
    pipe = Pipe(bytes(8 * MIB), b"")
    await volumes.streams["upload"](pipe, {**asked, "quota_bytes": 9 * MIB})
    assert (
        pipe.told["error"]
        == {
            "code": "quota-full",
            "params": {"folder": "data", "file": "x", "limit": "9 MiB"},
        }
        or pipe.told["error"]["code"] == "quota-full"
    )
    assert list((volume / place["subpath"]).iterdir()) == []
    assert list((volume / ".vfolders" / "f1" / "uploads").iterdir()) == []


async def test_other_work_says_that_a_limit_is_passed(volumes: Volumes, volume: Path) -> None:
    place = await make(volumes, 16 * 1024)
    asked = {**place, "path": "sub", "parents": False, "exist_ok": False}
    with pytest.raises(FileFault) as caught:
        await volumes.calls["make_directory"](asked)
    assert caught.value.reason.code == "folder-full"


async def test_making_and_deleting_may_be_repeated_and_leave_no_group(volumes: Volumes, volume: Path) -> None:
    place = await make(volumes, MIB)
    assert await make(volumes, 3 * MIB) == place
    write(volume / place["subpath"] / "x", 2 * MIB)
    root = os.open(volume, os.O_RDONLY)
    try:
        groups = btrfs._groups(root)
        assert len(list(groups.glob("2977_*"))) == 1
        await volumes.calls["delete_folder"](place)
        await volumes.calls["delete_folder"](place)
        assert list((volume / ".vfolders").iterdir()) == []
        commit(volume, wait_for_deleted=True)
        btrfs.sweep(root)
        assert list(groups.glob("2977_*")) == []
    finally:
        os.close(root)


async def test_a_clone_has_a_limit_of_its_own(volumes: Volumes, volume: Path) -> None:
    place = await make(volumes, None)
    write(volume / place["subpath"] / "x", 4 * MIB)
    target = {**FOLDER, "subpath": ".vfolders/f2", "beside": None, "name": "copy", "scope": None}
    with pytest.raises(FileFault) as caught:
        await volumes.calls["clone_folder"]({"source": place, "target": {**target, "quota_bytes": 2 * MIB}})
    assert caught.value.reason.code == "quota-reached"
    made = await volumes.calls["clone_folder"]({"source": place, "target": {**target, "quota_bytes": 6 * MIB}})
    copy = volume / made["subpath"]
    assert (copy / "x").stat().st_size == 4 * MIB
    with no_room():
        write(copy / "y", 4 * MIB)


async def test_folders_of_one_owner_have_a_limit_together(volumes: Volumes, volume: Path) -> None:
    scope = scope_of("user:kim", 10 * MIB)
    one, two = [await make_in(volumes, name, scope) for name in ("f1", "f2")]
    other = await make_in(volumes, "f3", scope_of("user:lee", 10 * MIB))
    with acting_as(KIM):
        folder = os.open(volume / two["subpath"], os.O_RDONLY)
        fcntl.ioctl(folder, btrfs._SUBVOL_CREATE, bytearray(struct.pack("q4088s", 0, b"mine")))
        os.close(folder)
    write(volume / one["subpath"] / "x", 6 * MIB)
    with no_room():
        write(volume / two["subpath"] / "y", 6 * MIB)
    write(volume / other["subpath"] / "y", 6 * MIB)
    with no_room():
        write(volume / two["subpath"] / "mine" / "y", 6 * MIB)


async def test_a_full_scope_lets_folders_go_and_has_room_again(volumes: Volumes, volume: Path) -> None:
    scope = scope_of("user:kim", 8 * MIB)
    gone, given, left = [await make_in(volumes, name, scope) for name in ("f1", "f2", "f3")]
    for place in (gone, given):
        write(volume / place["subpath"] / "x", 3 * MIB)
    with no_room():
        write(volume / left["subpath"] / "x", 4 * MIB)
    await volumes.calls["delete_folder"](gone)
    await volumes.calls["give_folder"](
        {**given, "beside": None, "quota_bytes": None, "scope": scope_of("user:lee", 5 * MIB)}
    )
    commit(volume)
    write(volume / left["subpath"] / "x", 6 * MIB)
    with no_room():
        write(volume / given["subpath"] / "y", 4 * MIB)


async def test_a_full_folder_is_given_to_somebody_and_keeps_its_limit(volumes: Volumes, volume: Path) -> None:
    place = await make(volumes, 6 * MIB)
    files = volume / place["subpath"]
    for number in range(100):  # so that giving them takes room
        write(files / f"{number}", KIB)
    write(files / "x", 3 * MIB)
    await volumes.calls["limit_folder"]({**place, "quota_bytes": MIB})
    home = {"volume": "nas:data", "subpath": "lee"}
    (volume / "lee").mkdir()
    os.chown(volume / "lee", LEE.uid, LEE.gid)
    await volumes.calls["give_folder"]({**place, "beside": home, "quota_bytes": 2 * MIB, "scope": None})
    assert {file.stat().st_uid for file in (files, *files.iterdir())} == {LEE.uid}
    with no_room():
        write(files / "y", MIB, LEE)


async def test_folders_that_were_there_count_whatever_was_done_of_it_before(volumes: Volumes, volume: Path) -> None:
    """As when the agent was killed after each step of it, or the group was taken away."""
    one, two = [await make_in(volumes, name, None) for name in ("f1", "f2")]
    for place in (one, two):
        write(volume / place["subpath"] / "x", 4 * MIB)
    missing = {**FOLDER, "subpath": ".vfolders/gone/files"}
    scope = scope_of("user:kim", 10 * MIB, one, missing, two)
    root = os.open(volume, os.O_RDONLY)
    try:
        group = btrfs._scope_group("user:kim")
        fcntl.ioctl(root, btrfs._QGROUP_CREATE, struct.pack("QQ", 1, group))
        await gather(volumes, scope)
        with no_room():
            write(volume / one["subpath"] / "y", 4 * MIB)
        for place in (one, two):
            folder = os.open(volume / place["subpath"], os.O_RDONLY)
            btrfs.enter_scope(root, folder, None if place is one else "user:lee")
            os.close(folder)
        assert not (btrfs._groups(root) / f"{btrfs._SCOPE_LEVEL}_{group & 2**48 - 1}").exists()
    finally:
        os.close(root)
    for _ in range(2):
        await gather(volumes, scope)
        with no_room():
            write(volume / one["subpath"] / "y", 4 * MIB)
    await gather(volumes, scope_of("user:kim", 20 * MIB, one, two))
    write(volume / one["subpath"] / "y", 4 * MIB)
    await gather(volumes, scope_of("user:kim", None, one, two))
    write(volume / one["subpath"] / "z", 20 * MIB)


async def test_limits_below_what_is_used_are_set_and_raised_again(volumes: Volumes, volume: Path) -> None:
    one, two = [await make_in(volumes, name, None) for name in ("f1", "f2")]
    files = volume / one["subpath"]
    write(files / "x", 6 * MIB)
    for _ in range(2):
        await gather(volumes, scope_of("user:kim", None, {**one, "quota_bytes": 2 * MIB}, two))
        with no_room():
            write(files / "y", MIB)
        await gather(volumes, scope_of("user:kim", 3 * MIB, one, two))
        for place in (one, two):
            with no_room():
                write(volume / place["subpath"] / "y", MIB)
        await gather(volumes, scope_of("user:kim", 20 * MIB, {**one, "quota_bytes": 10 * MIB}, two))
        (files / "y").unlink(missing_ok=True)
        commit(volume)
        write(files / "y", 2 * MIB)
        with no_room():
            write(files / "z", 4 * MIB)
        for name in ("y", "z"):
            (files / name).unlink(missing_ok=True)
        commit(volume)


async def test_an_upload_over_what_all_may_hold_is_refused_with_figures_and_not_torn(
    volumes: Volumes, volume: Path
) -> None:
    one = await make_in(volumes, "f1", None)
    scope = scope_of("user:kim", 10 * MIB, one)
    two = await make_in(volumes, "f2", scope)
    write(volume / one["subpath"] / "x", 3 * MIB)
    asked = {**two, "kind": "upload", "name": "data", "upload_id": "u1", "path": "x", "offset": 0, "quota_bytes": None}
    pipe = Pipe(b"")
    await volumes.streams["upload"](pipe, {**asked, "size": 8 * MIB, "scope": scope})
    figures = {"limit": "10 MiB", "used": "3 MiB", "need": "8 MiB", "excess": "1 MiB"}
    told = {"folder": "All of kim", "file": "x", **figures}
    assert (pipe.told["error"]["code"], pipe.told["error"]["params"]) == ("quota-reached", told)
    await gather(volumes, scope)
    write(volume / one["subpath"] / "z", 4 * MIB)  # it is not told of: a session writes it meanwhile
    pipe = Pipe(bytes(6 * MIB), b"")
    await volumes.streams["upload"](pipe, {**asked, "size": 6 * MIB, "scope": {**scope, "others": []}})
    told = {"folder": "All of kim", "file": "x", "limit": "10 MiB"}
    assert (pipe.told["error"]["code"], pipe.told["error"]["params"]) == ("quota-full", told)
    assert list((volume / two["subpath"]).iterdir()) == []
    assert list((volume / ".vfolders" / "f2" / "uploads").iterdir()) == []


async def test_a_copy_counts_for_its_owner(volumes: Volumes, volume: Path) -> None:
    place = await make(volumes, None)
    write(volume / place["subpath"] / "x", 4 * MIB)
    target = {**FOLDER, "subpath": ".vfolders/f2", "beside": None, "name": "copy", "quota_bytes": None}
    made = await volumes.calls["clone_folder"](
        {"source": place, "target": {**target, "scope": scope_of("user:kim", 6 * MIB)}}
    )
    with no_room():
        write(volume / made["subpath"] / "y", 4 * MIB)


async def test_a_home_stays_where_the_manager_knows_it(volumes: Volumes, volume: Path) -> None:
    home = {"volume": "nas:data", "subpath": "users/kim"}
    assert await volumes.calls["make_folder"]({**home, "beside": None}) == {"subpath": "users/kim"}


async def test_a_plain_folder_promises_nothing(open_tmp: Path) -> None:
    root = os.open(open_tmp, os.O_RDONLY)
    try:
        assert not btrfs.keeps_limits(root)
    finally:
        os.close(root)
