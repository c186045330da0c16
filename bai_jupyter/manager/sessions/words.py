"""A session's changes in Backend.AI's words: which events a change is, and what they carry. Pure."""

from collections.abc import Sequence
from typing import Any

from bai_jupyter.common.statuses import SessionResult, SessionStatus, SessionType
from bai_jupyter.manager.db.history import WARNING, Change

S = SessionStatus

_SESSION_EVENTS = {
    S.PENDING: "session_enqueued",
    S.SCHEDULED: "session_scheduled",
    S.PREPARING: "session_preparing",
    S.RUNNING: "session_started",
    S.RESTARTING: "session_restarting",
    S.TERMINATING: "session_terminating",
    S.TERMINATED: "session_terminated",
    S.CANCELLED: "session_cancelled",
    S.ERROR: "session_cancelled",  # it never ran
}
_KERNEL_EVENTS = {
    S.PREPARING: "kernel_preparing",
    S.PULLING: "kernel_pulling",
    S.CREATING: "kernel_creating",
    S.RUNNING: "kernel_started",
    S.TERMINATING: "kernel_terminating",
    S.TERMINATED: "kernel_terminated",
    S.CANCELLED: "kernel_cancelled",
    S.ERROR: "kernel_cancelled",
}
SCOPES = ("*", "session", "kernel")


def session_events(change: Change) -> list[str]:
    """The events of the session itself, in order. A batch session's success or failure goes before its end."""
    if change.event == WARNING:
        return ["session_idle_warning"]
    events = [_SESSION_EVENTS[change.status]] if change.status in _SESSION_EVENTS else []
    if change.kind is SessionType.BATCH and change.status is S.TERMINATED:
        outcome = "session_success" if change.result is SessionResult.SUCCESS else "session_failure"
        return [outcome, *events]
    return events


def events_of(change: Change, scope: str) -> Sequence[tuple[str, dict[str, Any]]]:
    """``(event, data)`` in the order in which Backend.AI's client expects them: kernels end before their session."""
    facts = {
        "reason": change.reason.slug if change.reason else "",
        "sessionName": change.session_name,
        "ownerAccessKey": change.access_key,
        "sessionId": change.session_id,
        "exitCode": change.exit_code,
    }
    kernel_facts = {"kernelId": change.kernel_id, "clusterRole": "main", "clusterIdx": 1}
    of_session = [(event, facts) for event in session_events(change)] if scope != "kernel" else []
    of_kernel: list[tuple[str, dict[str, Any]]] = []
    if scope != "session" and change.event != WARNING and change.status in _KERNEL_EVENTS:
        of_kernel = [(_KERNEL_EVENTS[change.status], {**facts, **kernel_facts})]
    return [*of_kernel, *of_session]
