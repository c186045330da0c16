"""The folders of a kernel on the host: made, owned by the right user, checked, and deleted.

Owns the rule that no mount leaves its volume: each part of a subpath is opened below the one before, and no symlink is
followed. What was opened is remembered by device and inode, so a runtime can check what it really mounted.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from bai_agent.runtimes.base import INSIDE_HOME, Folders, Identity, Mount, RuntimeFault
from bai_jupyter.common.messages import MountWant
from bai_jupyter.common.reasons import Reason

DEFAULT_UID = 1000


def prepare(
    kernel_folder: Path, wanted: Sequence[MountWant], volumes: Mapping[str, Path], identity: Identity, agent: str
) -> Folders:
    """Make ``run/`` and ``scratch/`` and check all mounts. May be repeated.

    Raises ``RuntimeFault`` with ``mount-failed``. ``agent`` is the name users see in that sentence.
    """
    mounts = tuple(resolve(want, volumes, agent) for want in wanted)
    run, scratch = kernel_folder / "run", kernel_folder / "scratch"
    kernel_folder.chmod(0o711)
    for folder in (run, scratch):
        folder.mkdir(exist_ok=True)
        _give(folder, identity)
        folder.chmod(0o700)
    for mount in mounts:
        _make_mount_point(scratch, mount.target, identity)
    return Folders(run, scratch, mounts, identity)


def resolve(want: MountWant, volumes: Mapping[str, Path], agent: str) -> Mount:
    """The host folder of a mount. Raises ``RuntimeFault`` if it is not a real folder inside its volume."""
    try:
        return _resolve(want, volumes)
    except (OSError, ValueError) as error:
        cause = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise RuntimeFault(Reason.of("mount-failed", folder=want.name, agent=agent, cause=cause)) from error


def identity_for(
    mounts: Sequence[MountWant], volumes: Mapping[str, Path], forced: Identity | None, agent: str
) -> Identity:
    """Who processes inside are: the owner of the ``home`` folder, so that what they write is the user's own.

    A home that belongs to root is given to uid 1000: root never owns user files. An agent that is not root can only be
    itself.
    """
    if os.geteuid() != 0:
        return Identity(os.geteuid(), os.getegid())
    if forced is not None:
        return forced
    for want in mounts:
        if want.name == "home":
            return _owner_of_home(resolve(want, volumes, agent))
    return Identity(DEFAULT_UID, DEFAULT_UID)


def tail_logs(run: Path, lines: int) -> str:
    """The last lines of what processes inside printed (``run/*/log``). The user inside can write there: no links."""
    parts = []
    for path in sorted(run.glob("*/log")):
        try:
            parent = open_below(run, path.parent.name)
        except OSError:
            continue
        try:
            parts.append(_tail(parent, lines))
        except OSError:
            continue
        finally:
            os.close(parent)
    return "".join(parts)


def delete(kernel_folder: Path) -> None:
    """Delete ``run/`` and ``scratch/``; what else lies there is not ours to delete. Follows no symlink."""
    for name in ("run", "scratch"):
        shutil.rmtree(kernel_folder / name, ignore_errors=True)


def open_below(root: Path, subpath: str) -> int:
    """An O_PATH descriptor of the folder ``subpath`` below ``root``; no symlink on the way is followed.

    Raises ``ValueError`` for a subpath that leaves the root, ``OSError`` for what is missing, a file, or a symlink.
    """
    parts = PurePosixPath(subpath).parts
    if PurePosixPath(subpath).is_absolute() or ".." in parts:
        raise ValueError(f"{subpath!r} leaves its volume")
    current = os.open(root, os.O_PATH | os.O_DIRECTORY)
    for part in parts:
        try:
            below = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=current)
        finally:
            os.close(current)
        current = below
    return current


def _resolve(want: MountWant, volumes: Mapping[str, Path]) -> Mount:
    if want.volume not in volumes:
        raise ValueError(f"this agent has no volume {want.volume}; it has {', '.join(sorted(volumes)) or 'none'}")
    target = PurePosixPath(want.target)
    if PurePosixPath(INSIDE_HOME) not in target.parents or ".." in target.parts:
        raise ValueError(f"{want.target} is not below {INSIDE_HOME}")
    root = volumes[want.volume].resolve(strict=True)
    folder = open_below(root, want.subpath)
    try:
        facts = os.fstat(folder)
    finally:
        os.close(folder)
    return Mount(want.name, root / want.subpath, str(target), want.read_only, facts.st_dev, facts.st_ino)


def _tail(folder: int, lines: int) -> str:
    log = os.open("log", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    with os.fdopen(log, "rb") as file:
        file.seek(max(0, os.fstat(log).st_size - 256 * 1024))
        text = file.read().decode(errors="replace")
    return "".join(line + "\n" for line in text.splitlines()[-lines:])


def _owner_of_home(home: Mount) -> Identity:
    facts = home.source.stat()
    if facts.st_uid != 0:
        return Identity(facts.st_uid, facts.st_gid or facts.st_uid)
    identity = Identity(DEFAULT_UID, DEFAULT_UID)
    _give(home.source, identity)
    return identity


def _make_mount_point(scratch: Path, target: str, identity: Identity) -> None:
    folder = scratch
    for part in PurePosixPath(target).relative_to(INSIDE_HOME).parts:
        folder /= part
        if not folder.is_symlink():
            folder.mkdir(exist_ok=True)
            _give(folder, identity)


def _give(folder: Path, identity: Identity) -> None:
    if os.geteuid() == 0:
        os.chown(folder, identity.uid, identity.gid, follow_symlinks=False)
