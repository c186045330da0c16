"""What is installed in a home folder, packed into an image's file and unpacked again; and trees that mean harm."""

import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bai_agent.runtimes import packages

from bai_jupyter.common.messages import KernelSpecFacts

SITE = "lib/python3.11/site-packages"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    (home / ".local" / SITE).mkdir(parents=True)
    return home


@pytest.fixture
def place(tmp_path: Path) -> Path:
    place = tmp_path / "state"
    place.mkdir()
    return place


def members_of(packed: Any) -> dict[str, tarfile.TarInfo]:
    """What the image's file holds."""
    with packed as file, tarfile.open(fileobj=file) as outer:
        folder, archive = outer.getmembers()
        assert (folder.name, folder.mode, archive.name, archive.mode) == (
            "opt/bai",
            0o755,
            "opt/bai/packages.tar",
            0o644,
        )
        held = outer.extractfile(archive)
        assert held is not None
        with tarfile.open(fileobj=io.BytesIO(held.read())) as inner:
            return {one.name: one for one in inner.getmembers()}


def packed_members(home: Path, place: Path) -> tuple[dict[str, tarfile.TarInfo], list[str]]:
    found = packages.pack(home, place)
    assert found is not None
    return members_of(found[0]), found[1]


def test_packages_and_nothing_else_are_packed(home: Path, place: Path) -> None:
    local = home / ".local"
    kernel, secret = local / "share/jupyter/kernels/mine/kernel.json", local / "share/jupyter/notebook_secret"
    for path in (
        local / SITE / "one.py",
        local / "bin/one",
        kernel,
        secret,
        local / "share/keyrings/key",
        home / ".ssh/id",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("content")
    (local / "bin/one").chmod(0o755)
    members, parts = packed_members(home, place)
    assert parts == ["share/jupyter/kernels", "bin", "lib"]
    files = {name for name, one in members.items() if one.isfile()}
    assert files == {"bin/one", f"{SITE}/one.py", "share/jupyter/kernels/mine/kernel.json"}
    assert (members["bin/one"].mode, members["bin/one"].uid, members["bin/one"].uname) == (0o755, 0, "")
    assert members[f"{SITE}/one.py"].mtime == int((local / SITE / "one.py").stat().st_mtime)
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("has", ["nothing", "mount points", "a link", "links"])
def test_where_nothing_is_installed_nothing_is_packed(home: Path, place: Path, tmp_path: Path, has: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / SITE).mkdir(parents=True)
    (elsewhere / SITE / "theirs.py").write_text("secret")
    if has != "mount points":
        shutil.rmtree(home / ".local")
    if has == "a link":
        (home / ".local").symlink_to(elsewhere)
    if has == "links":
        (home / ".local").mkdir()
        (home / ".local/lib").symlink_to(elsewhere / "lib")
    assert packages.pack(home, place) is None
    assert list(place.iterdir()) == []


def test_a_hostile_tree_is_packed_as_what_it_is(home: Path, place: Path) -> None:
    site = home / ".local" / SITE
    (site / "etc").symlink_to("/etc")
    (site / "loop").symlink_to(".")
    os.mkfifo(site / "pipe")
    (site / "root").write_text("#!/bin/sh")
    (site / "root").chmod(0o6755)
    name = os.fsencode(site) + b"/\xff" + b"x" * 200
    Path(os.fsdecode(name)).write_text("a name that is not text, and too long for old archives")
    members, _ = packed_members(home, place)
    assert (members[f"{SITE}/etc"].issym(), members[f"{SITE}/etc"].linkname) == (True, "/etc")
    assert not [one for one in members if one.startswith((f"{SITE}/etc/", f"{SITE}/loop/"))]
    assert f"{SITE}/pipe" not in members
    assert members[f"{SITE}/root"].mode == 0o755
    assert f"{SITE}/{os.fsdecode(os.path.basename(name))}" in members


def test_what_is_too_much_is_refused_before_it_is_read(home: Path, place: Path) -> None:
    with (home / ".local" / SITE / "huge").open("wb") as file:
        file.truncate(2**43)
    with pytest.raises(OSError, match=r"~/\.local has more than .* a quarter of the .* that are free"):
        packages.pack(home, place)
    assert list(place.iterdir()) == []


def test_folders_within_each_other_have_an_end(home: Path, place: Path) -> None:
    deep = home / ".local/lib" / "/".join("a" * 100)
    deep.mkdir(parents=True)
    with pytest.raises(OSError, match="more than 64 folders within each other"):
        packages.pack(home, place)


def test_so_many_files_and_no_more(home: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "_MOST_ENTRIES", 3)
    for name in "abc":
        (home / ".local" / SITE / name).touch()
    with pytest.raises(OSError, match="more than 3 files"):
        packages.pack(home, place)


def test_only_parts_that_are_known_are_believed() -> None:
    assert packages.parts_of({}) == []
    assert packages.parts_of({packages.LABEL: "lib ; ../.ssh $(id) bin"}) == ["lib", "bin"]


@pytest.mark.parametrize(
    ("mounted", "names"),
    [
        ((), "bin lib"),
        (("/home/work/home", "/home/work/.local-old"), "bin lib"),
        (("/home/work/.local/lib/python3.11",), "bin"),
        (("/home/work/.local",), None),
    ],
)
def test_nothing_is_unpacked_into_a_mounted_folder(mounted: tuple[str, ...], names: str | None) -> None:
    script = packages.unpacking(["bin", "lib"], mounted)
    assert (script is None) if names is None else f"packages.tar {names} ||" in str(script)


def test_kernelspecs_are_found_among_them(home: Path, place: Path) -> None:
    """But for those whose program is not there in a session, and what is none; more is not read than is needed."""
    programs = {
        "Mine": "/opt/venv/bin/python",
        "own": f"{packages.PLACE}/bin/calc",
        "venv": "/home/work/venv/bin/python",
    }
    for name, program in programs.items():
        spec = home / ".local/share/jupyter/kernels" / name / "kernel.json"
        spec.parent.mkdir(parents=True)
        spec.write_text(json.dumps({"argv": [program, "{resource_dir}/run"], "display_name": f"{name} of mine"}))
    (home / ".local/share/jupyter/kernels/broken").mkdir()
    (home / ".local/share/jupyter/kernels/broken/kernel.json").write_text("{")
    (home / ".local" / SITE / "large").write_bytes(bytes(1 << 20))
    assert [spec.name for spec in specs_of(home, place)] == ["mine", "own"]
    (found, _) = specs_of(home, place)
    assert (found.display_name, found.metadata) == (
        "Mine of mine",
        {"resource_dir": f"{packages.PLACE}/share/jupyter/kernels/Mine"},
    )
    shutil.rmtree(home / ".local/share")
    assert specs_of(home, place) == []
    assert packages.kernelspecs(iter([])) == packages.kernelspecs(iter([b"no tar file at all" * 1000])) == []


def specs_of(home: Path, place: Path) -> list[KernelSpecFacts]:
    """Of an image that has them, as an engine hands out its file."""
    found = packages.pack(home, place)
    assert found is not None
    with found[0] as packed, tarfile.open(fileobj=packed) as outer:
        held = outer.extractfile(packages.ARCHIVE[1:])
        assert held is not None
        handed = io.BytesIO()
        with tarfile.open(fileobj=handed, mode="w") as tar:
            info = tarfile.TarInfo("packages.tar")
            content = held.read()
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    read = 0

    def pieces() -> Iterator[bytes]:
        nonlocal read
        handed.seek(0)
        while piece := handed.read(5000):
            read += len(piece)
            yield piece

    specs = packages.kernelspecs(pieces())
    assert read < 200_000
    return specs


def test_without_tar_it_says_so(tmp_path: Path) -> None:
    script = packages.unpacking(["bin"], ())
    assert script is not None
    environ = {"PATH": str(tmp_path)}
    assert subprocess.run(["/bin/sh", "-c", script], env=environ, check=False).returncode == packages.NO_TAR


@pytest.mark.parametrize("program", ["tar", "busybox"])
def test_it_is_unpacked_once_and_over_nothing(
    home: Path, place: Path, tmp_path: Path, program: str, missing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same script, on folders of this host."""
    if shutil.which(program) is None:
        missing(program, f"there is no {program}")
    if program == "busybox":
        tools = tmp_path / "tools"
        tools.mkdir()
        for applet in ("tar", "mkdir", "rm"):
            (tools / applet).symlink_to(str(shutil.which("busybox")))
        monkeypatch.setenv("PATH", str(tools))
    for name in ("declared", "tool"):
        path = home / ".local/bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("saved")
    found = packages.pack(home, place)
    assert found is not None
    with found[0] as packed, tarfile.open(fileobj=packed) as outer:
        outer.extractall(tmp_path / "image", filter="data")
    inside = tmp_path / "inside"
    (inside / ".local/bin").mkdir(parents=True)
    (inside / ".local/bin/declared").write_text("a dotfile")

    script = packages.unpacking(["bin"], ())
    assert script is not None
    for there, here in (
        ("/opt/bai", tmp_path / "image/opt/bai"),
        ("/home/work", inside),
        ("/run/bai", tmp_path),
    ):
        script = script.replace(there, str(here))

    def unpack() -> subprocess.CompletedProcess[str]:
        return subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=False)

    assert (unpack().returncode, (inside / ".local/bin/tool").read_text()) == (0, "saved")
    assert (inside / ".local/bin/declared").read_text() == "a dotfile"
    (inside / ".local/bin/tool").unlink()  # as pip uninstall
    assert (unpack().returncode, (inside / ".local/bin/tool").exists()) == (0, False)

    (tmp_path / "packages-unpacked").unlink()
    (tmp_path / "image/opt/bai/packages.tar").unlink()
    failed = unpack()
    assert failed.returncode != 0
    assert "packages.tar" in failed.stdout
    assert not (tmp_path / "packages-unpacked").exists()
