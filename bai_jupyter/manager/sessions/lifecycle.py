"""The life of a session as one table, and the pure decisions around it. No clock, no database, no agent.

::

    PENDING ──placed──► SCHEDULED ─► PREPARING ─► PULLING ─► CREATING ─► RUNNING
       ▲ │                 └───────────────┬──────────────────┘             │
       │ └ cancelled ► CANCELLED           │                                │
       └───────────── requeued ◄───────────┤                        end-asked, or it ended
                                 failed ► ERROR    end-asked ► TERMINATING ─► TERMINATED

RUNNING ─restart-asked─► RESTARTING ─► RUNNING. Forced, it is TERMINATED whatever its agent says, or does not say.

An agent may be quicker than its reports, so any step forward may be skipped. A report never asks for a step that the
table lacks; if it does, that is a fault of ours and ``InvalidTransition`` says so.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from bai_jupyter.common.errors import InvalidTransition
from bai_jupyter.common.messages import KernelReport
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.statuses import FINAL, STARTING, KernelStatus, SessionResult, SessionStatus, SessionType, Target

S = SessionStatus

MAX_ATTEMPTS = 3
"""How often a session is placed before a fault of agents is final."""

RETRYABLE = frozenset(
    {"pull-failed", "device-missing", "device-not-ready", "engine-down", "create-failed", "mount-failed"}
)
"""Reasons of an agent that another agent may not have."""

CROWDED = frozenset({"devices-taken"})
"""Reasons of an agent that is at no fault: its devices were given out otherwise than we thought. It waits again."""

MOST_CROWDED_ATTEMPTS = 20
"""How often a session may be placed where there is no room for it after all."""

OWN_FAULT = frozenset({"start-timeout"})
"""Reasons of ours to end a session that never ran: it ends as ERROR, not TERMINATED."""


class Event(StrEnum):
    PLACED = "placed"
    PREPARING = "preparing"
    PULLING = "pulling"
    CREATING = "creating"
    RUNNING = "running"
    RESTART_ASKED = "restart-asked"
    END_ASKED = "end-asked"
    FORCED = "forced"
    ENDED = "ended"
    FAILED = "failed"
    REQUEUED = "requeued"
    CANCELLED = "cancelled"


_PROGRESS: Mapping[Event, SessionStatus] = {
    Event.PREPARING: S.PREPARING,
    Event.PULLING: S.PULLING,
    Event.CREATING: S.CREATING,
    Event.RUNNING: S.RUNNING,
}

TRANSITIONS: Mapping[tuple[SessionStatus, Event], SessionStatus] = {
    (S.PENDING, Event.PLACED): S.SCHEDULED,
    (S.PENDING, Event.CANCELLED): S.CANCELLED,
    **{(status, event): after for status in STARTING for event, after in _PROGRESS.items()},
    **{(status, Event.REQUEUED): S.PENDING for status in STARTING},
    **{(status, Event.FAILED): S.ERROR for status in (*STARTING, S.TERMINATING)},
    **{(status, Event.END_ASKED): S.TERMINATING for status in (*STARTING, S.RUNNING, S.RESTARTING, S.TERMINATING)},
    **{(status, Event.ENDED): S.TERMINATED for status in (*STARTING, S.RUNNING, S.RESTARTING, S.TERMINATING)},
    **{(status, Event.FORCED): S.TERMINATED for status in (*STARTING, S.RUNNING, S.RESTARTING, S.TERMINATING)},
    (S.RUNNING, Event.RESTART_ASKED): S.RESTARTING,
    (S.RESTARTING, Event.RESTART_ASKED): S.RESTARTING,
    (S.RUNNING, Event.RUNNING): S.RUNNING,
    (S.RESTARTING, Event.RUNNING): S.RUNNING,
    # The end was asked for while the agent was still busy starting: its reports of that are no news.
    **{(S.TERMINATING, event): S.TERMINATING for event in _PROGRESS},
}


@dataclass(frozen=True)
class Deadline:
    """How long a status may last while the agent answers, and what happens then."""

    after: timedelta
    event: Event


DEADLINES: Mapping[SessionStatus, Deadline | None] = {
    S.PENDING: Deadline(timedelta(days=7), Event.CANCELLED),
    S.SCHEDULED: Deadline(timedelta(minutes=2), Event.END_ASKED),
    S.PREPARING: Deadline(timedelta(minutes=5), Event.END_ASKED),
    S.PULLING: Deadline(timedelta(hours=2), Event.END_ASKED),
    S.CREATING: Deadline(timedelta(minutes=5), Event.END_ASKED),
    S.RUNNING: None,  # as long as its owner likes
    S.RESTARTING: Deadline(timedelta(minutes=5), Event.END_ASKED),
    S.TERMINATING: Deadline(timedelta(minutes=1), Event.END_ASKED),  # say it again; only the agent can say it is over
}


@dataclass(frozen=True)
class SessionState:
    """What the decisions need of a session. ``started``: it ran once; ``restarts``: how many were asked for."""

    status: SessionStatus
    target: Target
    changed_at: datetime
    attempts: int
    started: bool
    reason_code: str | None
    starts_at: datetime | None = None
    restarts: int = 0


@dataclass(frozen=True)
class Dependency:
    """A session that another one waits for."""

    name: str
    status: SessionStatus
    result: SessionResult


@dataclass(frozen=True)
class Transition:
    """What happens to the session: ``status`` is where it goes by ``event``. ``reason`` None keeps the present one."""

    event: Event
    status: SessionStatus
    reason: Reason | None

    @property
    def is_final(self) -> bool:
        return self.status in FINAL


def next_status(status: SessionStatus, event: Event) -> SessionStatus:
    """Where ``event`` leads. Raises ``InvalidTransition`` for a pair that the table does not have."""
    try:
        return TRANSITIONS[status, event]
    except KeyError:
        raise InvalidTransition(f"a session that is {status} cannot take {event}") from None


def result_of(kind: SessionType, state: SessionState, transition: Transition) -> SessionResult:
    """How a session that goes to a final status ended.

    A batch session succeeds if its command does. Any other has nothing to show for itself but that it ran until
    somebody ended it.
    """
    code = transition.reason.code if transition.reason else state.reason_code
    succeeded = code == "task-finished" if kind is SessionType.BATCH else state.started and code == "user-requested"
    return SessionResult.SUCCESS if succeeded else SessionResult.FAILURE


def unmet(dependencies: Iterable[Dependency]) -> Dependency | None:
    """The first that has not succeeded, one that never will before all others."""
    open_ones = [one for one in dependencies if one.result is not SessionResult.SUCCESS]
    return min(open_ones, key=lambda one: one.result is not SessionResult.FAILURE, default=None)


def give_up(state: SessionState, dependencies: Iterable[Dependency]) -> Transition | None:
    """The end of a session that waits for one that failed, or None."""
    missing = unmet(dependencies)
    if state.status is not S.PENDING or missing is None or missing.result is not SessionResult.FAILURE:
        return None
    return advance(state, Event.CANCELLED, dependency_failed(missing))


def dependency_failed(failed: Dependency) -> Reason:
    return Reason.of("dependency-failed", session=failed.name, outcome=_OUTCOMES[failed.status])


_OUTCOMES = {S.TERMINATED: "ended without success", S.CANCELLED: "was cancelled", S.ERROR: "could not start"}


def advance(state: SessionState, event: Event, reason: Reason | None = None) -> Transition:
    return Transition(event, next_status(state.status, event), reason)


def observe(state: SessionState, report: KernelReport, *, others: bool, agent: str) -> Transition | None:
    """What an agent's report means for the session, or None if it is no news.

    ``others`` is whether another agent could take the session; ``agent`` is the name to show of the one that reports.
    """
    if state.status in FINAL or state.status is S.PENDING:
        return None
    event = _event_of(state, report, others=others)
    if event is Event.RUNNING and report.restarts < state.restarts:
        return None  # it runs still, not again
    if event is None:
        return None
    return advance(state, event, _reason_of(state, event, report, agent))


def expire(
    state: SessionState, now: datetime, *, reachable: bool, group: str, pending_timeout: timedelta | None = None
) -> Transition | None:
    """The transition that a passed deadline brings, or None. An agent that is silent is waited for, not judged.

    ``pending_timeout`` is how long the resource group lets a session wait, if it says so.
    """
    deadline = DEADLINES.get(state.status)
    if deadline is not None and state.status is S.PENDING and pending_timeout is not None:
        deadline = replace(deadline, after=pending_timeout)
    since = max(state.changed_at, state.starts_at or state.changed_at)
    if deadline is None or now - since < deadline.after:
        return None
    if state.status is S.PENDING:
        limit = describe_duration(deadline.after)
        return advance(state, deadline.event, Reason.of("pending-timeout", limit=limit, group=group))
    if not reachable:
        return None
    if state.status is S.TERMINATING:
        return advance(state, deadline.event)
    limit, phase = describe_duration(deadline.after), state.status.value.lower()
    return advance(state, deadline.event, Reason.of("start-timeout", limit=limit, phase=phase))


def end(state: SessionState, reason: Reason) -> Transition | None:
    """What asking for the end does; None if it has ended or is ending already."""
    if state.status in FINAL or state.status is S.TERMINATING:
        return None
    return advance(state, Event.CANCELLED if state.status is S.PENDING else Event.END_ASKED, reason)


def force(state: SessionState, reason: Reason) -> Transition | None:
    """The end without waiting for the agent; None if it has ended."""
    if state.status in FINAL:
        return None
    return advance(state, Event.CANCELLED if state.status is S.PENDING else Event.FORCED, reason)


def restart(state: SessionState) -> Transition | None:
    """A restart of what runs, or is restarting already; None for anything else."""
    if state.status not in (S.RUNNING, S.RESTARTING) or state.target is Target.TERMINATED:
        return None
    return advance(state, Event.RESTART_ASKED, Reason.of("session-restarting"))


def describe_duration(duration: timedelta) -> str:
    """``2 min``, ``2 h``, ``7 days``: the largest unit that divides it."""
    seconds = int(duration.total_seconds())
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


_EVENTS: Mapping[KernelStatus, Event] = {
    KernelStatus.PREPARING: Event.PREPARING,
    KernelStatus.PULLING: Event.PULLING,
    KernelStatus.CREATING: Event.CREATING,
    KernelStatus.RUNNING: Event.RUNNING,
    KernelStatus.TERMINATING: Event.END_ASKED,
}


def _event_of(state: SessionState, report: KernelReport, *, others: bool) -> Event | None:
    if report.status not in (KernelStatus.TERMINATED, KernelStatus.ERROR):
        return _event_on_the_way(state, _EVENTS[report.status])
    ran = state.started or state.status in (S.RUNNING, S.RESTARTING)
    if ran or state.target is Target.TERMINATED:
        return Event.FAILED if not ran and state.reason_code in OWN_FAULT else Event.ENDED
    if report.reason and report.reason.code in CROWDED and state.attempts < MOST_CROWDED_ATTEMPTS:
        return Event.REQUEUED
    if report.reason and report.reason.code in RETRYABLE and others and state.attempts < MAX_ATTEMPTS:
        return Event.REQUEUED
    return Event.FAILED


def _event_on_the_way(state: SessionState, event: Event) -> Event | None:
    if state.status in (S.RUNNING, S.RESTARTING) and event in _STARTS:
        return None  # a container that runs does not become one that starts: the report is older than it looks
    if event is Event.END_ASKED and not state.started:
        return None  # the agent clears away a failed start; whether it is tried again shows when that is done
    return event


_STARTS = frozenset({Event.PREPARING, Event.PULLING, Event.CREATING})


def _reason_of(state: SessionState, event: Event, report: KernelReport, agent: str) -> Reason | None:
    if event is Event.REQUEUED and report.reason and report.reason.code in CROWDED:
        return report.reason
    if event is Event.REQUEUED:
        fault = report.reason.text.rstrip(".") if report.reason else "no cause given"
        return Reason.of("agent-retry", agent=agent, fault=fault, n=state.attempts + 1, max=MAX_ATTEMPTS)
    if state.target is Target.TERMINATED:
        return None  # it ends because somebody asked; that reason stays
    if event is Event.RUNNING:
        return report.reason or Reason.of("running", agent=agent)
    if event in _STARTS or event is Event.END_ASKED:
        return report.reason
    code = "?" if report.exit_code is None else str(report.exit_code)
    return report.reason or Reason("unexplained", {"code": code, "agent": agent, "id": report.kernel_id})
