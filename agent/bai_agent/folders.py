"""The folders of a kernel on the host: made, owned by the right user, checked, and deleted.

Owns the rule that no mount leaves its volume: each part of a subpath is opened below the one before, and no symlink is
followed. What was opened is remembered by device and inode, so a runtime can check what it really mounted.
"""

import os
import secrets
import shutil
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from bai_agent.runtimes import mounts
from bai_agent.runtimes.base import INSIDE_HOME, Folders, Identity, Mount, RuntimeFault
from bai_jupyter.common.errors import BaiError
from bai_jupyter.common.messages import FileWant, MountWant
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import format_size

DEVICES = "devices"
"""Beside ``run/`` and ``scratch/``, and not seen inside: what device plugins put down for a container."""

DEFAULT_UID = 1000
HOME = "home"  # the folder that each user has
LEAST_FREE_BYTES = 1024**2
_LINES_FOR_ONE = 20  # the last may be empty


class StillMounted(BaiError):
    """A folder that was to be deleted has a mount in it."""


def prepare(
    kernel_folder: Path, wanted: Sequence[MountWant], volumes: Mapping[str, Path], identity: Identity, agent: str
) -> Folders:
    """Make ``run/`` and ``scratch/`` and check all mounts. May be repeated.

    Raises ``RuntimeFault`` with ``mount-failed``. ``agent`` is the name users see in that sentence.
    """
    return lay_out(kernel_folder, tuple(resolve(want, volumes, agent) for want in wanted), identity, agent)


def lay_out(kernel_folder: Path, mounts: tuple[Mount, ...], identity: Identity, agent: str) -> Folders:
    """``prepare`` for mounts that were checked."""
    run, scratch = kernel_folder / "run", kernel_folder / "scratch"
    kernel_folder.chmod(0o711)
    for folder in (run, scratch):
        folder.mkdir(exist_ok=True)
        _give(folder, identity)
        folder.chmod(0o700)
    for mount in mounts:
        try:
            os.close(made_below(scratch, PurePosixPath(mount.target).relative_to(INSIDE_HOME), identity))
        except OSError as error:
            raise _mount_failed(mount.name, agent, error) from error
    return Folders(run, scratch, mounts, identity)


def resolve(want: MountWant, volumes: Mapping[str, Path], agent: str) -> Mount:
    """The host folder of a mount. Raises ``RuntimeFault`` if it is not a real folder inside its volume."""
    try:
        return _resolve(want, volumes)
    except (OSError, ValueError) as error:
        raise _mount_failed(want.name, agent, error) from error


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
        if want.name == HOME:
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


def last_line(run: Path, name: str) -> str:
    """The last line with text of ``run/<name>/log``, read as carefully as by ``tail_logs``."""
    try:
        parent = open_below(run, name)
    except OSError:
        return ""
    try:
        lines = _tail(parent, _LINES_FOR_ONE).splitlines()
    except OSError:
        return ""
    finally:
        os.close(parent)
    return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "")


def make_private(root: Path, name: str, file_name: str, content: bytes) -> None:
    """Make the folder ``name`` in ``root`` with one file; both belong to the owner of ``root``, closed to others.

    The session's user can write in ``root`` and exchange what was made a moment ago for a link to anything on the
    host, so what is made is opened without following links and everything else goes through the descriptor. Raises
    ``OSError`` if the folder is there already or was exchanged.
    """
    parent = open_below(root, "")
    try:
        owner = _owner_of(parent)
        os.mkdir(name, 0o700, dir_fd=parent)
        folder = open_owned(parent, name, owner)
    finally:
        os.close(parent)
    try:
        _write_new(folder, file_name, content, owner)
    finally:
        os.close(folder)


def replace_private(root: Path, name: str, content: bytes) -> None:
    """Write a file in ``root`` for its owner alone, all or nothing; as careful as ``make_private``."""
    parent = open_below(root, "")
    try:
        _replace(parent, name, content, _owner_of(parent), 0o600)
    finally:
        os.close(parent)


def read_small(root: Path, name: str, limit: int) -> bytes:
    """What a file in ``root`` holds; as careful as ``make_private``. Raises ``OSError`` also if it is larger."""
    parent = open_below(root, "")
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=parent)
    finally:
        os.close(parent)
    with os.fdopen(file, "rb") as reader:
        content = reader.read(limit + 1)
    if len(content) > limit:
        raise OSError(f"{name} holds more than {limit} bytes")
    return content


def put_file(root: Path, want: FileWant) -> None:
    """Write a file below ``root``, with the folders that it needs; as careful as ``make_private``.

    Raises ``OSError`` if something is in its way, ``ValueError`` for a path that leaves ``root`` or a wrong mode.
    """
    path = PurePosixPath(want.path)
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise ValueError(f"{want.path!r} is not below the home folder")
    current = open_below(root, "")
    try:
        owner = _owner_of(current)
        for part in path.parent.parts:
            with suppress(FileExistsError):
                os.mkdir(part, 0o700, dir_fd=current)
            below = open_owned(current, part, owner)
            os.close(current)
            current = below
        _replace(current, path.name, want.content.encode(), owner, int(want.mode, 8) & 0o777)
    finally:
        os.close(current)


def bind_private(root: Path, name: str) -> socket.socket:
    """A unix socket in ``root`` for its owner alone, in the place of an older one; as careful as ``make_private``."""
    parent = open_below(root, "")
    bound = socket.socket(socket.AF_UNIX)
    try:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=parent)
        bound.bind(f"/proc/self/fd/{parent}/{name}")  # binding follows no link at the end of a path
        if os.geteuid() == 0:
            owner = _owner_of(parent)
            os.chown(name, owner.uid, owner.gid, dir_fd=parent, follow_symlinks=False)
    except OSError:
        bound.close()
        raise
    finally:
        os.close(parent)
    return bound


def delete(kernel_folder: Path) -> None:
    """Delete ``run/``, ``scratch/`` and ``DEVICES``; what else lies there is not ours. Follows no symlink."""
    for name in ("run", "scratch", DEVICES):
        remove(kernel_folder / name)


def remove(folder: Path) -> None:
    """Delete a folder of ours with all that is in it; nothing if something is mounted there: that may be anybody's.

    Follows no symlink. Raises ``StillMounted``.
    """
    found = mounts.below(folder)
    if found:
        raise StillMounted(f"{folder} is not deleted: {', '.join(found)} is mounted there. Unmount it.")
    shutil.rmtree(folder, ignore_errors=True)


def disk_full(place: Path) -> Reason | None:
    """The sentence for it, if the disk that ``place`` lies on has no room left to work in."""
    disk = shutil.disk_usage(place)
    if disk.free >= LEAST_FREE_BYTES:
        return None
    used, limit = format_size(disk.total - disk.free), format_size(disk.total)
    return Reason.of("disk-full", path="The agent's disk", used=used, limit=limit)


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


def open_owned(parent: int, name: str, owner: Identity) -> int:
    """A descriptor of the folder ``name`` in ``parent``, given to ``owner``. Raises ``OSError`` for a link."""
    folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    _give(folder, owner)
    return folder


def made_below(scratch: Path, path: PurePosixPath, identity: Identity) -> int:
    """A descriptor of a folder in ``scratch``, which is made if it is not there.

    The user inside may have put links here in an earlier container: none is followed. Raises ``OSError``.
    """
    current = open_below(scratch, "")
    try:
        for part in path.parts:
            with suppress(FileExistsError):
                os.mkdir(part, dir_fd=current)
            below = open_owned(current, part, identity)
            os.close(current)
            current = below
    except OSError:
        os.close(current)
        raise
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


def _owner_of(folder: int) -> Identity:
    facts = os.fstat(folder)
    return Identity(facts.st_uid, facts.st_gid)


def _replace(folder: int, name: str, content: bytes, owner: Identity, mode: int) -> None:
    draft = f".{secrets.token_hex(8)}"
    try:
        _write_new(folder, draft, content, owner, mode)
        os.replace(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        with suppress(FileNotFoundError):
            os.unlink(draft, dir_fd=folder)
        raise


def _write_new(folder: int, name: str, content: bytes, owner: Identity, mode: int = 0o600) -> None:
    file = os.open(name, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600, dir_fd=folder)
    with os.fdopen(file, "wb") as writer:
        writer.write(content)
        _give(file, owner)
        os.fchmod(file, mode)


def _give(what: int | Path, identity: Identity) -> None:
    """``what`` is a descriptor, or a path in a folder that is ours alone."""
    if os.geteuid() == 0:
        os.chown(what, identity.uid, identity.gid)


def _mount_failed(name: str, agent: str, error: OSError | ValueError) -> RuntimeFault:
    cause = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return RuntimeFault(Reason.of("mount-failed", folder=name, agent=agent, cause=cause))
