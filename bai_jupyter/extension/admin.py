"""``/bai/api/admin``: what admins look at and change in the tab *Backend.AI Admin*.

Superadmins all of it. A domain's admin sees of each list what the manager shows them, and changes the domain's people,
keypairs and projects.

A page asks for a list by its name. Which question of the manager that is, and which fields come back, is said in
``TABLES`` and nowhere else: a page cannot send a query of its own, and no secret is among the fields.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

from jupyter_server.auth.decorator import authorized
from tornado import web

from bai_jupyter.client import Json, ManagerClient
from bai_jupyter.common.errors import BadRequest, Forbidden, NotFound
from bai_jupyter.common.reasons import Reason
from bai_jupyter.extension.handlers import BaiHandler, bad_value

LARGEST_PAGE = 100
SUPERADMIN, ADMIN = "superadmin", "admin"
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
        "uuid email username role status domain_name resource_policy groups {id name}",
        ("email", "username", "full_name"),
    ),
    "domains": _graphql("domains", "name is_active"),
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
    "usage": Whole(_usage, ("name", "domain_name", "sessions", "core_hours", "gib_hours"), ("name", "domain_name")),
    "months": Whole(_usage_by_month, ("name", "domain_name", "months"), ("name", "domain_name")),
}


class AdminHandler(BaiHandler):
    async def require_admin(self, *, of_all: bool) -> None:
        """Much of what is listed everybody may read a part of, which would look here as if it were all."""
        roles = [SUPERADMIN] if of_all else [ADMIN, SUPERADMIN]
        if (await self.client.whoami())["role"] not in roles:
            raise Forbidden(Reason.of("forbidden", role=" or ".join(f"{role}s" for role in roles)))

    def flag(self, field: str) -> bool:
        given = self.fields().get(field)
        if not isinstance(given, bool):
            raise bad_value(field, given, "true or false")
        return given

    async def change(self, mutation: str, arguments: Mapping[str, tuple[str, object]], shown: str = "") -> Json:
        """Each argument with its GraphQL type. What the manager refuses is its sentence."""
        declared = ", ".join(f"${name}: {kind}" for name, (kind, _) in arguments.items())
        passed = ", ".join(f"{name}: ${name}" for name in arguments)
        document = f"mutation({declared}) {{{mutation}({passed}) {{ok msg {shown}}}}}"
        values = {name: value for name, (_, value) in arguments.items()}
        answer: Json = (await self.client.graphql(document, **values))[mutation]
        if not answer["ok"]:
            raise BadRequest(answer["msg"])
        return answer


class TableHandler(AdminHandler):
    @web.authenticated
    @authorized
    async def get(self, name: str) -> None:
        """``?offset=&limit=&text=`` → ``{"items", "total"}``."""
        table = TABLES.get(name)
        if table is None:
            raise NotFound(Reason.of("not-found", kind="list", name=name))
        limit = min(self.number("limit", LARGEST_PAGE, least=1), LARGEST_PAGE)
        window = Window(self.number("offset", 0, largest=2**31 - 1), limit, self.get_query_argument("text", ""))
        await self.require_admin(of_all=False)
        items, total = await table.read(self.client, window)
        self.finish({"items": items, "total": total})


class AgentHandler(AdminHandler):
    @web.authenticated
    @authorized
    async def patch(self, agent: str) -> None:
        """``{"schedulable": bool}``: let it take new sessions, or run empty."""
        await self.client.set_schedulable([agent], self.flag("schedulable"))
        self.done()


@dataclass(frozen=True)
class Kind:
    """Things of one kind: which mutations of the manager's make, change and remove one, and what they take."""

    noun: str  # they are create_NOUN and modify_NOUN
    fields: Mapping[str, type]
    changed_with: str
    made_with: str = ""  # none can be made if there is no such type
    remove: str = ""
    named_by: str = "name"
    found_by: tuple[str, str] = ("name", "String!")
    fixed: Mapping[str, object] = field(default_factory=dict)  # what they are made with besides
    of_domain: bool = False  # a domain's admin changes those of the domain


_LIMITS = {
    "total_resource_slots": dict,
    "default_for_unspecified": str,
    "max_concurrent_sessions": int,
    "max_session_lifetime": int,
    "idle_timeout": int,
    "suspend_after": int,
}
_PROJECT = {"description": str, "is_active": bool, "total_resource_slots": dict, "resource_policy": str}
_GROUP = {"description": str, "is_active": bool, "is_public": bool, "scheduler": str, "scheduler_opts": dict}
_USER = {"username": str, "password": str, "role": str, "domain_name": str, "group_ids": list, "is_active": bool}

KINDS: Mapping[str, Kind] = {
    "users": Kind(
        "user", _USER, "ModifyUserInput!", "UserInput!", named_by="email", found_by=("email", "String!"), of_domain=True
    ),
    "keypairs": Kind(
        "keypair", {"is_active": bool}, "ModifyKeyPairInput!", found_by=("access_key", "String!"), of_domain=True
    ),
    "projects": Kind(
        "group",
        {"name": str, "domain_name": str, **_PROJECT},
        "ModifyGroupInput!",
        "GroupInput!",
        "purge_group",
        found_by=("gid", "UUID!"),
        of_domain=True,
    ),
    "policies": Kind(
        "keypair_resource_policy",
        _LIMITS,
        "ModifyKeyPairResourcePolicyInput!",
        "CreateKeyPairResourcePolicyInput!",
        "delete_keypair_resource_policy",
    ),
    "presets": Kind(
        "resource_preset",
        {"resource_slots": dict, "shared_memory": str},
        "ModifyResourcePresetInput!",
        "CreateResourcePresetInput!",
        "delete_resource_preset",
    ),
    "resource-groups": Kind(
        "scaling_group",
        _GROUP,
        "ModifyScalingGroupInput!",
        "CreateScalingGroupInput!",
        "delete_scaling_group",
        fixed={"driver": "static"},
    ),
}

_EXPECTED = {dict: "an object", list: "a list", str: "a text", int: "a number", bool: "true or false"}


def checked(given: Json, fields: Mapping[str, type]) -> Json:
    """As the manager takes them: objects are text there. Nothing is repeated that may be a password."""
    props = {}
    for name, value in given.items():
        expected = fields.get(name)
        if expected is None:
            raise bad_value("field", name, f"one of {', '.join(fields)}")
        if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
            raise bad_value(name, None if name == "password" else value, _EXPECTED[expected])
        props[name] = json.dumps(value) if expected is dict else value
    return props


def asked_for(kind: Kind, given: Json) -> dict[str, tuple[str, object]]:
    """What one more is made with: arguments with their GraphQL types. Raises ``BadRequest``."""
    props = checked(given, {kind.named_by: str, **kind.fields})
    called = props.pop(kind.named_by, None)
    if called is None:
        raise bad_value(kind.named_by, called, "a text")
    return {kind.named_by: ("String!", called), "props": (kind.made_with, {**kind.fixed, **props})}


class KindHandler(TableHandler):
    @web.authenticated
    @authorized
    async def post(self, name: str) -> None:
        """One more, by its name and its fields."""
        kind = KINDS[name]
        made = asked_for(kind, self.fields())
        await self.require_admin(of_all=not kind.of_domain)
        await self.change(f"create_{kind.noun}", made)
        self.done()


class UserRefusalHandler(AdminHandler):
    @web.authenticated
    @authorized
    async def post(self) -> None:
        """As a new user → ``{"refusal"}``: why there would be none, ``null`` if there would. Nobody is made."""
        asked = asked_for(KINDS["users"], self.fields())
        await self.require_admin(of_all=False)
        declared = ", ".join(f"${name}: {kind}" for name, (kind, _) in asked.items())
        document = f"query({declared}) {{user_refusal(email: $email, props: $props)}}"
        answer = await self.client.graphql(document, **{name: value for name, (_, value) in asked.items()})
        self.finish({"refusal": answer["user_refusal"]})


class ThingHandler(AdminHandler):
    @web.authenticated
    @authorized
    async def patch(self, name: str, key: str) -> None:
        """Some of its fields, by the names that the list has."""
        kind = KINDS[name]
        props = checked(self.fields(), kind.fields)
        found_by, type_ = kind.found_by
        changed = {found_by: (type_, key), "props": (kind.changed_with, props)}
        await self.require_admin(of_all=not kind.of_domain)
        await self.change(f"modify_{kind.noun}", changed)
        self.done()

    @web.authenticated
    @authorized
    async def delete(self, name: str, key: str) -> None:
        kind = KINDS[name]
        if not kind.remove:
            raise web.HTTPError(405)
        found_by, type_ = kind.found_by
        await self.require_admin(of_all=not kind.of_domain)
        await self.change(kind.remove, {found_by: (type_, key)})
        self.done()


class UserKeypairsHandler(AdminHandler):
    @web.authenticated
    @authorized
    async def post(self, email: str) -> None:
        """``{"resource_policy"?}`` → 201 ``{"access_key", "secret_key"}``: one more, its secret told once."""
        props = {"is_active": True, **checked(self.fields(), {"resource_policy": str})}
        owner = {"user_id": ("String!", email), "props": ("KeyPairInput!", props)}
        await self.require_admin(of_all=False)
        answer = await self.change("create_keypair", owner, "keypair {access_key secret_key}")
        self.set_status(201)
        self.set_header("Cache-Control", "no-store")
        self.finish(answer["keypair"])


Call = tuple[str, dict[str, tuple[str, object]]]
"""A mutation and its arguments, each with its GraphQL type."""


@dataclass(frozen=True)
class Holding:
    """What belongs to a thing and is said as a whole: how to ask for it, and how to add and remove one."""

    document: str  # of ``$key``
    read: Callable[[Json, str], set[str]]
    add: Callable[[str, str], Call]
    remove: Callable[[str, str], Call]


def _membership(mode: str) -> Callable[[str, str], Call]:
    def call(key: str, user: str) -> Call:
        props = {"user_update_mode": mode, "user_uuids": [user]}
        return "modify_group", {"gid": ("UUID!", key), "props": ("ModifyGroupInput!", props)}

    return call


def _grant(verb: str, project_type: str) -> Callable[[str, str], Call]:
    def call(key: str, scope: str) -> Call:
        kind, _, value = scope.partition(":")
        where = {"domain": ("domain", "String!"), "project": ("user_group", project_type)}.get(kind)
        if where is None:
            raise bad_value("item", scope, "domain:NAME or project:ID")
        mutation = f"{verb}_scaling_group_with_{'domain' if kind == 'domain' else 'user_group'}"
        return mutation, {"scaling_group": ("String!", key), where[0]: (where[1], value)}

    return call


def _scopes(answer: Json, group: str) -> set[str]:
    """Whom a resource group was granted to, but for keypairs."""
    domains = {f"domain:{one['name']}" for one in answer["domains"] if group in one["scaling_groups"]}
    return domains | {f"project:{one['id']}" for one in answer["groups"] if group in one["scaling_groups"]}


HOLDINGS: Mapping[str, Holding] = {
    "projects/members": Holding(
        "query($key: UUID!) {users(group_id: $key) {uuid}}",
        lambda answer, _: {one["uuid"] for one in answer["users"]},
        _membership("add"),
        _membership("remove"),
    ),
    "resource-groups/scopes": Holding(
        "{domains {name scaling_groups} groups {id scaling_groups}}",
        _scopes,
        _grant("associate", "UUID!"),
        _grant("disassociate", "String!"),
    ),
    "images/aliases": Holding(
        "query($key: String!) {image(reference: $key) {aliases}}",
        lambda answer, _: set((answer["image"] or {"aliases": []})["aliases"]),
        lambda image, alias: ("alias_image", {"alias": ("String!", alias), "target": ("String!", image)}),
        lambda _, alias: ("dealias_image", {"alias": ("String!", alias)}),
    ),
}


class HoldingHandler(AdminHandler):
    @web.authenticated
    @authorized
    async def put(self, table: str, key: str, part: str) -> None:
        """``{"items": [text]}``: from now on these and no others. Those before one that is refused are changed."""
        wanted = self.fields().get("items")
        if not isinstance(wanted, list) or not all(isinstance(one, str) for one in wanted):
            raise bad_value("items", wanted, "a list of texts")
        await self.require_admin(of_all=table not in KINDS or not KINDS[table].of_domain)
        holding = HOLDINGS[f"{table}/{part}"]
        variables = {"key": key} if "$key" in holding.document else {}
        present = holding.read(await self.client.graphql(holding.document, **variables), key)
        for one in sorted(present - set(wanted)):
            await self.change(*holding.remove(key, one))
        for one in sorted(set(wanted) - present):
            await self.change(*holding.add(key, one))
        self.done()


class ImagesHandler(TableHandler):
    @web.authenticated
    @authorized
    async def post(self, _: str) -> None:
        """``{"name"}``: an agent looks inside, also again; everybody is offered it."""
        given = checked(self.fields(), {"name": str})
        await self.require_admin(of_all=True)
        await self.client.add_image(given.get("name", ""))
        self.done()


class ImageHandler(AdminHandler):
    @web.authenticated
    @authorized
    async def delete(self, name: str) -> None:
        """No new sessions of it."""
        await self.require_admin(of_all=True)
        await self.client.remove_image(name)
        self.done()


_MADE = "|".join(name for name, kind in KINDS.items() if kind.made_with)

HANDLERS = [
    (r"/bai/api/admin/user-refusals", UserRefusalHandler),
    (rf"/bai/api/admin/({_MADE})", KindHandler),
    (r"/bai/api/admin/(images)", ImagesHandler),
    (r"/bai/api/admin/([a-z-]+)", TableHandler),
    (rf"/bai/api/admin/({'|'.join(KINDS)})/([^/]+)", ThingHandler),
    (r"/bai/api/admin/(images)/(.+)/(aliases)", HoldingHandler),  # names of images have slashes
    (r"/bai/api/admin/images/(.+)", ImageHandler),
    (r"/bai/api/admin/agents/([^/]+)", AgentHandler),
    (r"/bai/api/admin/users/([^/]+)/keypairs", UserKeypairsHandler),
    (r"/bai/api/admin/(projects)/([^/]+)/(members)", HoldingHandler),
    (r"/bai/api/admin/(resource-groups)/([^/]+)/(scopes)", HoldingHandler),
]
