"""Turns a group's state into the scheduler's ``Snapshot``. Pure; the scheduler decides, ``db.placements`` commits."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal, cast

from bai_jupyter.common.ids import AgentId, SessionId, UserId
from bai_jupyter.common.messages import DeviceFacts
from bai_jupyter.common.parts import EVENLY, STRATEGY, Shelf, Shelves
from bai_jupyter.common.statuses import SessionResult
from bai_jupyter.manager.db.admission import SESSIONS, Owner, PolicyLimit, from_quanta, owner_of
from bai_jupyter.manager.db.placements import GroupState, Holding
from bai_jupyter.manager.db.records import AgentRecord, GroupRecord
from bai_jupyter.manager.scheduler import (
    AgentView,
    Budget,
    Devices,
    GroupPolicy,
    Limit,
    PendingSession,
    Quota,
    Snapshot,
    Usage,
)
from bai_jupyter.manager.sessions.lifecycle import Dependency, unmet
from bai_jupyter.manager.sessions.matching import Placeable, excluded


@dataclass(frozen=True)
class Conditions:
    """What the database does not know: who can be spoken to, and whether unsafe sharing is allowed."""

    is_linked: Callable[[AgentId], bool]
    allow_unsafe_runtime: bool


def take_snapshot(state: GroupState, conditions: Conditions, now: datetime) -> Snapshot:
    """Agents that cannot be spoken to count as full; if there is no other, the group has no agent."""
    volumes = frozenset[str]().union(*(agent.volumes for agent in state.agents))
    is_served = any(conditions.is_linked(agent.id) for agent in state.agents)
    return Snapshot(
        now=now,
        group=state.group.name,
        agents=tuple(
            AgentView(
                id=agent.id,
                name=agent.name,
                total=agent.slots,
                used=agent.used,
                architecture=agent.architecture,
                schedulable=agent.is_schedulable and conditions.is_linked(agent.id),
                devices=parts_of(agent, state.holdings.get(agent.id, ())),
            )
            for agent in (state.agents if is_served else ())
        ),
        pending=tuple(
            PendingSession(
                id=one.id,
                owner=_key(owner_of(one)),
                requested=one.slots,
                architecture=one.architecture,
                created_at=one.created_at,
                priority=one.priority,
                starts_at=one.starts_at,
                waits_for=_waits_for(state.dependencies.get(one.id, ())),
                excluded_agents=one.excluded_agents | exclusions(state, conditions, one, one.user_id),
                out_of_reach=_out_of_reach(one, volumes),
                passed_by=one.passed_by,
                image=one.image,
                containers=one.cluster_size,
            )
            for one in state.pending
        ),
        quotas=_quotas(state),
    )


def parts_of(agent: AgentRecord, holdings: Sequence[Holding]) -> dict[str, Devices]:
    """What is free on each device of an agent's fractional accelerators, and of those that several slots offer.

    ``holdings`` are the kernels placed there, oldest first. One whose agent has not told yet which devices it gave is
    assumed to get those that the agent would choose.
    """
    healthy = sorted((one for one in agent.devices if one.health == "ok"), key=lambda device: device.device_id)
    slots = {slot for device in healthy for slot in device.slots if slot.endswith(".shares") or len(device.slots) > 1}
    shelves = {
        slot: _shelf(slot, [device for device in healthy if slot in device.slots], holdings) for slot in sorted(slots)
    }
    for holding in holdings:
        if not holding.devices:
            Shelves(shelves).take([(slot, holding.slots[slot]) for slot in shelves])
    return {
        slot: Devices(tuple(one.names), tuple(one.sizes), tuple(one.free), one.evenly) for slot, one in shelves.items()
    }


def _shelf(slot: str, devices: Sequence[DeviceFacts], holdings: Sequence[Holding]) -> Shelf[Decimal]:
    return Shelf(
        [device.device_id for device in devices],
        [device.slots[slot] for device in devices],
        [_left(slot, device, holdings) for device in devices],
        any(device.attributes.get(STRATEGY) == EVENLY for device in devices),
    )


def _left(slot: str, device: DeviceFacts, holdings: Sequence[Holding]) -> Decimal:
    """Nothing of a device that is in use under another slot, as agents see it."""
    used = Decimal(0)
    for holding in holdings:
        for name, amounts in holding.devices.items():
            amount = Decimal(amounts.get(device.device_id, 0))
            if amount and name != slot:
                return Decimal(0)
            used += amount
    return max(Decimal(0), device.slots[slot] - used)


def next_start(state: GroupState, now: datetime) -> datetime | None:
    """When the next session may start of those that wait for their time, or for a budget's next week."""
    moments = [one.starts_at for one in state.pending if one.starts_at and one.starts_at > now]
    return min([*moments, *(one.resets_at for one in state.spending.values())], default=None)


def hopeless(state: GroupState) -> list[SessionId]:
    """Sessions that wait for one that has failed."""
    return [one for one, others in state.dependencies.items() if any(o.result is SessionResult.FAILURE for o in others)]


def _waits_for(dependencies: Iterable[Dependency]) -> tuple[str, str] | None:
    missing = unmet(dependencies)
    return None if missing is None else (missing.name, missing.status.value.lower())


def _out_of_reach(session: Placeable, volumes: frozenset[str]) -> tuple[str, str] | None:
    return next(((one.name, one.volume) for one in session.mounts if one.volume not in volumes), None)


def exclusions(state: GroupState, conditions: Conditions, session: Placeable, owner: UserId) -> frozenset[AgentId]:
    """Agents that must not get this session whatever is free there."""
    occupants = {} if conditions.allow_unsafe_runtime else state.occupants
    return excluded(session, owner, state.agents, occupants, state.labels.get(session.image, {}))


def group_policy(group: GroupRecord) -> GroupPolicy:
    selection = cast(Literal["dispersed", "concentrated"], group.selection)
    return GroupPolicy(selection, group.sequencer, group.head_of_line_skips)


def candidate(
    session_id: SessionId, owner: Owner, session: Placeable, now: datetime, excluded_agents: frozenset[AgentId]
) -> PendingSession:
    """A session that is only asked about."""
    return PendingSession(
        id=session_id,
        owner=_key(owner),
        requested=session.slots,
        architecture=session.architecture,
        created_at=now,
        excluded_agents=excluded_agents,
        image=session.image,
        containers=session.cluster_size,
    )


def _quotas(state: GroupState) -> dict[str, tuple[Quota, ...]]:
    return {_key(owner): tuple(_quota(limit, state) for limit in limits) for owner, limits in state.limits.items()}


def _key(owner: Owner) -> str:
    return "/".join(owner)


def _quota(limit: PolicyLimit, state: GroupState) -> Quota:
    used = state.used.get(limit.scope, {})
    return Quota(
        limit=Limit(limit.level, limit.name, limit.slots, limit.max_sessions),
        usage=Usage(from_quanta(used), used.get(SESSIONS, 0)),
        scope=limit.scope,
        budget=_budget(limit, state),
    )


def _budget(limit: PolicyLimit, state: GroupState) -> Budget | None:
    if limit.budget is None:
        return None
    spending = state.spending[limit.scope]
    return Budget(limit.budget, spending.used, spending.resets_at)
