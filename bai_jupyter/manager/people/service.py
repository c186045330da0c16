"""Use cases of people and policy: what admins, and services for their users, change. No HTTP and no GraphQL is here.

Who may change what: a superadmin everything; a domain's admin the people, projects and keypairs of that domain, but
not its limits, and nobody above themselves. What somebody may not touch is answered as missing.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, TypedDict

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bai_jupyter.common.errors import BadRequest, Forbidden, NotFound, PublicError
from bai_jupyter.common.ids import UserId
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.manager.auth import policy
from bai_jupyter.manager.auth.keypairs import Caller, KeypairAuth
from bai_jupyter.manager.auth.passwords import check_password, hash_password
from bai_jupyter.manager.auth.vault import Vault, new_keypair
from bai_jupyter.manager.db import accounts, catalog, groups, listings, people, policies
from bai_jupyter.manager.db import tables as t
from bai_jupyter.manager.db.listings import Reach
from bai_jupyter.manager.db.people import DEFAULT, NewKeypair, NewUser
from bai_jupyter.manager.db.records import GroupRecord, Keypair, PolicyRecord, PresetRecord, UserStatus
from bai_jupyter.manager.db.store import Store
from bai_jupyter.manager.db.usage import Use, list_uses
from bai_jupyter.manager.people import inputs, usage
from bai_jupyter.manager.people.visibility import check_domain, may_touch

DEFAULT_RATE_LIMIT = 30_000
"""Requests in 15 minutes of a new user's keypair: far above what one person's tools need."""

Props = Mapping[str, Any]
UsagePart = Callable[[list[Use], datetime, datetime, datetime], list[dict[str, Any]]]
"""``usage.by_day`` or ``usage.by_session``."""


class WardView(TypedDict):
    id: str
    name: str
    email: str
    policy: str
    created: bool


class PeopleService:
    """``nudge_groups`` is told when something changed for which sessions may wait; ``recheck`` who left a project."""

    def __init__(
        self,
        store: Store,
        vault: Vault,
        auth: KeypairAuth,
        nudge_groups: Callable[[], None],
        now: Callable[[], datetime],
        home_volume: str,
        recheck: Callable[[Collection[UserId]], Awaitable[None]],
    ) -> None:
        self._store, self._vault, self._auth, self._now = store, vault, auth, now
        self._nudge_groups, self._home_volume, self._recheck = nudge_groups, home_volume, recheck

    # Domains, policies, resource groups, presets, images: superadmins only, which the caller of these has checked

    async def create_domain(self, name: str, props: Props) -> None:
        values = inputs.read(inputs.DOMAIN, props)
        await self._change(people.add_domain, inputs.name("name", name), values, self._now())

    async def modify_domain(self, name: str, props: Props) -> None:
        if props.get("name") not in (None, name):
            raise BadRequest("A domain keeps its name. Make a new one, and move its users there.")
        given = {key: value for key, value in props.items() if key != "name"}
        await self._change(people.change_domain, name, inputs.read(inputs.DOMAIN, given))

    async def purge_domain(self, name: str) -> None:
        await self._change(people.purge_domain, name)

    async def create_policy(self, name: str, props: Props) -> None:
        record = PolicyRecord(inputs.name("name", name), created_at=self._now())
        await self._change(policies.add, replace(record, **inputs.read(inputs.POLICY, props)))

    async def modify_policy(self, name: str, props: Props) -> None:
        await self._change(policies.change, name, inputs.read(inputs.POLICY, props))

    def policy_effect(self, conn: Connection, name: str, props: Props) -> policies.Effect:
        """Whom ``modify_policy`` would affect; changes nothing."""
        return policies.effect(conn, name, inputs.read(inputs.POLICY, props), self._now())

    async def delete_policy(self, name: str) -> None:
        await self._change(policies.delete, name)

    async def create_resource_group(self, name: str, props: Props) -> None:
        record = GroupRecord(inputs.name("name", name), created_at=self._now())
        await self._change(groups.add, replace(record, **_group_values(props)))

    async def modify_resource_group(self, name: str, props: Props) -> None:
        await self._change(groups.change, name, _group_values(props))

    async def delete_resource_group(self, name: str) -> None:
        await self._change(groups.delete, name)

    async def grant_group(self, group: str, scope: str) -> None:
        """Let a domain, project or keypair (``domain:default`` …) use a resource group."""
        await self._change(_grant, group, scope)

    async def revoke_group(self, group: str | None, scope: str) -> None:
        """Take one resource group, or all, from a scope."""
        await self._change(groups.revoke, group, scope)

    async def create_preset(self, name: str, props: Props) -> None:
        values = inputs.read(inputs.PRESET, props)
        slots = ResourceSlots.parse(values.get("slots", {}))
        await self._change(catalog.add_preset, PresetRecord(inputs.name("name", name), slots, values.get("shm_bytes")))

    async def modify_preset(self, name: str, props: Props) -> None:
        if not await self._change(catalog.change_preset, name, inputs.read(inputs.PRESET, props)):
            raise _no_preset(name)

    async def delete_preset(self, name: str) -> None:
        if not await self._change(catalog.delete_preset, name):
            raise _no_preset(name)

    async def alias_image(self, alias: str, image: str, architecture: str | None = None) -> None:
        await self._change(catalog.add_alias, inputs.text("alias", alias), image, architecture)

    async def dealias_image(self, alias: str) -> None:
        await self._change(catalog.delete_alias, alias)

    # Projects

    async def create_project(self, caller: Caller, name: str, props: Props) -> str:
        domain = str(props.get("domain_name") or caller.domain)
        check_domain(caller, domain)
        given = {key: value for key, value in props.items() if key != "domain_name"}
        if given.get("total_resource_slots") in ({}, "{}"):  # what clients send for no limit, which it has anyway
            del given["total_resource_slots"]
        values = self._project_values(caller, given)
        return str(await self._change(people.add_project, inputs.name("name", name), domain, values, self._now()))

    async def modify_project(self, caller: Caller, project_id: str, props: Props) -> None:
        """``user_update_mode`` ``add`` or ``remove`` with ``user_uuids`` changes who is a member."""
        project = await self._check_project(caller, project_id)
        if props.get("domain_name") not in (None, project.domain):
            raise BadRequest("A project keeps its domain. Make a new one there.")
        special = ("user_update_mode", "user_uuids", "domain_name")
        values = self._project_values(caller, {key: one for key, one in props.items() if key not in special})
        mode, user_ids = props.get("user_update_mode"), props.get("user_uuids") or []
        if mode not in ("add", "remove") and (mode is not None or user_ids):
            inputs.refuse("user_update_mode", mode, "add or remove")
        await self._store.read(_check_reach, caller, users=user_ids)
        await self._change(_change_project, project_id, values, user_ids, mode)
        await self._recheck(user_ids)

    async def purge_project(self, caller: Caller, project_id: str) -> None:
        await self._check_project(caller, project_id)
        await self._change(people.purge_project, project_id)

    # Users

    async def create_user(self, caller: Caller, email: str, props: Props) -> UserId:
        """A user with a first keypair and a home folder; without ``group_ids`` in the domain's default project."""
        values = _new_user(caller, email, props)
        await self._store.read(_check_reach, caller, projects=values.get("projects"))
        return await self._add_user(password_hash=await _hash(props.get("password")), **values)

    def user_refusal(self, conn: Connection, caller: Caller, email: str, props: Props) -> str | None:
        """Why ``create_user`` would make none now; None if it would."""
        try:
            new = _new_user(caller, email, props)
            if password := props.get("password"):
                check_password(password)
            _check_reach(conn, caller, projects=new.get("projects"))
            people.check_new_user(conn, new["name"], new["email"], new["domain"], new.get("projects"))
        except PublicError as refused:
            return refused.message
        return None

    async def modify_user(self, caller: Caller, email: str, props: Props) -> None:
        user = await self._find_user(caller, email)
        values = inputs.read(inputs.USER, {key: one for key, one in props.items() if key != "password"})
        _check_role(caller, values.get("role", policy.USER))
        check_domain(caller, values.get("domain", caller.domain))
        if "resource_policy" in values:
            policy.require(caller.role, "policy:manage")
        if values.get("status", UserStatus.ACTIVE) != UserStatus.ACTIVE or "role" in values:
            _check_not_self(caller, user.id)
        if "main_access_key" in values:
            await self._find_owner(caller, values["main_access_key"])
        await self._store.read(_check_reach, caller, projects=values.get("projects"))
        if props.get("password"):
            values["password_hash"] = await _hash(props["password"])
        await self._change(people.change_user, user.id, values, self._now())

    async def delete_user(self, caller: Caller, email: str) -> None:
        """Keep them out; what is theirs stays."""
        await self.modify_user(caller, email, {"status": UserStatus.DELETED.value})

    async def purge_user(self, caller: Caller, email: str) -> None:
        user = await self._find_user(caller, email)
        _check_not_self(caller, user.id)
        await self._change(people.purge_user, user.id)

    # Keypairs

    async def create_keypair(self, caller: Caller, email: str, props: Props) -> tuple[str, str]:
        """Returns access key and secret key."""
        user = await self._find_user(caller, email)
        values = {"rate_limit": DEFAULT_RATE_LIMIT, **self._keypair_values(caller, user.role, props)}
        access_key, secret_key = new_keypair()
        new = NewKeypair(access_key, self._vault.seal(secret_key), UserId(user.id), **values)
        await self._change(people.add_keypair, new, self._now())
        return access_key, secret_key

    async def modify_keypair(self, caller: Caller, access_key: str, props: Props) -> None:
        owner = await self._find_owner(caller, access_key)
        values = self._keypair_values(caller, owner.role, props)
        if access_key == caller.access_key and not values.get("is_active", True):
            raise BadRequest("That is the keypair that signed this request. Use another one to switch it off.")
        await self._change(people.change_keypair, access_key, values, self._now())

    async def delete_keypair(self, caller: Caller, access_key: str) -> None:
        await self._find_owner(caller, access_key)
        if access_key == caller.access_key:
            raise BadRequest("That is the keypair that signed this request. Use another one to delete it.")
        await self._change(people.delete_keypair, access_key)

    # Wards of services

    async def make_ward(self, service: Caller, body: Props) -> tuple[WardView, bool]:
        """The user of that name for whom the service may act; made, in the service's own projects, if there is none.

        Of the service's projects a ward is in those that are named, if any are; others are not the service's matter.
        So with the policy of the ward's keypair, of those that the service may give. Also tells if it gave one.
        """
        name = inputs.name("name", body.get("name"))
        projects = await self._store.read(people.usable_projects, service.user_id)
        given = body.get("projects")
        wanted = inputs.names("projects", list(projects) if given is None else given)
        for one in wanted:
            if one not in projects:
                found = ", ".join(projects) or "none"
                raise NotFound(Reason.of("project-unknown", project=one, projects=found))
        policy_name = await self._policy_to_give(service, body.get("policy"))
        present: Keypair | None = await self._store.read(accounts.find_ward, service.access_key, name)
        is_made = False
        if present is None:
            user = self._new_user(
                name=name,
                email=inputs.email("email", body.get("email") or f"{name.replace('@', '.at.')}@wards.localhost"),
                role=policy.USER,
                domain=service.domain,
                projects=tuple(projects[one] for one in wanted),
                full_name=inputs.text("full_name", body.get("full_name") or ""),
                keypair_policy=policy_name or DEFAULT,
            )
            present, is_made = await self._change(_make_ward, user, service.access_key, self._now())
        if is_made:
            found, is_new = policy_name or DEFAULT, policy_name is not None
        else:
            if given is not None:
                await self._keep_memberships(present.user_id, projects, wanted)
            found, is_new = await self._keep_policy(service, present.access_key, policy_name)
        ward: WardView = {
            "id": present.user_id,
            "name": name,
            "email": present.email,
            "policy": found,
            "created": is_made,
        }
        return ward, is_new

    async def _policy_to_give(self, service: Caller, given: object) -> str | None:
        """Raises ``Forbidden``, the same for a policy that there is not."""
        if given is None:
            return None
        policy.require(service.role, "policy:give")
        wanted = inputs.text("policy", given)
        allowed = await self._store.read(accounts.ward_policies, service.access_key)
        if wanted not in allowed:
            policies_, key = ", ".join(allowed), service.access_key
            raise Forbidden(Reason.of("policy-not-allowed", policy=wanted, policies=policies_, service=key))
        return wanted

    async def _keep_policy(self, service: Caller, access_key: str, wanted: str | None) -> tuple[str, bool]:
        """The policy that the ward's keypair has then, and whether that is new; written if that changes anything."""
        present: str = await self._store.read(accounts.policy_of, access_key)
        if wanted in (None, present):
            return present, False
        found: str = await self._change(_give_policy, service.access_key, access_key, wanted, self._now())
        return found, found != present

    async def allow_policy(self, caller: Caller, service_key: str, name: str, *, is_allowed: bool) -> None:
        """Let a service give a policy to its wards, or no longer. For superadmins, which the caller has checked."""
        await self._store.read(_require_service, service_key, caller)
        await self._change(accounts.allow_ward_policy, service_key, name, is_allowed=is_allowed)

    async def _keep_memberships(self, user_id: UserId, projects: Mapping[str, str], wanted: Collection[str]) -> None:
        """Of ``projects`` (``{name: id}``) the user is in those that are wanted; written if that changes anything."""
        present = await self._store.read(people.usable_projects, user_id)
        for name in projects.keys() & {*present} ^ {*wanted}:
            await self._change(people.set_members, projects[name], [user_id], are_members=name in wanted)
            await self._recheck([user_id])

    async def give_ward(self, caller: Caller, service_key: str, user_name: str, *, is_ward: bool) -> None:
        """Let a service act for a user, or no longer. Users decide for themselves, superadmins for everybody.

        A service that acts for a user does not decide it for them.
        """
        policy.require(caller.signing_role, "user:give-ward")
        if user_name != caller.user_name:
            policy.require(caller.role, "user:give-others")
        await self._store.read(_require_service, service_key, caller)
        await self._change(_give_ward, service_key, user_name, self._now(), is_ward=is_ward)

    # Usage

    async def usage(
        self, caller: Caller, since: datetime, until: datetime, project_ids: object
    ) -> list[dict[str, Any]]:
        """Each project's containers of a span of time, as far as the caller reaches; all projects if none is named."""
        reach = Reach() if policy.may(caller.role, "domain:any") else Reach(domain=caller.domain)
        wanted = None if project_ids is None else inputs.names("group_ids", project_ids)
        projects, uses = await self._store.read(_load_usage, reach, since, until, wanted)
        now = self._now()
        return [usage.project_usage(one, [use for use in uses if use.project_id == one.id], now) for one in projects]

    async def usage_by(
        self, part: UsagePart, caller: Caller, since: datetime, until: datetime, project_id: str | None, *, of_all: bool
    ) -> list[dict[str, Any]]:
        """What the caller held, by days or sessions; for admins also what a project did, or all whom they reach."""
        if project_id is None and not of_all:
            reach = Reach(user_id=caller.user_id)
        else:
            policy.require(caller.role, "usage:read")
            reach = Reach() if policy.may(caller.role, "domain:any") else Reach(domain=caller.domain)
        if project_id is not None:
            await self._check_project(caller, project_id)
        return await self._store.read(_load_parts, part, reach, since, until, project_id, self._now())

    async def stats(self, reach: Reach) -> list[dict[str, Any]]:
        """What was held in each quarter of an hour of the last 30 days."""
        now = self._now()
        since = now.replace(minute=now.minute // 15 * 15, second=0, microsecond=0) + usage.STEP - usage.STATS_SPAN
        uses = await self._store.read(list_uses, reach, since, now)
        return usage.series(uses, since, since + usage.STATS_SPAN, now)

    # Inside

    async def _change(self, unit: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Every change: written, in force at once, and told to those who wait."""
        result = await self._store.write(unit, *args, **kwargs)
        self._auth.forget()
        self._nudge_groups()
        return result

    async def _add_user(self, **values: Any) -> UserId:
        return UserId(await self._change(accounts.create_user, self._new_user(**values), self._now()))

    def _new_user(self, **values: Any) -> NewUser:
        access_key, secret_key = new_keypair()
        return NewUser(
            access_key=access_key,
            secret_encrypted=self._vault.seal(secret_key),
            home_volume=self._home_volume,
            rate_limit=None if values["role"] == policy.SERVICE else DEFAULT_RATE_LIMIT,  # one speaks for many
            **values,
        )

    async def _find_user(self, caller: Caller, email: str) -> Any:
        user = await self._store.read(people.require_user, t.users.c.email, email)
        if not may_touch(caller, user):
            raise people.no_user(email)
        return user

    async def _find_owner(self, caller: Caller, access_key: str) -> Any:
        keypair = await self._store.read(people.require_keypair, access_key)
        owner = await self._store.read(people.require_user, t.users.c.id, keypair.user_id)
        if not may_touch(caller, owner):
            raise NotFound(Reason.of("not-found", kind="keypair", name=access_key), title="No such keypair.")
        return owner

    async def _check_project(self, caller: Caller, project_id: str) -> Any:
        await self._store.read(_check_reach, caller, projects=[project_id])
        return await self._store.read(people.require_project, project_id)

    def _project_values(self, caller: Caller, props: Props) -> dict[str, Any]:
        values = inputs.read(inputs.PROJECT, props)
        if {"total_slots", "resource_policy"} & values.keys():
            policy.require(caller.role, "policy:manage")
        return values

    def _keypair_values(self, caller: Caller, role: str, props: Props) -> dict[str, Any]:
        values = inputs.read(inputs.KEYPAIR, props)
        if values.get("is_admin") and role not in (policy.SUPERADMIN, policy.ADMIN):
            raise BadRequest(f"The owner is a {role}: a keypair has no more powers. Change the user's role first.")
        rate_limit = values.get("rate_limit", DEFAULT_RATE_LIMIT)
        is_more = rate_limit is None or rate_limit > DEFAULT_RATE_LIMIT
        if is_more or values.get("resource_policy", DEFAULT) != DEFAULT:
            policy.require(caller.role, "policy:manage")
        return values


def _check_reach(
    conn: Connection, caller: Caller, users: Collection[str] | None = None, projects: Collection[str] | None = None
) -> None:
    """Raises ``NotFound`` for users and projects by whose ids a domain's admin names what is of other domains."""
    if policy.may(caller.role, "domain:any"):
        return
    for user_id in users or ():
        if people.require_user(conn, t.users.c.id, user_id).domain != caller.domain:
            raise people.no_user(user_id)
    for project_id in projects or ():
        if people.require_project(conn, project_id).domain != caller.domain:
            raise people.no_project(project_id)


def _group_values(props: Props) -> dict[str, Any]:
    given = {key: value for key, value in props.items() if key != "scheduler_opts"}
    options = props.get("scheduler_opts")
    return inputs.read(inputs.RESOURCE_GROUP, given) | ({} if options is None else inputs.scheduler_opts(options))


def _new_user(caller: Caller, email: str, props: Props) -> dict[str, Any]:
    """Of a ``NewUser`` what was said of it, but for its password. Raises what the caller may not make."""
    domain = str(props.get("domain_name") or caller.domain)
    check_domain(caller, domain)
    given = {key: value for key, value in props.items() if key not in ("password", "domain_name") and value != ""}
    values = inputs.read(inputs.USER, given)
    _check_role(caller, values.get("role", policy.USER))
    address = inputs.email("email", email)
    return {"name": address, "role": policy.USER, **_creatable(values), "email": address, "domain": domain}


def _creatable(values: dict[str, Any]) -> dict[str, Any]:
    """Lists become what a ``NewUser`` has; what a user cannot be made with is refused."""
    for later in ("main_access_key", "resource_policy"):
        if later in values:
            raise BadRequest(f"{later} can be set once the user is there.")
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


async def _hash(password: str | None) -> str | None:
    """What is refused is not shown: no reader of texts is used."""
    return await hash_password(password) if password else None


def _check_role(caller: Caller, role: str) -> None:
    """Nobody makes anybody more than they are themselves."""
    if role in (policy.SUPERADMIN, policy.SERVICE):
        policy.require(caller.role, "domain:any")


def _check_not_self(caller: Caller, user_id: str) -> None:
    if caller.user_id == user_id:
        raise BadRequest("That is you. Let another admin do this, so that nobody is locked out by mistake.")


def _no_preset(name: str) -> NotFound:
    return NotFound(Reason.of("not-found", kind="resource preset", name=name), title="No such resource preset.")


# Units of work made of several


def _load_usage(
    conn: Connection, reach: Reach, since: datetime, until: datetime, project_ids: list[str] | None
) -> tuple[list[Any], list[Use]]:
    where = [] if project_ids is None else [t.projects.c.id.in_(project_ids)]
    return listings.list_projects(conn, reach, *where), list_uses(conn, reach, since, until, project_ids)


def _load_parts(
    conn: Connection,
    part: UsagePart,
    reach: Reach,
    since: datetime,
    until: datetime,
    project_id: str | None,
    now: datetime,
) -> list[dict[str, Any]]:
    return part(list_uses(conn, reach, since, until, None if project_id is None else [project_id]), since, until, now)


def _grant(conn: Connection, group: str, scope: str) -> None:
    kind, _, value = scope.partition(":")
    require = {"domain": people.require_domain, "project": people.require_project, "keypair": people.require_keypair}
    require[kind](conn, value)
    groups.grant(conn, group, scope)


def _change_project(conn: Connection, project_id: str, values: Props, user_ids: list[str], mode: str | None) -> None:
    people.change_project(conn, project_id, values)
    if mode is not None:
        people.set_members(conn, project_id, user_ids, are_members=mode == "add")


def _make_ward(conn: Connection, user: NewUser, service_key: str, now: datetime) -> tuple[Keypair, bool]:
    """The ward's main keypair, and whether it was made: another call may have made the same user meanwhile."""
    present = accounts.find_ward(conn, service_key, user.name)
    if present is not None:
        return present, False
    if conn.execute(sa.select(t.users.c.id).where(t.users.c.name == user.name)).first() is not None:
        raise Forbidden(Reason.of("not-a-ward", name=user.name, service=service_key))
    user_id = accounts.create_user(conn, user, now)
    accounts.set_ward(conn, service_key, user_id, now, is_ward=True)
    made = accounts.find_ward(conn, service_key, user.name)
    assert made is not None
    return made, True


def _give_policy(conn: Connection, service_key: str, access_key: str, wanted: str, now: datetime) -> str:
    """The keypair's policy then. One that the service may not give was given by an admin, and stays."""
    present, allowed = accounts.policy_of(conn, access_key), accounts.ward_policies(conn, service_key)
    if present not in allowed or wanted not in allowed:
        return present
    people.change_keypair(conn, access_key, {"resource_policy": wanted}, now)
    return wanted


def _require_service(conn: Connection, service_key: str, caller: Caller) -> None:
    """Raises the same ``NotFound`` for a keypair that there is not, is no service's, or of another domain."""
    found = accounts.find_keypair(conn, service_key)
    is_near = found is not None and (policy.may(caller.role, "domain:any") or found.domain == caller.domain)
    if found is None or found.role != policy.SERVICE or not is_near:
        raise NotFound(Reason.of("not-found", kind="service", name=service_key), title="No such service.")


def _give_ward(conn: Connection, service_key: str, user_name: str, now: datetime, *, is_ward: bool) -> None:
    user = people.require_user(conn, t.users.c.name, user_name)
    if user.role != policy.USER:
        raise BadRequest(f"{user_name} is an {user.role}: a service acts for ordinary users only.")
    accounts.set_ward(conn, service_key, UserId(user.id), now, is_ward=is_ward)
