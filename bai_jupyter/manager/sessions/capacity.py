"""What one person could still start: limits, use and what is left at each level, and which presets fit now."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, TypedDict, cast

from sqlalchemy.engine import Connection

from bai_jupyter.common.ids import AgentId
from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.manager.db import admission, agents, catalog, groups
from bai_jupyter.manager.db.admission import SESSIONS, Owner, PolicyLimit, from_quanta
from bai_jupyter.manager.db.records import AgentRecord, PresetRecord
from bai_jupyter.manager.sessions.budgets import Spending

_LEVELS = {"keypair": "keypair", "user": "user", "project": "group", "domain": "domain"}
"""Our levels, as Backend.AI names their figures."""

NO_LIMIT = "Infinity"


Amounts = dict[str, str]
"""By slot; ``NO_LIMIT`` where there is none."""


class PresetView(TypedDict):
    name: str
    resource_slots: Amounts
    shared_memory: str | None


class FittingPreset(PresetView):
    allocatable: bool


class GroupCapacity(TypedDict):
    using: Amounts
    remaining: Amounts


class BudgetView(TypedDict):
    """Of accelerators, in a week. ``name``: whose it is."""

    level: str
    name: str
    gpu_hours_limit: float
    gpu_hours_used: float
    resets_at: str


class CapacityView(TypedDict):
    keypair_limits: Amounts
    keypair_using: Amounts
    keypair_remaining: Amounts
    user_limits: Amounts
    user_using: Amounts
    user_remaining: Amounts
    group_limits: Amounts
    group_using: Amounts
    group_remaining: Amounts
    domain_limits: Amounts
    domain_using: Amounts
    domain_remaining: Amounts
    budgets: list[BudgetView]
    scaling_group_remaining: Amounts
    scaling_groups: dict[str, GroupCapacity]
    presets: list[FittingPreset]


@dataclass(frozen=True)
class Capacity:
    """One moment, for one owner. ``groups`` are those that the owner may use, with their agents."""

    owner: Owner
    limits: Mapping[str, PolicyLimit]
    used: Mapping[str, Mapping[str, int]]
    spending: Mapping[str, Spending]
    groups: Mapping[str, Sequence[AgentRecord]]
    presets: Sequence[PresetRecord]


def load(conn: Connection, owner: Owner, now: datetime) -> Capacity:
    scopes = [scope for _, scope in owner.scopes()]
    limits = admission.load_limits(conn, owner)
    return Capacity(
        owner=owner,
        limits={limit.level: limit for limit in limits},
        used=admission.load_used(conn, scopes),
        spending=admission.load_spending(conn, limits, now),
        groups={group.name: agents.list_agents(conn, group.name) for group in groups.usable(conn, scopes)},
        presets=catalog.list_presets(conn),
    )


def describe(capacity: Capacity, is_linked: Callable[[AgentId], bool], only_group: str | None) -> CapacityView:
    """Backend.AI's answer to ``check-presets``. An agent that is away or being emptied offers nothing. Pure."""
    chosen = {name: members for name, members in capacity.groups.items() if only_group in (None, name)}
    offering = [agent for members in chosen.values() for agent in _offering(members, is_linked)]
    slots = sorted({slot for members in capacity.groups.values() for agent in members for slot in agent.slots})
    answer: dict[str, Any] = {}
    for level, name in _LEVELS.items():
        answer |= _level(capacity, level, name, slots)
    answer |= {
        "budgets": [view for level in _LEVELS if (view := _budget(capacity, level)) is not None],
        "scaling_group_remaining": _amounts(_free(offering), slots),
        "scaling_groups": {name: _group(members, is_linked, slots) for name, members in chosen.items()},
        "presets": [_preset(one, capacity, offering) for one in capacity.presets],
    }
    return cast("CapacityView", answer)


def _level(capacity: Capacity, level: str, name: str, slots: Sequence[str]) -> dict[str, Amounts]:
    limit, used = capacity.limits.get(level), _used(capacity, level)
    limits = {slot: _show(limit.slots[slot]) if limit and slot in limit.slots else NO_LIMIT for slot in slots}
    left = {slot: NO_LIMIT if limits[slot] == NO_LIMIT else _show(Decimal(limits[slot]) - used[slot]) for slot in slots}
    return {f"{name}_limits": limits, f"{name}_using": _amounts(used, slots), f"{name}_remaining": left}


def _budget(capacity: Capacity, level: str) -> BudgetView | None:
    limit = capacity.limits.get(level)
    if limit is None or limit.budget is None:
        return None
    spending, hour = capacity.spending[limit.scope], timedelta(hours=1)
    return {
        "level": _LEVELS[level],
        "name": limit.name,
        "gpu_hours_limit": limit.budget / hour,
        "gpu_hours_used": round(spending.used / hour, 3),
        "resets_at": spending.resets_at.isoformat(),
    }


def _group(members: Sequence[AgentRecord], is_linked: Callable[[AgentId], bool], slots: Sequence[str]) -> GroupCapacity:
    used = sum((agent.used for agent in members), ResourceSlots())
    free = _free(_offering(members, is_linked))
    return {"using": _amounts(used, slots), "remaining": _amounts(free, slots)}


def _offering(members: Sequence[AgentRecord], is_linked: Callable[[AgentId], bool]) -> list[AgentRecord]:
    return [agent for agent in members if agent.is_schedulable and is_linked(agent.id)]


def preset_view(preset: PresetRecord) -> PresetView:
    return {
        "name": preset.name,
        "resource_slots": preset.slots.to_json(),
        "shared_memory": None if preset.shm_bytes is None else str(preset.shm_bytes),
    }


def _preset(preset: PresetRecord, capacity: Capacity, offering: Sequence[AgentRecord]) -> FittingPreset:
    fits = any(preset.slots.fits(agent.free) for agent in offering)
    may = all(_allows(limit, capacity, preset.slots) for limit in capacity.limits.values())
    return {**preset_view(preset), "allocatable": fits and may}


def _allows(limit: PolicyLimit, capacity: Capacity, asked: ResourceSlots) -> bool:
    sessions = capacity.used.get(limit.scope, {}).get(SESSIONS, 0)
    if limit.max_sessions is not None and sessions >= limit.max_sessions:
        return False
    if limit.budget is not None and asked.accelerators and capacity.spending[limit.scope].used >= limit.budget:
        return False
    used = _used(capacity, limit.level)
    return all(used[slot] + asked[slot] <= limit.slots[slot] for slot in limit.slots if asked[slot])


def _used(capacity: Capacity, level: str) -> ResourceSlots:
    return from_quanta(capacity.used.get(dict(capacity.owner.scopes())[level], {}))


def _free(members: Sequence[AgentRecord]) -> ResourceSlots:
    return sum((agent.free for agent in members), ResourceSlots())


def _amounts(amounts: ResourceSlots, slots: Sequence[str]) -> Amounts:
    return {slot: _show(amounts[slot]) for slot in slots}


def _show(amount: Decimal) -> str:
    return format(amount, "f")
