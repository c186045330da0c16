"""Agents and images."""

from collections.abc import Mapping
from typing import TypedDict
from urllib.parse import unquote

from bai_jupyter.common.ids import AgentId
from bai_jupyter.common.messages import DeviceFacts, KernelSpecFacts, to_json
from bai_jupyter.common.statuses import AgentStatus
from bai_jupyter.manager.api.base import Answer, ApiHandler, gives, needs, takes
from bai_jupyter.manager.auth import policy
from bai_jupyter.manager.auth.keypairs import Caller
from bai_jupyter.manager.db.records import AgentRecord, ImageRecord
from bai_jupyter.manager.people.visibility import visible_groups
from bai_jupyter.manager.sessions.commits import BASE_LABEL


class DeviceView(TypedDict):
    """``figures``: for superadmins; null for others."""

    device_id: str
    kind: str
    model: str
    slots: dict[str, str]
    mem_bytes: int | None
    numa_node: int | None
    health: str
    attributes: dict[str, str]
    figures: Mapping[str, float] | None


class AgentView(TypedDict):
    """``drain_by``: when the ``sessions`` that then are left there are ended. ``engine_trouble``: for superadmins, why
    the container engine does not answer; null for others, and while it does."""

    id: str
    name: str
    status: AgentStatus
    schedulable: bool
    drain_by: str | None
    sessions: int
    resource_group: str
    runtime: str
    isolated: bool
    architecture: str
    slots: dict[str, str]
    used: dict[str, str]
    devices: list[DeviceView]
    heard_at: str | None
    version: str
    engine_trouble: str | None


class ImageView(TypedDict):
    name: str
    digest: str
    architecture: str
    size_bytes: int
    labels: dict[str, str]
    kernelspecs: list[KernelSpecFacts]
    is_private: bool
    is_own: bool
    base: str | None
    created_at: str
    agents: list[str]


class AgentsHandler(ApiHandler):
    @gives({"agents": [AgentView]})
    @needs("agent:read")
    async def get(self) -> Answer:
        groups = {one.name for one in await self.services.store.read(visible_groups, self.caller)}
        found = [one for one in await self.services.agents.list_agents() if one.resource_group in groups]
        counts = await self.services.agents.count_sessions()
        views = [_agent_view(one, counts.get(one.id, 0)) for one in found]
        if policy.may(self.caller.role, "metrics:read"):
            views = [self._with_insight(view, one.id) for view, one in zip(views, found, strict=True)]
        return 200, {"agents": views}

    def _with_insight(self, view: AgentView, agent_id: AgentId) -> AgentView:
        """What devices do tells of the sessions that hold them, and so not everybody gets it."""
        figures = self.services.agents.device_figures(agent_id)
        devices: list[DeviceView] = [{**one, "figures": figures.get(one["device_id"])} for one in view["devices"]]
        return {**view, "devices": devices, "engine_trouble": self.services.agents.engine_trouble(agent_id)}


class JoinTokensHandler(ApiHandler):
    @takes(resource_group=str, uses=int, expires_s=int)
    @gives({"token": str})
    @needs("agent:join")
    async def post(self) -> Answer:
        return 201, {"token": await self.services.agents.make_join_token(self.caller, self.params, self.own_url(""))}


class ImagesHandler(ApiHandler):
    @gives({"images": [ImageView]})
    @needs("image:read")
    async def get(self) -> Answer:
        found = await self.services.agents.list_images(self.caller)
        return 200, {"images": [_image_view(one, self.caller) for one in found]}

    @takes(name=str)
    @gives(ImageView)
    @needs("image:manage")
    async def post(self) -> Answer:
        return 201, _image_view(await self.services.agents.add_image(self.caller, self.params.get("name")), self.caller)


class ImageHandler(ApiHandler):
    @gives(None)
    @needs("image:delete")
    async def delete(self, name: str) -> Answer:
        await self.services.agents.delete_image(self.caller, unquote(name))
        return 204, None


def _agent_view(agent: AgentRecord, sessions: int) -> AgentView:
    return {
        "id": agent.id,
        "name": agent.name,
        "status": agent.status,
        "schedulable": agent.is_schedulable,
        "drain_by": agent.drain_by.isoformat() if agent.drain_by else None,
        "sessions": sessions,
        "resource_group": agent.resource_group,
        "runtime": agent.runtime,
        "isolated": agent.isolated,
        "architecture": agent.architecture,
        "slots": agent.slots.to_json(),
        "used": agent.used.to_json(),
        "devices": [_device_view(one) for one in agent.devices],
        "heard_at": agent.heard_at.isoformat() if agent.heard_at else None,
        "version": agent.version,
        "engine_trouble": None,
    }


def _device_view(device: DeviceFacts) -> DeviceView:
    facts: DeviceView = to_json(device)
    return {**facts, "figures": None}


def _image_view(image: ImageRecord, caller: Caller) -> ImageView:
    """``is_own``, ``base``: made by the caller from a session, and of which image that was."""
    return {
        "name": image.name,
        "digest": image.digest,
        "architecture": image.architecture,
        "size_bytes": image.size_bytes,
        "labels": dict(image.labels),
        "kernelspecs": to_json(image.kernelspecs),
        "is_private": image.user_id is not None,
        "is_own": image.user_id == caller.user_id,
        "base": image.labels.get(BASE_LABEL),
        "created_at": image.created_at.isoformat(),
        "agents": list(image.agents),
    }


ROUTES = [
    (r"/agents", AgentsHandler),
    (r"/agents/join-tokens", JoinTokensHandler),
    (r"/images", ImagesHandler),
    (r"/images/(.+)", ImageHandler),
]
