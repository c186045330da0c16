"""What sessions run on and of: images, agents, resource groups, presets; and what was used of it."""

from collections.abc import Collection
from urllib.parse import quote

from bai_jupyter.client.answers import Json
from bai_jupyter.client.connection import Connection


class Resources(Connection):
    async def list_images(self) -> list[Json]:
        return (await self.request("GET", "/images"))["images"]

    async def add_image(self, name: str, timeout_s: float = 120) -> Json:
        return await self.request("POST", "/images", {"name": name}, timeout_s=timeout_s)

    async def remove_image(self, name: str) -> None:
        await self.request("DELETE", f"/images/{quote(name, safe='')}")

    async def list_agents(self) -> list[Json]:
        return (await self.request("GET", "/agents"))["agents"]

    async def set_schedulable(self, agents: Collection[str], is_schedulable: bool, by: str | None = None) -> None:
        """Let agents take new sessions, or run empty: what runs there is ended ``by`` a moment, if there is one, such
        as ``2026-12-24T18:00+09:00`` or ``2h`` from now."""
        operation = "include-agents" if is_schedulable else "exclude-agents"
        body = {"op": operation, "args": list(agents), **({"by": by} if by else {})}
        await self.request("POST", "/manager/scheduler/operation", body)

    async def create_join_token(self, resource_group: str = "default", uses: int = 1, expires_s: int = 3600) -> str:
        body = {"resource_group": resource_group, "uses": uses, "expires_s": expires_s}
        return (await self.request("POST", "/agents/join-tokens", body))["token"]

    async def list_settings(self) -> list[Json]:
        """Of the manager, for superadmins: what is set where."""
        return (await self.request("GET", "/manager/settings"))["settings"]

    async def list_resource_groups(self) -> list[Json]:
        return (await self.request("GET", "/resource-groups"))["resource_groups"]

    async def list_presets(self) -> list[Json]:
        return (await self.request("GET", "/resource/presets"))["presets"]

    async def check_presets(self) -> Json:
        """One's limits, use and what is left at each level, and which presets would start now."""
        return await self.request("POST", "/resource/check-presets", {})

    async def usage_by_day(self, start: str, end: str, scope: str = "me") -> list[Json]:
        """What was held on each day from ``20261101`` to another; admins also of ``all``, or of a project's id."""
        return (await self.request("GET", "/resource/usage/days", query=_usage(start, end, scope)))["days"]

    async def usage_by_session(self, start: str, end: str, scope: str = "me", limit: int = 50) -> Json:
        """What each session held from one day to another, the largest first: ``{"sessions", "total_count"}``."""
        return await self.request(
            "GET", "/resource/usage/sessions", query={**_usage(start, end, scope), "limit": limit}
        )


def _usage(start: str, end: str, scope: str) -> Json:
    asked = {"scope": scope} if scope in ("me", "all") else {"group_id": scope}
    return {"start_date": start, "end_date": end, **asked}
