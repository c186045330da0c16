"""Paths of a kernel that has no container: what it calls its home, its ``run`` folder and its folders lies elsewhere.

``Translator`` puts host paths in the place of those; links lead from its home to its folders, for programs that look
there.
"""

import os
import re
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from bai_agent import folders
from bai_agent.runtimes.base import INSIDE_HOME, INSIDE_RUN, Identity

_QUOTED_RUN = quote(INSIDE_RUN, safe="")
_LONGEST_SOCKET_FOLDER = 60  # of the 107 bytes of a socket's path, the rest is for what lies below run/


class Translator:
    """Turns paths inside into host paths, also after ``=`` and ``:`` in a word, and quoted in a socket's URL."""

    _PATH = re.compile(rf"(?:^|(?<=[=:]))({re.escape(INSIDE_HOME)}|{re.escape(INSIDE_RUN)})(?=[/:]|$)([^:]*)")

    def __init__(self, run: str, scratch: str, targets: Mapping[str, str], state_dir: Path) -> None:
        """``targets`` as ``{path inside: host path}``."""
        places = {INSIDE_RUN: run, INSIDE_HOME: scratch, **targets}
        self._places = sorted(places.items(), key=lambda item: -len(item[0]))
        # An agent may itself live below /home/work; its own paths are host paths already.
        self._host = (str(state_dir), *targets.values())

        self._quoted_run = quote(run, safe="")

    def __call__(self, word: str) -> str:
        return self._PATH.sub(self._translate, word).replace(_QUOTED_RUN, self._quoted_run)

    def _translate(self, match: re.Match[str]) -> str:
        path = match[0]
        if any(path == host or path.startswith(f"{host}/") for host in self._host):
            return path
        for inside, host in self._places:
            if path == inside or path.startswith(f"{inside}/"):
                return host + path[len(inside) :]
        return path


def link(scratch: Path, target: str, source: str, identity: Identity) -> None:
    """``scratch/<name>`` leads to the folder, for programs that look in their home. Raises ``OSError``."""
    place = PurePosixPath(target).relative_to(INSIDE_HOME)
    parent = folders.made_below(scratch, place.parent, identity)
    try:
        with suppress(FileNotFoundError, NotADirectoryError):
            os.rmdir(place.name, dir_fd=parent)
        try:
            os.symlink(source, place.name, dir_fd=parent)
        except FileExistsError:
            if not _is_link(parent, place.name, source):
                raise
    finally:
        os.close(parent)


def unlink(scratch: Path, target: str, source: str) -> None:
    place = PurePosixPath(target).relative_to(INSIDE_HOME)
    with suppress(OSError):
        parent = folders.open_below(scratch, str(place.parent))
        try:
            if _is_link(parent, place.name, source):
                os.unlink(place.name, dir_fd=parent)
        finally:
            os.close(parent)


def _is_link(folder: int, name: str, source: str) -> bool:
    try:
        return os.readlink(name, dir_fd=folder) == source
    except OSError:
        return False


def short_alias(run: Path) -> str:
    """A name of ``run`` that leaves room for sockets below it."""
    if len(os.fsencode(run)) <= _LONGEST_SOCKET_FOLDER:
        return str(run)
    folder = Path(tempfile.mkdtemp(prefix="bai-"))
    folder.chmod(0o711)
    (folder / "run").symlink_to(run)
    return str(folder / "run")


def drop_alias(run: Path) -> None:
    if run.is_symlink():
        run.unlink()
        run.parent.rmdir()
