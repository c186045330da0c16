"""``/bai/api/admin``: what superadmins look at and change in the tab *Backend.AI Admin*.

A page asks for a list by its name. Which question of the manager that is, and which fields come back, is said in
``TABLES`` and nowhere else: a page cannot send a query of its own, and no secret is among the fields.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from jupyter_server.auth.decorator import authorized
from tornado import web

from bai_jupyter.client import Json, ManagerClient
from bai_jupyter.common.errors import BadRequest, Forbidden, NotFound
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import read_number
from bai_jupyter.extension.handlers import BaiHandler, bad_value

LARGEST_PAGE = 100
SUPERADMIN = "superadmin"
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
    "session_id name user_email group_name scaling_group image type status status_data created_at requested_slots"
)
_SEARCHED = ("name", "user_email", "image", "status")
_POLICY = (
    "name total_resource_slots default_for_unspecified max_concurrent_sessions max_session_lifetime idle_timeout "
    "suspend_after"
)

TABLES: Mapping[str, Table] = {
    "agents": Whole(
        ManagerClient.list_agents,
        ("id", "name", "status", "schedulable", "resource_group", "runtime", "slots", "used", "devices", "version"),
        ("name", "resource_group", "status"),
    ),
    "sessions": Paged("compute_session_list", _SESSION, _SEARCHED),
    "queue": Paged("compute_session_list", _SESSION, _SEARCHED, ', status: "PENDING", order: "created_at"'),
    "users": Paged(
        "user_list",
        "email username role status domain_name resource_policy groups {name}",
        ("email", "username", "full_name"),
    ),
    "projects": _graphql("groups", "id name domain_name is_active resource_policy total_resource_slots"),
    "keypairs": Paged(
        "keypair_list",
        "access_key user_id is_active is_admin resource_policy rate_limit concurrency_used last_used",
        ("user_id", "access_key", "resource_policy"),
    ),
    "policies": _graphql("keypair_resource_policies", _POLICY),
    "presets": _graphql("resource_presets", "name resource_slots shared_memory"),
    "resource-groups": _graphql("scaling_groups", "name description is_active is_public scheduler"),
    "images": Whole(
        ManagerClient.list_images,
        ("name", "architecture", "size_bytes", "is_private", "agents"),
        ("name", "architecture"),
    ),
    "usage": Whole(_usage, ("name", "domain_name", "sessions", "core_hours", "gib_hours"), ("name", "domain_name")),
    "months": Whole(_usage_by_month, ("name", "domain_name", "months"), ("name", "domain_name")),
}


class AdminHandler(BaiHandler):
    async def require_superadmin(self) -> None:
        """Much of what is listed everybody may read a part of, which would look here as if it were all."""
        if (await self.client.whoami())["role"] != SUPERADMIN:
            raise Forbidden(Reason.of("forbidden", role=f"{SUPERADMIN}s"))

    def number(self, field: str, least: int, default: int) -> int:
        given = self.get_query_argument(field, str(default))
        found = read_number(given)
        if found is None or not least <= found < 2**31:
            raise bad_value(field, given, f"a number from {least}")
        return found

    def flag(self, field: str) -> bool:
        given = self.fields().get(field)
        if not isinstance(given, bool):
            raise bad_value(field, given, "true or false")
        return given

    def texts(self, *fields: str) -> dict[str, str]:
        """Empty where they are not given."""
        given = {field: self.fields().get(field, "") for field in fields}
        for field, value in given.items():
            if not isinstance(value, str):
                raise bad_value(field, None, "a text")  # nothing is repeated that may be a password
        return given

    async def change(self, mutation: str, arguments: Mapping[str, tuple[str, object]], shown: str = "") -> Json:
        """Each argument with its GraphQL type. What the manager refuses is its sentence."""
        await self.require_superadmin()
        declared = ", ".join(f"${name}: {kind}" for name, (kind, _) in arguments.items())
        passed = ", ".join(f"{name}: ${name}" for name in arguments)
        document = f"mutation({declared}) {{{mutation}({passed}) {{ok msg {shown}}}}}"
        values = {name: value for name, (_, value) in arguments.items()}
        answer: Json = (await self.client.graphql(document, **values))[mutation]
        if not answer["ok"]:
            raise BadRequest(answer["msg"])
        return answer

    def done(self) -> None:
        self.set_status(204)
        self.finish()


class TableHandler(AdminHandler):
    @web.authenticated
    @authorized
    async def get(self, name: str) -> None:
        """``?offset=&limit=&text=`` → ``{"items", "total"}``."""
        table = TABLES.get(name)
        if table is None:
            raise NotFound(Reason.of("not-found", kind="list", name=name))
        limit = min(self.number("limit", 1, LARGEST_PAGE), LARGEST_PAGE)
        window = Window(self.number("offset", 0, 0), limit, self.get_query_argument("text", ""))
        await self.require_superadmin()
        items, total = await table.read(self.client, window)
        self.finish({"items": items, "total": total})


class AgentHandler(AdminHandler):
    @web.authenticated
    @authorized
    async def patch(self, agent: str) -> None:
        """``{"schedulable": bool}``: let it take new sessions, or run empty."""
        await self.client.set_schedulable([agent], self.flag("schedulable"))
        self.done()


class UsersHandler(TableHandler):
    @web.authenticated
    @authorized
    async def post(self, _: str) -> None:
        """``{"email", "name", "password", "role", "domain"?, "project"?}``; without a project in the default one."""
        given = self.texts("email", "name", "password", "role", "domain", "project")
        props = {"username": given["name"], "password": given["password"], "role": given["role"]}
        props |= {"domain_name": given["domain"], "group_ids": [given["project"]] if given["project"] else None}
        user = {"email": ("String!", given["email"]), "props": ("UserInput!", _given(props))}
        await self.change("create_user", user)
        self.done()


class UserHandler(AdminHandler):
    @web.authenticated
    @authorized
    async def patch(self, email: str) -> None:
        """``{"is_active": bool}``: whether they can log in and call."""
        props = {"is_active": self.flag("is_active")}
        await self.change("modify_user", {"email": ("String!", email), "props": ("ModifyUserInput!", props)})
        self.done()


class UserKeypairsHandler(AdminHandler):
    @web.authenticated
    @authorized
    async def post(self, email: str) -> None:
        """``{"policy"?}`` → 201 ``{"access_key", "secret_key"}``: one more; nobody is told its secret again."""
        props = _given({"is_active": True, "resource_policy": self.texts("policy")["policy"]})
        owner = {"user_id": ("String!", email), "props": ("KeyPairInput!", props)}
        answer = await self.change("create_keypair", owner, "keypair {access_key secret_key}")
        self.set_status(201)
        self.set_header("Cache-Control", "no-store")
        self.finish(answer["keypair"])


class KeypairHandler(AdminHandler):
    @web.authenticated
    @authorized
    async def patch(self, access_key: str) -> None:
        """``{"is_active": bool}``: whether anybody can call with it."""
        props = {"is_active": self.flag("is_active")}
        await self.change(
            "modify_keypair", {"access_key": ("String!", access_key), "props": ("ModifyKeyPairInput!", props)}
        )
        self.done()


_LIMITS = {
    "total_resource_slots": dict,
    "default_for_unspecified": str,
    "max_concurrent_sessions": int,
    "max_session_lifetime": int,
    "idle_timeout": int,
    "suspend_after": int,
}


class PolicyHandler(AdminHandler):
    @web.authenticated
    @authorized
    async def patch(self, name: str) -> None:
        """Some of its limits, by the names that the list has; amounts by slot, times in seconds, 0 for no limit."""
        props = self.fields()
        for field, value in props.items():
            expected = _LIMITS.get(field)
            if expected is None:
                raise bad_value("limit", field, f"one of {', '.join(_LIMITS)}")
            if not isinstance(value, expected) or isinstance(value, bool):
                raise bad_value(field, value, {dict: "amounts by slot", str: "a word", int: "a number"}[expected])
        if "total_resource_slots" in props:
            props["total_resource_slots"] = json.dumps(props["total_resource_slots"])
        policy = {"name": ("String!", name), "props": ("ModifyKeyPairResourcePolicyInput!", props)}
        await self.change("modify_keypair_resource_policy", policy)
        self.done()


def _given(props: Json) -> Json:
    return {name: value for name, value in props.items() if value not in (None, "")}


HANDLERS = [
    (r"/bai/api/admin/(users)", UsersHandler),
    (r"/bai/api/admin/([a-z-]+)", TableHandler),
    (r"/bai/api/admin/agents/([^/]+)", AgentHandler),
    (r"/bai/api/admin/users/([^/]+)", UserHandler),
    (r"/bai/api/admin/users/([^/]+)/keypairs", UserKeypairsHandler),
    (r"/bai/api/admin/keypairs/(\w+)", KeypairHandler),
    (r"/bai/api/admin/policies/([^/]+)", PolicyHandler),
]
