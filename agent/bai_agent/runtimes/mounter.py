"""A program: take folders away from a container that runs, and put others there.

    python -I -S mounter.py JOB     writes {target: errno} of what could not be done

Both as ``marshal`` has it, JOB in hexadecimal: a session's start waits for this program, and little of what it needs
takes as long as importing ``json`` or ``contextlib``. JOB is: ``namespace`` (a descriptor of the container's mount
namespace), ``gone`` (targets), ``lazily`` (also what is in use), ``new`` ([[target, descriptor of the folder,
read_only]]), ``home`` (targets lie below it; who owns it owns the places that are made), ``must_be_empty`` (no folder
is put over files).

It is a process of its own because in the container's mount namespace every path is its user's: nothing is imported and
nothing of this host is named there. Folders come as descriptors, and no link is followed. What is mounted exists in
that namespace alone, so nothing of it can stay behind on this host, and nothing here that deletes can reach into it.
"""

import ctypes
import errno
import marshal
import os
import sys

_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442  # the same numbers on all machines that we run on
_AT_EMPTY_PATH, _AT_RECURSIVE, _CLONE, _CLOEXEC = 0x1000, 0x8000, 1, os.O_CLOEXEC
_FROM_DESCRIPTOR, _TO_DESCRIPTOR = 0x4, 0x40  # MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH
_READ_ONLY, _NO_SUID, _NO_DEV, _PRIVATE = 1, 2, 4, 1 << 18
_NEW_MOUNTS = 0x20000  # CLONE_NEWNS
_LAZILY, _NO_FOLLOW = 2, 8  # MNT_DETACH, UMOUNT_NOFOLLOW
_EMPTY = ctypes.c_char_p(b"")

_libc = ctypes.CDLL(None, use_errno=True)


class _Attributes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "user_namespace")]


def clone(folder: int, *, read_only: bool) -> int:
    """A descriptor of a mount of that folder that is attached nowhere yet. Raises ``OSError``."""
    flags = _CLONE | _CLOEXEC | _AT_EMPTY_PATH | _AT_RECURSIVE
    tree = _call(_OPEN_TREE, ctypes.c_int(folder), _EMPTY, ctypes.c_uint(flags))
    attributes = _Attributes(_NO_SUID | _NO_DEV | (_READ_ONLY if read_only else 0), 0, _PRIVATE, 0)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    where = ctypes.c_uint(_AT_EMPTY_PATH | _AT_RECURSIVE)
    try:
        _call(_MOUNT_SETATTR, ctypes.c_int(tree), _EMPTY, where, ctypes.byref(attributes), size)
    except OSError:
        os.close(tree)
        raise
    return tree


def _call(number: int, *arguments: object) -> int:
    return _checked(_libc.syscall(ctypes.c_long(number), *arguments))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _open(path: list[str], make_below: int) -> int:
    """An O_PATH descriptor; folders deeper than ``make_below`` are made, for the owner of that one."""
    current = os.open("/", os.O_PATH | os.O_DIRECTORY)
    owner = os.fstat(current)
    for depth, part in enumerate(path):
        is_made = False
        if depth >= make_below:
            try:
                os.mkdir(part, 0o755, dir_fd=current)
                is_made = True
            except FileExistsError:
                pass
        below = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=current)
        os.close(current)
        current = below
        if is_made:
            os.chown(".", owner.st_uid, owner.st_gid, dir_fd=current)
        if depth < make_below:
            owner = os.fstat(current)
    return current


def _take_away(target: str, *, lazily: bool) -> None:
    *above, name = _parts(target)
    parent = _open(above, len(above))
    os.fchdir(parent)
    os.close(parent)
    _checked(_libc.umount2(os.fsencode(name), ctypes.c_int(_NO_FOLLOW | (_LAZILY if lazily else 0))))
    try:  # noqa: SIM105 - contextlib takes long to import
        os.rmdir(name)  # or what is written to that path goes where nobody looks for it
    except OSError:
        pass  # there are files


def _put(target: str, tree: int, home: str, *, must_be_empty: bool) -> None:
    place = _open(_parts(target), len(_parts(home)))
    if must_be_empty:
        readable = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=place)
        with os.scandir(readable) as entries:
            if next(entries, None) is not None:
                raise OSError(errno.ENOTEMPTY, "there are files")
    where = ctypes.c_uint(_FROM_DESCRIPTOR | _TO_DESCRIPTOR)
    _call(_MOVE_MOUNT, ctypes.c_int(tree), _EMPTY, ctypes.c_int(place), _EMPTY, where)


def _parts(path: str) -> list[str]:
    return path.strip("/").split("/")


def main() -> None:
    job = marshal.loads(bytes.fromhex(sys.argv[1]))  # noqa: S302 - the agent's own words
    failed: dict[str, int] = {}
    trees: dict[str, int] = {}
    for target, folder, read_only in job["new"]:
        try:
            trees[target] = clone(folder, read_only=read_only)
        except OSError as error:
            failed[target] = error.errno or 0
    _checked(_libc.setns(ctypes.c_int(job["namespace"]), ctypes.c_int(_NEW_MOUNTS)))
    for target in job["gone"]:
        try:
            _take_away(target, lazily=job["lazily"])
        except OSError as error:
            failed[target] = error.errno or 0
    for target, tree in trees.items():
        try:
            _put(target, tree, job["home"], must_be_empty=job["must_be_empty"])
            failed.pop(target, None)  # nothing was to be taken away there
        except OSError as error:
            failed[target] = error.errno or 0
    sys.stdout.buffer.write(marshal.dumps(failed))


if __name__ == "__main__":
    try:
        main()
    except OSError as fault:
        sys.exit(str(fault))  # a traceback would look for our sources, where every path is the user's
