"""Become another user and run a program: ``python -m bai_jupyter.cli.as_user UID GID [--show DIR]… -- PROGRAM ARG…``.

For servers started by root whose files must belong to somebody else. Where that user cannot reach a folder that the
program needs (a Python below ``/root``), this process gets a view of the file system of its own, in which the closed
folder holds nothing but the way to the needed ones. What else lies in the closed folder is not to be seen.
"""

import ctypes
import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

_CLONE_NEWNS = 0x00020000
_MS_BIND, _MS_REC, _MS_SLAVE = 4096, 16384, 1 << 19
_MS_NOSUID, _MS_NODEV = 2, 4


def closed_folder(path: Path, uid: int, gid: int) -> Path | None:
    """The first folder on the way to ``path`` (itself included) that this user may not pass through, or ``None``."""
    for folder in (*reversed(path.parents), path):
        facts = folder.stat()
        if facts.st_uid == uid:
            may_pass = facts.st_mode & stat.S_IXUSR
        elif facts.st_gid == gid:
            may_pass = facts.st_mode & stat.S_IXGRP
        else:
            may_pass = facts.st_mode & stat.S_IXOTH
        if not may_pass:
            return folder
    return None


def needed_folders() -> list[Path]:
    """Where this Python and its packages are: real folders, without those inside another one."""
    named = [sys.prefix, sys.base_prefix, sys.exec_prefix, *(entry for entry in sys.path if entry)]
    folders = {Path(name).resolve() for name in named if Path(name).is_dir()}
    return sorted(folder for folder in folders if not folders.intersection(folder.parents))


def show_only(closed: Path, needed: Sequence[Path]) -> None:
    """In a view of our own, cover ``closed`` with an empty folder and put the ``needed`` ones back in their places."""
    handles = [(path, os.open(path, os.O_PATH | os.O_DIRECTORY)) for path in needed]
    _mount("none", closed, "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=0755,size=1m")
    for path, handle in handles:
        path.mkdir(parents=True, exist_ok=True)
        _mount(f"/proc/self/fd/{handle}", path, None, _MS_BIND | _MS_REC)
        os.close(handle)


def open_the_way(folders: Sequence[Path], uid: int, gid: int) -> None:
    """Make every folder reachable for this user. Raises ``OSError`` if the system does not let us."""
    by_closed: dict[Path, list[Path]] = {}
    for folder in folders:
        if (closed := closed_folder(folder, uid, gid)) is not None:
            if closed == folder:
                raise PermissionError(f"uid {uid} may not enter {folder}")
            by_closed.setdefault(closed, []).append(folder)
    if not by_closed:
        return
    _unshare()
    for closed, needed in by_closed.items():
        show_only(closed, needed)
    for needed in by_closed.values():
        if any(closed_folder(folder, uid, gid) for folder in needed):
            raise PermissionError(f"uid {uid} cannot reach {', '.join(map(str, needed))}")


def become(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def main(argv: Sequence[str]) -> int:
    split = argv.index("--")
    uid, gid = int(argv[0]), int(argv[1])
    shown = [Path(path).resolve() for path in argv[3:split:2]]
    program = argv[split + 1 :]
    try:
        open_the_way([*needed_folders(), *shown], uid, gid)
    except OSError as error:
        print(
            f"User {uid} cannot reach this Python environment ({sys.prefix}): {error}. "
            "Install bai_jupyter where all users may read it (not below /root), or run as that user.",
            file=sys.stderr,
        )
        return 1
    become(uid, gid)
    os.chdir("/")
    os.execv(program[0], list(program))  # noqa: S606
    return 0


def _unshare() -> None:
    _check(_libc().unshare(_CLONE_NEWNS), "a file system view of its own is refused")
    _mount("none", Path("/"), None, _MS_REC | _MS_SLAVE)


def _mount(source: str, target: Path, kind: str | None, flags: int, data: str | None = None) -> None:
    encoded = [None if text is None else os.fsencode(text) for text in (source, str(target), kind)]
    result = _libc().mount(*encoded, ctypes.c_ulong(flags), None if data is None else data.encode())
    _check(result, f"cannot mount at {target}")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
