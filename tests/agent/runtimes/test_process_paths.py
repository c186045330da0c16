"""Paths of a kernel without a container: what it is told in place of those inside, and links in its home."""

import os
from pathlib import Path

import pytest
from bai_agent.runtimes.base import Identity
from bai_agent.runtimes.process_paths import Translator, drop_alias, link, short_alias, unlink

ME = Identity(os.geteuid(), os.getegid())


@pytest.mark.parametrize(
    ("word", "translated"),
    [
        ("/home/work", "/state/k/scratch"),
        ("/home/work/a/b", "/state/k/scratch/a/b"),
        ("/home/worker", "/home/worker"),
        ("/home/work/data/x", "/srv/data/x"),
        ("/home/work/data2", "/state/k/scratch/data2"),
        ("--file=/run/bai/c.json", "--file=/r/c.json"),
        ("/bin:/home/work/bin", "/bin:/state/k/scratch/bin"),
        ("http+unix://%2Frun%2Fbai%2Fmanager.sock/x", "http+unix://%2Fr%2Fmanager.sock/x"),
        ("/home/work/agent/state/x", "/home/work/agent/state/x"),  # the agent's own, not a kernel's
        ("say /home/work", "say /home/work"),
    ],
)
def test_paths_inside_become_those_of_the_host(word: str, translated: str) -> None:
    targets = {"/home/work/data": "/srv/data"}
    translate = Translator("/r", "/state/k/scratch", targets, Path("/home/work/agent/state"))
    assert translate(word) == translated


def test_a_link_leads_to_a_folder_and_only_ours_is_taken_away(tmp_path: Path) -> None:
    home, one, two = tmp_path / "home", str(tmp_path / "one"), str(tmp_path / "two")
    (home / "data").mkdir(parents=True)  # empty: it gives way
    link(home, "/home/work/data", one, ME)
    link(home, "/home/work/data", one, ME)
    assert os.readlink(home / "data") == one
    with pytest.raises(FileExistsError):
        link(home, "/home/work/data", two, ME)
    unlink(home, "/home/work/data", two)
    assert (home / "data").is_symlink()
    unlink(home, "/home/work/data", one)
    assert not (home / "data").is_symlink()


def test_a_long_folder_gets_a_name_with_room_for_sockets(tmp_path: Path) -> None:
    short = Path("/srv/short/run")
    assert short_alias(short) == str(short)
    drop_alias(short)
    long = tmp_path / ("x" * 60) / "run"
    alias = Path(short_alias(long))
    assert alias.readlink() == long
    assert len(os.fsencode(alias)) <= 60
    drop_alias(alias)
    assert not alias.parent.exists()
