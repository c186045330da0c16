"""Folders that come and go in a container that runs: the agent's side of ``mounter.py``. All of it blocks.

``MountFailed`` is for what is wrong with all of it; what cannot be done of it is told by target.
"""

import contextlib
import errno
import marshal
import os
import re
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bai_agent.runtimes import mounter
from bai_agent.runtimes.base import INSIDE_HOME, Mount

_TIMEOUT_S = 20.0
_ESCAPED = re.compile(r"\\([0-7]{3})")


class MountFailed(Exception):
    """Nothing was changed, as far as is known."""


@dataclass(frozen=True)
class Seen:
    """A mount. ``number`` names it as long as anything holds it, also after it was taken away lazily."""

    number: int
    target: str
    read_only: bool


@cache
def why_not() -> str:
    """Why this agent cannot change what is mounted in containers that run; empty if it can."""
    if os.geteuid() != 0:
        return "it does not run as root"
    folder = os.open("/", os.O_PATH | os.O_DIRECTORY)
    try:
        os.close(mounter.clone(folder, read_only=True))
    except OSError as error:
        return f"this Linux does not let it: {error.strerror}"
    finally:
        os.close(folder)
    return ""


def of(pid: int | str) -> list[Seen]:
    """All mounts that a process sees. Raises ``OSError``."""
    text = Path(f"/proc/{pid}/mountinfo").read_bytes().decode(errors="surrogateescape")
    lines = [line.split(" ") for line in text.split("\n") if line]
    return [Seen(int(words[0]), _unescaped(words[4]), "ro" in words[5].split(",")) for words in lines]


def in_home(pid: int) -> list[Seen]:
    """Those in the home folder of the container whose main process this is."""
    return [seen for seen in of(pid) if seen.target.startswith(f"{INSIDE_HOME}/")]


def below(folder: Path) -> list[str]:
    """What is mounted on this host at a folder or in it. Nothing that deletes may go there."""
    root = str(folder.resolve())
    return [seen.target for seen in of("self") if seen.target == root or seen.target.startswith(f"{root}/")]


def sees(pid: int, mount: Mount) -> bool:
    """Whether that folder is what a container has at its place, writable or not as it should be."""
    found = [seen for seen in in_home(pid) if seen.target == mount.target]
    if not found or found[-1].read_only != mount.read_only:
        return False
    facts = os.stat(f"/proc/{pid}/root{mount.target}", follow_symlinks=False)
    return (facts.st_dev, facts.st_ino) == (mount.device, mount.inode)


def change(
    namespace: int,
    gone: Collection[str],
    new: Sequence[Mount],
    *,
    lazily: bool = False,
    must_be_empty: bool = False,
) -> dict[str, int]:
    """``{target: errno}`` of what could not be done. Raises ``MountFailed``.

    ``lazily``: take a folder away also if it is in use. ``must_be_empty``: put none over files.
    """
    with ExitStack() as stack:
        failed: dict[str, int] = {}
        ready: list[tuple[str, int, bool]] = []
        for mount in new:
            try:
                ready.append((mount.target, stack.enter_context(_opened(mount)), mount.read_only))
            except OSError as error:
                failed[mount.target] = error.errno or errno.EIO
        job = {"namespace": namespace, "gone": list(gone), "lazily": lazily, "new": ready}
        job |= {"home": INSIDE_HOME, "must_be_empty": must_be_empty}
        descriptors = [namespace, *(folder for _, folder, _ in ready)]
        return {**failed, **_run(job, descriptors)}


def _run(job: dict[str, object], descriptors: Collection[int]) -> dict[str, int]:
    command = [sys.executable, "-I", "-S", mounter.__file__, marshal.dumps(job).hex()]
    try:
        done = subprocess.run(
            command, capture_output=True, check=True, cwd="/", pass_fds=descriptors, timeout=_TIMEOUT_S
        )
        answer: dict[str, int] = marshal.loads(done.stdout)  # noqa: S302 - our own program's
    except subprocess.CalledProcessError as error:
        last = error.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise MountFailed(" ".join(last) or "it ended without a word") from error
    except subprocess.TimeoutExpired as error:
        raise MountFailed(f"the file system did not answer within {_TIMEOUT_S:g} s") from error
    except (OSError, ValueError, EOFError) as error:
        raise MountFailed(str(error)) from error
    return answer


@contextlib.contextmanager
def _opened(mount: Mount) -> Iterator[int]:
    """Its descriptor, if it still is what was checked. Raises ``OSError``."""
    folder = os.open(mount.source, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        facts = os.fstat(folder)
        if (facts.st_dev, facts.st_ino) != (mount.device, mount.inode):
            raise OSError(errno.ESTALE, "it was exchanged for another folder")
        yield folder
    finally:
        os.close(folder)


def why(number: int) -> str:
    """An errno of ``change`` in words."""
    return os.strerror(number).lower()


# Who uses a mount


def holders(pids: Collection[int], numbers: Collection[int]) -> dict[int, str]:
    """``{pid: name}`` of the processes that have something of these mounts open, are there, or run from there."""
    return {pid: _name(pid) for pid in pids if any(number in numbers for number in _held_by(pid))}


def _held_by(pid: int) -> Iterator[int]:
    for path in _listed(f"/proc/{pid}/fdinfo"):
        with contextlib.suppress(OSError):
            yield _number_in(Path(path).read_text())
    ways = [f"/proc/{pid}/{name}" for name in ("cwd", "root", "exe")]
    for link in (*ways, *_listed(f"/proc/{pid}/map_files")):
        with contextlib.suppress(OSError):
            held = os.open(link, os.O_PATH)
            try:
                yield _number_in(Path(f"/proc/self/fdinfo/{held}").read_text())
            finally:
                os.close(held)


def _listed(folder: str) -> list[str]:
    """What is in it; nothing if its process is gone."""
    try:
        return [f"{folder}/{name}" for name in os.listdir(folder)]
    except OSError:
        return []


def _number_in(fdinfo: str) -> int:
    found = re.search(r"^mnt_id:\s*(\d+)", fdinfo, re.MULTILINE)
    return int(found[1]) if found else -1


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "?"


def _unescaped(text: str) -> str:
    """Spaces and the like are octal in the table of mounts."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), text)
