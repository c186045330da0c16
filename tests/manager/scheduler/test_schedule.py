"""Order, choice of agent, quotas within a pass, passing and keeping."""

from dataclasses import replace
from datetime import timedelta

import pytest

from bai_jupyter.manager.scheduler import GroupPolicy, estimate_words, schedule, verdict

HOST = {"cpu": 8, "mem": "32g"}
GPU_HOST = {"cpu": 8, "mem": "32g", "cuda.shares": 2}


@pytest.mark.parametrize(("sequencer", "order"), [("fifo", ["vip", "old", "new"]), ("lifo", ["vip", "new", "old"])])
def test_sequence(make, sequencer, order):
    sessions = [
        make.session("new", {"cpu": 1}, age_s=1),
        make.session("old", {"cpu": 1}, age_s=9),
        make.session("vip", {"cpu": 1}, age_s=5, priority=1),
    ]
    plan = schedule(make.snapshot([make.agent("a", HOST)], sessions), replace(make.fill, sequencer=sequencer))
    assert [placement.session_id for placement in plan.placements] == order


def test_unknown_sequencer(make):
    with pytest.raises(KeyError, match="tallest"):
        schedule(make.snapshot(), replace(make.fill, sequencer="tallest"))


@pytest.mark.parametrize(("selection", "chosen"), [("concentrated", "busy"), ("dispersed", "idle")])
@pytest.mark.parametrize("request_", [{"cpu": 1}, {"cuda.shares": "0.5"}])
def test_selection(make, placed, selection, chosen, request_):
    total = GPU_HOST if "cuda.shares" in request_ else HOST
    agents = [
        make.agent("full", total, {"cpu": 8, "mem": "32g", "cuda.shares": 2} if total is GPU_HOST else {"cpu": 8}),
        make.agent("busy", total, {"cpu": 4, "cuda.shares": 1} if total is GPU_HOST else {"cpu": 4}),
        make.agent("idle", total),
        make.agent("idle-too", total),
    ]
    plan = schedule(make.snapshot(agents, [make.session("s", request_)]), GroupPolicy(selection))
    assert placed(plan) == {"s": chosen}


@pytest.mark.parametrize("policy", [GroupPolicy("concentrated"), GroupPolicy("dispersed")])
def test_sessions_without_accelerators_leave_them_alone(make, placed, policy):
    agents = [
        make.agent("gpu-free", GPU_HOST),
        make.agent("gpu-taken", GPU_HOST, {"cuda.shares": 2}),
        make.agent("plain", HOST, {"cpu": 6}),
    ]
    sessions = [make.session(f"s{n}", {"cpu": 2}, age_s=9 - n) for n in range(2)]
    assert placed(schedule(make.snapshot(agents, sessions), policy)) == {"s0": "plain", "s1": "gpu-taken"}


def test_shares_do_not_add_up_across_agents(make):
    agents = [make.agent(name, GPU_HOST, {"cuda.shares": "1.75"}) for name in "ab"]
    plan = schedule(make.snapshot(agents, [make.session("s", {"cuda.shares": "0.5"})]), make.fill)
    assert not plan.placements


def test_thirds_of_a_device_fill_it_exactly(make):
    agents = [make.agent("a", {"cpu": 8, "cuda.shares": 1})]
    sessions = [make.session(f"s{n}", {"cuda.shares": "0.33"}) for n in range(4)]
    assert len(schedule(make.snapshot(agents, sessions), make.fill).placements) == 3


def test_less_than_a_quantum_too_much_is_too_much(make):
    agents = [make.agent("a", {"cpu": 1})]
    sessions = [make.session(f"s{n}", {"cpu": "0.5000000001"}) for n in range(2)]
    assert len(schedule(make.snapshot(agents, sessions), make.fill).placements) == 1


def test_agents_not_to_be_used(make, placed):
    agents = [
        make.agent("draining", HOST, schedulable=False),
        make.agent("arm", HOST, architecture="aarch64"),
        make.agent("failed", HOST),
        make.agent("right", HOST),
    ]
    session = make.session("s", {"cpu": 1}, excluded_agents=frozenset({"failed"}))
    for policy in (make.fill, make.spread):
        assert placed(schedule(make.snapshot(agents, [session]), policy)) == {"s": "right"}


def test_more_used_than_there_is(make, placed):
    """A device that went away must not make the agent useless for what it still has."""
    agents = [make.agent("a", {"cpu": 8, "cuda.shares": 1}, {"cpu": 1, "cuda.shares": 2, "rocm.device": 1})]
    sessions = [make.session("cpu", {"cpu": 7}), make.session("gpu", {"cuda.shares": "0.1"})]
    assert placed(schedule(make.snapshot(agents, sessions), make.fill)) == {"cpu": "a"}


def test_quota_holds_across_the_pass_and_blocks_nobody_else(make, placed):
    quotas = {"alice": (make.quota({"cpu": 3}),)}
    sessions = [make.session(f"alice-{n}", {"cpu": 2}, age_s=99 - n) for n in range(2)]
    bob = make.session("bob", {"cpu": 2}, owner="bob")
    small = make.session("alice-small", {"cpu": 1}, age_s=-1)
    plan = schedule(make.snapshot([make.agent("a", HOST)], [*sessions, bob, small], quotas), make.fill)
    assert set(placed(plan)) == {"alice-0", "bob", "alice-small"}
    assert plan.waiting["alice-1"].reason.code == "quota-wait"


def test_max_sessions_holds_across_the_pass(make, placed):
    quotas = {"alice": (make.quota(sessions=1, max_sessions=3),)}
    sessions = [make.session(f"s{n}", {"cpu": 1}, age_s=99 - n) for n in range(3)]
    plan = schedule(make.snapshot([make.agent("a", HOST)], sessions, quotas), make.fill)
    assert set(placed(plan)) == {"s0", "s1"}
    assert "you have 3" in plan.waiting["s2"].reason.text


@pytest.mark.parametrize(("scope", "count"), [("vision", 1), ("", 2)])
def test_quotas_of_one_scope_are_one_counter(make, placed, scope, count):
    quota = make.quota({"cpu": 3}, level="project", name="vision", scope=scope)
    sessions = [make.session(owner, {"cpu": 2}, owner=owner) for owner in ("alice", "bob")]
    snapshot = make.snapshot([make.agent("a", HOST)], sessions, {"alice": (quota,), "bob": (quota,)})
    assert len(schedule(snapshot, make.fill).placements) == count


def test_limit_already_passed_holds_only_who_adds_to_it(make, placed):
    quotas = {"alice": (make.quota({"cuda.shares": 1}, {"cuda.shares": 2}),)}
    sessions = [make.session("cpu", {"cpu": 1}), make.session("gpu", {"cuda.shares": "0.1"})]
    plan = schedule(make.snapshot([make.agent("a", GPU_HOST)], sessions, quotas), make.fill)
    assert set(placed(plan)) == {"cpu"}


def test_start_time_in_the_past_does_not_hold(make, placed):
    session = make.session("s", {"cpu": 1}, starts_at=make.now)
    assert placed(schedule(make.snapshot([make.agent("a", HOST)], [session]), make.fill)) == {"s": "a"}


def test_request_for_nothing(make, placed):
    """Not useful, but no reason to fail a whole group's pass."""
    sessions = [make.session("s", {}), make.session("arm", {}, architecture="aarch64")]
    agents = [make.agent("a", HOST), make.agent("b", HOST, architecture="aarch64", schedulable=False)]
    plan = schedule(make.snapshot(agents, sessions), make.fill)
    assert placed(plan) == {"s": "a"}
    assert plan.waiting["arm"].reason.code == "no-room"


# Passing, and keeping an agent


@pytest.fixture
def crowded(make):
    """One agent with 2 CPU free; first in the queue a session that needs all 8, then three that need 1."""
    sessions = [make.session("large", {"cpu": 8}, age_s=99)]
    sessions += [make.session(f"small-{n}", {"cpu": 1}, age_s=9 - n) for n in range(3)]
    return make.snapshot([make.agent("a", HOST, {"cpu": 6})], sessions)


@pytest.mark.parametrize(
    ("skips", "passed"), [(None, ["small-0", "small-1"]), (0, []), (1, ["small-0"]), (5, ["small-0", "small-1"])]
)
def test_how_many_may_pass(make, crowded, skips, passed):
    plan = schedule(crowded, replace(make.fill, head_of_line_skips=skips))
    assert [placement.session_id for placement in plan.placements] == passed
    assert (plan.head, plan.passes) == ("large", len(passed))


def test_passes_of_earlier_passes_count(make, crowded):
    large, *small = crowded.pending
    snapshot = replace(crowded, pending=(replace(large, passed_by=4), *small))
    plan = schedule(snapshot, replace(make.fill, head_of_line_skips=5))
    assert (len(plan.placements), plan.passes) == (1, 1)


def test_no_starvation(make):
    """Small sessions keep coming and each ends after 3 passes: the large one starts when the store counts passes."""
    policy = replace(make.fill, head_of_line_skips=4)
    large = make.session("large", {"cpu": 8}, age_s=10**6)
    running: list[int] = []
    for round_ in range(40):
        running = [age + 1 for age in running if age < 3]
        agent = make.agent("a", HOST, {"cpu": 2 * len(running)})
        small = [make.session(f"small-{round_}-{n}", {"cpu": 2}, age_s=1000 - round_) for n in range(4)]
        plan = schedule(make.snapshot([agent], [large, *small]), policy)
        if any(placement.session_id == large.id for placement in plan.placements):
            return
        running += [0] * len(plan.placements) if round_ else [0, 1, 2]
        large = replace(large, passed_by=large.passed_by + plan.passes)
    pytest.fail(f"never placed, passed by {large.passed_by}")


def test_kept_agent_is_the_one_that_comes_free_first(make, placed):
    agents = [make.agent("late", HOST, {"cpu": 5}), make.agent("soon", HOST, {"cpu": 7})]
    endings = [make.ending("late", {"cpu": 5}, in_s=900), make.ending("soon", {"cpu": 6}, in_s=60)]
    sessions = [make.session("large", {"cpu": 6}, age_s=99)]
    sessions += [make.session(f"s{n}", {"cpu": 1}, age_s=9 - n) for n in range(6)]
    plan = schedule(make.snapshot(agents, sessions, endings=endings), GroupPolicy("dispersed", head_of_line_skips=0))
    # "soon" will have 7 free, the large one leaves 1 of it: one small session fits beside it
    assert sorted(placed(plan).values()) == ["late", "late", "late", "soon"]
    assert plan.waiting["large"].estimate_s == 60


def test_without_known_endings_the_agent_that_lacks_least_is_kept(make, placed):
    agents = [make.agent("far", HOST, {"cpu": 5}), make.agent("near", HOST, {"cpu": 3})]
    sessions = [make.session("large", {"cpu": 6}, age_s=99), make.session("small", {"cpu": 1})]
    plan = schedule(make.snapshot(agents, sessions), GroupPolicy("dispersed", head_of_line_skips=0))
    assert placed(plan) == {"small": "far"}


def test_what_can_never_start_is_no_head(make, placed):
    sessions = [make.session("monster", {"cpu": 99}, age_s=99), make.session("small", {"cpu": 1})]
    plan = schedule(make.snapshot([make.agent("a", HOST)], sessions), replace(make.fill, head_of_line_skips=0))
    assert placed(plan) == {"small": "a"}
    assert plan.head is None


def test_nobody_takes_in_an_estimate_what_is_kept_for_the_head(make):
    agents = [make.agent("a", HOST, {"cpu": 8})]
    endings = [make.ending("a", {"cpu": 4}, in_s=60), make.ending("a", {"cpu": 4}, in_s=120)]
    sessions = [make.session("large", {"cpu": 7}, age_s=99), make.session("small", {"cpu": 1})]
    snapshot = make.snapshot(agents, sessions, endings=endings)
    kept = schedule(snapshot, replace(make.fill, head_of_line_skips=0)).waiting
    assert (kept["large"].estimate_s, kept["small"].estimate_s) == (120, 120)
    free_for_all = schedule(snapshot, make.fill).waiting
    assert (free_for_all["large"].estimate_s, free_for_all["small"].estimate_s) == (120, 60)


# Asking before sending


def test_verdict_places(make):
    assert verdict(make.snapshot([make.agent("a", HOST)]), make.fill, make.session("s", {"cpu": 1})) == "a"


def test_verdict_waits_behind_what_is_queued(make):
    snapshot = make.snapshot([make.agent("a", HOST)], [make.session("s", {"cpu": 6}, age_s=5)])
    waiting = verdict(snapshot, make.fill, make.session("mine", {"cpu": 4}))
    assert (waiting.reason.code, waiting.position, waiting.of) == ("no-room", 1, 1)


def test_verdict_of_a_session_that_is_queued_already(make):
    session = make.session("s", {"cpu": 6})
    snapshot = make.snapshot([make.agent("a", HOST)], [session])
    assert verdict(snapshot, make.fill, replace(session, requested=make.slots({"cpu": 8}))) == "a"


# Words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "under a minute"),
        (59.9, "under a minute"),
        (60, "about 1 min"),
        (61, "about 2 min"),
        (9 * 60, "about 9 min"),
        (9.5 * 60, "about 10 min"),
        (11 * 60, "about 15 min"),
        (56 * 60, "about 1 h"),
        (61 * 60, "about 1 h 15 min"),
        (8 * 3600, "about 8 h"),
        (8 * 3600 + 1, "more than 8 h"),
    ],
)
def test_estimate_words(seconds, words):
    assert estimate_words(seconds) == words


def test_plan_made_again_is_equal(make, crowded):
    later = replace(crowded, now=crowded.now + timedelta(days=1))
    assert schedule(crowded, make.fill) == schedule(replace(later, now=crowded.now), make.fill)
