"""The root fields of ``Mutation``: each calls one use case of ``people.service`` and shows what was made."""

from collections.abc import Mapping
from typing import Any

from bai_jupyter.common.errors import BadRequest
from bai_jupyter.manager.api.graphql import queries
from bai_jupyter.manager.api.graphql.roots import Context, Mutations

Props = Mapping[str, Any]
Made = dict[str, Any]

mutation = Mutations()


async def _show(ctx: Context, query: Any, **arguments: Any) -> Any:
    """An object as the query of that name shows it to this caller."""
    return await ctx.parts.store.read(lambda conn: query(Context(ctx.caller, ctx.parts, ctx.audit, conn), **arguments))


# Users


@mutation("people:manage")
async def create_user(ctx: Context, email: str, props: Props) -> Made:
    user_id = await ctx.parts.people.create_user(ctx.caller, email, props)
    return {"user": await _show(ctx, queries.user_from_uuid, user_id=user_id)}


@mutation("people:manage")
async def modify_user(ctx: Context, email: str, props: Props) -> None:
    await ctx.parts.people.modify_user(ctx.caller, email, props)


@mutation("people:manage")
async def delete_user(ctx: Context, email: str) -> None:
    await ctx.parts.people.delete_user(ctx.caller, email)


@mutation("people:manage")
async def purge_user(ctx: Context, email: str, props: Props) -> None:  # noqa: ARG001 - of shared folders
    await ctx.parts.people.purge_user(ctx.caller, email)


# Keypairs


@mutation("people:manage")
async def create_keypair(ctx: Context, user_id: str, props: Props) -> Made:
    """``user_id`` is the owner's e-mail. Its secret key is told to whoever made it."""
    access_key, secret_key = await ctx.parts.people.create_keypair(ctx.caller, user_id, props)
    shown = await _show(ctx, queries.keypair, access_key=access_key)
    return {"keypair": {**shown, "secret_key": secret_key}}


@mutation("people:manage")
async def modify_keypair(ctx: Context, access_key: str, props: Props) -> None:
    await ctx.parts.people.modify_keypair(ctx.caller, access_key, props)


@mutation("people:manage")
async def delete_keypair(ctx: Context, access_key: str) -> None:
    await ctx.parts.people.delete_keypair(ctx.caller, access_key)


# Domains


@mutation("policy:manage")
async def create_domain(ctx: Context, name: str, props: Props) -> Made:
    await ctx.parts.people.create_domain(name, props)
    return {"domain": await _show(ctx, queries.domain, name=name)}


@mutation("policy:manage")
async def modify_domain(ctx: Context, name: str, props: Props) -> None:
    await ctx.parts.people.modify_domain(name, props)


@mutation("policy:manage")
async def delete_domain(ctx: Context, name: str) -> None:
    await ctx.parts.people.modify_domain(name, {"is_active": False})


@mutation("policy:manage")
async def purge_domain(ctx: Context, name: str) -> None:
    await ctx.parts.people.purge_domain(name)


# Projects


@mutation("people:manage")
async def create_group(ctx: Context, name: str, props: Props) -> Made:
    project_id = await ctx.parts.people.create_project(ctx.caller, name, props)
    return {"group": await _show(ctx, queries.group, id=project_id)}


@mutation("people:manage")
async def modify_group(ctx: Context, gid: str, props: Props) -> None:
    await ctx.parts.people.modify_project(ctx.caller, gid, props)


@mutation("people:manage")
async def delete_group(ctx: Context, gid: str) -> None:
    await ctx.parts.people.modify_project(ctx.caller, gid, {"is_active": False})


@mutation("people:manage")
async def purge_group(ctx: Context, gid: str) -> None:
    await ctx.parts.people.purge_project(ctx.caller, gid)


# Policies, under the three names that the API has for them


@mutation("policy:manage")
async def create_keypair_resource_policy(ctx: Context, name: str, props: Props) -> Made:
    await ctx.parts.people.create_policy(name, props)
    return {"resource_policy": await _show(ctx, queries.keypair_resource_policy, name=name)}


@mutation("policy:manage")
async def modify_keypair_resource_policy(ctx: Context, name: str, props: Props) -> None:
    await ctx.parts.people.modify_policy(name, props)


@mutation("policy:manage")
async def delete_keypair_resource_policy(ctx: Context, name: str) -> None:
    await ctx.parts.people.delete_policy(name)


@mutation("policy:manage")
async def create_user_resource_policy(ctx: Context, name: str, props: Props) -> Made:
    return await create_keypair_resource_policy(ctx, name, props)


@mutation("policy:manage")
async def modify_user_resource_policy(ctx: Context, name: str, props: Props) -> None:
    await ctx.parts.people.modify_policy(name, props)


@mutation("policy:manage")
async def delete_user_resource_policy(ctx: Context, name: str) -> None:
    await ctx.parts.people.delete_policy(name)


@mutation("policy:manage")
async def create_project_resource_policy(ctx: Context, name: str, props: Props) -> Made:
    return await create_keypair_resource_policy(ctx, name, props)


@mutation("policy:manage")
async def modify_project_resource_policy(ctx: Context, name: str, props: Props) -> None:
    await ctx.parts.people.modify_policy(name, props)


@mutation("policy:manage")
async def delete_project_resource_policy(ctx: Context, name: str) -> None:
    await ctx.parts.people.delete_policy(name)


# Presets


@mutation("policy:manage")
async def create_resource_preset(ctx: Context, name: str, props: Props) -> Made:
    await ctx.parts.people.create_preset(name, props)
    return {"resource_preset": await _show(ctx, queries.resource_preset, name=name)}


@mutation("policy:manage")
async def modify_resource_preset(ctx: Context, name: str, props: Props) -> None:
    await ctx.parts.people.modify_preset(name, props)


@mutation("policy:manage")
async def delete_resource_preset(ctx: Context, name: str) -> None:
    await ctx.parts.people.delete_preset(name)


# Images


@mutation("image:manage")
async def alias_image(ctx: Context, alias: str, target: str, architecture: str | None = None) -> None:
    await ctx.parts.people.alias_image(alias, target, architecture)


@mutation("image:manage")
async def dealias_image(ctx: Context, alias: str) -> None:
    await ctx.parts.people.dealias_image(alias)


@mutation("image:manage")
async def rescan_images(ctx: Context, registry: str | None = None) -> None:  # noqa: ARG001 - there is none to look at
    raise BadRequest("There is no registry to scan: agents tell what they have, and POST /images adds others by name.")


# Resource groups


@mutation("policy:manage")
async def create_scaling_group(ctx: Context, name: str, props: Props) -> Made:
    await ctx.parts.people.create_resource_group(name, props)
    return {"scaling_group": await _show(ctx, queries.scaling_group, name=name)}


@mutation("policy:manage")
async def modify_scaling_group(ctx: Context, name: str, props: Props) -> None:
    await ctx.parts.people.modify_resource_group(name, props)


@mutation("policy:manage")
async def delete_scaling_group(ctx: Context, name: str) -> None:
    await ctx.parts.people.delete_resource_group(name)


@mutation("policy:manage")
async def associate_scaling_group_with_domain(ctx: Context, scaling_group: str, domain: str) -> None:
    await ctx.parts.people.grant_group(scaling_group, f"domain:{domain}")


@mutation("policy:manage")
async def associate_scaling_group_with_user_group(ctx: Context, scaling_group: str, user_group: str) -> None:
    await ctx.parts.people.grant_group(scaling_group, f"project:{user_group}")


@mutation("policy:manage")
async def associate_scaling_group_with_keypair(ctx: Context, scaling_group: str, access_key: str) -> None:
    await ctx.parts.people.grant_group(scaling_group, f"keypair:{access_key}")


@mutation("policy:manage")
async def disassociate_scaling_group_with_domain(ctx: Context, scaling_group: str, domain: str) -> None:
    await ctx.parts.people.revoke_group(scaling_group, f"domain:{domain}")


@mutation("policy:manage")
async def disassociate_scaling_group_with_user_group(ctx: Context, scaling_group: str, user_group: str) -> None:
    await ctx.parts.people.revoke_group(scaling_group, f"project:{user_group}")


@mutation("policy:manage")
async def disassociate_scaling_group_with_keypair(ctx: Context, scaling_group: str, access_key: str) -> None:
    await ctx.parts.people.revoke_group(scaling_group, f"keypair:{access_key}")


@mutation("policy:manage")
async def disassociate_all_scaling_groups_with_domain(ctx: Context, domain: str) -> None:
    await ctx.parts.people.revoke_group(None, f"domain:{domain}")


@mutation("policy:manage")
async def disassociate_all_scaling_groups_with_group(ctx: Context, user_group: str) -> None:
    await ctx.parts.people.revoke_group(None, f"project:{user_group}")
