"""What a kernel of ours is doing, as one JSON value, and the event that tells the front end when it changes.

Reads the provisioner's ``view`` (the manager's session view) and ``reason``; asks nobody.
"""

from pathlib import Path
from typing import Any

from jupyter_events import EventLogger
from jupyter_events.schema_registry import SchemaRegistryException

from bai_jupyter.common.statuses import FINAL

SCHEMA_ID = "https://events.bai-jupyter.org/kernel_status/v1"
_SCHEMA_FILE = Path(__file__).with_name("kernel_status.yaml")


def kernel_status(kernel: Any) -> dict[str, Any]:
    """What a kernel of ours is doing; each value but ``is_dead`` may be ``None``::

        {"status", "reason": {"code", "text"}, "session_id", "slots", "queue", "progress", "is_dead", "notice"}

    The provisioner's own reason comes before that of the session view, for it knows more about this kernel. Where
    neither explains a kernel that is gone, its own failure is given as ``other``.
    """
    provisioner = kernel.provisioner
    view = getattr(provisioner, "view", None) or {}
    reason = getattr(provisioner, "reason", None) or view.get("reason")
    is_dead = kernel.execution_state == "dead"
    knows_no_better = reason is None or (is_dead and reason["code"] == "running")  # that is its session's
    if knows_no_better and kernel.reason:
        reason = {"code": "other", "text": kernel.reason}
    return {
        "status": view.get("status"),
        "reason": reason and {"code": reason["code"], "text": reason["text"]},
        "session_id": view.get("id"),
        "slots": view.get("slots"),
        "queue": view.get("queue"),
        "progress": view.get("progress"),
        "is_dead": is_dead,
        "notice": _notice(kernel, view),
    }


def _notice(kernel: Any, view: dict[str, Any]) -> str | None:
    """What was not done as asked although the kernel runs: as this server says, and as the manager does."""
    from_manager = [one.get("notice") for one in view.get("jupyterKernels", []) if one["id"] == kernel.kernel_id]
    return " ".join(filter(None, [kernel.notice, *from_manager])) or None


def is_over(kernel: Any) -> bool:
    """True if the session has ended, so that nothing but a wish of the user may start another."""
    return kernel_status(kernel)["status"] in FINAL


def is_out_of_memory(kernel: Any) -> bool:
    """True if it was killed for that: by itself it would run out again, and why it ended would no longer be said."""
    return (kernel_status(kernel)["reason"] or {}).get("code") == "oom-killed"


def register(logger: EventLogger) -> None:
    """Make the event known; may be called again."""
    if SCHEMA_ID not in logger.schemas:
        try:
            logger.register_event_schema(_SCHEMA_FILE)
        except SchemaRegistryException:  # somebody else was first
            return


def emit(logger: EventLogger, kernel_id: str, status: dict[str, Any]) -> None:
    logger.emit(schema_id=SCHEMA_ID, data={"kernel_id": kernel_id, **status})
