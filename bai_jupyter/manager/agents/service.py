"""Use cases of agents and images: what the API offers, without HTTP."""

import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from bai_jupyter.common.errors import BadRequest, NotFound, Unavailable
from bai_jupyter.common.ids import AgentId
from bai_jupyter.common.join_tokens import JoinToken
from bai_jupyter.common.messages import ImageFacts, from_json
from bai_jupyter.common.reasons import Reason
from bai_jupyter.manager.agents.link import AgentFault, AgentLink
from bai_jupyter.manager.agents.registry import Figures, Registry
from bai_jupyter.manager.auth import policy
from bai_jupyter.manager.auth.keypairs import Caller
from bai_jupyter.manager.auth.vault import hash_token, new_token
from bai_jupyter.manager.db import agents, catalog, groups, sessions
from bai_jupyter.manager.db.records import AgentRecord, ImageRecord
from bai_jupyter.manager.db.store import Store

log = logging.getLogger(__name__)

INSPECT_TIMEOUT_S = 600.0  # the agent may have to pull it first
REMOVE_TIMEOUT_S = 60.0
FARTHEST_DRAIN = timedelta(days=366)
MAX_USES, MAX_EXPIRES_S = 10_000, 30 * 86400


class AgentService:
    """``nudge_group`` is told when an image came that waiting sessions may need. ``place_of`` says, for the address at
    which somebody asks, where agents reach this manager, and the fingerprint of its certificate."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        nudge_group: Callable[[str | None], None],
        now: Callable[[], datetime],
        place_of: Callable[[str], tuple[str, str]],
    ) -> None:
        self._store, self._registry, self._nudge_group, self._now = store, registry, nudge_group, now
        self._place_of = place_of

    @property
    def patience_s(self) -> float:
        """How long an agent may be silent until it is unreachable."""
        return self._registry.patience_s

    async def list_agents(self) -> list[AgentRecord]:
        return await self._store.read(agents.list_agents)

    def device_figures(self, agent_id: AgentId) -> Figures:
        return self._registry.device_figures(agent_id)

    def engine_trouble(self, agent_id: AgentId) -> str | None:
        """Why its container engine does not answer."""
        return self._registry.engine_trouble(agent_id)

    def mem_used_bytes(self, agent_id: AgentId) -> float:
        """Of its sessions' containers."""
        return self._registry.mem_used_bytes(agent_id)

    async def make_join_token(self, caller: Caller, body: Mapping[str, Any], called: str) -> str:
        """As a person asked for it. ``called``: the address at which they did."""
        group = str(body.get("resource_group") or "default")
        uses = _number("uses", body.get("uses", 1), MAX_USES)
        expires_s = _number("expires_s", body.get("expires_s", 3600), MAX_EXPIRES_S)
        return await self.new_join_token(group, uses, expires_s, caller.user_id, called)

    async def new_join_token(self, group: str, uses: int, expires_s: int, user_id: str | None, called: str) -> str:
        """A token with which ``uses`` agents may join a group; it is stored as a hash and cannot be shown again."""
        secret = new_token()
        if not await self.add_join_token(secret, group, uses, expires_s, user_id):
            names = ", ".join(one.name for one in await self._store.read(groups.list_groups))
            raise NotFound(Reason.of("group-unknown", group=group, groups=names))
        return JoinToken(secret, *self._place_of(called)).format()

    async def add_join_token(self, token: str, group: str, uses: int, expires_s: int, user_id: str | None) -> bool:
        now = self._now()
        expires_at = now + timedelta(seconds=expires_s)
        return await self._store.write(agents.add_join_token, hash_token(token), group, uses, expires_at, user_id, now)

    async def resume(self, refs: object) -> None:
        """Let agents, by name or id, take new sessions, and end none any more."""
        await self._store.write(agents.set_schedulable, _refs(refs), is_schedulable=True)
        self._nudge_group(None)

    async def drain(self, refs: object, by: datetime | timedelta | None) -> None:
        """Let agents, by name or id, run empty. What runs there goes on, until ``by``, or as long as from now; the
        newest word counts."""
        now = self._now()
        moment = now + by if isinstance(by, timedelta) else by
        if moment is not None and not now < moment <= now + FARTHEST_DRAIN:
            raise BadRequest(
                Reason.of("bad-value", field="by", given=moment.isoformat(), expected="a moment within the next year")
            )
        await self._store.write(agents.set_schedulable, _refs(refs), is_schedulable=False, drain_by=moment)
        self._nudge_group(None)

    async def count_sessions(self) -> dict[AgentId, int]:
        """How many hold something on each agent that has any."""
        return await self._store.read(sessions.count_on_agents)

    async def list_images(self, caller: Caller) -> list[ImageRecord]:
        """What the caller can use; to who manages images, all."""
        return await self._store.read(catalog.list_images, caller.image_viewer)

    async def add_image(self, caller: Caller, name: object) -> ImageRecord:
        """Let an agent look inside an image, and offer it to everybody."""
        if not isinstance(name, str) or not name:
            raise BadRequest(Reason.of("bad-value", field="name", given=repr(name), expected="an image name"))
        link = await self._link_that_has(name)
        try:
            raw = await link.call("inspect_image", {"name": name}, INSPECT_TIMEOUT_S)
        except AgentFault as error:
            raise BadRequest(error.reason) from error
        image = from_json(ImageFacts, raw)
        await self._store.write(_add_image, link, image, self._now())
        self._nudge_group(None)
        return next(one for one in await self.list_images(caller) if one.name == image.name)

    async def delete_image(self, caller: Caller, name: str) -> None:
        """Sessions that use it go on; new ones cannot. One made from a session is removed from agents as well, and that
        only when no session uses it: there would be no container for one that waits, or starts again."""
        found = next((one for one in await self.list_images(caller) if one.name == name), None)
        if found is None or found.user_id != caller.user_id:
            policy.require(caller.role, "image:manage")
        if found is None:
            raise NotFound(Reason.of("not-found", kind="image", name=name), title="No such environment image.")
        if found.user_id is None:
            await self._store.write(catalog.delete_image, name)
            return
        await self._store.write(catalog.delete_unused_image, name)
        await self._remove_everywhere(found)

    async def _remove_everywhere(self, image: ImageRecord) -> None:
        """An agent that is away, or uses it, keeps it."""
        for agent in await self.list_agents():
            link = self._registry.link(agent.id)
            if link is not None and image.name in agent.images:
                try:
                    await link.call("remove_image", {"name": image.name}, REMOVE_TIMEOUT_S)
                except (AgentFault, Unavailable) as error:
                    log.warning("image %s stays on %s: %s", image.name, agent.name, error)

    async def _link_that_has(self, image: str) -> AgentLink:
        """A linked agent, rather one that has the image."""
        known = sorted(
            await self.list_agents(), key=lambda agent: (image not in agent.images, agent.runtime == "process")
        )
        for agent in known:
            link = self._registry.link(agent.id)
            if link is not None:
                return link
        raise Unavailable("No agent is connected that could look inside the image. Start one and try again.")


def _add_image(conn: Any, link: AgentLink, image: ImageFacts, now: datetime) -> None:
    agents.put_image(conn, image, now)
    agents.add_agent_image(conn, link.agent_id, image)


def _refs(given: object) -> list[str]:
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise BadRequest(Reason.of("bad-value", field="args", given=repr(given), expected="a list of agents"))
    return given


def _number(field: str, given: object, largest: int) -> int:
    if not isinstance(given, int) or isinstance(given, bool) or not 1 <= given <= largest:
        raise BadRequest(Reason.of("bad-value", field=field, given=repr(given), expected=f"1 to {largest}"))
    return given
