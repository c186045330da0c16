"""What can be done with the files of one folder, through descriptors alone.

``root`` is always an open descriptor of the folder, and a path is taken one part at a time from there: no link is
followed, so nothing is reached that does not lie inside, whoever exchanges what meanwhile. Nothing here knows of
volumes or rights; whoever calls acts as the folder's user (``acting``). All of it blocks: it is for threads.

Raises ``FileFault``, or ``OSError`` where a disk or a right fails.
"""

import errno
import os
import secrets
import stat
import zipfile
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Any, cast

from bai_agent.runtimes.base import Identity, RuntimeFault
from bai_jupyter.common.reasons import Reason

MAX_DEPTH = 100  # folders in folders: each costs an open descriptor while a tree is walked
PIECE_BYTES = 512 * 1024
MAX_PAGE = 10_000

_KINDS = {stat.S_IFREG: "FILE", stat.S_IFDIR: "DIRECTORY", stat.S_IFLNK: "SYMLINK"}
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ANY = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class FileFault(RuntimeFault):
    """What was asked cannot be done with these files."""


@dataclass(frozen=True)
class Usage:
    used_bytes: int
    num_files: int


# Paths


def parts_of(path: str) -> tuple[str, ...]:
    """``a/./b`` or ``/a/b`` as ``("a", "b")``; the folder itself is ``()``."""
    parts = tuple(part for part in path.split("/") if part not in ("", "."))
    if ".." in parts or "\0" in path:
        raise FileFault(Reason.of("bad-value", field="path", given=repr(path), expected="a path inside the folder"))
    return parts


@contextmanager
def opened(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_folder(root: int, parts: Sequence[str]) -> int:
    """A descriptor of a folder to read, or to make things in."""
    current = os.open(".", _FOLDER, dir_fd=root)
    for depth, part in enumerate(parts, 1):
        try:
            below = os.open(part, _FOLDER, dir_fd=current)
        except OSError as error:
            raise _explain(error, current, "/".join(parts[:depth])) from error
        finally:
            os.close(current)
        current = below
    return current


@contextmanager
def _parent_of(root: int, path: str) -> Iterator[tuple[int, str]]:
    """The folder that ``path`` lies in, open, and its name there."""
    parts = parts_of(path)
    if not parts:
        raise FileFault(Reason.of("bad-value", field="path", given=repr(path), expected="a path below the folder"))
    with opened(open_folder(root, parts[:-1])) as parent:
        yield parent, parts[-1]


def _look(parent: int, name: str, path: str) -> os.stat_result:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError as error:
        raise FileFault(Reason.of("file-missing", path=path)) from error


def _explain(error: OSError, parent: int, path: str) -> FileFault | OSError:
    """What stands in the way: nothing, a link, a file, or a right."""
    try:
        mode = os.stat(path.rpartition("/")[2], dir_fd=parent, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return FileFault(Reason.of("file-missing", path=path))
    except OSError:
        return error
    if stat.S_ISLNK(mode):
        return FileFault(Reason.of("link-escape", path=path))
    if not stat.S_ISDIR(mode):
        return FileFault(Reason.of("file-kind", path=path, found="not a folder"))
    return error


# Looking


def list_page(root: int, path: str, offset: int, limit: int, match: str) -> dict[str, Any]:
    """Entries by name, from ``offset`` on: ``{"items": [facts], "total": how many there are that match}``."""
    with opened(open_folder(root, parts_of(path))) as folder:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if match in entry.name)
        page = names[offset : offset + min(limit, MAX_PAGE)]
        items = [facts for name in page if (facts := _facts_if_there(folder, name)) is not None]
    return {"items": items, "total": len(names)}


def facts_of(root: int, path: str) -> dict[str, Any]:
    """One entry; the folder itself is called ``""``."""
    if not parts_of(path):
        with opened(open_folder(root, ())) as folder:
            return _facts("", os.fstat(folder))
    with _parent_of(root, path) as (parent, name):
        return _facts(name, _look(parent, name, path))


def _facts_if_there(folder: int, name: str) -> dict[str, Any] | None:
    try:
        return _facts(name, os.stat(name, dir_fd=folder, follow_symlinks=False))
    except FileNotFoundError:  # it went while we looked
        return None


def _facts(name: str, found: os.stat_result) -> dict[str, Any]:
    return {
        "name": name,
        "type": _KINDS.get(stat.S_IFMT(found.st_mode), "OTHER"),
        "size": found.st_size,
        "mode": stat.filemode(found.st_mode),
        "mtime_ns": found.st_mtime_ns,
        "ctime_ns": found.st_ctime_ns,
    }


def usage_of(root: int) -> Usage:
    """What files take, by their lengths; a file with several names counts each time."""
    used_bytes = num_files = 0
    with opened(open_folder(root, ())) as folder:
        for _, entry, parent in walk(folder):
            found = _facts_if_there(parent, entry.name)
            if found is not None and found["type"] != "DIRECTORY":
                used_bytes += found["size"]
                num_files += 1
    return Usage(used_bytes, num_files)


def walk(folder: int) -> Generator[tuple[tuple[str, ...], os.DirEntry[str], int], None, None]:
    """All below an open folder, a folder before what is in it: ``(parts, entry, descriptor of its parent)``.

    A folder that cannot be opened, or is exchanged for a link, is left out.
    """
    levels: list[tuple[tuple[str, ...], int, Iterator[os.DirEntry[str]]]] = []
    try:
        levels.append(((), os.dup(folder), iter(_entries(folder))))
        while levels:
            above, parent, entries = levels[-1]
            entry = next(entries, None)
            if entry is None:
                levels.pop()
                os.close(parent)
                continue
            parts = (*above, entry.name)
            yield parts, entry, parent
            if entry.is_dir(follow_symlinks=False):
                if len(levels) >= MAX_DEPTH:
                    raise FileFault(Reason.of("too-deep", path="/".join(parts)[:200], limit=MAX_DEPTH))
                with suppress(OSError):
                    below = os.open(entry.name, _FOLDER, dir_fd=parent)
                    levels.append((parts, below, iter(_entries(below))))
    finally:
        for _, descriptor, _ in levels:
            os.close(descriptor)


def _entries(folder: int) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


# Changing


def make_directory(root: int, path: str, *, parents: bool, exist_ok: bool) -> None:
    if parents:
        missing = parts_of(path)[:-1]
        for depth in range(1, len(missing) + 1):
            _make_one(root, "/".join(missing[:depth]), exist_ok=True)
    _make_one(root, path, exist_ok=exist_ok)


def _make_one(root: int, path: str, *, exist_ok: bool) -> None:
    with _parent_of(root, path) as (parent, name):
        try:
            os.mkdir(name, 0o755, dir_fd=parent)
        except FileExistsError as error:
            if not (exist_ok and stat.S_ISDIR(_look(parent, name, path).st_mode)):
                raise FileFault(Reason.of("file-exists", path=path)) from error


def move(root: int, source: str, target: str) -> None:
    """As ``mv``: into ``target`` if that is a folder; in its place if that is a file."""
    with ExitStack() as held:
        parent, name = held.enter_context(_parent_of(root, source))
        moved = _look(parent, name, source)
        there, new_name = held.enter_context(_place_for(root, target, name))
        with suppress(FileNotFoundError):
            found = os.stat(new_name, dir_fd=there, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode) or stat.S_ISDIR(moved.st_mode):
                raise FileFault(Reason.of("file-exists", path=target))
        try:
            os.rename(name, new_name, src_dir_fd=parent, dst_dir_fd=there)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise FileFault(
                Reason.of("file-kind", path=source, found="a folder, which cannot go into itself")
            ) from error


@contextmanager
def _place_for(root: int, target: str, name: str) -> Iterator[tuple[int, str]]:
    """Where something called ``name`` goes: into the folder ``target``, or to that path."""
    folder = None
    with suppress(FileFault):  # it is no folder, or not there yet
        folder = open_folder(root, parts_of(target))
    if folder is None:
        with _parent_of(root, target) as place:
            yield place
    else:
        with opened(folder):
            yield folder, name


def rename(root: int, path: str, new_name: str) -> None:
    """Give another name to what stays where it is. Nothing is overwritten."""
    if len(parts_of(new_name)) != 1 or "/" in new_name:
        raise FileFault(
            Reason.of("bad-value", field="new_name", given=repr(new_name), expected="a name without slashes")
        )
    with _parent_of(root, path) as (parent, name):
        _look(parent, name, path)
        if _facts_if_there(parent, new_name) is not None:
            raise FileFault(Reason.of("file-exists", path=new_name))
        os.rename(name, new_name, src_dir_fd=parent, dst_dir_fd=parent)


def delete(root: int, paths: Sequence[str], *, recursive: bool) -> None:
    """Delete files, links and, with ``recursive``, folders. Nothing is deleted if one of them cannot be."""
    for path in paths:
        with _parent_of(root, path) as (parent, name):
            if stat.S_ISDIR(_look(parent, name, path).st_mode) and not recursive:
                raise FileFault(Reason.of("file-kind", path=path, found="a folder; ask for recursive deletion"))
    for path in paths:
        with suppress(FileFault), _parent_of(root, path) as (parent, name):  # it may lie in one deleted just now
            delete_tree(parent, name)


def delete_tree(parent: int, name: str) -> None:
    """Delete whatever it is, however deep: folders inside are moved up one by one, so none is ever deep."""
    try:
        os.unlink(name, dir_fd=parent)
    except IsADirectoryError:
        with opened(os.open(name, _FOLDER, dir_fd=parent)) as folder:
            _empty(folder)
        os.rmdir(name, dir_fd=parent)
    except FileNotFoundError:
        return


def _empty(folder: int) -> None:
    while names := os.listdir(folder):
        for name in names:
            try:
                os.unlink(name, dir_fd=folder)
            except IsADirectoryError:
                with opened(os.open(name, _FOLDER, dir_fd=folder)) as below:
                    _lift(below, folder)
                os.rmdir(name, dir_fd=folder)


def _lift(folder: int, above: int) -> None:
    """Delete the files of ``folder`` and move its folders to ``above`` under fresh names."""
    for name in os.listdir(folder):
        try:
            os.unlink(name, dir_fd=folder)
        except IsADirectoryError:
            try:
                os.rename(name, f".{secrets.token_hex(16)}", src_dir_fd=folder, dst_dir_fd=above)
            except OSError as error:
                if error.errno not in (errno.EXDEV, errno.EDQUOT):
                    raise
                delete_tree(folder, name)  # in a subvolume of its own, or there is no room left even to move it


def copy_tree(source: int, target: int, is_wanted: Callable[[], bool]) -> None:
    """Copy all below one open folder into another, empty one. Links stay links; sockets and devices are left out.

    Stops, and raises ``FileFault``, when it is not wanted any more.
    """
    for parts, entry, parent in walk(source):
        if not is_wanted():
            raise FileFault(Reason.of("other", text="The agent is stopping; the copy is not complete."))
        with opened(open_folder(target, parts[:-1])) as there:
            if entry.is_symlink():
                os.symlink(os.readlink(entry.name, dir_fd=parent), entry.name, dir_fd=there)
            elif entry.is_dir(follow_symlinks=False):
                os.mkdir(entry.name, 0o755, dir_fd=there)
            elif entry.is_file(follow_symlinks=False):
                _copy_file(parent, there, entry.name)


def give_tree(folder: int, old_uids: Collection[int], new: Identity) -> None:
    """Give an open folder and all below it that is one of ``old_uids``' to another: the one thing here that root does.

    The folder itself comes last: as long as it is the old owner's, this was broken off and is to be done again.
    """
    for _, entry, parent in walk(folder):
        with suppress(FileNotFoundError), opened(os.open(entry.name, _ANY, dir_fd=parent)) as found:
            if os.fstat(found).st_uid in old_uids:
                os.chown(f"/proc/self/fd/{found}", new.uid, new.gid)  # a link itself, not what it points to
    os.fchown(folder, new.uid, new.gid)


def _copy_file(source: int, target: int, name: str) -> None:
    with (
        opened(_open_regular(source, name, name)) as reading,
        opened(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=target)) as writing,
    ):
        while os.sendfile(writing, reading, None, 16 * 1024**2):
            pass
        os.fchmod(writing, stat.S_IMODE(os.fstat(reading).st_mode) & 0o777)


# Reading


def open_file(root: int, path: str) -> int:
    """A descriptor of an ordinary file to read."""
    with _parent_of(root, path) as (parent, name):
        return _open_regular(parent, name, path)


def _open_regular(parent: int, name: str, path: str) -> int:
    mode = _look(parent, name, path).st_mode
    if stat.S_ISLNK(mode):
        raise FileFault(Reason.of("link-escape", path=path))
    file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise FileFault(Reason.of("file-kind", path=path, found="not a file"))
    return file


def zip_pieces(folder: int, name: str) -> Generator[bytes, None, None]:
    """A zip archive of all files below an open folder, inside it under ``name``; closes it. Links are left out."""
    sink = _Sink()
    with opened(folder), zipfile.ZipFile(cast(IO[bytes], sink), "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for parts, entry, parent in walk(folder):
            inside = str(PurePosixPath(name, *parts)).encode(errors="replace").decode()
            if entry.is_dir(follow_symlinks=False):
                archive.writestr(zipfile.ZipInfo(inside + "/"), b"")
            elif entry.is_file(follow_symlinks=False):
                with suppress(FileFault):  # it went while we looked
                    yield from _zip_one(archive, sink, _open_regular(parent, entry.name, inside), inside)
            yield from sink.take()
    yield from sink.take()


def _zip_one(archive: zipfile.ZipFile, sink: "_Sink", file: int, inside: str) -> Generator[bytes, None, None]:
    info = zipfile.ZipInfo(inside)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = stat.S_IMODE(os.fstat(file).st_mode) << 16
    with opened(file), archive.open(info, "w", force_zip64=True) as member:
        while piece := os.read(file, PIECE_BYTES):
            member.write(piece)
            yield from sink.take()


class _Sink:
    """Takes what ``zipfile`` writes, and hands it on."""

    def __init__(self) -> None:
        self._waiting: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._waiting.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        return

    def take(self) -> Iterator[bytes]:
        waiting, self._waiting = self._waiting, []
        joined = b"".join(waiting)
        yield from (joined[start : start + PIECE_BYTES] for start in range(0, len(joined), PIECE_BYTES))


# Uploads


def open_draft(drafts: int, name: str) -> int:
    """What has come of an upload: a file beside all folders, whose length says how far it is."""
    return os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=drafts)


def draft_length(drafts: int, name: str) -> int | None:
    try:
        return os.stat(name, dir_fd=drafts, follow_symlinks=False).st_size
    except FileNotFoundError:
        return None


def write_all(file: int, data: bytes, offset: int) -> None:
    rest = memoryview(data)
    while rest:
        written = os.pwrite(file, rest, offset)
        rest, offset = rest[written:], offset + written


def publish(drafts: int, draft: str, root: int, path: str) -> None:
    """Put a complete upload in its place at once, over a file that is there; folders on the way are made."""
    above = parts_of(path)[:-1]
    if above:
        make_directory(root, "/".join(above), parents=True, exist_ok=True)
    with _parent_of(root, path) as (parent, name):
        try:
            if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                raise FileFault(Reason.of("file-kind", path=path, found="a folder"))
        except FileNotFoundError:
            pass
        with opened(open_draft(drafts, draft)) as file:
            os.fchmod(file, 0o644)
            os.fsync(file)
        os.rename(draft, name, src_dir_fd=drafts, dst_dir_fd=parent)
