"""What holds for every snapshot, and the same choices as a plain loop makes."""

import copy
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from bai_jupyter.common.ids import AgentId, SessionId
from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.manager.scheduler import (
    AgentView,
    Ending,
    GroupPolicy,
    Limit,
    PendingSession,
    Plan,
    Quota,
    Snapshot,
    Usage,
    Waiting,
    schedule,
    verdict,
)

NOW = datetime(2026, 3, 1, tzinfo=UTC)
PROPERTY = settings(deadline=None, max_examples=40, phases=[phase for phase in Phase if phase is not Phase.explain])
PLAIN_LOOP = settings(PROPERTY, max_examples=100)
NAMES = ("cpu", "mem", "cuda.shares", "rocm.device")
OWNERS = ("alice", "bob", "carol")


def slots(largest: int, *, always: tuple[str, ...] = ()) -> st.SearchStrategy[ResourceSlots]:
    """Halves and hundredths of devices, quarters of cores: small figures, so that exact fits and ties are common."""
    steps = {"cpu": "0.25", "mem": "1", "cuda.shares": "0.01", "rocm.device": "1"}
    amounts = {
        name: st.integers(0, largest).map(lambda n, step=steps[name]: n * Decimal(step))
        | st.integers(0, 2).map(Decimal)
        for name in NAMES
    }
    optional = {name: amount for name, amount in amounts.items() if name not in always}
    return st.fixed_dictionaries({name: amounts[name] for name in always}, optional=optional).map(ResourceSlots)


ARCHITECTURES = st.sampled_from(["x86_64", "x86_64", "x86_64", "aarch64"])
MOMENTS = st.integers(-3, 3).map(lambda hours: NOW + timedelta(hours=hours))


@st.composite
def agent_views(draw, number: int) -> AgentView:
    return AgentView(
        AgentId(f"agent-{number}"),
        f"agent {number}",
        total=draw(slots(8, always=("cpu", "mem"))),
        used=draw(slots(3)),
        architecture=draw(ARCHITECTURES),
        schedulable=draw(st.sampled_from([True, True, True, False])),
    )


@st.composite
def sessions(draw, number: int) -> PendingSession:
    return PendingSession(
        SessionId(f"session-{number}"),
        owner=draw(st.sampled_from(OWNERS)),
        requested=draw(slots(4)),
        architecture=draw(ARCHITECTURES),
        created_at=draw(MOMENTS),
        priority=draw(st.integers(0, 1)),
        starts_at=draw(st.none() | st.none() | MOMENTS),
        excluded_agents=draw(st.just(frozenset()) | st.frozensets(st.sampled_from(["agent-0", "agent-1", "gone"]))),
        passed_by=draw(st.integers(0, 2)),
    )


@st.composite
def quotas(draw, owner: str, shared: Quota) -> tuple[Quota, ...]:
    limit = Limit("user", owner, draw(slots(12)), draw(st.none() | st.integers(0, 5)))
    own = Quota(limit, Usage(draw(slots(2)), draw(st.integers(0, 2))))
    return draw(st.sampled_from([(), (own,), (shared,), (own, shared)]))


@st.composite
def snapshots(draw) -> Snapshot:
    agents = tuple(draw(agent_views(number)) for number in range(draw(st.integers(0, 6))))
    pending = tuple(draw(sessions(number)) for number in range(draw(st.integers(0, 14))))
    shared = Quota(
        Limit("project", "vision", draw(slots(16)), draw(st.none() | st.integers(0, 8))), Usage(draw(slots(2)), 1), "p"
    )
    ids = [agent.id for agent in agents] or [AgentId("gone")]
    endings = st.builds(Ending, agent_id=st.sampled_from(ids), slots=slots(3), ends_at=MOMENTS)
    return Snapshot(
        NOW,
        "lab",
        agents,
        pending,
        {owner: draw(quotas(owner, shared)) for owner in OWNERS[:2]},
        tuple(draw(st.lists(endings, max_size=6))),
    )


POLICIES = st.builds(
    GroupPolicy,
    st.sampled_from(["concentrated", "dispersed"]),
    st.sampled_from(["fifo", "lifo"]),
    st.none() | st.integers(0, 3),
)


def chosen(plan: Plan, snapshot: Snapshot) -> list[tuple[PendingSession, AgentView]]:
    by_id = {session.id: session for session in snapshot.pending}
    agents = {agent.id: agent for agent in snapshot.agents}
    return [(by_id[placement.session_id], agents[placement.agent_id]) for placement in plan.placements]


@PROPERTY
@given(snapshots(), POLICIES)
def test_no_agent_is_over_committed(snapshot, policy):
    added: dict[str, ResourceSlots] = defaultdict(ResourceSlots)
    for session, agent in chosen(schedule(snapshot, policy), snapshot):
        added[agent.id] += session.requested
        assert added[agent.id].fits(agent.total - agent.used)


@PROPERTY
@given(snapshots(), POLICIES)
def test_only_agents_that_may_be_used(snapshot, policy):
    for session, agent in chosen(schedule(snapshot, policy), snapshot):
        assert agent.schedulable
        assert agent.architecture == session.architecture
        assert agent.id not in session.excluded_agents
        assert session.starts_at is None or session.starts_at <= snapshot.now


@PROPERTY
@given(snapshots(), POLICIES)
def test_no_quota_is_passed(snapshot, policy):
    used: dict[str, ResourceSlots] = {}
    count: dict[str, int] = {}
    for session, _ in chosen(schedule(snapshot, policy), snapshot):
        for number, quota in enumerate(snapshot.quotas.get(session.owner, ())):
            key = quota.scope or f"{session.owner} {number}"
            used[key] = used.get(key, quota.usage.slots) + session.requested
            count[key] = count.get(key, quota.usage.sessions) + 1
            assert quota.limit.max_sessions is None or count[key] <= quota.limit.max_sessions
            for name in session.requested:
                assert name not in quota.limit.slots or used[key][name] <= quota.limit.slots[name]


@PROPERTY
@given(snapshots(), POLICIES)
def test_each_session_is_placed_or_has_a_reason(snapshot, policy):
    plan = schedule(snapshot, policy)
    names = [placement.session_id for placement in plan.placements] + list(plan.waiting)
    assert sorted(names) == sorted(session.id for session in snapshot.pending)
    for place, waiting in enumerate(plan.waiting.values(), start=1):
        assert waiting.reason.text
        assert (waiting.position, waiting.of) == (place, len(plan.waiting))
        assert waiting.estimate_s is None or waiting.estimate_s >= 0


@PROPERTY
@given(snapshots(), POLICIES, st.randoms())
def test_equal_input_gives_an_equal_plan(snapshot, policy, rng: random.Random):
    """Copies share nothing, and the order in which agents and sessions are handed over means nothing."""
    other = copy.deepcopy(snapshot)
    agents, pending = list(other.agents), list(other.pending)
    rng.shuffle(agents)
    rng.shuffle(pending)
    other = replace(other, agents=tuple(agents), pending=tuple(pending))
    first, second = schedule(snapshot, policy), schedule(other, policy)
    assert first == second
    assert list(first.waiting.items()) == list(second.waiting.items())


@PROPERTY
@given(snapshots(), POLICIES)
def test_who_waits_for_room_has_none(snapshot, policy):
    plan = schedule(snapshot, policy)
    free = {agent.id: agent.total - agent.used for agent in snapshot.agents if agent.schedulable}
    for session, agent in chosen(plan, snapshot):
        free[agent.id] -= session.requested
    by_id = {session.id: session for session in snapshot.pending}
    architectures = {agent.id: agent.architecture for agent in snapshot.agents}
    for session_id, waiting in plan.waiting.items():
        session = by_id[session_id]
        has_room = any(
            session.requested.fits(room)
            for agent_id, room in free.items()
            if architectures[agent_id] == session.architecture and agent_id not in session.excluded_agents
        )
        assert has_room or waiting.reason.code != "behind-others"
        assert not has_room or waiting.reason.code not in ("no-room", "too-big")


@PROPERTY
@given(snapshots(), POLICIES, sessions(99))
def test_verdict_is_the_real_decision(snapshot, policy, candidate):
    answer = verdict(snapshot, policy, candidate)
    plan = schedule(replace(snapshot, pending=(candidate, *snapshot.pending)), policy)
    if isinstance(answer, Waiting):
        assert plan.waiting[candidate.id] == answer
    else:
        assert (candidate.id, answer) in [(placement.session_id, placement.agent_id) for placement in plan.placements]


# The plain loop


def plain_choice(
    session: PendingSession, free: dict[AgentId, ResourceSlots], snapshot: Snapshot, selection: str
) -> AgentId | None:
    """Look at every agent, in exact decimals, and take the best by the rule that ``selectors`` states."""
    offered = sorted({name for agent in snapshot.agents for name in agent.total})
    scarce = [name for name in offered if name not in ("cpu", "mem")]
    fitting = [
        agent
        for agent in sorted(snapshot.agents, key=lambda agent: agent.id)
        if agent.schedulable
        and agent.architecture == session.architecture
        and agent.id not in session.excluded_agents
        and all(amount <= free[agent.id][name] for name, amount in session.requested.items())
    ]

    def room(agent: AgentView) -> list[Decimal]:
        return [max(Decimal(0), free[agent.id][name]) for name in (*scarce, "cpu", "mem")]

    pick: Callable[..., AgentView] = max if selection == "dispersed" else min
    plain = [agent for agent in fitting if not any(agent.total[name] for name in scarce)]
    if plain and not any(session.requested[name] for name in scarce):
        return pick(plain, key=room).id
    if fitting and not any(session.requested[name] for name in scarce):
        return min(fitting, key=room).id
    return pick(fitting, key=room).id if fitting else None


@pytest.mark.parametrize("selection", ["concentrated", "dispersed"])
@PLAIN_LOOP
@given(snapshot=snapshots())
def test_same_agents_as_a_plain_loop(selection, snapshot):
    snapshot = replace(snapshot, quotas={})
    free = {agent.id: agent.total - agent.used for agent in snapshot.agents}
    expected = []
    for session in sorted(snapshot.pending, key=lambda one: (-one.priority, one.created_at, one.id)):
        if session.starts_at is None or session.starts_at <= NOW:
            agent_id = plain_choice(session, free, snapshot, selection)
            if agent_id is not None:
                free[agent_id] -= session.requested
                expected.append((session.id, agent_id))
    plan = schedule(snapshot, GroupPolicy(selection))
    assert [(placement.session_id, placement.agent_id) for placement in plan.placements] == expected
