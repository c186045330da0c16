"""Statuses of sessions, kernels, Jupyter kernels and agents, and named sets of them.

Names and order follow Backend.AI (23.09 to 26.8). ``degraded`` and ``unreachable`` are attributes of a running
session, never statuses: a session must not get stuck in them.
"""

from collections.abc import Mapping
from enum import StrEnum


class SessionStatus(StrEnum):
    PENDING = "PENDING"
    SCHEDULED = "SCHEDULED"
    PREPARING = "PREPARING"
    PULLING = "PULLING"
    CREATING = "CREATING"
    RUNNING = "RUNNING"
    RESTARTING = "RESTARTING"
    TERMINATING = "TERMINATING"
    TERMINATED = "TERMINATED"
    CANCELLED = "CANCELLED"
    ERROR = "ERROR"


STATUS_WORDS: Mapping[str, str] = {
    SessionStatus.PENDING: "Queued",
    SessionStatus.SCHEDULED: "Assigned",
    SessionStatus.PREPARING: "Preparing",
    SessionStatus.PULLING: "Pulling",
    SessionStatus.CREATING: "Starting",
    SessionStatus.RUNNING: "Running",
    SessionStatus.RESTARTING: "Restarting",
    SessionStatus.TERMINATING: "Ending",
    SessionStatus.TERMINATED: "Ended",
    SessionStatus.CANCELLED: "Cancelled",
    SessionStatus.ERROR: "Failed",
}
"""What people call them."""


class SessionType(StrEnum):
    INTERACTIVE = "interactive"
    BATCH = "batch"  # runs its startup command and ends with it


class SessionResult(StrEnum):
    """How a session ended; what depends on it starts after a success only."""

    UNDEFINED = "undefined"  # it has not ended
    SUCCESS = "success"
    FAILURE = "failure"


class KernelStatus(StrEnum):
    """What an agent reports about one container."""

    PREPARING = "PREPARING"
    PULLING = "PULLING"
    CREATING = "CREATING"
    RUNNING = "RUNNING"
    TERMINATING = "TERMINATING"
    TERMINATED = "TERMINATED"
    ERROR = "ERROR"  # it never ran, and the agent has removed what it had made


class JupyterKernelStatus(StrEnum):
    """What an agent reports about one Jupyter kernel process."""

    STARTING = "starting"
    RUNNING = "running"
    DEAD = "dead"


class AgentStatus(StrEnum):
    ALIVE = "ALIVE"
    LOST = "LOST"  # it does not answer; its devices stay taken, its sessions are kept
    TERMINATED = "TERMINATED"  # it said good-bye, or an admin removed it


class FolderStatus(StrEnum):
    """Where a virtual folder is in its life, as Backend.AI spells it."""

    READY = "ready"
    CLONING = "cloning"
    TRASHED = "delete-pending"
    PURGING = "delete-ongoing"
    BROKEN = "error"  # a copy that was broken off: good for nothing but the trash


class Target(StrEnum):
    """Where a row should be."""

    RUNNING = "running"
    TERMINATED = "terminated"


FINAL = frozenset({SessionStatus.TERMINATED, SessionStatus.CANCELLED, SessionStatus.ERROR})
WAITING = frozenset({SessionStatus.PENDING})
STARTING = frozenset({SessionStatus.SCHEDULED, SessionStatus.PREPARING, SessionStatus.PULLING, SessionStatus.CREATING})
