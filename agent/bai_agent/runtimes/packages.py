"""What a session's user has installed below the home folder, and how an image keeps it.

Where one is not root, pip and R install into ``~/.local``. The home is a mount, so an engine leaves it out of what it
makes of a container. It is packed into one file, which the image gets, and each session of that image unpacks it into
its own home. So all is where it was, is upgraded and uninstalled as it was, and belongs to whoever the session runs as.

The tree is the user's, who may change it meanwhile: no link in it is followed, and what is neither a file, a folder nor
a link is left out. What was packed is unpacked only inside, by the session's own user.
"""

import io
import os
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import IO, Any

from bai_agent import folders
from bai_agent.runtimes.base import INSIDE_HOME, INSIDE_RUN
from bai_agent.runtimes.kernelspecs import spec_from_json
from bai_jupyter.common.messages import KernelSpecFacts
from bai_jupyter.common.slots import format_size

PLACE = f"{INSIDE_HOME}/.local"
_KERNELS = "share/jupyter/kernels"
PARTS = (
    _KERNELS,  # first: an agent looks for kernelspecs and need not read on
    "bin",
    "etc/jupyter",
    "lib",
    "share/jupyter/labextensions",
    "share/jupyter/nbconvert",
    "share/jupyter/nbextensions",
)
"""Of ``PLACE``, what packages are put into. Beside these lie keys, such as Jupyter's, and what programs remember."""

LABEL = "bai.packages"
"""On an image, which of ``PARTS`` it has, separated by spaces."""

ARCHIVE = "/opt/bai/packages.tar"
NO_TAR = 3
"""What ``unpacking`` ends with where there is no ``tar``."""

_UNPACKED = f"{INSIDE_RUN}/packages-unpacked"
_THERE = f"{INSIDE_RUN}/packages-there.tar"
_PART_OF_DISK = 4  # an engine writes it twice more before the first can go, and others need the disk too
_MOST_ENTRIES = 1_000_000
_MOST_READ_BYTES = 32 * 1024 * 1024
_DEEPEST = 64  # each folder on the way is open meanwhile


# In an image


def pack(home: Path, place: Path) -> tuple[IO[bytes], list[str]] | None:
    """A tar file that is to be unpacked at an image's root, and which of ``PARTS`` it has. ``None`` if nothing is
    installed. ``home`` is that folder on the host; the file lies in ``place``, and is gone once it is closed.

    Raises ``OSError`` if the disk has no room for it, or it is not what packages look like.
    """
    packed = tempfile.TemporaryFile(dir=place)  # noqa: SIM115 - the caller closes it
    try:
        parts = _fill(packed, home, shutil.disk_usage(place).free)
    except BaseException:
        packed.close()
        raise
    if not parts:
        packed.close()
        return None
    packed.seek(0)
    return packed, parts


def _fill(packed: IO[bytes], home: Path, free_bytes: int) -> list[str]:
    head = len(_headers(0))
    packed.seek(head)
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar:
        packer = _Packer(tar, free_bytes)
        parts = [part for part in PARTS if packer.add(home, part)]
    size = packed.tell() - head
    packed.write(bytes(2 * tarfile.BLOCKSIZE))
    packed.seek(0)
    packed.write(_headers(size))
    return parts


def _headers(size: int) -> bytes:
    """What stands before the one file, which holds so many bytes."""
    folder, file = tarfile.TarInfo(str(PurePosixPath(ARCHIVE[1:]).parent)), tarfile.TarInfo(ARCHIVE[1:])
    folder.type, folder.mode = tarfile.DIRTYPE, 0o755
    file.size, file.mode = size, 0o644
    return b"".join(one.tobuf(tarfile.GNU_FORMAT) for one in (folder, file))


class _Packer:
    def __init__(self, tar: tarfile.TarFile, free_bytes: int) -> None:
        self._tar, self._free, self._limit = tar, free_bytes, free_bytes // _PART_OF_DISK
        self._entries = self._files = 0

    def add(self, home: Path, part: str) -> bool:
        """Whether there is a file in it: of a mounted folder, others are left. Nothing, if a link is on the way."""
        before = self._files
        folder = _opened(home, part)
        if folder is None:
            return False
        try:
            # Not every tar unpacks what lies in a folder that it does not have.
            self._write(_info(part, os.fstat(folder), tarfile.DIRTYPE))
            self._add_below(folder, part)
        finally:
            os.close(folder)
        return self._files > before

    def _add_below(self, folder: int, path: str) -> None:
        if path.count("/") > _DEEPEST:
            raise OSError(f"~/.local has more than {_DEEPEST} folders within each other")
        with os.scandir(folder) as found:
            for entry in found:
                self._entries += 1
                if self._entries > _MOST_ENTRIES:
                    raise OSError(f"~/.local has more than {_MOST_ENTRIES} files")
                with suppress(FileNotFoundError):  # removed meanwhile
                    self._add(folder, entry.name, f"{path}/{entry.name}")

    def _add(self, folder: int, name: str, path: str) -> None:
        facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISLNK(facts.st_mode):
            info = _info(path, facts, tarfile.SYMTYPE)
            info.linkname = os.readlink(name, dir_fd=folder)
            self._write(info)
        elif stat.S_ISDIR(facts.st_mode):
            below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            try:
                self._write(_info(path, facts, tarfile.DIRTYPE))
                self._add_below(below, path)
            finally:
                os.close(below)
        elif stat.S_ISREG(facts.st_mode):
            self._add_file(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder), path)

    def _add_file(self, descriptor: int, path: str) -> None:
        with os.fdopen(descriptor, "rb") as file:
            facts = os.fstat(descriptor)
            if stat.S_ISREG(facts.st_mode):  # still
                info = _info(path, facts, tarfile.REGTYPE)
                info.size = facts.st_size
                self._write(info, file)

    def _write(self, info: tarfile.TarInfo, file: IO[bytes] | None = None) -> None:
        if self._tar.offset + info.size > self._limit:
            free, limit = format_size(self._free), format_size(self._limit)
            raise OSError(f"~/.local has more than {limit}, a quarter of the {free} that are free on the agent's disk")
        self._tar.addfile(info, file)
        self._tar.members.clear()  # type: ignore[attr-defined]  # kept for who reads it
        self._files += info.type != tarfile.DIRTYPE


def _opened(home: Path, part: str) -> int | None:
    """A descriptor of that folder; ``None`` if there is none, or a link is on the way."""
    try:
        place = folders.open_below(home, f".local/{part}")
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=place)
    finally:
        os.close(place)


def _info(path: str, facts: os.stat_result, kind: bytes) -> tarfile.TarInfo:
    """Without its owner: it will be whoever unpacks it."""
    info = tarfile.TarInfo(path)
    info.type, info.mode, info.mtime = kind, facts.st_mode & 0o777, int(facts.st_mtime)
    return info


def kernelspecs(pieces: Iterator[bytes]) -> list[KernelSpecFacts]:
    """Those that a session of an image will have in its ``PLACE``, by name: of a tar file with the image's ``ARCHIVE``.

    One whose program is in the home and not among what is kept cannot be started, and is left out.
    """
    found = []
    with suppress(tarfile.ReadError), tarfile.open(fileobj=_Reader(pieces), mode="r|") as outer:
        for member in outer:
            with tarfile.open(fileobj=outer.extractfile(member), mode="r|") as packed:
                found = [spec for spec in _specs_in(packed) if _can_start(spec.argv[0])]
            break  # it is the only one, and need not be read to its end
    return sorted(found, key=lambda spec: spec.name)


def _specs_in(packed: tarfile.TarFile) -> Iterator[KernelSpecFacts]:
    for member in packed:
        path = PurePosixPath(member.name)
        if not path.is_relative_to(_KERNELS):
            return
        if member.isfile() and path.name == "kernel.json" and len(path.parts) == len(_KERNELS.split("/")) + 2:
            file = packed.extractfile(member)
            spec = spec_from_json(path.parent.name, f"{PLACE}/{path.parent}", file.read()) if file else None
            if spec is not None:
                yield spec


def _can_start(program: str) -> bool:
    path = PurePosixPath(program)
    kept = any(path.is_relative_to(f"{PLACE}/{part}") for part in PARTS)
    return kept or not path.is_relative_to(INSIDE_HOME)


class _Reader(io.RawIOBase):
    """What comes in pieces, for ``tarfile``; no more of it than is worth waiting for."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._rest, self._left = pieces, memoryview(b""), _MOST_READ_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = memoryview(next(self._pieces, b""))
        size = min(len(buffer), len(self._rest), self._left)
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        self._left -= size
        return size


# In a session


_SCRIPT = f"""
test -e {_UNPACKED} && exit 0
command -v tar >/dev/null || exit {NO_TAR}
unpack() {{
  mkdir -p {PLACE} && cd {PLACE} || return
  there=
  for part in PARTS; do if test -e $part; then there="$there $part"; fi; done
  test -z "$there" || tar -c -f {_THERE} $there || return
  tar -x -o -f {ARCHIVE} PARTS || return
  test -z "$there" || tar -x -o -f {_THERE} || return
  rm -f {_THERE}
}}
said=$(unpack 2>&1) && : >{_UNPACKED} && exit 0
code=$?
echo "$said" | {{ read -r first; echo "$first"; }}
exit $code
"""
"""What every ``tar`` can do. What it says first is why: GNU's goes on, and says at its end only that it failed."""


def parts_of(labels: Mapping[str, str]) -> list[str]:
    """Which parts an image with these labels has; anybody may have written them."""
    return [part for part in labels.get(LABEL, "").split() if part in PARTS]


def unpacking(parts: Collection[str], mounted: Collection[str]) -> str | None:
    """A shell script that puts these parts into the home, once; ``None`` if there is nothing to do.

    Nothing goes into a mounted folder, and what is there already is kept: it is what the user wants in each session.
    """
    free = [part for part in parts if not any(_overlap(f"{PLACE}/{part}", target) for target in mounted)]
    if not free:
        return None
    return _SCRIPT.replace("PARTS", " ".join(free))


def _overlap(one: str, other: str) -> bool:
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")
