"""Which agents answer, and what they measured: in memory only, rebuilt within a few heartbeats of a start."""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from bai_jupyter.common.ids import AgentId, KernelId
from bai_jupyter.manager.agents.link import AgentLink

MISSED_HEARTBEATS = 3

Figures = Mapping[str, Mapping[str, float]]
"""``{device id: {"util_pct": …, "mem_used_bytes": …, "mem_total_bytes": …, "power_w": …}}``, as far as it is told."""


class Registry:
    """The links of agents, when each was last heard, and its kernels' figures.

    An agent is *linked* while its control WebSocket is open and its Hello was dealt with; it is *unreachable* once it
    was not heard for three heartbeats. In between it may be redialling: nothing is sent to it, nothing is judged.
    After a start every agent counts as heard just now, so that a restarted manager does not cry wolf.
    """

    def __init__(self, heartbeat_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.heartbeat_s = heartbeat_s
        self.patience_s = MISSED_HEARTBEATS * heartbeat_s
        self._clock = clock
        self._born = clock()
        self._links: dict[AgentId, AgentLink] = {}
        self._heard: dict[AgentId, float] = {}
        self._unflushed: dict[AgentId, datetime] = {}
        self._stats: dict[AgentId, Mapping[KernelId, Mapping[str, float]]] = {}
        self._devices: dict[AgentId, Figures] = {}
        self._engine_troubles: dict[AgentId, str] = {}

    def attach(self, link: AgentLink) -> AgentLink | None:
        """Make ``link`` the agent's only one. Returns the one it replaces."""
        previous = self._links.get(link.agent_id)
        self._links[link.agent_id] = link
        self.hear(link.agent_id)
        return previous

    def detach(self, link: AgentLink) -> None:
        """The link is closed; nothing happens if another has replaced it."""
        if self.is_current(link):
            del self._links[link.agent_id]

    def is_current(self, link: AgentLink) -> bool:
        return self._links.get(link.agent_id) is link

    def hear(
        self,
        agent_id: AgentId,
        stats: Mapping[str, Mapping[str, float]] | None = None,
        devices: Figures | None = None,
        engine_trouble: str | None = None,
    ) -> None:
        self._heard[agent_id] = self._clock()
        self._unflushed[agent_id] = datetime.now(UTC)
        if stats is not None:
            self._stats[agent_id] = {KernelId(kernel_id): figures for kernel_id, figures in stats.items()}
        if devices is not None:
            self._devices[agent_id] = devices
        if engine_trouble is not None:
            self._engine_troubles[agent_id] = engine_trouble

    def link(self, agent_id: AgentId) -> AgentLink | None:
        """The agent's link if it is ready to be spoken to."""
        link = self._links.get(agent_id)
        return link if link is not None and link.is_ready else None

    def links(self) -> list[AgentLink]:
        return list(self._links.values())

    def is_reachable(self, agent_id: AgentId) -> bool:
        return self._clock() - self._heard.get(agent_id, self._born) < self.patience_s

    def heard_at(self, agent_id: AgentId) -> datetime | None:
        """When it was last heard, if that was since this manager started."""
        if agent_id not in self._heard:
            return None
        silence_s = self._clock() - self._heard[agent_id]
        return datetime.fromtimestamp(time.time() - silence_s, UTC)

    def stats(self, agent_id: AgentId, kernel_id: KernelId) -> Mapping[str, float] | None:
        return self._stats.get(agent_id, {}).get(kernel_id)

    def kernel_ids(self) -> set[KernelId]:
        """All that agents have told figures of."""
        return {kernel_id for figures in self._stats.values() for kernel_id in figures}

    def device_figures(self, agent_id: AgentId) -> Figures:
        """What the agent measured last of its devices; nothing if it does not answer."""
        return self._devices.get(agent_id, {}) if self.is_reachable(agent_id) else {}

    def engine_trouble(self, agent_id: AgentId) -> str | None:
        """Why the agent's container engine does not answer, as last told; None if it does, or the agent does not."""
        return (self._engine_troubles.get(agent_id) or None) if self.is_reachable(agent_id) else None

    def mem_used_bytes(self, agent_id: AgentId) -> float:
        """Memory that the agent's kernels use, as last measured."""
        return sum((figures.get("mem_used_bytes", 0.0) for figures in self._stats.get(agent_id, {}).values()), 0.0)

    def take_unflushed(self) -> dict[AgentId, datetime]:
        """Agents heard since the last call, and when; to be written in one batch."""
        taken, self._unflushed = self._unflushed, {}
        return taken
