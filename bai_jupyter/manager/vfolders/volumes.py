"""Volumes: which there are, who may use which, and asking the agent that holds one."""

from collections.abc import Collection, Mapping
from typing import Any

from bai_jupyter.common.errors import BadRequest, NotFound, PublicError, QuotaExceeded, Unavailable
from bai_jupyter.common.reasons import Reason
from bai_jupyter.manager.agents.link import AgentFault, AgentLink
from bai_jupyter.manager.agents.registry import Registry
from bai_jupyter.manager.agents.streams import ByteStream, Streams
from bai_jupyter.manager.db import agents, folder_rules
from bai_jupyter.manager.db.admission import Owner
from bai_jupyter.manager.db.folder_rules import FolderRules
from bai_jupyter.manager.db.records import VFolderRecord
from bai_jupyter.manager.db.store import Store
from bai_jupyter.manager.vfolders.access import FolderFailed

CALL_TIMEOUT_S = 30.0


class Conflict(FolderFailed):
    """What was sent does not go on where the upload is."""

    status = 409


_KINDS: dict[str, type[PublicError]] = {
    "bad-value": BadRequest,
    "file-missing": NotFound,
    "quota-reached": QuotaExceeded,
    "quota-full": QuotaExceeded,
    "folder-full": QuotaExceeded,
    "host-full": QuotaExceeded,
    "volume-away": Unavailable,
    "upload-offset": Conflict,
    "file-changed": Conflict,
}


class Volumes:
    def __init__(self, store: Store, registry: Registry, streams: Streams, home_volume: str) -> None:
        self._store, self._registry, self._streams = store, registry, streams
        self._home_volume = home_volume

    async def known(self) -> list[str]:
        """All that agents have told of, also those that are away."""
        return sorted({volume for agent in await self._store.read(agents.list_agents) for volume in agent.volumes})

    async def _allowed(self, owner: Owner) -> list[str]:
        """Where folders of this owner may lie."""
        rules: FolderRules = await self._store.read(folder_rules.load, owner)
        return rules.allowed(await self.known())

    async def hosts(self, owner: Owner) -> dict[str, Any]:
        """What somebody may choose from, with how full each is where its agent answers."""
        allowed = await self._allowed(owner)
        info = {volume: await self.describe(volume) for volume in allowed}
        return {"default": self.default(allowed), "allowed": allowed, "volume_info": info}

    async def describe(self, volume: str) -> dict[str, Any]:
        """In Backend.AI's words; without ``usage`` if no agent that holds it answers."""
        info: dict[str, Any] = {"backend": "vfs", "capabilities": ["vfolder"], "usage": {}, "sftp_scaling_groups": []}
        try:
            space = await self.call({"volume": volume}, "volume_usage")
        except PublicError:
            return info  # listed all the same
        if space.pop("hard_quota", False):
            info.update(backend="btrfs", capabilities=["vfolder", "quota"])
        used = space["total_bytes"] - space["free_bytes"]
        info["usage"] = {"percentage": round(100 * used / space["total_bytes"], 1), **space}
        return info

    def default(self, allowed: Collection[str]) -> str | None:
        """Rather not the volume of homes: one home there may contain all the others."""
        return next((one for one in allowed if one != self._home_volume), self._home_volume if allowed else None)

    async def choose(self, owner: Owner, host: str | None) -> str:
        """Where a new folder goes. Raises ``NotFound`` if that is no host for this owner."""
        allowed = await self._allowed(owner)
        chosen = host or self.default(allowed)
        if chosen not in allowed:
            raise NotFound(
                Reason.of("host-unknown", host=host or "at all", hosts=", ".join(allowed) or "none"),
                title="No such virtual folder host.",
            )
        return chosen

    async def call(
        self,
        place: dict[str, Any],
        method: str,
        params: Mapping[str, Any] | None = None,
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> dict[str, Any]:
        """Ask an agent that holds the volume of ``place``. Raises the ``PublicError`` that its answer means."""
        link = await self.holder(place["volume"])
        return await self._ask(link, method, {**place, **(params or {})}, timeout_s)

    async def copy(self, source: dict[str, Any], target: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Copy between two places that one agent holds."""
        link = await self.holder(source["volume"], target["volume"])
        return await self._ask(link, "clone_folder", {"source": source, "target": target}, timeout_s)

    async def open_stream(self, place: dict[str, Any], kind: str, params: Mapping[str, Any]) -> ByteStream:
        """Raises as ``call`` does. Must be closed."""
        link = await self.holder(place["volume"])
        try:
            return ByteStream(await self._streams.open(link, None, {**place, "kind": kind, **params}))
        except AgentFault as error:
            raise error_of(error.reason) from error

    async def holder(self, *volumes: str) -> AgentLink:
        """An agent that answers and holds all of these: always the same one while that does not change."""
        agents_there = await self._store.read(agents.list_agents)
        able = [agent for agent in agents_there if agent.volumes.issuperset(volumes)]
        if not able and len(volumes) > 1:
            raise FolderFailed(Reason.of("hosts-apart", source=volumes[0], target=volumes[1]))
        for agent in able:
            link = self._registry.link(agent.id)
            if link is not None:
                return link
        raise Unavailable(Reason.of("volume-away", volume=volumes[0]))

    async def _ask(self, link: AgentLink, method: str, params: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        try:
            return await link.call(method, params, timeout_s)
        except AgentFault as error:
            raise error_of(error.reason) from error


def place_of(folder: VFolderRecord) -> dict[str, Any]:
    """A folder as agents know it."""
    return {"volume": folder.volume, "subpath": folder.subpath}


def error_of(reason: Reason) -> PublicError:
    """What an agent's refusal is for the caller."""
    kind = _KINDS.get(reason.code, FolderFailed)
    return kind(reason, title="No such file." if kind is NotFound else None)
