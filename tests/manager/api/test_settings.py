"""How the manager is set up, as superadmins are told: where each option is set, and no secret."""

import json

import pytest
from traitlets import Unicode
from traitlets.config import Application

from bai_jupyter.manager.api.configuration import options_of
from bai_jupyter.manager.app import ManagerApp

SECRET = "hunter2hunter2"

# What is called so and may be told: where a secret lies, or a number.
NO_SECRETS = {
    "credentials_file",
    "keyfile",
    "metrics_token_file",
    "session_token_s",
}


@pytest.fixture
def manager_options():
    return {"max_extensions": 5}


def read(*argv, **options):
    """The settings, by name, of a manager that was started so."""
    app = ManagerApp(**options)
    app.initialize(list(argv))
    return {one["name"].removeprefix("ManagerApp."): one for one in options_of(app, str(app.config_file))}


@pytest.fixture
def config_file(tmp_path):
    path = tmp_path / "manager.json"
    own = {"max_extensions": 7, "extension_s": 60.0, "sweep_s": 30.0, "log_level": 10}
    path.write_text(json.dumps({"ManagerApp": own}))
    return str(path)


def test_where_each_option_is_set(config_file, monkeypatch):
    monkeypatch.delenv("BAI_JOIN_TOKEN", raising=False)
    found = read(f"--config={config_file}", "--ManagerApp.extension_s=90", "--port=0", ip="::1")
    shown = {name: (found[name]["value"], found[name]["source"], found[name]["file"]) for name in found}
    assert shown["max_extensions"] == (7, "file", config_file)
    assert found["max_extensions"]["default"] == 3
    assert shown["extension_s"] == (90.0, "command line", None)  # it goes before the file
    assert shown["sweep_s"] == (30.0, "file", config_file)  # the default's value, but not the default
    assert shown["log_level"] == (10, "file", config_file)
    assert shown["port"] == (0, "command line", None)
    assert shown["ip"] == ("::1", "program", None)
    assert shown["heartbeat_s"] == (3.0, "default", None)
    assert found["heartbeat_s"]["help"].startswith("How often agents say")
    json.dumps(found)


def test_no_secret_is_told(monkeypatch):
    monkeypatch.setenv("BAI_JOIN_TOKEN", SECRET)
    url = f"postgresql://bai:{SECRET}@db.example.org/bai?password={SECRET}"
    found = read(f"--ManagerApp.db_url={url}")
    assert SECRET not in json.dumps(found)
    assert found["db_url"]["value"] == "postgresql://bai:***@db.example.org/bai"
    assert (found["join_token"]["value"], found["join_token"]["is_hidden"]) == (None, True)


def test_options_that_sound_like_secrets_are_tagged_or_named_here():
    words = ("token", "password", "secret", "key", "credential")
    sounding = {name for name in ManagerApp.class_own_traits(config=True) if any(word in name for word in words)}
    assert sounding - set(ManagerApp.class_own_traits(config=True, secret=True)) == NO_SECRETS


def test_one_that_is_tagged_is_hidden():
    class Other(Application):
        password = Unicode(SECRET, help="Never told.").tag(config=True, secret=True)

    assert SECRET not in json.dumps(options_of(Other(), ""))


@pytest.mark.asyncio
async def test_superadmins_alone_are_told(manager, admin, make_user, call_with):
    def of(name, told):
        return next(one for one in told["settings"] if one["name"] == name)

    told = await admin.get("/manager/settings")
    assert (of("ManagerApp.max_extensions", told)["value"], of("announcement", told)["source"]) == (5, "default")
    await admin.call("POST", "/manager/announcement", {"enabled": True, "message": "Back at nine."})
    await admin.call("PUT", "/manager/status", {"status": "frozen"})
    told = await admin.get("/manager/settings")
    assert (of("announcement", told)["value"], of("announcement", told)["source"]) == ("Back at nine.", "database")
    assert of("frozen", told)["value"].startswith("New sessions are paused by admin since 2")
    assert (await (await make_user("alice")).call("GET", "/manager/settings")).status == 403
    assert (await call_with("no-such-token", "GET", "/manager/settings"))[0] == 401
