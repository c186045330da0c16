"""A session of several containers: what they are called, and what one of them means for the session. Pure.

Their *place* counts from 0, which is the main one's: that is where people and programs come to. A session of one
container is a cluster of one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from bai_jupyter.common.messages import KernelReport
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.statuses import KernelStatus
from bai_jupyter.manager.sessions.lifecycle import CROWDED, RETRYABLE

SINGLE_NODE = "single-node"
"""Backend.AI's name of the only mode that there is here: all on one agent."""

GONE = frozenset({KernelStatus.TERMINATED, KernelStatus.ERROR})
_WAY = (KernelStatus.PREPARING, KernelStatus.PULLING, KernelStatus.CREATING, KernelStatus.RUNNING)


def role_of(place: int) -> str:
    return "sub" if place else "main"


def index_of(place: int) -> int:
    """Among those of its role, from 1."""
    return place or 1


def host_of(place: int) -> str:
    return f"{role_of(place)}{index_of(place)}"


def environ_of(place: int, size: int) -> dict[str, str]:
    """What a container is told of its cluster, under Backend.AI's names."""
    subs = {"sub": size - 1} if size > 1 else {}
    return {
        "BACKENDAI_CLUSTER_SIZE": str(size),
        "BACKENDAI_CLUSTER_REPLICAS": ",".join(f"{role}:{count}" for role, count in {"main": 1, **subs}.items()),
        "BACKENDAI_CLUSTER_HOSTS": ",".join(map(host_of, range(size))),
        "BACKENDAI_CLUSTER_HOST": host_of(place),
        "BACKENDAI_CLUSTER_ROLE": role_of(place),
        "BACKENDAI_CLUSTER_IDX": str(index_of(place)),
        "BACKENDAI_CLUSTER_LOCAL_RANK": str(place),
    }


@dataclass(frozen=True)
class Member:
    """A kernel as its agent last told of it; ``status`` None: nothing yet."""

    place: int
    status: KernelStatus | None
    restarts: int = 0
    reason: Reason | None = None
    exit_code: int | None = None
    ended_at: datetime | None = None

    @property
    def is_gone(self) -> bool:
        return self.status in GONE


def of_all(report: KernelReport, place: int, others: Sequence[Member]) -> KernelReport | None:
    """What one kernel's report says of the session; None if that has to wait for the others.

    It is as far as the last of them, and runs when all do. With the first that ends it is ending, for that one's
    reason; it has ended when all have.
    """
    if not others:
        return report
    first_gone = min((one for one in others if one.is_gone), key=_end_of, default=None)
    if report.status in GONE:
        if all(one.is_gone for one in others):
            return _named(report, place) if first_gone is None else _ended_as(report, first_gone)
        return _named(replace(report, status=KernelStatus.TERMINATING), place) if first_gone is None else None
    if report.status is KernelStatus.TERMINATING:
        return report
    if first_gone is not None:
        return None
    steps = [_WAY.index(one) for one in (report.status, *(other.status for other in others)) if one in _WAY]
    if len(steps) <= len(others):
        return None
    status, restarts = _WAY[min(steps)], min([report.restarts, *(one.restarts for one in others)])
    if status is KernelStatus.RUNNING:
        parts = sorted([(place, report.reason), *((one.place, one.reason) for one in others)], key=lambda part: part[0])
        report = replace(report, reason=_of_running(parts))
    return replace(report, status=status, restarts=restarts)


def _of_running(parts: Sequence[tuple[int, Reason | None]]) -> Reason | None:
    """What is to be said of containers that run, by place: what is amiss with one goes before that they do."""
    for place, reason in parts:
        if reason is not None and reason.code != "running":
            why = reason.text.rstrip(".")
            return Reason.of("cluster-part", host=host_of(place), why=why) if place else reason
    return parts[0][1]


def _end_of(member: Member) -> tuple[datetime, int]:
    assert member.ended_at is not None
    return member.ended_at, member.place


def _ended_as(report: KernelReport, first: Member) -> KernelReport:
    """The session's end, told by the last of its kernels, is what ended the first."""
    told = replace(report, status=first.status or report.status, reason=first.reason, exit_code=first.exit_code)
    return _named(told, first.place)


def _named(report: KernelReport, place: int) -> KernelReport:
    """With the name of the container in the sentence, where a person has to know which one it was.

    The main one's reasons are the session's own; those that another agent may not have decide what comes next.
    """
    reason = report.reason
    if reason is not None and (place == 0 or reason.code in RETRYABLE | CROWDED):
        return report
    why = reason.text.rstrip(".") if reason else f"code {report.exit_code}, and no cause is known"
    return replace(report, reason=Reason.of("cluster-part-ended", host=host_of(place), why=why))
