"""Figures for monitoring, in Prometheus' text format: of agents, their devices, and how many sessions are where.

Nothing here names a session, a user or a project.
"""

from collections.abc import Iterator, Mapping, Sequence

from bai_jupyter import __version__
from bai_jupyter.common.messages import DeviceFacts
from bai_jupyter.common.statuses import AgentStatus
from bai_jupyter.manager.agents.registry import Figures
from bai_jupyter.manager.api.base import Answer, ApiHandler, Raw, gives, needs
from bai_jupyter.manager.auth.keypairs import Caller
from bai_jupyter.manager.auth.session_tokens import bearer_token
from bai_jupyter.manager.db import sessions
from bai_jupyter.manager.db.records import AgentRecord

_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Sample = tuple[str, Mapping[str, str], float]
"""Name, labels and value."""

_HELP = {
    "bai_manager_info": "Version of this manager.",
    "bai_sessions": "Sessions that are not over, by resource group and status.",
    "bai_agent_up": "1 if the agent is linked and answers.",
    "bai_agent_slots": "What the agent offers, in the slot's unit.",
    "bai_agent_slots_used": "What sessions hold of it.",
    "bai_agent_memory_used_bytes": "Memory that the agent's sessions use.",
    "bai_device_healthy": "1 if the device can be handed out.",
    "bai_device_utilization_ratio": "How busy the device is, 0 to 1.",
    "bai_device_memory_used_bytes": "Device memory in use.",
    "bai_device_memory_total_bytes": "Device memory in all.",
    "bai_device_power_watts": "Power that the device draws.",
    "bai_device_energy_joules_total": "Energy that the device has used since its driver was loaded.",
}
_OF_DEVICES = {
    "util_pct": ("bai_device_utilization_ratio", 0.01),
    "mem_used_bytes": ("bai_device_memory_used_bytes", 1.0),
    "mem_total_bytes": ("bai_device_memory_total_bytes", 1.0),
    "power_w": ("bai_device_power_watts", 1.0),
    "energy_j": ("bai_device_energy_joules_total", 1.0),
}


class MetricsHandler(ApiHandler):
    """Metrics of agents, devices and sessions for Prometheus; signed, or with the token of ``metrics_token_file``."""

    async def _authenticate(self) -> Caller:
        token = bearer_token(self.request.headers.get("Authorization", ""))
        scraper = None if token is None else self.services.metrics_token.caller(token)
        return scraper or await super()._authenticate()

    @gives("text/plain")
    @needs("metrics:read")
    async def get(self) -> Answer:
        samples: list[Sample] = [("bai_manager_info", {"version": __version__}, 1)]
        for group, status, count in await self.services.store.read(sessions.count_live):
            samples.append(("bai_sessions", {"resource_group": group, "status": status}, count))
        for agent in await self.services.agents.list_agents():
            figures, mem = self.services.agents.device_figures(agent.id), self.services.agents.mem_used_bytes(agent.id)
            samples += agent_samples(agent, figures, mem)
        return 200, Raw(_CONTENT_TYPE, render(samples))


def agent_samples(agent: AgentRecord, figures: Figures, mem_used_bytes: float) -> Iterator[Sample]:
    """``figures`` of its devices."""
    here = {"agent": agent.name, "resource_group": agent.resource_group}
    is_up = agent.status is AgentStatus.ALIVE
    yield "bai_agent_up", {**here, "runtime": agent.runtime, "version": agent.version}, is_up
    for slot, amount in agent.slots.items():
        yield "bai_agent_slots", {**here, "slot": slot}, float(amount)
        yield "bai_agent_slots_used", {**here, "slot": slot}, float(agent.used[slot])
    if is_up:
        yield "bai_agent_memory_used_bytes", here, mem_used_bytes
    for device in agent.devices:
        yield from _device_samples({**here, **_labels(device)}, device, figures.get(device.device_id, {}))


def render(samples: Sequence[Sample]) -> str:
    """Prometheus' text: samples of one name together, below what the name means."""
    lines: list[str] = []
    for name, meaning in _HELP.items():
        of_name = [(labels, value) for other, labels, value in samples if other == name]
        if of_name:
            lines += [f"# HELP {name} {meaning}", f"# TYPE {name} {'counter' if name.endswith('_total') else 'gauge'}"]
        for labels, value in of_name:
            inside = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
            lines.append(f"{name}{{{inside}}} {float(value)!r}" if inside else f"{name} {float(value)!r}")
    return "\n".join(lines) + "\n"


def _device_samples(labels: Mapping[str, str], device: DeviceFacts, figures: Mapping[str, float]) -> Iterator[Sample]:
    if device.kind in ("cpu", "mem"):
        return  # pools, or cores: the agent's slots say all
    yield "bai_device_healthy", labels, device.health == "ok"
    for figure, value in figures.items():
        if figure in _OF_DEVICES:
            name, factor = _OF_DEVICES[figure]
            yield name, labels, value * factor


def _labels(device: DeviceFacts) -> dict[str, str]:
    return {"device": device.device_id, "kind": device.kind, "model": device.model}


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


ROUTES = [(r"/metrics", MetricsHandler)]
