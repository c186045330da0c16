"""How much folders hold, and how much they may: each of them, and all of an owner's on one volume together.

``params`` are those of ``messages.Call``: ``quota_bytes`` of the folder, ``scope`` of its owner's.
"""

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial

from bai_agent import files
from bai_agent.files import FileFault, Usage
from bai_agent.open_folders import OpenFolders, Params
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import format_size

_SCAN_SHARE = 10  # a folder is measured again when ten times as long as it took has passed


class Usages:
    """What was measured of folders, and what came to them since."""

    def __init__(self, folders: OpenFolders) -> None:
        self._folders = folders
        self._measured: dict[tuple[str, str], tuple[Usage, float, float]] = {}  # and when, and how long it took
        self._counting = threading.Lock()

    def measure(self, params: Params, root: int) -> Usage:
        """Counted now, or a moment ago if counting takes long; with what was uploaded since."""
        key = (params["volume"], params["subpath"])
        usage, at, took_s = self._measured.get(key, (None, 0.0, 0.0))
        began = time.monotonic()
        if usage is None or began - at > _SCAN_SHARE * took_s:
            usage = files.usage_of(root)
            at = time.monotonic()
            with self._counting:
                self._measured[key] = (usage, at, at - began)
        return usage

    def add(self, params: Params, size: int, replaced: int | None) -> None:
        """An upload to what was measured: many small ones would have all others counted anew each time."""
        key = (params["volume"], params["subpath"])
        with self._counting:
            if key in self._measured:
                usage, at, took_s = self._measured[key]
                grown, more = size - (replaced or 0), int(replaced is None)
                self._measured[key] = (Usage(usage.used_bytes + grown, usage.num_files + more), at, took_s)

    def used_elsewhere(self, params: Params) -> int:
        """What the other folders of its owner on this volume hold, if a limit counts them all."""
        scope = params.get("scope")
        used = 0
        for subpath in scope["others"] if scope else ():
            other = {"volume": params["volume"], "subpath": subpath}
            with suppress(FileNotFoundError):
                used += self._folders.in_folder(other, partial(self.measure, other)).used_bytes
        return used


def limits_of(params: Params, used: int, used_elsewhere: int) -> Iterator[tuple[str, int, int]]:
    """What may hold how much and how much it holds: the folder, and all of its owner on this volume."""
    if params.get("quota_bytes") is not None:
        yield params["name"], params["quota_bytes"], used
    if scope := params.get("scope"):
        yield scope["name"], scope["limit_bytes"], used + used_elsewhere


def refuse_excess(limits: Iterable[tuple[str, int, int]], file: str, size: int, replaced: int = 0) -> None:
    for holder, limit, used in limits:
        excess = used - replaced + size - limit
        if excess > 0:
            figures = {"limit": limit, "used": used, "need": size, "excess": excess}
            shown = {name: format_size(amount) for name, amount in figures.items()}
            raise FileFault(Reason.of("quota-reached", folder=holder, file=file, **shown))


def full(params: Params, limits: Iterable[tuple[str, int, int]]) -> FileFault:
    """The file system says so: it also counts what sessions write this moment, and its own book-keeping."""
    holder, limit, _ = min(limits, key=lambda one: one[1] - one[2])
    return FileFault(Reason.of("quota-full", folder=holder, file=params["path"], limit=format_size(limit)))
