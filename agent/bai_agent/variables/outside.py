"""The agent's side of saving and restoring a kernel's variables: the files of a launch, and what is read back of them.

What is read was written by the session's user: it is cut to size, and shown to that user alone.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bai_agent import folders
from bai_jupyter.common.reasons import Reason

STARTUP, WOKEN, SAVED = "wake-{}", "woken-{}.json", "saved-{}.json"  # of one launch, in the run folder
_MAX_REPORT_BYTES = 4 * 1024 * 1024
_MAX_LISTED = 100
_MAX_NAMED = 20  # in a sentence
_MAX_TEXT = 200


@dataclass(frozen=True)
class Report:
    """What the program said. ``left_out`` and ``doubtful``: ``{"name", "type", "why"}`` each, the first hundred."""

    ask: str
    error: str | None
    variables: int
    size_bytes: int
    left_out: list[dict[str, str]]
    doubtful: list[dict[str, str]]
    missing: list[dict[str, str]]


def read_report(run: Path, name: str) -> Report | None:
    """None if there is none that can be read."""
    try:
        said = json.loads(folders.read_small(run, name, _MAX_REPORT_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(said, Mapping):
        return None
    error = said.get("error")
    return Report(
        _text(said.get("ask", "")),
        None if error is None else _text(error),
        _number(said.get("variables")),
        _number(said.get("bytes")),
        *(_listed(said.get(key)) for key in ("left_out", "doubtful", "missing")),
    )


def woken(report: Report) -> Reason:
    """How it went, for the owner."""
    if report.error is not None:
        return Reason.of("wake-failed", cause=report.error)
    amiss = [*report.missing, *report.left_out, *report.doubtful]
    if not amiss:
        return Reason.of("woken", variables=report.variables)
    names = ", ".join(f"{one['name']} ({one['why']})" for one in amiss[:_MAX_NAMED])
    more = f" and {len(amiss) - _MAX_NAMED} more" if len(amiss) > _MAX_NAMED else ""
    return Reason.of("woken-partly", variables=report.variables, names=names + more)


def _listed(given: Any) -> list[dict[str, str]]:
    if not isinstance(given, list):
        return []
    return [
        {key: _text(one.get(key, "")) for key in ("name", "type", "why")}
        for one in given[:_MAX_LISTED]
        if isinstance(one, Mapping)
    ]


def _text(given: Any) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in str(given)[:_MAX_TEXT])


def _number(given: Any) -> int:
    return given if isinstance(given, int) else 0
