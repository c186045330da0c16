"""Use cases of what people have in each of their new sessions: dotfiles, a bootstrap script, an SSH keypair.

Dotfiles are also of a project or of a domain: its members may read them, its admins change them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bai_jupyter.common.errors import BadRequest, NotFound
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import format_size
from bai_jupyter.manager.auth import policy, ssh_keys
from bai_jupyter.manager.auth.keypairs import Caller
from bai_jupyter.manager.auth.vault import Vault
from bai_jupyter.manager.db import people, user_config
from bai_jupyter.manager.db.store import Store
from bai_jupyter.manager.db.user_config import MAX_BYTES, Dotfile
from bai_jupyter.manager.people.visibility import check_domain

HOME = "/home/work/"
RESERVED = frozenset({".terminfo", ".jupyter", ".ssh", ".ssh/authorized_keys", ".local", ".config"})
_PERMISSION = re.compile(r"[0-7]{3}")
_LONGEST_PATH, _LONGEST_NAME = 1024, 255


@dataclass(frozen=True)
class OpenDotfile:
    path: str
    permission: str
    data: str = field(repr=False)


class UserConfig:
    def __init__(self, store: Store, vault: Vault) -> None:
        self._store, self._vault = store, vault

    # Whose: a scope, or the same 404 for what is missing and what is not the caller's

    async def scope_of_project(self, caller: Caller, group: str, domain: object, *, to_change: bool) -> str:
        """By id, or by name in a domain."""
        project = await self._store.read(people.find_project, group, str(domain or caller.domain))
        is_admin = policy.may(caller.role, "people:manage") and _reaches(caller, project.domain if project else "")
        members = await self._store.read(people.usable_projects, caller.user_id)
        if project is None or not (is_admin or project.id in members.values()):
            found = Reason.of("not-found", kind="project", name=group)
            raise NotFound(found, title="No such user group (or project).")
        if to_change:
            policy.require(caller.role, "people:manage")
        return f"project:{project.id}"

    async def scope_of_domain(self, caller: Caller, domain: str, *, to_change: bool) -> str:
        check_domain(caller, domain)
        await self._store.read(people.require_domain, domain)
        if to_change:
            policy.require(caller.role, "people:manage")
        return f"domain:{domain}"

    # Dotfiles

    async def list_dotfiles(self, scope: str) -> list[OpenDotfile]:
        return [self._open(one) for one in await self._store.read(user_config.list_dotfiles, scope)]

    async def get_dotfile(self, scope: str, path: object) -> OpenDotfile:
        return self._open(await self._store.read(user_config.find_dotfile, scope, read_path(path)))

    async def add_dotfile(self, scope: str, body: Mapping[str, Any]) -> None:
        await self._store.write(user_config.add_dotfile, scope, self._read(body))

    async def change_dotfile(self, scope: str, body: Mapping[str, Any]) -> None:
        await self._store.write(user_config.change_dotfile, scope, self._read(body))

    async def delete_dotfile(self, scope: str, path: object) -> None:
        await self._store.write(user_config.delete_dotfile, scope, read_path(path))

    def _read(self, body: Mapping[str, Any]) -> Dotfile:
        data, permission = body.get("data"), body.get("permission")
        if not isinstance(data, str):
            raise _bad("data", "what was sent", "a text")
        if not isinstance(permission, str) or not _PERMISSION.fullmatch(permission):
            raise _bad("permission", repr(permission), "three octal digits, such as 644")
        size = len(_encoded("data", data))
        return Dotfile(read_path(body.get("path")), permission, self._vault.seal(data), size)

    def _open(self, found: Dotfile) -> OpenDotfile:
        return OpenDotfile(found.path, found.permission, self._vault.open(found.data_encrypted))

    # Bootstrap script

    async def bootstrap(self, caller: Caller) -> str:
        """Empty if there is none."""
        found = await self._store.read(user_config.load, caller.user_id)
        return "" if found.bootstrap_encrypted is None else self._vault.open(found.bootstrap_encrypted)

    async def set_bootstrap(self, caller: Caller, script: object) -> None:
        """An empty one is none."""
        if not isinstance(script, str) or "\0" in script:
            raise _bad("script", "what was sent", "a text")
        size = len(_encoded("script", script))
        if size > MAX_BYTES:
            raise BadRequest(f"A bootstrap script may have {format_size(MAX_BYTES)}; this one has {size} bytes.")
        sealed = self._vault.seal(script) if script else None
        await self._store.write(user_config.change, caller.user_id, {"bootstrap_encrypted": sealed})

    # SSH keypair

    async def public_key(self, caller: Caller) -> str:
        """Empty if there is none."""
        return (await self._store.read(user_config.load, caller.user_id)).ssh_public_key or ""

    async def new_ssh_keypair(self, caller: Caller) -> tuple[str, str]:
        """Public and private key, in the place of those before."""
        return await self._keep_ssh_keypair(caller, *ssh_keys.generate())

    async def set_ssh_keypair(self, caller: Caller, public: str, private: str) -> tuple[str, str]:
        return await self._keep_ssh_keypair(caller, *ssh_keys.check(public, private))

    async def _keep_ssh_keypair(self, caller: Caller, public: str, private: str) -> tuple[str, str]:
        values = {"ssh_public_key": public, "ssh_private_encrypted": self._vault.seal(private)}
        await self._store.write(user_config.change, caller.user_id, values)
        return public, private


def read_path(given: object) -> str:
    """A path below the home of a session, relative to it. Raises ``BadRequest``. Pure."""
    expected = f"a path below {HOME}, such as .bashrc"
    if not isinstance(given, str) or not given.isprintable() or len(_encoded("path", given)) > _LONGEST_PATH:
        raise _bad("path", repr(given)[:100], expected)
    path = given.removeprefix(HOME)
    parts = path.split("/")
    if any(part in ("", ".", "..") or len(part.encode()) > _LONGEST_NAME for part in parts):
        raise _bad("path", given, expected)
    if path in RESERVED:
        raise BadRequest(f"{path} is made by Backend.AI itself. Put files into it instead, such as {path}/NAME.")
    return path


def _encoded(name: str, value: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError as error:  # half of a pair, which JSON can write
        raise _bad(name, "what was sent", "text that can be written as UTF-8") from error


def _bad(name: str, given: str, expected: str) -> BadRequest:
    return BadRequest(Reason.of("bad-value", field=name, given=given, expected=expected))


def _reaches(caller: Caller, domain: str) -> bool:
    return domain == caller.domain or policy.may(caller.role, "domain:any")
