"""The lists of *Backend.AI Admin*: which question of the manager each is, and which of its fields come back.

A page asks for a list by its name, and cannot send a query of its own; no secret is among the fields.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from bai_jupyter.client import Json, ManagerClient
from bai_jupyter.common.statuses import FINAL, SessionStatus

LARGEST_PAGE = 100
MONTHS = 6


@dataclass(frozen=True)
class Window:
    """Which part of a list; ``text`` is looked for in it, and may be empty."""

    offset: int
    limit: int
    text: str


class Table(Protocol):
    async def read(self, client: ManagerClient, window: Window) -> tuple[list[Json], int]:
        """That part, and how many there are with that text."""


@dataclass(frozen=True)
class Paged:
    """A GraphQL list that the manager searches and cuts."""

    root: str
    fields: str
    searched: Sequence[str]
    narrowed: str = ""  # more arguments, as GraphQL

    async def read(self, client: ManagerClient, window: Window) -> tuple[list[Json], int]:
        arguments = f"limit: $limit, offset: $offset, filter: $filter{self.narrowed}"
        document = f"{self.root}({arguments}) {{total_count items {{{self.fields}}}}}"
        document = f"query($limit: Int!, $offset: Int!, $filter: String) {{{document}}}"
        condition = filter_of(window.text, self.searched)
        answer = await client.graphql(document, limit=window.limit, offset=window.offset, filter=condition)
        return answer[self.root]["items"], answer[self.root]["total_count"]

    async def read_all(self, client: ManagerClient) -> list[Json]:
        found: list[Json] = []
        while True:
            items, total = await self.read(client, Window(len(found), LARGEST_PAGE, ""))
            found += items
            if not items or len(found) >= total:
                return found


@dataclass(frozen=True)
class Whole:
    """A list that the manager gives as a whole: searched and cut here."""

    ask: Callable[[ManagerClient], Awaitable[list[Json]]]
    fields: Sequence[str]
    searched: Sequence[str]

    async def read(self, client: ManagerClient, window: Window) -> tuple[list[Json], int]:
        text = window.text.lower()
        found = [
            {name: one.get(name) for name in self.fields}
            for one in await self.ask(client)
            if any(text in str(one.get(name) or "").lower() for name in self.searched)
        ]
        return found[window.offset : window.offset + window.limit], len(found)


def filter_of(text: str, fields: Sequence[str]) -> str | None:
    """In the manager's language: ``text`` is in one of the fields. No filter for no text."""
    if not text:
        return None
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return " | ".join(f'{name} ilike "%{escaped}%"' for name in fields)


def _graphql(root: str, fields: str, searched: Sequence[str] = ("name",)) -> Whole:
    async def ask(client: ManagerClient) -> list[Json]:
        return (await client.graphql(f"{{{root} {{{fields}}}}}"))[root]

    return Whole(ask, fields.split(), searched)


async def _groups(client: ManagerClient) -> list[Json]:
    """Resource groups, each with the domains and projects that may use it: ``[{"scope", "name"}]``."""
    answer = await client.graphql(
        "{scaling_groups {name description is_active is_public scheduler scheduler_opts} "
        "domains {name scaling_groups} groups {id name domain_name scaling_groups}}"
    )
    scopes = [{"scope": f"domain:{one['name']}", **one} for one in answer["domains"]]
    scopes += [
        {**one, "scope": f"project:{one['id']}", "name": f"{one['domain_name']}/{one['name']}"}
        for one in answer["groups"]
    ]
    return [
        {
            **group,
            "scopes": [
                {"scope": one["scope"], "name": one["name"]} for one in scopes if group["name"] in one["scaling_groups"]
            ],
        }
        for group in answer["scaling_groups"]
    ]


async def _images(client: ManagerClient) -> list[Json]:
    """As everybody sees them, with their other names."""
    told = (await client.graphql("{images {id aliases}}"))["images"]
    aliases = {one["id"]: one["aliases"] for one in told}
    return [{**one, "aliases": aliases.get(one["name"], [])} for one in await client.list_images()]


async def volumes(client: ManagerClient) -> list[Json]:
    """All places where folders lie: how full, whether limits are hard there, and the agents that have it.

    ``used_bytes`` and ``capacity_bytes`` are missing, and ``trouble`` says why, where no such agent answers.
    """
    listed = Paged("storage_volume_list", "id backend capabilities hardware_metadata usage", ())
    return [_volume(one) for one in await listed.read_all(client)]


def _volume(told: Json) -> Json:
    hardware = json.loads(told["hardware_metadata"])
    return {
        "name": told["id"],
        "backend": told["backend"],
        "quota_kind": "hard" if "quota" in told["capabilities"] else "soft",
        "agents": hardware["metadata"]["agents"],
        "trouble": hardware["status_info"],
        **json.loads(told["usage"]),
    }


async def sessions_on(client: ManagerClient, agent: str) -> list[Json]:
    """Those with a container on the agent of that name that are not over; since when they are ending, if they are."""
    listed = Paged("compute_session_list", _ON_AGENT, (), _PLACED)
    return [
        {
            **{name: one[name] for name in ("session_id", "name", "user_email", "access_key")},
            "ending_since": one["status_changed"] if one["status"] == SessionStatus.TERMINATING else None,
        }
        for one in await listed.read_all(client)
        if any(container["agent"] == agent for container in one["containers"])
    ]


_ON_AGENT = "session_id name user_email access_key status status_changed containers {agent}"
_NOWHERE = {*FINAL, SessionStatus.PENDING}
_PLACED = f', status: "{",".join(one for one in SessionStatus if one not in _NOWHERE)}"'


async def errors(client: ManagerClient) -> list[Json]:
    """Of the manager's log since it started, at most 1,000, newest first; ``created_at`` in ISO 8601."""
    logs = (await client.request("GET", "/logs/error", query={"page_size": 1000}))["logs"]
    return [{**one, "created_at": datetime.fromtimestamp(one["created_at"], UTC).isoformat()} for one in logs]


async def _usage(client: ManagerClient) -> list[Json]:
    """What each project has held this month, in UTC."""
    now = datetime.now(UTC)
    return await _usage_in(client, months_until(now, 1)[0], now)


async def _usage_by_month(client: ManagerClient) -> list[Json]:
    """Core-hours that each project has held, by months such as ``202611``, in UTC."""
    now = datetime.now(UTC)
    begins = months_until(now, MONTHS)
    found: dict[tuple[str, str], Json] = {}
    for since, until in zip(begins, [*begins[1:], now], strict=True):  # one at a time: each is long
        for one in await _usage_in(client, since, until):
            key = one["name"], one["domain_name"]
            row = found.setdefault(key, {"name": key[0], "domain_name": key[1], "months": {}})
            row["months"][f"{since:%Y%m}"] = one["core_hours"]
    return [found[key] for key in sorted(found)]


async def _usage_in(client: ManagerClient, since: datetime, until: datetime) -> list[Json]:
    answer = await client.request("GET", "/resource/usage/month", query={"month": f"{since:%Y%m}"})
    return [usage_of(project, since, until) for project in answer]


def months_until(now: datetime, count: int) -> list[datetime]:
    """When each of the last months began, the one of that moment last."""
    begins = [now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)]
    while len(begins) < count:
        begins.insert(0, (begins[0] - timedelta(days=1)).replace(day=1))
    return begins


def usage_of(project: Json, since: datetime, now: datetime) -> Json:
    """One project of the manager's ``/resource/usage/month`` in a line: core-hours and GiB-hours since a moment."""
    core_hours = gib_hours = 0.0
    for one in project["c_infos"]:
        ended_at = datetime.fromisoformat(one["terminated_at"]) if one["terminated_at"] else now
        hours = (min(ended_at, now) - max(datetime.fromisoformat(one["created_at"]), since)) / timedelta(hours=1)
        core_hours += one["smp"] * max(0.0, hours)
        gib_hours += one["mem_allocated"] / 2**30 * max(0.0, hours)
    return {
        "name": project["g_name"],
        "domain_name": project["domain_name"],
        "sessions": len(project["c_infos"]),
        "core_hours": round(core_hours, 1),
        "gib_hours": round(gib_hours, 1),
    }


_SESSION = (
    "session_id name access_key user_id user_email group_name scaling_group image type status status_data created_at "
    "requested_slots"
)
_SEARCHED = ("name", "user_email", "image", "status")
_POLICY = (
    "name total_resource_slots default_for_unspecified max_concurrent_sessions max_session_lifetime idle_timeout "
    "suspend_after gpu_hours_per_week"
)

TABLES: Mapping[str, Table] = {
    "agents": Whole(
        ManagerClient.list_agents,
        (
            "id",
            "name",
            "status",
            "schedulable",
            "drain_by",
            "sessions",
            "resource_group",
            "runtime",
            "slots",
            "used",
            "devices",
            "version",
        ),
        ("name", "resource_group", "status"),
    ),
    "sessions": Paged("compute_session_list", _SESSION, _SEARCHED),
    "queue": Paged("compute_session_list", _SESSION, _SEARCHED, ', status: "PENDING", order: "created_at"'),
    "users": Paged(
        "user_list",
        "uuid email username role status domain_name resource_policy groups {id name}",
        ("email", "username", "full_name"),
    ),
    "domains": _graphql("domains", "name description is_active resource_policy total_resource_slots scaling_groups"),
    "projects": _graphql(
        "groups", "id name description domain_name is_active resource_policy total_resource_slots scaling_groups"
    ),
    "keypairs": Paged(
        "keypair_list",
        "access_key user_id is_active is_admin resource_policy rate_limit concurrency_used last_used",
        ("user_id", "access_key", "resource_policy"),
    ),
    "policies": _graphql("keypair_resource_policies", _POLICY),
    "presets": _graphql("resource_presets", "name resource_slots shared_memory"),
    "resource-groups": Whole(
        _groups,
        ("name", "description", "is_active", "is_public", "scheduler", "scheduler_opts", "scopes"),
        ("name", "description"),
    ),
    "images": Whole(
        _images,
        ("name", "architecture", "size_bytes", "is_private", "aliases", "agents"),
        ("name", "architecture", "aliases"),
    ),
    "volumes": Whole(
        volumes,
        ("name", "backend", "quota_kind", "agents", "trouble", "used_bytes", "capacity_bytes"),
        ("name", "agents"),
    ),
    "folders": Paged(
        "vfolder_list",
        "id name host user_email group_name usage_mode status cur_size max_size created_at",
        ("name", "host", "user_email", "group_name"),
    ),
    "errors": Whole(errors, ("created_at", "severity", "source", "message"), ("source", "message")),
    "settings": Whole(
        ManagerClient.list_settings,
        ("name", "value", "default", "source", "file", "is_hidden", "help"),
        ("name", "source", "help"),
    ),
    "usage": Whole(_usage, ("name", "domain_name", "sessions", "core_hours", "gib_hours"), ("name", "domain_name")),
    "months": Whole(_usage_by_month, ("name", "domain_name", "months"), ("name", "domain_name")),
}

OF_ALL = frozenset({"volumes", "folders", "errors", "settings"})
"""Lists of the cluster as a whole, for superadmins alone."""
