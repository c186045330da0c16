"""Ways of the manager that lead into sessions: a JupyterHub's proxy sends ``/user/kim/…`` here, unchanged. Pure.

A path is kept and compared as people read it, without its escapes. In its place may be a port of the manager's own,
``:42000``: what comes there goes on unread, so the server inside may speak TLS to whom its hub trusts.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from bai_jupyter.manager.sessions.ports import HIGHEST_PORT, LOWEST_PORT

ANY_OWN_PORT = ":0"
EXPECTED = f'{{"path": "/user/NAME/" or "{ANY_OWN_PORT}", "port": {LOWEST_PORT} to {HIGHEST_PORT}}}'
_PATH = re.compile(r"(?:/[^/]+)*/user/[^/]+/(?:[^/]+/)?")
_MOST_SEGMENTS = 16


@dataclass(frozen=True)
class Route:
    """What comes for ``path`` or anything below it, or to that port, goes to ``port`` of the session.

    ``ANY_OWN_PORT`` asks for one that is free.
    """

    path: str
    port: int


def read_route(given: Mapping[str, Any]) -> Route | None:
    """None if it is not as ``EXPECTED`` says. A hub's base URL may go before, a server's name may follow."""
    path, port = given.get("path"), given.get("port")
    if not isinstance(path, str) or not isinstance(port, int) or not LOWEST_PORT <= port <= HIGHEST_PORT:
        return None
    plain = unquote(path)
    return Route(plain, port) if path == ANY_OWN_PORT or _PATH.fullmatch(plain) else None


def paths_above(path: str) -> tuple[str, ...]:
    """The paths of all routes that a request's escaped path could belong to; it may lack the last slash."""
    segments = unquote(path).removesuffix("/").split("/")[: _MOST_SEGMENTS + 1]
    return tuple("/".join(segments[:n]) + "/" for n in range(2, len(segments) + 1))


def at_own_port(port: int) -> str:
    return f":{port}"


def read_ports(text: str) -> Sequence[int]:
    """``"42000-42099"``, or nothing. Raises ``ValueError`` that says what is expected."""
    if not text:
        return range(0)
    first, _, last = text.partition("-")
    if not (first.isdecimal() and last.isdecimal() and LOWEST_PORT <= int(first) <= int(last) <= HIGHEST_PORT):
        raise ValueError(f"{text!r} is not two ports from {LOWEST_PORT} to {HIGHEST_PORT}, such as 42000-42099")
    return range(int(first), int(last) + 1)
