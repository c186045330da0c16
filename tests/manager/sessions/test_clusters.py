"""What one container of several means for its session."""

from datetime import UTC, datetime, timedelta

import pytest

from bai_jupyter.common.ids import KernelId, SessionId
from bai_jupyter.common.messages import KernelReport
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.statuses import KernelStatus
from bai_jupyter.manager.sessions.clusters import Member, environ_of, of_all

K = KernelStatus
NOW = datetime(2026, 1, 1, tzinfo=UTC)
OOM = Reason.of("other", text="Out of memory.")
RUNS = Member(1, K.RUNNING)


def told(status, reason=None, restarts=0):
    return KernelReport(KernelId("k"), SessionId("s"), status, 1, reason=reason, restarts=restarts, exit_code=137)


def gone(place, reason=OOM, status=K.TERMINATED, after_s=0):
    return Member(place, status, reason=reason, exit_code=1, ended_at=NOW + timedelta(seconds=after_s))


def test_one_alone_is_its_session():
    for status in K:
        assert of_all(told(status), 0, []) == told(status)


@pytest.mark.parametrize(
    ("said", "other", "all_of_them"),
    [
        (K.RUNNING, K.RUNNING, K.RUNNING),
        (K.RUNNING, K.PULLING, K.PULLING),
        (K.PREPARING, K.RUNNING, K.PREPARING),
        (K.RUNNING, None, None),
        (K.RUNNING, K.TERMINATING, None),
    ],
)
def test_a_session_is_as_far_as_the_last_of_its_containers(said, other, all_of_them):
    found = of_all(told(said), 0, [RUNS, Member(2, other)])
    assert (found and found.status) == all_of_them


def test_it_has_restarted_when_all_have():
    found = of_all(told(K.RUNNING, restarts=1), 0, [Member(1, K.RUNNING, restarts=1), Member(2, K.RUNNING)])
    assert found.restarts == 0


def test_what_is_amiss_with_one_that_runs_is_said_until_it_is_over():
    runs, held = Reason.of("running", agent="lab-1"), Reason.of("other", text="Held.")
    main, sub = Member(0, K.RUNNING, reason=runs), Member(1, K.RUNNING, reason=held)
    assert of_all(told(K.RUNNING, held), 1, [main]).reason.text == "sub1: Held."
    assert of_all(told(K.RUNNING, runs), 0, [sub]).reason.text == "sub1: Held."
    assert of_all(told(K.RUNNING, runs), 1, [main]).reason == runs
    assert of_all(told(K.RUNNING, held), 0, [sub]).reason == held


def test_the_first_that_ends_ends_the_session_and_is_named():
    found = of_all(told(K.TERMINATED, OOM), 2, [Member(0, K.RUNNING), RUNS])
    assert (found.status, found.reason.text) == (K.TERMINATING, "sub2 ended: Out of memory.")
    silent = of_all(told(K.TERMINATED), 1, [Member(0, K.RUNNING)])
    assert silent.reason.text == "sub1 ended: code 137, and no cause is known."


def test_the_main_ones_reason_is_the_sessions_own():
    done = Reason.of("task-finished")
    assert of_all(told(K.TERMINATED, done), 0, [RUNS]).reason == done


def test_the_last_that_ends_tells_what_ended_the_first():
    found = of_all(told(K.TERMINATED), 0, [gone(1, after_s=5), gone(2, status=K.ERROR)])
    assert (found.status, found.reason.text, found.exit_code) == (K.ERROR, "sub2 ended: Out of memory.", 1)


def test_what_another_agent_may_not_have_stays_as_it_was_told():
    pull = Reason.of("pull-failed", image="i", agent="lab-1", cause="no answer")
    assert of_all(told(K.TERMINATED), 0, [gone(1, pull)]).reason == pull


def test_once_one_has_ended_what_the_others_do_is_no_news():
    for status in (K.PREPARING, K.RUNNING, K.TERMINATED):
        assert of_all(told(status), 0, [RUNS, gone(2)]) is None


def test_what_a_container_is_told_of_the_others():
    found = {name.removeprefix("BACKENDAI_CLUSTER_"): value for name, value in environ_of(2, 3).items()}
    assert found == {
        "SIZE": "3",
        "REPLICAS": "main:1,sub:2",
        "HOSTS": "main1,sub1,sub2",
        "HOST": "sub2",
        "ROLE": "sub",
        "IDX": "2",
        "LOCAL_RANK": "2",
    }
    assert environ_of(0, 1)["BACKENDAI_CLUSTER_REPLICAS"] == "main:1"
