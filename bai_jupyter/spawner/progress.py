"""A session's view as the Hub's progress page shows it. Pure."""

from collections.abc import Mapping
from typing import Any

from bai_jupyter.common.statuses import SessionStatus

_PERCENT = {
    SessionStatus.PENDING: 5,
    SessionStatus.SCHEDULED: 10,
    SessionStatus.PREPARING: 15,
    SessionStatus.PULLING: 20,
    SessionStatus.CREATING: 80,
    SessionStatus.RUNNING: 90,
}
_PULL_PERCENT = _PERCENT[SessionStatus.CREATING] - _PERCENT[SessionStatus.PULLING]


def progress_of(view: Mapping[str, Any]) -> dict[str, Any]:
    """``{"progress", "message"}``: how far it is, and the sentence that says what it waits for."""
    return {"progress": _percent(view), "message": _message(view)}


def _percent(view: Mapping[str, Any]) -> int:
    status = SessionStatus(view["status"])
    pulled = (view.get("progress") or 0) / 100 if status is SessionStatus.PULLING else 0
    return _PERCENT.get(status, 95) + int(_PULL_PERCENT * pulled)


def _message(view: Mapping[str, Any]) -> str:
    sentence, queue = str(view["reason"]["text"]), view.get("queue")
    if queue is None or view["reason"]["code"] == "queued":
        return sentence
    return f"Place {queue['position']} of {queue['of']} in the queue. {sentence}"
