"""Short ways to write a snapshot."""

from datetime import UTC, datetime, timedelta

import pytest

from bai_jupyter.common.ids import AgentId, SessionId
from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.manager.scheduler import (
    AgentView,
    Budget,
    Ending,
    GroupPolicy,
    Limit,
    PendingSession,
    Quota,
    Snapshot,
    Usage,
)


class Make:
    """Builders with defaults. Slots are written as keyword dictionaries: ``{"cpu": 2, "mem": "4g"}``."""

    now = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    fill = GroupPolicy("concentrated")
    spread = GroupPolicy("dispersed")

    @staticmethod
    def slots(raw: dict[str, object]) -> ResourceSlots:
        return ResourceSlots.parse(raw)

    def agent(self, name: str, total: dict[str, object], used: dict[str, object] | None = None, **more: object):
        more.setdefault("architecture", "x86_64")
        return AgentView(AgentId(name), name, self.slots(total), self.slots(used or {}), **more)

    def session(
        self, name: str, requested: dict[str, object], *, owner: str = "alice", age_s: float = 0, **more: object
    ):
        more.setdefault("architecture", "x86_64")
        created_at = self.now - timedelta(seconds=age_s)
        return PendingSession(SessionId(name), owner, self.slots(requested), created_at=created_at, **more)

    def quota(
        self,
        limit: dict[str, object] | None = None,
        used: dict[str, object] | None = None,
        *,
        sessions: int = 0,
        max_sessions: int | None = None,
        level: str = "user",
        name: str = "alice",
        scope: str = "",
        budget: Budget | None = None,
    ) -> Quota:
        allowed = Limit(level, name, self.slots(limit or {}), max_sessions)
        return Quota(allowed, Usage(self.slots(used or {}), sessions), scope, budget)

    def ending(self, agent: str, slots: dict[str, object], in_s: float) -> Ending:
        return Ending(AgentId(agent), self.slots(slots), self.now + timedelta(seconds=in_s))

    def snapshot(self, agents=(), pending=(), quotas=None, endings=()) -> Snapshot:
        return Snapshot(self.now, "lab", tuple(agents), tuple(pending), quotas or {}, tuple(endings))


@pytest.fixture(scope="session")
def make() -> Make:
    return Make()


@pytest.fixture(scope="session")
def placed():
    """``{session id: agent id}`` of a plan."""
    return lambda plan: {placement.session_id: placement.agent_id for placement in plan.placements}
