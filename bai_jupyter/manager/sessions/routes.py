"""Paths of the manager that lead into sessions: a JupyterHub's proxy sends ``/user/kim/…`` here, unchanged. Pure.

A path is kept and compared as people read it, without its escapes.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from bai_jupyter.manager.sessions.ports import HIGHEST_PORT, LOWEST_PORT

EXPECTED = f'{{"path": "/user/NAME/", "port": {LOWEST_PORT} to {HIGHEST_PORT}}}'
_PATH = re.compile(r"(?:/[^/]+)*/user/[^/]+/(?:[^/]+/)?")
_MOST_SEGMENTS = 16


@dataclass(frozen=True)
class Route:
    """What comes for ``path`` or anything below it goes to ``port`` of the session."""

    path: str
    port: int


def read_route(given: Mapping[str, Any]) -> Route | None:
    """None if it is not as ``EXPECTED`` says. A hub's base URL may go before, a server's name may follow."""
    path, port = given.get("path"), given.get("port")
    if not isinstance(path, str) or not isinstance(port, int) or not LOWEST_PORT <= port <= HIGHEST_PORT:
        return None
    plain = unquote(path)
    return Route(plain, port) if _PATH.fullmatch(plain) else None


def paths_above(path: str) -> tuple[str, ...]:
    """The paths of all routes that a request's escaped path could belong to."""
    segments = unquote(path).split("/")[: _MOST_SEGMENTS + 1]
    return tuple("/".join(segments[:n]) + "/" for n in range(2, len(segments)))
