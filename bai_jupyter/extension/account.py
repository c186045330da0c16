"""``/bai/api/account``: who one is at the manager, and what one has in each new session, for the tab *My Account*.

What is answered here is the user's own, and some of it secret: no browser and no proxy keeps any.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any

from jupyter_server.auth.decorator import authorized
from tornado import web

from bai_jupyter.extension.handlers import BaiHandler

LARGEST_PAGE = 100


class OwnHandler(BaiHandler):
    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Cache-Control", "no-store")


class AccountHandler(OwnHandler):
    @web.authenticated
    @authorized
    async def get(self) -> None:
        """The user, their ``projects``, ``keypairs`` (without secrets; ``is_used``: this server's) and the
        ``ssh_fingerprint`` of their SSH key, or null."""
        account = await self.client.account()
        used = self.client.config.access_key
        keypairs = [{**one, "is_used": one["access_key"] == used} for one in account["keypairs"]]
        fingerprint = fingerprint_of(await self.client.ssh_public_key())
        self.finish({**account, "keypairs": keypairs, "ssh_fingerprint": fingerprint})


class SshKeypairHandler(OwnHandler):
    @web.authenticated
    @authorized
    async def post(self) -> None:
        """A new one for the one before → 201 ``{"fingerprint", "public_key", "private_key"}``, told once."""
        public, private = await self.client.new_ssh_keypair()
        self.set_status(201)
        self.finish({"fingerprint": fingerprint_of(public), "public_key": public, "private_key": private})


class DotfilesHandler(OwnHandler):
    @web.authenticated
    @authorized
    async def get(self) -> None:
        """``{"dotfiles": [{"path", "permission", "size"}]}``, sizes in bytes."""
        self.finish({"dotfiles": [_summary(one) for one in await self.client.list_dotfiles()]})

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """``{"path", "permission", "data"}``: one more."""
        given = self.fields()
        await self.client.add_dotfile(given.get("path"), given.get("permission"), given.get("data"))
        self.done()


class DotfileHandler(OwnHandler):
    @web.authenticated
    @authorized
    async def get(self, path: str) -> None:
        """``{"path", "permission", "data"}``."""
        found = await self.client.get_dotfile(path)
        self.finish({name: found[name] for name in ("path", "permission", "data")})

    @web.authenticated
    @authorized
    async def patch(self, path: str) -> None:
        """``{"permission", "data"}``, both."""
        given = self.fields()
        await self.client.change_dotfile(path, given.get("permission"), given.get("data"))
        self.done()

    @web.authenticated
    @authorized
    async def delete(self, path: str) -> None:
        await self.client.delete_dotfile(path)
        self.done()


class BootstrapHandler(OwnHandler):
    @web.authenticated
    @authorized
    async def get(self) -> None:
        self.finish({"script": await self.client.get_bootstrap()})

    @web.authenticated
    @authorized
    async def put(self) -> None:
        """``{"script"}``; an empty one is none."""
        await self.client.set_bootstrap(self.fields().get("script"))
        self.done()


class LogHandler(OwnHandler):
    @web.authenticated
    @authorized
    async def get(self) -> None:
        """``?offset=&limit=`` → ``{"items": [{"id", "at", "access_key", "action", "target", "result"}], "total"}``:
        what was done in the user's name, newest first."""
        offset, limit = self.number("offset", 0), self.number("limit", 50, 1, LARGEST_PAGE)
        items, total = await self.client.own_audit(offset, limit)
        names = ("id", "at", "access_key", "action", "target", "result")
        self.finish({"items": [{name: one[name] for name in names} for one in items], "total": total})


def fingerprint_of(public_key: str) -> str | None:
    """As OpenSSH shows it, ``SHA256:…``; ``None`` for none."""
    try:
        blob = base64.b64decode(public_key.split()[1], validate=True)
    except (IndexError, binascii.Error):
        return None
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def _summary(dotfile: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "path": dotfile["path"],
        "permission": dotfile["permission"],
        "size": len(dotfile["data"].encode()),
    }


HANDLERS = [
    (r"/bai/api/account", AccountHandler),
    (r"/bai/api/account/ssh-keypair", SshKeypairHandler),
    (r"/bai/api/account/dotfiles", DotfilesHandler),
    (r"/bai/api/account/dotfiles/(.+)", DotfileHandler),
    (r"/bai/api/account/bootstrap-script", BootstrapHandler),
    (r"/bai/api/account/log", LogHandler),
]
