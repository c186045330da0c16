"""A notebook as sessions know it: where it lies in its user's home, and what a session for it is called. Pure."""

import re
from pathlib import PurePosixPath

HOME_FOLDER = "home"
HOME_ROOT = "BAI_HOME_ROOT"
"""The variable that says where the home folder lies on the machine of the Jupyter server."""

_NOT_IN_NAMES = re.compile(r"[^\w.-]+", re.ASCII)


def path_in_home(path: str | None, home_root: str | None) -> str | None:
    """The path relative to the home folder's root here; ``None`` if it does not lie inside it."""
    if not path or not home_root:
        return None
    try:
        return str(PurePosixPath(path).relative_to(home_root))
    except ValueError:
        return None


def session_name(unique_id: str, notebook: str | None) -> str:
    """Named for its notebook so that people know it again; the same in every server."""
    stem = _NOT_IN_NAMES.sub("-", PurePosixPath(notebook or "").stem)[:40].strip("-._")
    return f"{stem or 'kernel'}-{unique_id[:8]}"
