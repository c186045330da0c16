"""The pages of apps on their way to a browser: what is changed in them, a piece at a time.

A page without an origin has no storage, may make no workers of scripts at any address, and only addresses that hold its
ticket reach its app (``app_proxy.py``). So each page is given both (``app_storage.js``), and one of a port the ticket
where it names the place at which jupyter-server-proxy would have that port: apps such as Dash are told that place, and
write it into their pages.
"""

import re
from pathlib import Path

from tornado.httputil import HTTPHeaders

STORAGE = "/~storage.js"
STORAGE_FILE = Path(__file__).with_name("app_storage.js")

SLASHES = ("/", r"\/", r"\u002f", r"\u002F")
"""As they are written in a page, and in JSON within one."""

_BEFORE_ALL = re.compile(rb"(?:\xef\xbb\xbf)?(?:(?>\s|<!--.*?-->)*+<!doctype[^>]*>)?", re.IGNORECASE | re.DOTALL)
"""A page's byte order mark and its document type: behind anything else both would say nothing."""


_BINDS_WORKERS = ("worker-src", "child-src", "script-src", "default-src")


class Page:
    """A page at ``address`` (without a slash at its end), which believes itself to be at one of ``places``."""

    def __init__(self, address: str, places: list[str]) -> None:
        self._storage = f"{address}{STORAGE}"
        self._changes = [
            ((quote + f"{place}/".replace("/", slash)).encode(), (quote + f"{address}/".replace("/", slash)).encode())
            for place in places
            for slash in SLASHES
            for quote in "\"'"
        ]
        self._has_begun = False
        self._held = b""

    def piece(self, piece: bytes) -> bytes:
        """What the browser gets of the next piece. What may be the first half of a place waits for the second."""
        if not self._has_begun:
            self._has_begun = True
            piece = with_storage(piece, self._storage)
        text = self._held + piece
        for old, new in self._changes:
            text = text.replace(old, new)
        end = len(text) - max((begun(text, old) for old, _ in self._changes), default=0)
        self._held = text[end:]
        return text[:end]

    def end(self) -> bytes:
        """What is left when the page is whole."""
        return self._held


def begun(text: bytes, whole: bytes) -> int:
    """How many bytes at the end of a text may go on as ``whole``."""
    return next((length for length in range(len(whole) - 1, 0, -1) if text.endswith(whole[:length])), 0)


def places_of(base_url: str, app: str) -> list[str]:
    """Where else than at its address a Jupyter server has an app, if it is a port (``PortHandler``)."""
    if not app.isdecimal():
        return []
    return [f"{base}{bai}proxy/{app}" for base in dict.fromkeys((base_url, "/")) for bai in ("", "bai/")]


def asks_for_page(headers: HTTPHeaders) -> bool:
    """Whether a browser wants to show the answer as a page, rather than have a script take it. Older browsers, and all
    without TLS, do not say."""
    said = headers.get("Sec-Fetch-Dest")
    if said is not None:
        return said in ("document", "embed", "frame", "iframe", "object")
    return headers.get("Accept", "").startswith("text/html") and "X-Requested-With" not in headers


def is_plain_html(headers: HTTPHeaders) -> bool:
    """Whether an answer can be changed in its place."""
    is_plain = headers.get("Content-Encoding", "identity") == "identity"
    return is_plain and headers.get("Content-Type", "").startswith("text/html")


def with_workers(policy: str) -> str:
    """A content security policy under which a page has what ``app_storage.js`` makes of its own workers."""
    directives = {words[0].lower(): words[1:] for one in policy.split(";") if (words := one.split())}
    bound = next((name for name in _BINDS_WORKERS if name in directives), None)
    if bound is None or "'self'" not in directives[bound] or "," in policy:  # several, of which any may forbid it
        return policy
    directives["worker-src"] = [*directives[bound], "blob:"]
    return "; ".join(" ".join([name, *sources]) for name, sources in directives.items())


def with_storage(page: bytes, script: str) -> bytes:
    """The beginning of a page, with a script before all others."""
    found = _BEFORE_ALL.match(page)
    assert found is not None  # all of it may be missing
    end = found.end()
    return page[:end] + f'<script src="{script}"></script>'.encode() + page[end:]
