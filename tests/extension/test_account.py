"""What one has and is at the manager, for the tab *My Account*: in front of a real manager."""

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key
from real_manager import RealManager, environ_of

from bai_jupyter.extension.account import fingerprint_of

NUMBERS = count()


@pytest.fixture
def nia(cluster: RealManager) -> Any:
    """Somebody who is no admin; one for each test, since users stay."""
    return cluster.add_user(f"nia{next(NUMBERS)}")


@pytest.fixture
def account(nia: Any) -> dict[str, str]:
    return environ_of(nia)


async def test_who_one_is_without_any_secret(bai: Callable[..., Any], nia: Any, jp_fetch: Any) -> None:
    status, me = await bai("GET", "account")
    assert (status, me["role"], me["domain_name"]) == (200, "user", "default")
    assert me["email"].startswith("nia")
    assert me["projects"] == ["default"]
    (keypair,) = me["keypairs"]
    assert (keypair["access_key"], keypair["is_active"], keypair["is_used"]) == (nia.access_key, True, True)
    assert me["ssh_fingerprint"] is None
    answer = await jp_fetch("bai", "api", "account")
    assert answer.headers["Cache-Control"] == "no-store"
    assert nia.secret_key not in answer.body.decode()


async def test_an_ssh_private_key_is_told_once(
    bai: Callable[..., Any], jp_fetch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    status, made = await bai("POST", "account/ssh-keypair")
    assert status == 201
    private = load_ssh_private_key(made["private_key"].encode(), None)
    public = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    assert made["public_key"].startswith(public)
    assert (await bai("GET", "account"))[1]["ssh_fingerprint"] == made["fingerprint"] == fingerprint_of(public)
    again = await jp_fetch("bai", "api", "account", "ssh-keypair", method="POST", body=b"")
    assert again.headers["Cache-Control"] == "no-store"
    assert (await bai("GET", "account"))[1]["ssh_fingerprint"] != made["fingerprint"]
    assert "PRIVATE KEY" not in caplog.text


async def test_dotfiles(bai: Callable[..., Any]) -> None:
    assert await bai("GET", "account/dotfiles") == (200, {"dotfiles": []})
    bashrc = {"path": ".config/a b.sh", "permission": "644", "data": "echo grüß\n"}
    assert await bai("POST", "account/dotfiles", bashrc) == (204, None)
    listed = [{"path": ".config/a b.sh", "permission": "644", "size": 12}]
    assert await bai("GET", "account/dotfiles") == (200, {"dotfiles": listed})
    at = "account/dotfiles/.config/a b.sh"
    assert await bai("GET", at) == (200, bashrc)
    assert (await bai("PATCH", at, {"permission": "600", "data": "now"}))[0] == 204
    assert (await bai("GET", at))[1] == {"path": ".config/a b.sh", "permission": "600", "data": "now"}
    status, refused = await bai("POST", "account/dotfiles", {**bashrc, "path": "../up"})
    assert (status, "../up" in refused["message"]) == (400, True)
    assert (await bai("POST", "account/dotfiles", bashrc))[0] == 400  # it is there
    assert (await bai("DELETE", at))[0] == 204
    assert (await bai("DELETE", at))[0] == 404


async def test_the_bootstrap_script(bai: Callable[..., Any]) -> None:
    assert await bai("GET", "account/bootstrap-script") == (200, {"script": ""})
    assert (await bai("PUT", "account/bootstrap-script", {"script": "pip list\n"}))[0] == 204
    assert await bai("GET", "account/bootstrap-script") == (200, {"script": "pip list\n"})
    assert (await bai("PUT", "account/bootstrap-script", {"script": 7}))[0] == 400
    assert (await bai("PUT", "account/bootstrap-script", []))[0] == 400


async def test_the_log_is_ones_own_newest_first(bai: Callable[..., Any]) -> None:
    for script in ("one", "two"):
        await bai("PUT", "account/bootstrap-script", {"script": script})
    await bai("POST", "account/ssh-keypair")
    status, page = await bai("GET", "account/log?limit=2")
    assert (status, page["total"], len(page["items"])) == (200, 3, 2)
    newest, before = page["items"]
    assert [one["action"].partition(":")[0] for one in (newest, before)] == ["PATCH config", "POST config"]
    assert newest["id"] > before["id"]
    _, rest = await bai("GET", "account/log?offset=2&limit=2")
    assert [one["id"] < before["id"] for one in rest["items"]] == [True]
    for wrong in ("limit=0", "limit=101", "offset=-1", "offset=x"):
        assert (await bai("GET", f"account/log?{wrong}"))[0] == 400


class TestOfASuperadmin:
    @pytest.fixture
    def account(self, cluster: RealManager) -> dict[str, str]:
        return cluster.environ

    async def test_others_are_not_in_the_log_nor_among_the_keypairs(
        self, bai: Callable[..., Any], cluster: RealManager, nia: Any
    ) -> None:
        cluster.ask("POST", "/user-config/bootstrap-script", {"script": "hers"}, nia)
        everybody = {one["access_key"] for one in cluster.ask("GET", "/audit")["entries"]}
        assert nia.access_key in everybody
        _, page = await bai("GET", "account/log")
        assert nia.access_key not in {one["access_key"] for one in page["items"]}
        _, me = await bai("GET", "account")
        assert [one["access_key"] for one in me["keypairs"]] == [cluster.config.access_key]


def test_a_fingerprint_is_as_openssh_shows_it() -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDoLgawhJzmVlfnVwnW164rgl2S62wI3sX8is9LJOG5h"
    assert fingerprint_of(f"{key} nia@example.org\n") == "SHA256:/L61qWAv3K318GvyhTiPNP36iF183RpAM3GJNYPTyfw"
    assert [fingerprint_of(text) for text in ("", "ssh-rsa", "ssh-rsa !")] == [None, None, None]
