"""The server's own files, for copies: below its root directory, through no link that leads out, nothing overwritten.

Directories are held by descriptors and each name is opened below one, so nothing that is renamed or linked meanwhile
leads elsewhere. What is outside the root, or hidden where the server hides such, is as missing as what is not there.
All of it blocks: to be called in a thread.
"""

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal

from jupyter_server.services.contents.filemanager import FileContentsManager

from bai_jupyter.common.errors import BadRequest, NotFound
from bai_jupyter.common.reasons import Reason

Kind = Literal["directory", "file", "other"]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe must not be waited for
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class Entry:
    """Something of a tree that is copied; directories come before what is in them."""

    path: str
    """Below what was asked for; empty for that itself."""
    kind: Kind
    size: int
    modified: int
    open: Callable[[], BinaryIO]
    """Of a file, before the next entry is asked for. Raises ``OSError``."""


class LocalFiles:
    """Paths are as Jupyter's contents have them: relative to the root, with slashes."""

    def __init__(self, root: str, *, shows_hidden: bool) -> None:
        self._root, self._shows_hidden = Path(root).resolve(), shows_hidden

    @classmethod
    def of(cls, contents_manager: Any) -> "LocalFiles":
        """Raises ``BadRequest`` if that keeps its files in another way than on this server's disk."""
        if not isinstance(contents_manager, FileContentsManager):
            raise BadRequest(Reason.of("files-elsewhere"))
        return cls(contents_manager.root_dir, shows_hidden=contents_manager.allow_hidden)

    @contextmanager
    def directory(self, path: str) -> Iterator[int]:
        """Raises ``PublicError`` if there is no such directory."""
        with self._opened(path, self._parts(path)) as found:
            yield found

    @contextmanager
    def parent(self, path: str) -> Iterator[tuple[int, str]]:
        """The directory of what lies at ``path`` and its name there; where a link leads inside the root, of its end."""
        *above, name = self._parts(path) or ("",)
        if not name:
            raise BadRequest(Reason.of("file-kind", path="/", found="the root directory itself; choose what is in it"))
        with self._opened(path, above) as found:
            yield found, name

    def walk(self, directory: int, name: str, path: str = "") -> Iterator[Entry]:
        """``name`` and, if that is a directory, all below it. Links and what is hidden are ``other``."""
        facts = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if path and self.is_hidden(name):
            yield Entry(path, "other", 0, facts.st_mtime_ns, _nothing)
        elif stat.S_ISDIR(facts.st_mode):
            yield Entry(path, "directory", 0, facts.st_mtime_ns, _nothing)
            inner = os.open(name, _DIRECTORY, dir_fd=directory)
            try:
                for one in sorted(os.listdir(inner)):
                    yield from self.walk(inner, one, f"{path}/{one}" if path else one)
            finally:
                os.close(inner)
        elif stat.S_ISREG(facts.st_mode):
            yield Entry(path, "file", facts.st_size, facts.st_mtime_ns, lambda: _open_regular(name, directory))
        else:
            yield Entry(path, "other", 0, facts.st_mtime_ns, _nothing)

    def is_link(self, path: str) -> bool:
        return (self._root / path.strip("/")).is_symlink()

    def is_hidden(self, name: str) -> bool:
        return name.startswith(".") and not self._shows_hidden

    def _parts(self, path: str) -> tuple[str, ...]:
        """Where that really is below the root; no part of it is a link."""
        try:
            place = (self._root / path.strip("/")).resolve(strict=True)
        except (OSError, ValueError, RuntimeError):  # a null character, a circle of links
            raise _missing(path) from None
        if not place.is_relative_to(self._root):
            raise _missing(path)
        parts = place.relative_to(self._root).parts
        if any(self.is_hidden(part) for part in (*parts, *PurePosixPath(path).parts)):
            raise _missing(path)
        return parts

    @contextmanager
    def _opened(self, path: str, parts: tuple[str, ...] | list[str]) -> Iterator[int]:
        found = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in parts:
                inner = os.open(part, _DIRECTORY, dir_fd=found)
                os.close(found)
                found = inner
        except NotADirectoryError:
            os.close(found)
            raise BadRequest(Reason.of("file-kind", path=path, found="not a folder")) from None
        except OSError:
            os.close(found)
            raise _missing(path) from None
        try:
            yield found
        finally:
            os.close(found)


# In a directory


def is_taken(directory: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def create(directory: int, path: str) -> BinaryIO:
    """A new file to write. Raises ``OSError`` if there is one."""
    return os.fdopen(os.open(path, _NEW, 0o666, dir_fd=directory), "wb")


def make_directory(directory: int, path: str) -> None:
    os.mkdir(path, dir_fd=directory)


def put_in_place(directory: int, part: str, name: str) -> None:
    """Call what was written as ``part`` by its name. Raises ``FileExistsError`` if that was taken meanwhile."""
    if stat.S_ISDIR(os.stat(part, dir_fd=directory, follow_symlinks=False).st_mode):
        os.mkdir(name, dir_fd=directory)  # an empty directory may be replaced by one, and an empty file by a file
    else:
        os.close(os.open(name, _NEW, dir_fd=directory))
    os.rename(part, name, src_dir_fd=directory, dst_dir_fd=directory)


def remove(directory: int, part: str) -> None:
    """With all that is in it, if it is there."""
    with suppress(FileNotFoundError):
        if stat.S_ISDIR(os.stat(part, dir_fd=directory, follow_symlinks=False).st_mode):
            shutil.rmtree(part, dir_fd=directory)
        else:
            os.unlink(part, dir_fd=directory)


def _open_regular(name: str, directory: int) -> BinaryIO:
    file = os.fdopen(os.open(name, _FILE, dir_fd=directory), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):  # was replaced meanwhile
        file.close()
        raise BadRequest(Reason.of("file-changed", path=name))
    return file


def _nothing() -> BinaryIO:
    raise IsADirectoryError


def _missing(path: str) -> NotFound:
    return NotFound(Reason.of("file-missing", path=path))
