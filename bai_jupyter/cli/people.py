"""``bai user``, ``project``, ``policy``, ``preset``, ``group``: what admins make, change, list and remove.

All five speak GraphQL, with the names of ``manager/api/graphql/schema.graphql``. Projects go by name here, within a
domain; scopes are ``domain:NAME``, ``project:NAME``, ``user:EMAIL`` and ``keypair:KEY``.
"""

import argparse
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bai_jupyter.cli.login import credentials_of, read_password, with_manager
from bai_jupyter.cli.servers import write_private
from bai_jupyter.cli.session import slots_of
from bai_jupyter.cli.terminal import NOTHING, CommandFailed, Exit, Terminal
from bai_jupyter.client import Json, ManagerClient
from bai_jupyter.common.slots import ResourceSlots, SlotLimits, format_size

_LOW_USE_FOR_S = 3600

# Lists


@dataclass(frozen=True)
class Kind:
    """A list: what several are called, what it asks for, and its columns, of which the first is the name."""

    many: str
    query: str
    headers: Sequence[str]
    row: Callable[[Json], list[str]]

    @property
    def root(self) -> str:
        return self.query.split()[0]


def _slots(text: str) -> str:
    found = SlotLimits.parse(json.loads(text))
    return found.describe() if found else NOTHING


def _shown(value: object) -> str:
    return NOTHING if value in (None, "", 0) else str(value)


def _user(one: Json) -> list[str]:
    groups = ", ".join(group["name"] for group in one["groups"])
    return [one["email"], one["username"], one["role"], one["status"], one["domain_name"], groups or NOTHING]


def _project(one: Json) -> list[str]:
    state = "active" if one["is_active"] else "inactive"
    limits = _slots(one["total_resource_slots"])
    return [one["name"], one["domain_name"], state, limits, _shown(one["resource_policy"]), one["id"]]


def _policy(one: Json) -> list[str]:
    others = "none" if one["default_for_unspecified"] == "LIMITED" else "any"
    hours = f"{one['gpu_hours_per_week']:g}" if one["gpu_hours_per_week"] else NOTHING
    spans = [_shown(one[name]) for name in ("max_session_lifetime", "suspend_after", "idle_timeout")]
    sessions = _shown(one["max_concurrent_sessions"])
    return [one["name"], _slots(one["total_resource_slots"]), others, sessions, hours, *spans, _folders(one)]


def _folders(policy: Json) -> str:
    """``at most 10, each 100 GiB, together 500 GiB``."""
    count, sizes = policy["max_vfolder_count"], (("each", "max_vfolder_size"), ("together", "max_quota_scope_size"))
    limits = [f"at most {count}"] if count else []
    limits += [f"{what} {format_size(policy[field])}" for what, field in sizes if policy[field]]
    return ", ".join(limits) or NOTHING


def _group(one: Json) -> list[str]:
    options = json.loads(one["scheduler_opts"])
    state = "active" if one["is_active"] else "inactive"
    types, agents = ", ".join(options["allowed_session_types"]), options["agent_selection_strategy"]
    return [one["name"], state, one["scheduler"], agents, types, _shown(one["description"])]


def _preset(one: Json) -> list[str]:
    shm = one["shared_memory"]
    return [one["name"], _slots(one["resource_slots"]), ResourceSlots({"mem": shm}).describe() if shm else NOTHING]


KINDS: Mapping[str, Kind] = {
    "user": Kind(
        "users",
        "users {email username role status domain_name groups {name}}",
        ["EMAIL", "NAME", "ROLE", "STATUS", "DOMAIN", "PROJECTS"],
        _user,
    ),
    "project": Kind(
        "projects",
        "groups {id name domain_name is_active total_resource_slots resource_policy}",
        ["NAME", "DOMAIN", "STATUS", "LIMITS", "POLICY", "ID"],
        _project,
    ),
    "policy": Kind(
        "policies",
        "keypair_resource_policies {name total_resource_slots default_for_unspecified max_concurrent_sessions "
        "gpu_hours_per_week max_session_lifetime suspend_after idle_timeout max_vfolder_count "
        "max_vfolder_size max_quota_scope_size}",
        [
            "NAME",
            "LIMITS",
            "OTHER SLOTS",
            "SESSIONS",
            "GPU-H A WEEK",
            "LIFETIME (s)",
            "SUSPEND (s)",
            "IDLE (s)",
            "FOLDERS",
        ],
        _policy,
    ),
    "preset": Kind(
        "presets", "resource_presets {name resource_slots shared_memory}", ["NAME", "SLOTS", "SHARED MEMORY"], _preset
    ),
    "group": Kind(
        "groups",
        "scaling_groups {name description is_active scheduler scheduler_opts}",
        ["NAME", "STATUS", "ORDER", "AGENTS", "SESSIONS", "DESCRIPTION"],
        _group,
    ),
}


def list_(options: argparse.Namespace, terminal: Terminal) -> int:
    kind = KINDS[options.kind]
    found = with_manager(lambda client: client.graphql("{" + kind.query + "}"))[kind.root]
    rows = [kind.row(one) for one in found]
    if terminal.as_json:
        terminal.document({kind.root: found})
    elif terminal.quiet:
        for row in rows:
            terminal.line(row[0])
    else:
        terminal.table(kind.headers, rows)
        terminal.line(f"{len(rows)} {options.kind if len(rows) == 1 else kind.many}.")
    return Exit.DONE


# Changes


async def _change(client: ManagerClient, field: str, shown: str = "", **arguments: tuple[str, object]) -> Json:
    """Run one mutation; ``arguments`` are ``name=(type, value)``. Raises ``CommandFailed`` if it was refused."""
    declared = ", ".join(f"${name}: {kind}" for name, (kind, _) in arguments.items())
    given = ", ".join(f"{name}: ${name}" for name in arguments)
    document = f"mutation({declared}) {{{field}({given}) {{ok msg {shown}}}}}"
    result = (await client.graphql(document, **{name: value for name, (_, value) in arguments.items()}))[field]
    if not result["ok"]:
        raise CommandFailed(result["msg"], Exit.REFUSED)
    return result


def _run(work: Callable[[ManagerClient], Any], terminal: Terminal, name: str, done: str) -> int:
    with_manager(work)
    return _tell(terminal, name, done)


def _tell(terminal: Terminal, name: str, done: str, **more: object) -> int:
    if terminal.as_json:
        terminal.document({"name": name, **more})
    else:
        terminal.line(name if terminal.quiet else f"{name}: {done}")
    return Exit.DONE


def _given(**values: object) -> Json:
    """What was said on the command line."""
    return {name: value for name, value in values.items() if value is not None}


# Users


def user_add(options: argparse.Namespace, terminal: Terminal) -> int:
    path = Path(options.credentials) if options.credentials else None
    if path is not None and path.exists():
        raise CommandFailed(f"{path} exists already, and somebody may need it: name a new file.", Exit.USAGE)

    async def add(client: ManagerClient) -> Json:
        props = {**await _user_props(client, options), "password": _password(options, terminal) or ""}
        await _change(client, "create_user", email=("String!", options.email), props=("UserInput!", props))
        query = "query($email: String) {keypairs(email: $email) {access_key secret_key}}"
        keypair: Json = (await client.graphql(query, email=options.email))["keypairs"][0]
        if path is not None:
            write_private(path, json.dumps(credentials_of(client.config, keypair), indent=2) + "\n")
        return keypair

    keypair = with_manager(add)
    if path is not None:
        return _tell(terminal, options.email, f"made; its keys are in {path}, for you alone")
    if not terminal.as_json and not terminal.quiet:
        keys = f"access key {keypair['access_key']}, secret key {keypair['secret_key']}"
        terminal.say(f"For {options.email}: {keys}. Pass them on in private.")
    return _tell(terminal, options.email, "made", **keypair)


def user_set(options: argparse.Namespace, terminal: Terminal) -> int:
    async def change(client: ManagerClient) -> None:
        more = _given(status=options.status, resource_policy=options.policy, password=_password(options, terminal))
        props = {**await _user_props(client, options), **more}
        await _change(client, "modify_user", email=("String!", options.email), props=("ModifyUserInput!", props))

    return _run(change, terminal, options.email, "changed")


def user_rm(options: argparse.Namespace, terminal: Terminal) -> int:
    if options.purge:
        _confirm(terminal, f"Remove {options.email} for good, with keypairs and records of sessions?")

    async def remove(client: ManagerClient) -> None:
        if options.purge:
            await _change(client, "purge_user", email=("String!", options.email), props=("PurgeUserInput!", {}))
        else:
            await _change(client, "delete_user", email=("String!", options.email))

    done = "removed; files stay on their volume" if options.purge else "shut out; what is theirs is kept"
    return _run(remove, terminal, options.email, done)


def user_give(options: argparse.Namespace, terminal: Terminal) -> int:
    """Let a service act for a user, or no longer."""
    method = "DELETE" if options.take else "PUT"
    path = f"/wards/{options.service}/{options.name}"
    done = "no longer acted for" if options.take else "may be acted for"
    return _run(lambda client: client.request(method, path), terminal, options.name, done)


async def _user_props(client: ManagerClient, options: argparse.Namespace) -> Json:
    projects = [await _project_id(client, one, options.domain) for one in options.project or ()]
    return _given(
        username=options.name,
        full_name=options.full_name,
        role=options.role,
        domain_name=options.domain,
        group_ids=projects or None,
    )


def _password(options: argparse.Namespace, terminal: Terminal) -> str | None:
    return read_password("Password: ", terminal) if options.password else None


# Projects


def project_add(options: argparse.Namespace, terminal: Terminal) -> int:
    async def add(client: ManagerClient) -> None:
        domain = options.domain or os.environ.get("BACKEND_DOMAIN", "default")
        props = {**await _limits(client, options), **_given(description=options.description), "domain_name": domain}
        await _change(client, "create_group", name=("String!", options.name), props=("GroupInput!", props))

    return _run(add, terminal, options.name, "made")


def project_set(options: argparse.Namespace, terminal: Terminal) -> int:
    async def change(client: ManagerClient) -> None:
        props = await _limits(client, options)
        props |= _given(description=options.description, is_active=options.active, resource_policy=options.policy)
        await _modify_project(client, options, props)

    return _run(change, terminal, options.name, "changed")


def project_rm(options: argparse.Namespace, terminal: Terminal) -> int:
    if options.purge:
        _confirm(terminal, f"Remove project {options.name} for good?")

    async def remove(client: ManagerClient) -> None:
        field = "purge_group" if options.purge else "delete_group"
        await _change(client, field, gid=("UUID!", await _project_id(client, options.name, options.domain)))

    return _run(remove, terminal, options.name, "removed" if options.purge else "inactive")


def project_members(options: argparse.Namespace, terminal: Terminal) -> int:
    """``join`` and ``leave``."""

    async def change(client: ManagerClient) -> None:
        user_ids = [await _user_id(client, email) for email in options.emails]
        await _modify_project(client, options, {"user_update_mode": options.mode, "user_uuids": user_ids})

    done = "joined by" if options.mode == "add" else "left by"
    return _run(change, terminal, options.name, f"{done} {', '.join(options.emails)}")


async def _modify_project(client: ManagerClient, options: argparse.Namespace, props: Json) -> None:
    gid = await _project_id(client, options.name, options.domain)
    await _change(client, "modify_group", gid=("UUID!", gid), props=("ModifyGroupInput!", props))


async def _project_id(client: ManagerClient, name: str, domain: str | None) -> str:
    root = "groups_by_name(name: $name, domain_name: $domain) {id domain_name}"
    query = f"query($name: String!, $domain: String) {{{root}}}"
    found = (await client.graphql(query, name=name, domain=domain))["groups_by_name"]
    if len(found) == 1:
        return str(found[0]["id"])
    if not found:
        raise CommandFailed(f"There is no project {name} that you can see.", Exit.NOT_FOUND)
    domains = ", ".join(one["domain_name"] for one in found)
    raise CommandFailed(f"There are projects {name} in {domains}: say --domain.", Exit.USAGE)


async def _user_id(client: ManagerClient, email: str) -> str:
    found = (await client.graphql("query($email: String) {user(email: $email) {uuid}}", email=email))["user"]
    if found is None:
        raise CommandFailed(f"There is no user {email} that you can see.", Exit.NOT_FOUND)
    return str(found["uuid"])


# Policies


def policy_put(options: argparse.Namespace, terminal: Terminal) -> int:
    """``add`` and ``set``."""

    async def put(client: ManagerClient) -> None:
        props = await _limits(client, options) | _given(
            max_concurrent_sessions=options.sessions,
            gpu_hours_per_week=options.gpu_hours,
            max_session_lifetime=_seconds(options.lifetime),
            idle_timeout=_seconds(options.idle),
            suspend_after=_seconds(options.suspend),
            utilization=_utilization(options.low_use, options.low_use_for),
            max_vfolder_count=options.folders,
            max_vfolder_size=options.folder_size,
            max_quota_scope_size=options.all_folders,
            default_for_unspecified=options.others and {"none": "LIMITED", "any": "UNLIMITED"}[options.others],
        )
        kind = "CreateKeyPairResourcePolicyInput!" if options.is_new else "ModifyKeyPairResourcePolicyInput!"
        field = f"{'create' if options.is_new else 'modify'}_keypair_resource_policy"
        await _change(client, field, name=("String!", options.name), props=(kind, props))

    return _run(put, terminal, options.name, "made" if options.is_new else "changed")


def _utilization(low_use: Sequence[str] | None, window_s: float | None) -> str | None:
    """``--low-use`` as the manager takes it; None if it was not given."""
    if not low_use:
        return None
    if low_use == ["none"]:
        return "{}"
    thresholds = {}
    for text in low_use:
        metric, _, percent = text.partition("=")
        try:
            thresholds[metric] = float(percent)
        except ValueError:
            raise CommandFailed(f"--low-use {text}: give METRIC=PERCENT, such as cuda_util=5.", Exit.USAGE) from None
    window = _LOW_USE_FOR_S if window_s is None else int(window_s)
    return json.dumps({"time-window": window, "resource-thresholds": thresholds})


def policy_rm(options: argparse.Namespace, terminal: Terminal) -> int:
    field, name = "delete_keypair_resource_policy", ("String!", options.name)
    return _run(lambda client: _change(client, field, name=name), terminal, options.name, "removed")


def policy_bind(options: argparse.Namespace, terminal: Terminal) -> int:
    async def bind(client: ManagerClient) -> None:
        for scope in options.scopes:
            await _bind(client, scope, {"resource_policy": options.name})

    return _run(bind, terminal, options.name, f"binds {', '.join(options.scopes)}")


async def _bind(client: ManagerClient, scope: str, props: Json) -> None:
    level, _, name = scope.partition(":")
    match level:
        case "user":
            await _change(client, "modify_user", email=("String!", name), props=("ModifyUserInput!", props))
        case "keypair":
            await _change(client, "modify_keypair", access_key=("String!", name), props=("ModifyKeyPairInput!", props))
        case "domain":
            await _change(client, "modify_domain", name=("String!", name), props=("ModifyDomainInput!", props))
        case "project":
            gid = await _project_id(client, name, None)
            await _change(client, "modify_group", gid=("UUID!", gid), props=("ModifyGroupInput!", props))
        case _:
            raise _no_scope(scope, "user:, keypair:, project: or domain:")


def policy_allow(options: argparse.Namespace, terminal: Terminal) -> int:
    """Let a service give a policy to the users for whom it acts, or no longer."""
    method = "DELETE" if options.take else "PUT"
    path = f"/wards/{quote(options.service, safe='')}/policies/{quote(options.name, safe='')}"
    done = "no longer given by the service" if options.take else "may be given by the service"
    return _run(lambda client: client.request(method, path), terminal, options.name, done)


# Presets


def preset_put(options: argparse.Namespace, terminal: Terminal) -> int:
    """``add`` and ``set``."""

    async def put(client: ManagerClient) -> None:
        slots = await slots_of(client, options)
        props = _given(resource_slots=json.dumps(slots) if slots or options.is_new else None, shared_memory=options.shm)
        kind = "CreateResourcePresetInput!" if options.is_new else "ModifyResourcePresetInput!"
        field = f"{'create' if options.is_new else 'modify'}_resource_preset"
        await _change(client, field, name=("String!", options.name), props=(kind, props))

    return _run(put, terminal, options.name, "made" if options.is_new else "changed")


def preset_rm(options: argparse.Namespace, terminal: Terminal) -> int:
    name = ("String!", options.name)
    return _run(lambda client: _change(client, "delete_resource_preset", name=name), terminal, options.name, "removed")


# Resource groups


def group_put(options: argparse.Namespace, terminal: Terminal) -> int:
    """``add`` and ``set``."""

    async def put(client: ManagerClient) -> None:
        opts = _given(
            allowed_session_types=options.type,
            pending_timeout=_seconds(options.pending_timeout),
            agent_selection_strategy=options.select,
        )
        props = _given(description=options.description, is_active=options.active, scheduler=options.order)
        props |= {"scheduler_opts": json.dumps(opts)} if opts else {}
        if options.is_new:
            props = {"driver": "static", "scheduler": "fifo", **props}
        kind = "CreateScalingGroupInput!" if options.is_new else "ModifyScalingGroupInput!"
        field = f"{'create' if options.is_new else 'modify'}_scaling_group"
        await _change(client, field, name=("String!", options.name), props=(kind, props))

    return _run(put, terminal, options.name, "made" if options.is_new else "changed")


def group_rm(options: argparse.Namespace, terminal: Terminal) -> int:
    name = ("String!", options.name)
    return _run(lambda client: _change(client, "delete_scaling_group", name=name), terminal, options.name, "removed")


def group_grant(options: argparse.Namespace, terminal: Terminal) -> int:
    """``grant`` and ``revoke``."""

    async def grant(client: ManagerClient) -> None:
        for scope in options.scopes:
            await _grant(client, options.name, scope, options.verb)

    done = "granted to" if options.verb == "associate" else "taken from"
    return _run(grant, terminal, options.name, f"{done} {', '.join(options.scopes)}")


async def _grant(client: ManagerClient, group: str, scope: str, verb: str) -> None:
    level, _, name = scope.partition(":")
    field, scaling_group = f"{verb}_scaling_group_with_", ("String!", group)
    match level:
        case "domain":
            await _change(client, f"{field}domain", scaling_group=scaling_group, domain=("String!", name))
        case "keypair":
            await _change(client, f"{field}keypair", scaling_group=scaling_group, access_key=("String!", name))
        case "project":
            kind = "UUID!" if verb == "associate" else "String!"
            user_group = (kind, await _project_id(client, name, None))
            await _change(client, f"{field}user_group", scaling_group=scaling_group, user_group=user_group)
        case _:
            raise _no_scope(scope, "keypair:, project: or domain:")


# What several have


async def _limits(client: ManagerClient, options: argparse.Namespace) -> Json:
    """The limits of slots, if any was said; those that were not said are none then."""
    slots = await slots_of(client, options)
    return {"total_resource_slots": json.dumps(slots)} if slots else {}


def _seconds(span: float | None) -> int | None:
    return None if span is None else int(span)


def _confirm(terminal: Terminal, question: str) -> None:
    if not terminal.ask(question):
        raise CommandFailed("Nothing was changed.")


def _no_scope(scope: str, expected: str) -> CommandFailed:
    return CommandFailed(f"{scope} does not say whose it is: {expected} and a name.", Exit.USAGE)
