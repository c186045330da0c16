"""Mounts in another mount namespace: as in a container, without an engine. Needs root."""

import errno
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from bai_agent.runtimes import mounts
from bai_agent.runtimes.base import Mount

HOME = "/home/work"


@pytest.fixture(autouse=True)
def _is_root(missing: Any) -> None:
    if mounts.why_not():
        missing("root", mounts.why_not())


@contextmanager
def namespace(script: str = f"mount -t tmpfs none /home && mkdir {HOME} && chown 1000:1000 {HOME}") -> Iterator[int]:
    """The pid of an idle process in a mount namespace of its own, with an empty home."""
    process = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", f"{script} && echo ready && exec sleep infinity"], stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process.pid
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def inside() -> Iterator[int]:
    with namespace() as pid:
        yield pid


def folder(path: Path, name: str = "data", *, read_only: bool = False) -> Mount:
    path.mkdir(exist_ok=True)
    (path / "file").write_text(path.name)
    facts = path.stat()
    return Mount(name, path, f"{HOME}/{name}", read_only, facts.st_dev, facts.st_ino)


def change(pid: int, gone: list[str], new: list[Mount], *, lazily: bool = True, empty: bool = False) -> dict[str, int]:
    with open(f"/proc/{pid}/ns/mnt") as file:
        return mounts.change(file.fileno(), gone, new, lazily=lazily, must_be_empty=empty)


def sh(pid: int, script: str) -> tuple[int, str]:
    """In that namespace, as root."""
    done = subprocess.run(["nsenter", "-t", str(pid), "-m", "sh", "-c", script], capture_output=True, check=False)
    return done.returncode, (done.stdout + done.stderr).decode()


def test_a_folder_comes_and_goes_there_and_not_here(inside: int, tmp_path: Path) -> None:
    data = folder(tmp_path / "a")
    assert change(inside, [], [data]) == {}
    assert [(seen.target, seen.read_only) for seen in mounts.in_home(inside)] == [(data.target, False)]
    assert mounts.sees(inside, data)
    assert sh(inside, f"cat {HOME}/data/file; echo new > {HOME}/data/fresh") == (0, "a")
    assert (tmp_path / "a" / "fresh").read_text() == "new\n"
    assert not Path(data.target).exists()
    assert not any(HOME in seen.target or str(tmp_path) in seen.target for seen in mounts.of("self"))
    assert change(inside, [data.target], []) == {}
    assert mounts.in_home(inside) == []
    # The place goes too: what is written to it later must not end where nobody looks for it.
    assert sh(inside, f"echo lost > {HOME}/data/file")[0] != 0
    assert (tmp_path / "a" / "file").read_text() == "a"


def test_places_are_made_for_the_owner_of_the_home(inside: int, tmp_path: Path) -> None:
    deep = Mount("data", tmp_path, f"{HOME}/deep/er", read_only=False, **_facts(tmp_path))
    assert change(inside, [], [deep]) == {}
    assert sh(inside, f"stat -c %u {HOME}/deep") == (0, "1000\n")


def test_read_only_is_so_for_root_as_well(inside: int, tmp_path: Path) -> None:
    data = folder(tmp_path / "a", read_only=True)
    assert change(inside, [], [data]) == {}
    code, output = sh(inside, f"touch {HOME}/data/x")
    assert (code != 0, "Read-only" in output) == (True, True)
    assert not mounts.sees(inside, folder(tmp_path / "a"))
    options = sh(inside, f"grep {HOME}/data /proc/self/mountinfo")[1].split()[5].split(",")
    assert {"ro", "nosuid", "nodev"} <= set(options)


def test_what_is_mounted_in_it_afterwards_does_not_follow(tmp_path: Path) -> None:
    """The copy is private: neither side sees what the other mounts later. Both are in a namespace of their own here."""
    data = folder(tmp_path / "a")
    (tmp_path / "a" / "below").mkdir()
    script = "mount --make-rshared / && mount -t tmpfs none /home && mkdir /home/work"
    with namespace(script) as other:
        assert change(other, [], [data]) == {}
        assert sh(other, f"mount -t tmpfs none {HOME}/data/below")[0] == 0
        assert mounts.below(tmp_path) == []


def test_a_folder_is_not_put_over_files(inside: int, tmp_path: Path) -> None:
    data = folder(tmp_path / "a")
    sh(inside, f"mkdir {HOME}/data; touch {HOME}/data/mine")
    assert change(inside, [], [data], empty=True) == {data.target: errno.ENOTEMPTY}
    assert mounts.in_home(inside) == []
    assert change(inside, [], [data]) == {}


@pytest.mark.parametrize("link", ["data", "deep"])
def test_no_link_is_followed(inside: int, tmp_path: Path, link: str) -> None:
    target = f"{HOME}/data" if link == "data" else f"{HOME}/deep/data"
    sh(inside, f"ln -s /tmp {HOME}/{link}")
    data = Mount("data", tmp_path, target, read_only=False, **_facts(tmp_path))
    assert change(inside, [], [data])[target] in (errno.ELOOP, errno.ENOTDIR)
    assert not any(seen.target.endswith("/data") for seen in mounts.of(inside))


def test_a_folder_exchanged_after_it_was_checked_is_noticed(inside: int, tmp_path: Path) -> None:
    for make in (lambda path: path.symlink_to("/etc"), lambda path: path.mkdir()):
        data = folder(tmp_path / "a")
        (tmp_path / "a").rename(tmp_path / f"old-{data.inode}")
        make(tmp_path / "a")
        assert change(inside, [], [data])[data.target] in (errno.ESTALE, errno.ENOTDIR, errno.ELOOP)
        (tmp_path / "a").rename(tmp_path / f"other-{data.inode}")
    assert mounts.in_home(inside) == []


USES = {
    "open file": "exec 3<{data}/file; echo ready; exec sleep infinity",
    "current folder": "cd {data}; echo ready; exec sleep infinity",
    "program": "cp $(command -v sleep) {data}/sleep; (echo ready); exec {data}/sleep infinity",
}


@pytest.mark.parametrize("use", USES)
def test_one_in_use_stays_and_who_uses_it_is_named(inside: int, tmp_path: Path, use: str) -> None:
    data = folder(tmp_path / "a")
    assert change(inside, [], [data]) == {}
    script = USES[use].format(data=data.target)
    user = subprocess.Popen(["nsenter", "-t", str(inside), "-m", "sh", "-c", script], stdout=subprocess.PIPE)
    try:
        assert user.stdout is not None
        assert user.stdout.readline() == b"ready\n"
        while not Path(f"/proc/{user.pid}/exe").readlink().name.endswith("sleep"):
            time.sleep(0.01)  # ``exec`` is on its way
        (seen,) = mounts.in_home(inside)
        assert change(inside, [data.target], [], lazily=False) == {data.target: errno.EBUSY}
        assert mounts.in_home(inside) == [seen]
        assert mounts.holders([inside, user.pid], {seen.number}) == {user.pid: "sleep"}
        assert change(inside, [data.target], []) == {}
        assert mounts.in_home(inside) == []
        assert mounts.holders([inside, user.pid], {seen.number}) == {user.pid: "sleep"}  # it has it still, and is found
    finally:
        user.kill()
        user.communicate()
    assert mounts.holders([inside, user.pid], {seen.number}) == {}


def test_a_place_with_a_strange_name(inside: int, tmp_path: Path) -> None:
    data = folder(tmp_path / "a", name="my data \\ ä\n")
    assert change(inside, [], [data]) == {}
    assert [seen.target for seen in mounts.in_home(inside)] == [data.target]
    assert change(inside, [data.target], []) == {}


def test_nothing_is_deleted_where_something_is_mounted(tmp_path: Path) -> None:
    """Nobody mounts there. If somebody did, it would be a user's folder."""
    kernel, precious = tmp_path / "kernels" / "demo", tmp_path / "precious"
    (kernel / "scratch" / "data").mkdir(parents=True)
    precious.mkdir()
    (precious / "file").write_text("kept")
    program = f"""
import subprocess
from pathlib import Path
from bai_agent import folders
from bai_agent.state import StateFolder
kernel = Path({str(kernel)!r})
subprocess.run(["mount", "--bind", {str(precious)!r}, kernel / "scratch/data"], check=True)
for delete in (lambda: folders.delete(kernel), lambda: StateFolder(kernel.parent.parent).drop("demo")):
    try:
        delete()
    except folders.StillMounted as error:
        print(error)
subprocess.run(["umount", kernel / "scratch/data"], check=True)
folders.delete(kernel)
"""
    done = subprocess.run(
        ["unshare", "--mount", sys.executable, "-c", program], capture_output=True, check=True, text=True
    )
    assert done.stdout.splitlines() == [
        f"{place} is not deleted: {kernel}/scratch/data is mounted there. Unmount it."
        for place in (f"{kernel}/scratch", kernel)
    ]
    assert (precious / "file").read_text() == "kept"
    assert not (kernel / "scratch").exists()


def _facts(path: Path) -> dict[str, int]:
    facts = path.stat()
    return {"device": facts.st_dev, "inode": facts.st_ino}
