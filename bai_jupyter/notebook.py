"""A notebook as sessions know it: where it lies in its user's home, and what a session for it is called. Pure."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

HOME_FOLDER = "home"
HOME_ROOT = "BAI_HOME_ROOT"
"""The variable that says where the home folder lies on the machine of the Jupyter server."""

_NOT_IN_NAMES = re.compile(r"[^\w.-]+", re.ASCII)


@dataclass(frozen=True)
class Place:
    """A directory or file in a vfolder, relative to its root."""

    folder: str
    path: str


def place_in_home(path: str | None, home_root: str | None) -> Place | None:
    """Where a path is in the home vfolder, whose root is here; ``None`` if it does not lie inside."""
    if not path or not home_root:
        return None
    try:
        return Place(HOME_FOLDER, str(PurePosixPath(path).relative_to(home_root)))
    except ValueError:
        return None


def session_name(unique_id: str, notebook: str | None) -> str:
    """Named for its notebook so that people know it again; the same in every server."""
    stem = _NOT_IN_NAMES.sub("-", PurePosixPath(notebook or "").stem)[:40].strip("-._")
    return f"{stem or 'kernel'}-{unique_id[:8]}"
