"""`bai login` and `bai logout` at a real manager."""

import asyncio
import io
import json
import stat

import pytest

from bai_jupyter.cli import main
from bai_jupyter.cli.account import can_be_overheard
from bai_jupyter.cli.terminal import Exit

pytestmark = pytest.mark.asyncio

GOOD, BETTER = "a long enough password", "another long enough one"
EMAIL = "kim@example.org"


@pytest.fixture
def bai(manager, tmp_path, capsys, monkeypatch):
    """``await bai("logout", typed="…")`` of somebody whose home is ``tmp_path / "kim"``, with no credentials yet."""
    home = tmp_path / "kim"
    home.mkdir()
    monkeypatch.chdir(home)
    monkeypatch.setenv("HOME", str(home))
    for name in ("BACKEND_ENDPOINT", "BACKEND_ACCESS_KEY", "BACKEND_SECRET_KEY", "BAI_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)

    async def run(*words, typed=""):
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        code = await asyncio.to_thread(main, list(words))
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


@pytest.fixture
def make_kim(admin, gql):
    async def make(**props):
        document = "mutation($email: String!, $props: UserInput!) {create_user(email: $email, props: $props) {ok msg}}"
        props = {"username": "kim", "password": GOOD, **props}
        assert (await gql(admin, document, email=EMAIL, props=props))["create_user"]["ok"]

    return make


async def test_a_password_becomes_keys_that_later_commands_use(manager, bai, make_kim, tmp_path):
    await make_kim()
    login = ("login", "--manager", manager.endpoint, "--email", EMAIL)
    code, _, told = await bai("session", "list")
    assert (code, "bai login" in told) == (Exit.NOT_LOGGED_IN, True)
    code, _, told = await bai(*login, typed="a wrong password\n")
    path = tmp_path / "kim" / ".config" / "bai" / "credentials.json"
    assert (code, path.exists()) == (Exit.NOT_LOGGED_IN, False), told
    code, said, told = await bai(*login, typed=f"{GOOD}\n")
    assert (code, said, told) == (0, f"Logged in to {manager.endpoint} as {EMAIL}.\n", "")
    assert (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode)) == (0o600, 0o700)
    kept = path.read_text()
    assert (json.loads(kept)["user"], GOOD in kept) == (EMAIL, False)
    assert (await bai("session", "list", "-q"))[0] == Exit.DONE
    code, said, _ = await bai("login", "--email", EMAIL, "--json", typed=f"{GOOD}\n")  # the manager is known by now
    assert (code, json.loads(said)["endpoint"]) == (0, manager.endpoint)
    code, _, told = await bai("logout")
    assert (code, path.exists(), "forgotten" in told) == (0, False, True)
    assert [(await bai(word))[0] for word in ("logout", "usage")] == [Exit.NOT_LOGGED_IN] * 2


async def test_a_password_that_must_be_changed_first(manager, bai, make_kim):
    await make_kim(need_password_change=True)
    login = ("login", "--manager", manager.endpoint, "--email", EMAIL)
    code, said, _ = await bai(*login, typed=f"{GOOD}\n{BETTER}\n")
    assert (code, "Logged in" in said) == (0, True)
    assert (await bai(*login, typed=f"{GOOD}\n"))[0] == Exit.NOT_LOGGED_IN
    assert (await bai(*login, typed=f"{BETTER}\n"))[0] == Exit.DONE


async def test_what_is_missing_or_in_the_way_is_said(manager, bai, make_kim, admin, monkeypatch):
    await make_kim()
    assert (await bai("login", "--email", EMAIL, typed=f"{GOOD}\n"))[0] == Exit.USAGE  # of which manager?
    assert (await bai("login", "--manager", manager.endpoint, typed=f"{GOOD}\n"))[0] == Exit.USAGE  # as whom?
    for name in ("endpoint", "access_key", "secret_key"):
        monkeypatch.setenv(f"BACKEND_{name.upper()}", getattr(admin, name))
    code, _, told = await bai("login", "--email", EMAIL, typed=f"{GOOD}\n")
    assert (code, "other credentials all the same" in told) == (0, True)
    code, _, told = await bai("logout")
    assert (code, "still find other credentials" in told) == (0, True)


async def test_who_could_listen():
    shown = {url: can_be_overheard(url) for url in ("http://lab:8090", "https://lab:8090", "http://127.0.0.1:8090")}
    assert list(shown.values()) == [True, False, False]
