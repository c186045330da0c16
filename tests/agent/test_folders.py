"""Folders of a kernel: no mount leaves its volume, and the right user owns what is made."""

import os
from pathlib import Path

import pytest
from bai_agent import folders
from bai_agent.runtimes.base import Identity, RuntimeFault

from bai_jupyter.common.messages import FileWant, MountWant

ME = Identity(os.geteuid() or 1000, os.getegid() or 1000)


def want(subpath: str, name: str = "data", target: str = "/home/work/data", volume: str = "local:home") -> MountWant:
    return MountWant(name, volume, subpath, target, False)


@pytest.fixture
def volumes(tmp_path: Path) -> dict[str, Path]:
    volume = tmp_path / "volume"
    (volume / "u1" / "deep").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (volume / "leak").symlink_to(tmp_path / "outside")
    (volume / "u1" / "inner").symlink_to(volume / "u1" / "deep")
    (volume / "file").write_text("x")
    return {"local:home": volume}


def test_a_folder_of_the_volume_is_found(volumes: dict[str, Path]) -> None:
    mount = folders.resolve(want("u1/deep"), volumes, "lab-1")
    facts = (volumes["local:home"] / "u1" / "deep").stat()
    assert (mount.device, mount.inode) == (facts.st_dev, facts.st_ino)
    assert folders.resolve(want(""), volumes, "lab-1").source == volumes["local:home"]


@pytest.mark.parametrize(
    "bad",
    ["leak", "leak/x", "u1/../../outside", "..", "/etc", "u1/inner", "missing", "file"],
)
def test_no_way_leads_out_of_the_volume(volumes: dict[str, Path], bad: str) -> None:
    with pytest.raises(RuntimeFault, match="Folder data could not be mounted on lab-1") as caught:
        folders.resolve(want(bad), volumes, "lab-1")
    assert caught.value.reason.code == "mount-failed"


@pytest.mark.parametrize("target", ["/etc", "/home/work", "/home/work/../../etc", "relative"])
def test_nothing_is_mounted_outside_the_home_folder(volumes: dict[str, Path], target: str) -> None:
    with pytest.raises(RuntimeFault, match="is not below /home/work"):
        folders.resolve(want("u1", target=target), volumes, "lab-1")


def test_an_unknown_volume_is_named_with_the_known_ones(volumes: dict[str, Path]) -> None:
    with pytest.raises(RuntimeFault, match="has no volume nas:big; it has local:home"):
        folders.resolve(want("u1", volume="nas:big"), volumes, "lab-1")


def test_prepare_makes_closed_folders_of_the_user(volumes: dict[str, Path], tmp_path: Path) -> None:
    place = tmp_path / "kernel"
    place.mkdir()
    for _ in range(2):  # may be repeated
        made = folders.prepare(place, [want("u1", target="/home/work/a/b")], volumes, ME, "lab-1")
    for folder in (made.run, made.scratch, made.scratch / "a" / "b"):
        assert folder.stat().st_uid == ME.uid
    assert made.run.stat().st_mode & 0o077 == 0


def _exchanged_for_a_link(monkeypatch: pytest.MonkeyPatch, outside: Path) -> None:
    """As soon as a folder is made, its user puts a link in its place."""
    mkdir = os.mkdir

    def make_and_exchange(name: str, mode: int = 0o777, *, dir_fd: int) -> None:
        mkdir(name, mode, dir_fd=dir_fd)
        os.rename(name, f"{name}.old", src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
        os.symlink(outside, name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "mkdir", make_and_exchange)


def test_a_folder_exchanged_while_it_is_made_gives_nothing_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, outside = tmp_path / "run", tmp_path / "outside"
    run.mkdir()
    outside.mkdir()
    os.chown(run, ME.uid, ME.gid)
    before = outside.stat()
    folders.make_private(run, "good", "connection.json", b"key")
    assert (run / "good" / "connection.json").read_bytes() == b"key"
    for made, mode in ((run / "good", 0o700), (run / "good" / "connection.json", 0o600)):
        assert (made.stat().st_uid, made.stat().st_mode & 0o777) == (ME.uid, mode)
    _exchanged_for_a_link(monkeypatch, outside)
    with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
        folders.make_private(run, "bad", "connection.json", b"key")
    assert (outside.stat().st_uid, list(outside.iterdir())) == (before.st_uid, [])


def test_a_mount_point_is_not_made_through_a_link(volumes: dict[str, Path], tmp_path: Path) -> None:
    place, outside = tmp_path / "kernel", tmp_path / "outside"
    (place / "scratch").mkdir(parents=True)
    (outside / "deep").mkdir()
    before = (outside / "deep").stat()
    (place / "scratch" / "a").symlink_to(outside)
    for target in ("/home/work/a/deep", "/home/work/a/new"):
        with pytest.raises(RuntimeFault, match="Folder data could not be mounted on lab-1"):
            folders.prepare(place, [want("u1", target=target)], volumes, ME, "lab-1")
    assert [path.name for path in outside.iterdir()] == ["deep"]
    assert (outside / "deep").stat().st_uid == before.st_uid


def test_the_last_line_is_not_read_through_a_link(tmp_path: Path) -> None:
    run, outside = tmp_path / "run", tmp_path / "outside"
    for folder in (run / "good", run / "bad", outside):
        folder.mkdir(parents=True)
        (folder / "log").write_text("first\nof the log\n\n")
    (run / "bad" / "log").unlink()
    (run / "bad" / "log").symlink_to(outside / "log")
    (run / "worse").symlink_to(outside)
    assert [folders.last_line(run, name) for name in ("good", "bad", "worse", "none")] == ["of the log", "", "", ""]


@pytest.mark.skipif(os.geteuid() != 0, reason="gives folders away, which takes root")
def test_processes_are_whoever_owns_home_and_never_root(volumes: dict[str, Path]) -> None:
    home = volumes["local:home"] / "u1"
    mounts = [want("u1", name="home", target="/home/work/home")]
    os.chown(home, 0, 0)
    assert folders.identity_for(mounts, volumes, None, "lab-1") == Identity(1000, 1000)
    assert home.stat().st_uid == 1000
    os.chown(home, 1234, 55)
    assert folders.identity_for(mounts, volumes, None, "lab-1") == Identity(1234, 55)
    assert folders.identity_for([], volumes, None, "lab-1") == Identity(1000, 1000)
    assert folders.identity_for(mounts, volumes, Identity(7, 7), "lab-1") == Identity(7, 7)


def test_logs_are_read_but_links_in_them_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("root's\n")
    run = tmp_path / "run"
    for name in ("a-1", "b-1"):
        (run / name).mkdir(parents=True)
    (run / "a-1" / "log").write_text("one\ntwo\nthree\n")
    (run / "b-1" / "log").symlink_to(tmp_path / "secret")
    (run / "c-1").symlink_to(tmp_path)
    (tmp_path / "log").write_text("also root's\n")
    assert folders.tail_logs(run, 2) == "two\nthree\n"


def test_delete_leaves_what_a_link_points_to(volumes: dict[str, Path], tmp_path: Path) -> None:
    place = tmp_path / "kernel"
    place.mkdir()
    made = folders.prepare(place, [], volumes, ME, "lab-1")
    (made.scratch / "link").symlink_to(volumes["local:home"])
    (place / "state.json").write_text("{}")
    folders.delete(place)
    assert sorted(path.name for path in place.iterdir()) == ["state.json"]
    assert (volumes["local:home"] / "u1").exists()


def test_a_file_is_put_where_it_belongs(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    os.chown(tmp_path, ME.uid, ME.gid)
    for path, mode in ((".config/tool/rc", "600"), ("old", "755")):
        folders.put_file(tmp_path, FileWant(path, mode, "new\n"))
        facts = (tmp_path / path).stat()
        assert (tmp_path / path).read_text() == "new\n"
        assert (f"{facts.st_mode & 0o7777:o}", facts.st_uid) == (mode, ME.uid)
    assert (tmp_path / ".config").stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in tmp_path.iterdir()) == [".config", "old"]


@pytest.mark.parametrize("path", ["/etc/cron.d/x", "../x", "a/../../x", "", "leak/x", "full/x/y", "full"])
def test_no_file_is_put_elsewhere(tmp_path: Path, path: str) -> None:
    home, outside = tmp_path / "home", tmp_path / "outside"
    for folder in (home, outside, home / "full" / "more"):
        folder.mkdir(parents=True)
    (home / "leak").symlink_to(outside)
    (home / "full" / "x").write_text("a file")
    with pytest.raises((OSError, ValueError)):
        folders.put_file(home, FileWant(path, "644", "x"))
    assert list(outside.iterdir()) == []
    assert sorted(one.name for one in home.rglob("*")) == ["full", "leak", "more", "x"]


def test_a_link_in_the_place_of_a_file_is_replaced_and_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("kept")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "rc").symlink_to(secret)
    folders.put_file(tmp_path / "home", FileWant("rc", "644", "x"))
    assert secret.read_text() == "kept"
    assert not (tmp_path / "home" / "rc").is_symlink()
