"""The transition table and the pure decisions around it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from bai_jupyter.common.errors import InvalidTransition
from bai_jupyter.common.ids import KernelId, SessionId
from bai_jupyter.common.messages import KernelReport
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.statuses import (
    FINAL,
    STARTING,
    WAITING,
    KernelStatus,
    SessionResult,
    SessionStatus,
    SessionType,
    Target,
)
from bai_jupyter.manager.sessions import lifecycle
from bai_jupyter.manager.sessions.lifecycle import DEADLINES, TRANSITIONS, Dependency, Event, SessionState

S = SessionStatus
OCCUPYING = frozenset(S) - FINAL - WAITING  # an agent's slots are taken, until it says that the container is gone
NOW = datetime(2026, 1, 1, tzinfo=UTC)
RETRYABLE = Reason.of("engine-down", agent="lab-1", cause="no answer")


def state(status, target=Target.RUNNING, started=None, attempts=1, reason_code=None, changed_at=NOW):
    started = status is S.RUNNING if started is None else started
    return SessionState(status, target, changed_at, attempts, started, reason_code)


def report(status, reason=None, exit_code=None):
    return KernelReport(KernelId("k"), SessionId("s"), status, 1, reason=reason, exit_code=exit_code)


def observe(session, *args, others=True, **kwargs):
    return lifecycle.observe(session, report(*args, **kwargs), others=others, agent="lab-1")


def test_nothing_leaves_a_final_status():
    assert not [status for status, _ in TRANSITIONS if status in FINAL]


def test_every_status_that_is_not_final_can_end():
    ends = (*FINAL,)
    for status in set(SessionStatus) - FINAL:
        reached, frontier = {status}, [status]
        while frontier:
            here = frontier.pop()
            for (before, _), after in TRANSITIONS.items():
                if before is here and after not in reached:
                    reached.add(after)
                    frontier.append(after)
        assert reached & set(ends), status


def test_every_status_that_is_not_final_has_a_deadline_that_the_table_knows():
    assert DEADLINES.keys() == set(SessionStatus) - FINAL
    for status, deadline in DEADLINES.items():
        assert deadline is None or (status, deadline.event) in TRANSITIONS


def test_unknown_pair_is_refused():
    with pytest.raises(InvalidTransition, match="TERMINATED"):
        lifecycle.next_status(S.TERMINATED, Event.RUNNING)


@pytest.mark.parametrize("status", sorted(OCCUPYING))
@pytest.mark.parametrize("said", list(KernelStatus))
@pytest.mark.parametrize("target", list(Target))
@pytest.mark.parametrize("started", [False, True])
def test_no_report_whatever_is_a_fault(status, said, target, started):
    transition = observe(state(status, target, started), said)
    assert transition is None or isinstance(transition.status, SessionStatus)
    if said in (KernelStatus.TERMINATED, KernelStatus.ERROR):
        assert transition is not None
        assert transition.is_final


@pytest.mark.parametrize("status", sorted(STARTING))
def test_steps_may_be_skipped(status):
    assert observe(state(status), KernelStatus.RUNNING).status is S.RUNNING


def test_running_does_not_go_back_to_starting():
    assert observe(state(S.RUNNING), KernelStatus.PULLING) is None


def test_reports_while_it_is_to_end_keep_the_reason():
    transition = observe(state(S.TERMINATING, Target.TERMINATED), KernelStatus.RUNNING)
    assert (transition.status, transition.reason) == (S.TERMINATING, None)
    transition = observe(state(S.TERMINATING, Target.TERMINATED), KernelStatus.TERMINATED, RETRYABLE)
    assert (transition.status, transition.reason) == (S.TERMINATED, None)


def test_retryable_fault_goes_back_to_the_queue_while_there_is_another_agent():
    again = observe(state(S.CREATING), KernelStatus.ERROR, RETRYABLE)
    assert (again.status, again.reason.code) == (S.PENDING, "agent-retry")
    assert observe(state(S.CREATING), KernelStatus.ERROR, RETRYABLE, others=False).status is S.ERROR
    assert observe(state(S.CREATING, attempts=lifecycle.MAX_ATTEMPTS), KernelStatus.ERROR, RETRYABLE).status is S.ERROR


def test_fault_of_the_request_is_final():
    fault = Reason.of("kernel-missing", image="i", argv0="python", spec="python3")
    transition = observe(state(S.CREATING), KernelStatus.ERROR, fault)
    assert (transition.status, transition.reason) == (S.ERROR, fault)


def test_end_without_a_cause_says_so():
    transition = observe(state(S.RUNNING), KernelStatus.TERMINATED, exit_code=137)
    assert transition.status is S.TERMINATED
    assert "Ended with code 137; lab-1 recorded no cause" in transition.reason.text


def test_start_that_takes_too_long_is_ended_and_is_an_error():
    late = NOW + DEADLINES[S.CREATING].after
    transition = lifecycle.expire(state(S.CREATING), late, reachable=True, group="default")
    assert (transition.status, transition.reason.code) == (S.TERMINATING, "start-timeout")
    ending = state(S.TERMINATING, Target.TERMINATED, started=False, reason_code="start-timeout")
    assert observe(ending, KernelStatus.TERMINATED).status is S.ERROR


def test_a_silent_agent_is_waited_for():
    much_later = NOW + timedelta(days=365)
    for status in OCCUPYING:
        assert lifecycle.expire(state(status), much_later, reachable=False, group="default") is None


def test_nothing_expires_early():
    for status, deadline in DEADLINES.items():
        if deadline is not None:
            just_before = NOW + deadline.after - timedelta(seconds=1)
            assert lifecycle.expire(state(status), just_before, reachable=True, group="default") is None


def test_waiting_too_long_is_cancelled():
    transition = lifecycle.expire(state(S.PENDING), NOW + timedelta(days=7), reachable=False, group="default")
    assert (transition.status, transition.reason.text) == (
        S.CANCELLED,
        "Waited 7 days, the longest group default allows.",
    )


def test_ending_twice_changes_nothing():
    reason = Reason.of("user-requested", who="alice")
    assert lifecycle.end(state(S.RUNNING), reason).status is S.TERMINATING
    assert lifecycle.end(state(S.PENDING), reason).status is S.CANCELLED
    assert lifecycle.end(state(S.TERMINATING), reason) is None
    assert lifecycle.end(state(S.TERMINATED), reason) is None


# Results and dependencies

FINISHED = Reason.of("task-finished")
FAILED = Reason.of("task-failed", code=1)
ASKED = Reason.of("user-requested", who="alice")


@pytest.mark.parametrize(
    ("kind", "session", "reason", "expected"),
    [
        (SessionType.BATCH, state(S.RUNNING), FINISHED, SessionResult.SUCCESS),
        (SessionType.BATCH, state(S.RUNNING), FAILED, SessionResult.FAILURE),
        (
            SessionType.BATCH,
            state(S.TERMINATING, started=True, reason_code="user-requested"),
            None,
            SessionResult.FAILURE,
        ),
        (SessionType.INTERACTIVE, state(S.TERMINATING, started=True), ASKED, SessionResult.SUCCESS),
        (SessionType.INTERACTIVE, state(S.TERMINATING, started=False), ASKED, SessionResult.FAILURE),
        (SessionType.INTERACTIVE, state(S.RUNNING), Reason.of("killed-outside", code=9), SessionResult.FAILURE),
    ],
)
def test_how_it_ended(kind, session, reason, expected):
    assert lifecycle.result_of(kind, session, lifecycle.advance(session, Event.ENDED, reason)) is expected


RUNS = Dependency("runs", S.RUNNING, SessionResult.UNDEFINED)
DONE = Dependency("done", S.TERMINATED, SessionResult.SUCCESS)
BROKEN = Dependency("broken", S.ERROR, SessionResult.FAILURE)


@pytest.mark.parametrize(
    ("dependencies", "expected"),
    [([], None), ([DONE, DONE], None), ([DONE, RUNS], RUNS), ([RUNS, BROKEN], BROKEN), ([BROKEN, RUNS], BROKEN)],
)
def test_what_is_still_waited_for(dependencies, expected):
    assert lifecycle.unmet(dependencies) == expected


def test_what_waits_for_a_failure_is_cancelled():
    transition = lifecycle.give_up(state(S.PENDING), [DONE, RUNS, BROKEN])
    assert (transition.status, transition.reason.text) == (S.CANCELLED, "broken, which it waits for, could not start.")
    assert lifecycle.give_up(state(S.PENDING), [DONE, RUNS]) is None
    assert lifecycle.give_up(state(S.RUNNING), [BROKEN]) is None


def test_who_waits_for_a_time_has_not_waited_too_long_before_it():
    late = NOW + timedelta(days=8)
    early = replace(state(S.PENDING), starts_at=NOW + timedelta(days=30))
    assert lifecycle.expire(early, late, reachable=True, group="default") is None
    assert lifecycle.expire(early, NOW + timedelta(days=38), reachable=True, group="default").status is S.CANCELLED


# Forced ends and restarts


def test_a_forced_end_waits_for_nobody():
    for status in OCCUPYING:
        assert lifecycle.force(state(status), ASKED).status is S.TERMINATED
    assert lifecycle.force(state(S.PENDING), ASKED).status is S.CANCELLED
    for status in FINAL:
        assert lifecycle.force(state(status), ASKED) is None


def test_what_runs_can_be_restarted():
    for status in set(SessionStatus):
        transition = lifecycle.restart(state(status))
        assert (transition is not None) is (status in (S.RUNNING, S.RESTARTING)), status
    assert lifecycle.restart(state(S.RUNNING, Target.TERMINATED)) is None


def test_a_restarted_session_runs_when_its_agent_says_so_of_this_restart():
    session = replace(state(S.RESTARTING, started=True), restarts=2)
    old = replace(report(KernelStatus.RUNNING), restarts=1)
    assert lifecycle.observe(session, old, others=True, agent="lab-1") is None
    new = replace(old, restarts=2)
    assert lifecycle.observe(session, new, others=True, agent="lab-1").status is S.RUNNING
    gone = replace(old, status=KernelStatus.TERMINATED)
    assert lifecycle.observe(session, gone, others=True, agent="lab-1").status is S.TERMINATED
