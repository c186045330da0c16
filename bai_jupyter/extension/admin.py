"""``/bai/api/admin``: what admins look at and change in the tab *Backend.AI Admin*.

Superadmins all of it. A domain's admin sees of each list (``admin_lists``) what the manager shows them, and changes the
domain's people, keypairs and projects.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from jupyter_server.auth.decorator import authorized
from tornado import web

from bai_jupyter._version import __version__
from bai_jupyter.client import Json
from bai_jupyter.common.errors import BadRequest, Forbidden, NotFound
from bai_jupyter.common.join_tokens import JoinToken
from bai_jupyter.common.reasons import Reason
from bai_jupyter.extension.admin_lists import LARGEST_PAGE, OF_ALL, TABLES, Window, errors, sessions_on, volumes
from bai_jupyter.extension.handlers import BaiHandler, bad_value

SUPERADMIN, ADMIN = "superadmin", "admin"


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
        await self.require_admin(of_all=name in OF_ALL)
        items, total = await table.read(self.client, window)
        self.finish({"items": items, "total": total})


class HealthHandler(AdminHandler):
    @web.authenticated
    @authorized
    async def get(self) -> None:
        """How the cluster is: ``{"versions", "is_frozen", "agents", "volumes", "errors", "error_count"}``."""
        await self.require_admin(of_all=True)
        client = self.client
        status, agents, held, told = await asyncio.gather(
            client.request("GET", "/manager/status"), client.list_agents(), volumes(client), errors(client)
        )
        shown = [{name: one[name] for name in _OF_AGENT} for one in agents]
        for one, agent in zip(shown, agents, strict=True):
            one["sick"] = [device["model"] for device in agent["devices"] if device["health"] != "ok"]
        newest = [{name: one[name] for name in ("created_at", "source", "message")} for one in told[:1]]
        self.finish(
            {
                "versions": {"extension": __version__, "manager": status["nodes"][0]["version"]},
                "is_frozen": status["status"] == "frozen",
                "agents": shown,
                "volumes": held,
                "errors": newest,
                "error_count": len(told),
            }
        )

    @web.authenticated
    @authorized
    async def patch(self) -> None:
        """``{"is_frozen": bool}``: pause new sessions, or let them go on."""
        body = {"status": "frozen" if self.flag("is_frozen") else "running"}
        await self.require_admin(of_all=True)
        await self.client.request("PUT", "/manager/status", body)
        self.done()


_OF_AGENT = (
    "name",
    "status",
    "schedulable",
    "drain_by",
    "resource_group",
    "runtime",
    "isolated",
    "heard_at",
    "engine_trouble",
    "version",
)


class AgentHandler(AdminHandler):
    @web.authenticated
    @authorized
    async def patch(self, agent: str) -> None:
        """``{"schedulable": bool, "drain_by"?}``: let it take new sessions, or run empty, by then if that is told."""
        drain_by = self.fields().get("drain_by")
        if not isinstance(drain_by, str | None):
            raise bad_value("drain_by", drain_by, "a moment")
        await self.client.set_schedulable([agent], self.flag("schedulable"), drain_by)
        self.done()


class AgentSessionsHandler(AdminHandler):
    @web.authenticated
    @authorized
    async def get(self, agent: str) -> None:
        """``{"sessions": [{"session_id", "name", "user_email", "access_key", "ending_since"}]}``: what a drain waits
        for."""
        await self.require_admin(of_all=True)
        self.finish({"sessions": await sessions_on(self.client, agent)})


class JoinTokensHandler(AdminHandler):
    @web.authenticated
    @authorized
    async def post(self) -> None:
        """``{"resource_group", "uses", "expires_s"}`` → 201 ``{"token", "url"}``, told once: agents of so many hosts
        join the group with it, and look for the manager at ``url``."""
        given = checked(self.fields(), {"resource_group": str, "uses": int, "expires_s": int})
        await self.require_admin(of_all=True)
        token = await self.client.create_join_token(**given)
        self.set_status(201)
        self.set_header("Cache-Control", "no-store")
        self.finish({"token": token, "url": JoinToken.parse(token).url})


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
    "gpu_hours_per_week": float,
    "max_session_lifetime": int,
    "idle_timeout": int,
    "suspend_after": int,
}
_PROJECT = {"description": str, "is_active": bool, "total_resource_slots": dict, "resource_policy": str}
_DOMAIN = {"description": str, "is_active": bool, "total_resource_slots": dict, "resource_policy": str}
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
    "domains": Kind("domain", _DOMAIN, "ModifyDomainInput!", "DomainInput!", "purge_domain"),
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

_EXPECTED = {
    dict: "an object",
    list: "a list",
    str: "a text",
    int: "a number",
    float: "a number",
    bool: "true or false",
}


def checked(given: Json, fields: Mapping[str, type]) -> Json:
    """As the manager takes them: objects are text there. Nothing is repeated that may be a password."""
    props = {}
    for name, value in given.items():
        expected = fields.get(name)
        if expected is None:
            raise bad_value("field", name, f"one of {', '.join(fields)}")
        is_whole = type(value) is int and expected is float  # JSON has one kind of numbers
        if type(value) is not expected and not is_whole:
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


class PolicyEffectHandler(AdminHandler):
    @web.authenticated
    @authorized
    async def post(self, name: str) -> None:
        """As a change of a policy → ``{"people", "projects", "domains", "above", "used_up"}``: how many it binds,
        and names of those who hold more than it would allow, or have no GPU-hours of it left. Nothing is changed."""
        kind = KINDS["policies"]
        props = checked(self.fields(), kind.fields)
        await self.require_admin(of_all=True)
        document = (
            f"query($name: String!, $props: {kind.changed_with}) "
            "{policy_effect(name: $name, props: $props) {people projects domains above used_up}}"
        )
        self.finish((await self.client.graphql(document, name=name, props=props))["policy_effect"])


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
    (r"/bai/api/admin/health", HealthHandler),
    (r"/bai/api/admin/user-refusals", UserRefusalHandler),
    (r"/bai/api/admin/join-tokens", JoinTokensHandler),
    (rf"/bai/api/admin/({_MADE})", KindHandler),
    (r"/bai/api/admin/(images)", ImagesHandler),
    (r"/bai/api/admin/([a-z-]+)", TableHandler),
    (rf"/bai/api/admin/({'|'.join(KINDS)})/([^/]+)", ThingHandler),
    (r"/bai/api/admin/(images)/(.+)/(aliases)", HoldingHandler),  # names of images have slashes
    (r"/bai/api/admin/images/(.+)", ImageHandler),
    (r"/bai/api/admin/agents/([^/]+)", AgentHandler),
    (r"/bai/api/admin/agents/([^/]+)/sessions", AgentSessionsHandler),
    (r"/bai/api/admin/users/([^/]+)/keypairs", UserKeypairsHandler),
    (r"/bai/api/admin/policies/([^/]+)/effect", PolicyEffectHandler),
    (r"/bai/api/admin/(projects)/([^/]+)/(members)", HoldingHandler),
    (r"/bai/api/admin/(resource-groups)/([^/]+)/(scopes)", HoldingHandler),
]
