"""*Backend.AI Admin*: its lists and changes, in front of a real manager; for superadmins alone."""

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from real_manager import RealManager

from bai_jupyter._version import __version__
from bai_jupyter.client import ClientConfig
from bai_jupyter.common.errors import AuthFailed
from bai_jupyter.common.join_tokens import JoinToken
from bai_jupyter.extension.admin_lists import MONTHS, OF_ALL, TABLES, filter_of, months_until, usage_of

ABOUT_SESSION = ("/history", "/audit", "/project", "/logs")
NOBODY = "00000000-0000-0000-0000-000000000000"


@pytest.fixture(scope="module")
def ned(cluster: RealManager) -> ClientConfig:
    """Somebody who is no admin."""
    return cluster.add_user("ned")


@pytest.fixture
def bai_as_user(
    cluster: RealManager, ned: ClientConfig, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Any:
    monkeypatch.setattr(cluster, "config", ned)
    return request.getfixturevalue("bai")


@pytest.fixture
def bai_as_domain_admin(cluster: RealManager, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    """``bai``, for the admin of the domain ``lab``."""
    monkeypatch.setattr(cluster, "config", cluster.add_domain_admin("lab", "dora"))
    return request.getfixturevalue("bai")


@pytest.mark.parametrize("name", TABLES)
async def test_every_list_is_asked_for_by_its_name(bai: Callable[..., Any], name: str) -> None:
    status, page = await bai("GET", f"admin/{name}")
    assert status == 200, page
    assert page["total"] >= len(page["items"])
    assert not any("secret" in field for row in page["items"] for field in row)


async def test_a_list_is_searched_and_turned(bai: Callable[..., Any], cluster: RealManager) -> None:
    for name in ("olga", "olaf"):
        cluster.add_user(name)
    _, page = await bai("GET", "admin/users?limit=1&text=OL")
    assert (page["total"], [row["username"] for row in page["items"]]) == (2, ["olga"])
    _, page = await bai("GET", "admin/users?limit=1&offset=1&text=ol")
    assert [row["username"] for row in page["items"]] == ["olaf"]
    _, page = await bai("GET", "admin/images?text=PYTHON")
    assert page["total"] == 1
    assert (await bai("GET", "admin/images?text=nothing"))[1] == {"items": [], "total": 0}


async def test_an_agent_runs_empty_and_takes_sessions_again(bai: Callable[..., Any]) -> None:
    async def shown() -> tuple[bool, str | None]:
        _, page = await bai("GET", "admin/agents")
        return page["items"][0]["schedulable"], page["items"][0]["drain_by"]

    by = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    assert await bai("PATCH", "admin/agents/lab-1", {"schedulable": False}) == (204, None)
    assert await shown() == (False, None)
    assert await bai("PATCH", "admin/agents/lab-1", {"schedulable": False, "drain_by": by}) == (204, None)
    assert await shown() == (False, by)
    assert await bai("PATCH", "admin/agents/lab-1", {"schedulable": True}) == (204, None)
    assert await shown() == (True, None)


async def test_what_runs_on_an_agent_is_told_of_everybody(bai: Callable[..., Any], cluster: RealManager) -> None:
    tom = cluster.add_user("tom")
    body = {"name": "tied", "image": "bai/python:test", "config": {"resources": {"cpu": "1", "mem": "1g"}}}
    asked = {**body, "enqueueOnly": False, "maxWaitSeconds": 20}
    session = cluster.ask("POST", "/session", asked, tom)["sessionId"]
    (agent,) = (await bai("GET", "admin/agents"))[1]["items"]
    _, answer = await bai("GET", f"admin/agents/{agent['name']}/sessions")
    found = [one for one in answer["sessions"] if one["session_id"] == session]
    whose = {"user_email": "tom@localhost", "access_key": tom.access_key}
    assert found == [{"session_id": session, "name": "tied", "ending_since": None, **whose}]
    assert await bai("GET", "admin/agents/elsewhere/sessions") == (200, {"sessions": []})
    assert await bai("DELETE", f"sessions/{session}?owner={tom.access_key}") == (204, None)
    _, answer = await bai("GET", f"admin/agents/{agent['name']}/sessions")
    assert all(one["ending_since"] for one in answer["sessions"] if one["session_id"] == session)


async def test_a_join_token_is_made_for_a_group_and_logged_nowhere(
    bai: Callable[..., Any], cluster: RealManager, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    asked = {"resource_group": "default", "uses": 3, "expires_s": 600}
    status, made = await bai("POST", "admin/join-tokens", asked)
    token = JoinToken.parse(made["token"])
    assert (status, made["url"]) == (201, token.url)
    assert token.url == cluster.config.endpoint
    assert token.secret not in caplog.text
    assert made["token"] not in caplog.text


async def test_a_keypair_is_switched_off_and_another_users_session_ended(
    bai: Callable[..., Any], cluster: RealManager
) -> None:
    pia = cluster.add_user("pia")
    body = {"name": "long", "image": "bai/python:test", "config": {"resources": {"cpu": "1", "mem": "1g"}}}
    cluster.ask("POST", "/session", body, pia)
    _, page = await bai("GET", "admin/sessions?text=pia@")
    (row,) = page["items"]
    assert (row["name"], row["user_email"]) == ("long", "pia@localhost")
    assert await bai("DELETE", f"sessions/{row['session_id']}?owner={row['access_key']}") == (204, None)
    assert await bai("PATCH", f"admin/keypairs/{pia.access_key}", {"is_active": False}) == (204, None)
    _, page = await bai("GET", "admin/keypairs?text=pia@")
    assert [(one["access_key"], one["is_active"]) for one in page["items"]] == [(pia.access_key, False)]


async def row_of(bai: Callable[..., Any], table: str, text: str) -> dict[str, Any]:
    _, page = await bai("GET", f"admin/{table}?text={text}")
    (row,) = page["items"]
    return row  # type: ignore[no-any-return]


async def test_a_user_is_made_in_a_project_switched_off_and_given_a_keypair(
    bai: Callable[..., Any], cluster: RealManager
) -> None:
    cluster.ask(
        "POST", "/admin/gql", {"query": 'mutation {create_group(name: "lab", props: {domain_name: "default"}) {ok}}'}
    )
    project = (await row_of(bai, "projects", "lab"))["id"]
    body = {
        "email": "rae@lab.org",
        "username": "rae",
        "password": "a long secret of rae",
        "role": "user",
        "group_ids": [project],
    }
    assert await bai("POST", "admin/users", body) == (204, None)
    row = await row_of(bai, "users", "rae@")
    assert (row["username"], row["role"], row["status"]) == ("rae", "user", "active")
    assert row["groups"] == [{"id": project, "name": "lab"}]
    code, answer = await bai("POST", "admin/users", body)
    assert (code, answer["message"]) == (400, "There is a user with the name rae already.")

    status, keypair = await bai("POST", "admin/users/rae@lab.org/keypairs", {"resource_policy": "default"})
    assert (status, sorted(keypair)) == (201, ["access_key", "secret_key"])
    rae = replace(cluster.config, access_key=keypair["access_key"], secret_key=keypair["secret_key"])
    assert cluster.ask("GET", "/auth", config=rae)["user"]["name"] == "rae"
    row = await row_of(bai, "keypairs", keypair["access_key"])
    assert (row["user_id"], row["resource_policy"], row["is_active"]) == ("rae@lab.org", "default", True)

    assert await bai("PATCH", "admin/users/rae@lab.org", {"is_active": False}) == (204, None)
    assert (await row_of(bai, "users", "rae@"))["status"] == "inactive"
    with pytest.raises(AuthFailed):
        cluster.ask("GET", "/auth", config=rae)
    assert await bai("PATCH", "admin/users/rae@lab.org", {"is_active": True}) == (204, None)
    assert cluster.ask("GET", "/auth", config=rae)["user"]["name"] == "rae"


async def test_why_a_user_would_not_be_made_is_said_and_nobody_is_made(
    bai: Callable[..., Any], cluster: RealManager
) -> None:
    cluster.add_user("sue")
    body = {"email": "sid@lab.org", "username": "sid", "password": "a long secret of sid", "role": "user"}
    total = (await bai("GET", "admin/users"))[1]["total"]
    assert await bai("POST", "admin/user-refusals", body) == (200, {"refusal": None})
    _, answer = await bai("POST", "admin/user-refusals", {**body, "username": "sue"})
    assert answer == {"refusal": "There is a user with the name sue already."}
    _, answer = await bai("POST", "admin/user-refusals", {**body, "role": "king"})
    assert answer["refusal"].startswith("role: 'king' is not one of")
    assert (await bai("GET", "admin/users"))[1]["total"] == total


async def test_a_domain_is_made_limited_and_deleted(bai: Callable[..., Any]) -> None:
    body = {"name": "chemistry", "description": "labs", "total_resource_slots": {"cpu": "8"}}
    assert await bai("POST", "admin/domains", body) == (204, None)
    row = await row_of(bai, "domains", "chemistry")
    assert (row["description"], json.loads(row["total_resource_slots"]), row["is_active"]) == (
        "labs",
        {"cpu": "8"},
        True,
    )
    changed = {"is_active": False, "total_resource_slots": {}, "resource_policy": "default"}
    assert await bai("PATCH", "admin/domains/chemistry", changed) == (204, None)
    row = await row_of(bai, "domains", "chemistry")
    assert {name: row[name] for name in changed} == {**changed, "total_resource_slots": "{}"}
    assert await bai("DELETE", "admin/domains/chemistry") == (204, None)
    status, answer = await bai("DELETE", "admin/domains/default")
    assert (status, "still has" in answer["message"]) == (400, True)


async def test_how_the_cluster_is_and_that_new_sessions_are_paused(bai: Callable[..., Any]) -> None:
    _, health = await bai("GET", "admin/health")
    assert health["versions"] == {"extension": __version__, "manager": __version__}
    (agent,) = health["agents"]
    assert (agent["name"], agent["status"], agent["sick"], agent["engine_trouble"]) == ("lab-1", "ALIVE", [], None)
    assert {one["name"] for one in health["volumes"]} >= {"local:home"}
    assert health["is_frozen"] is False
    assert await bai("PATCH", "admin/health", {"is_frozen": True}) == (204, None)
    assert (await bai("GET", "admin/health"))[1]["is_frozen"] is True
    assert await bai("PATCH", "admin/health", {"is_frozen": False}) == (204, None)
    assert (await bai("GET", "admin/health"))[1]["is_frozen"] is False
    assert (await bai("PATCH", "admin/health", {"is_frozen": "yes"}))[0] == 400


async def test_volumes_say_how_full_they_are_and_which_limits_they_keep(bai: Callable[..., Any]) -> None:
    row = await row_of(bai, "volumes", "local:home")
    assert (row["quota_kind"] in ("hard", "soft"), "lab-1" in row["agents"], row["trouble"]) == (True, True, None)
    assert 0 < row["used_bytes"] < row["capacity_bytes"]


async def test_errors_of_the_manager_newest_first(bai: Callable[..., Any]) -> None:
    for what in ("first", "second"):
        logging.getLogger("bai_jupyter.manager").error("a %s fault", what)
    _, page = await bai("GET", "admin/errors?text=fault")
    assert [one["message"] for one in page["items"]] == ["a second fault", "a first fault"]
    assert datetime.fromisoformat(page["items"][0]["created_at"]).tzinfo is not None
    _, health = await bai("GET", "admin/health")
    assert (health["errors"][0]["message"], health["error_count"] >= 2) == ("a second fault", True)


async def test_limits_of_a_policy_are_changed(bai: Callable[..., Any], cluster: RealManager) -> None:
    cluster.ask(
        "POST", "/admin/gql", {"query": 'mutation {create_keypair_resource_policy(name: "few", props: {}) {ok msg}}'}
    )
    changed = {
        "total_resource_slots": {"cpu": "4", "mem": "16g"},
        "default_for_unspecified": "LIMITED",
        "max_concurrent_sessions": 3,
        "gpu_hours_per_week": 10,
        "max_session_lifetime": 0,
        "idle_timeout": 7200,
        "suspend_after": 600,
    }
    assert await bai("PATCH", "admin/policies/few", changed) == (204, None)
    row = await row_of(bai, "policies", "few")
    assert json.loads(row["total_resource_slots"]) == {"cpu": "4", "mem": str(16 * 2**30)}
    assert {name: row[name] for name in changed if name != "total_resource_slots"} == {
        name: value for name, value in changed.items() if name != "total_resource_slots"
    }
    assert await bai("PATCH", "admin/policies/few", {"max_concurrent_sessions": 5, "gpu_hours_per_week": 2.5}) == (
        204,
        None,
    )
    row = await row_of(bai, "policies", "few")
    assert (row["max_concurrent_sessions"], row["gpu_hours_per_week"], row["idle_timeout"]) == (5, 2.5, 7200)


async def test_whom_a_change_of_a_policy_affects_is_told_and_nothing_is_changed(
    bai: Callable[..., Any], cluster: RealManager
) -> None:
    assert await bai("POST", "admin/policies", {"name": "tight"}) == (204, None)
    una, tess = cluster.add_user("una"), cluster.add_user("tess")
    for one in (una, tess):
        change = f'(access_key: "{one.access_key}", props: {{resource_policy: "tight"}})'
        cluster.ask("POST", "/admin/gql", {"query": f"mutation {{modify_keypair{change} {{ok}}}}"})
    body = {"name": "held", "image": "bai/python:test", "config": {"resources": {"cpu": "2", "mem": "1g"}}}
    asked = {**body, "enqueueOnly": False, "maxWaitSeconds": 20}
    session = cluster.ask("POST", "/session", asked, una)["sessionId"]
    before = await row_of(bai, "policies", "tight")
    bound = {"people": 2, "projects": 0, "domains": 0, "used_up": []}
    for change, above in (
        ({"total_resource_slots": {"cpu": "2"}}, []),
        ({"total_resource_slots": {"cpu": "1"}}, ["una@localhost"]),
        ({"max_concurrent_sessions": 1}, []),
        ({"gpu_hours_per_week": 1}, []),
        ({"default_for_unspecified": "LIMITED", "total_resource_slots": {"cpu": "8"}}, ["una@localhost"]),
    ):
        assert await bai("POST", "admin/policies/tight/effect", change) == (200, {**bound, "above": above}), change
    assert await row_of(bai, "policies", "tight") == before
    status, answer = await bai("POST", "admin/policies/tight/effect", {"total_resource_slots": {"cpu": "many"}})
    assert (status, "many" in answer["message"]) == (400, True)
    cluster.ask("DELETE", f"/session/{session}", None, una)


async def test_a_preset_is_made_changed_and_deleted(bai: Callable[..., Any]) -> None:
    body = {"name": "tiny", "resource_slots": {"cpu": "1", "mem": "512m"}, "shared_memory": "64m"}
    assert await bai("POST", "admin/presets", body) == (204, None)
    row = await row_of(bai, "presets", "tiny")
    assert (json.loads(row["resource_slots"]), row["shared_memory"]) == ({"cpu": "1", "mem": str(2**29)}, 2**26)
    assert await bai("PATCH", "admin/presets/tiny", {"resource_slots": {"cpu": "2"}, "shared_memory": "0"}) == (
        204,
        None,
    )
    row = await row_of(bai, "presets", "tiny")
    assert (json.loads(row["resource_slots"]), row["shared_memory"]) == ({"cpu": "2"}, None)
    assert await bai("DELETE", "admin/presets/tiny") == (204, None)
    assert (await bai("GET", "admin/presets?text=tiny"))[1]["total"] == 0


async def test_a_project_is_made_has_members_and_is_deleted(bai: Callable[..., Any], cluster: RealManager) -> None:
    cluster.add_user("uma")
    cluster.add_user("ugo")
    body = {"name": "survey", "domain_name": "default", "total_resource_slots": {"cpu": "8"}}
    assert await bai("POST", "admin/projects", body) == (204, None)
    project = await row_of(bai, "projects", "survey")
    assert json.loads(project["total_resource_slots"]) == {"cpu": "8"}
    members = f"admin/projects/{project['id']}/members"
    uma, ugo = [await row_of(bai, "users", name) for name in ("uma@", "ugo@")]

    async def is_member(name: str) -> bool:
        return project["id"] in [one["id"] for one in (await row_of(bai, "users", f"{name}@"))["groups"]]

    assert await bai("PUT", members, {"items": [uma["uuid"]]}) == (204, None)
    assert (await is_member("uma"), await is_member("ugo")) == (True, False)
    assert await bai("PUT", members, {"items": [ugo["uuid"]]}) == (204, None)
    assert (await is_member("uma"), await is_member("ugo")) == (False, True)
    changed = {"name": "poll", "description": "asks", "is_active": False, "total_resource_slots": {}}
    assert await bai("PATCH", f"admin/projects/{project['id']}", changed) == (204, None)
    row = await row_of(bai, "projects", "poll")
    assert {name: row[name] for name in changed} == {**changed, "total_resource_slots": "{}"}
    assert await bai("DELETE", f"admin/projects/{project['id']}") == (204, None)
    assert (await bai("GET", "admin/projects?text=poll"))[1]["total"] == 0


async def test_a_resource_group_is_made_granted_changed_and_deleted(bai: Callable[..., Any]) -> None:
    options = {"pending_timeout": 3600, "agent_selection_strategy": "dispersed", "config": {"num_retries_to_skip": 2}}
    body = {"name": "gpu", "scheduler": "lifo", "scheduler_opts": options}
    assert await bai("POST", "admin/resource-groups", body) == (204, None)
    row = await row_of(bai, "resource-groups", "gpu")
    assert (row["scheduler"], row["scopes"]) == ("lifo", [])
    assert json.loads(row["scheduler_opts"]).items() >= options.items()

    project = (await row_of(bai, "projects", "default"))["id"]
    scopes = "admin/resource-groups/gpu/scopes"
    assert await bai("PUT", scopes, {"items": ["domain:default", f"project:{project}"]}) == (204, None)
    granted = (await row_of(bai, "resource-groups", "gpu"))["scopes"]
    assert [one["name"] for one in granted] == ["default", "default/default"]
    assert await bai("PUT", scopes, {"items": [f"project:{project}"]}) == (204, None)
    granted = (await row_of(bai, "resource-groups", "gpu"))["scopes"]
    assert [one["scope"] for one in granted] == [f"project:{project}"]

    changed = {"scheduler": "fifo", "is_public": False, "scheduler_opts": {"pending_timeout": 0}}
    assert await bai("PATCH", "admin/resource-groups/gpu", changed) == (204, None)
    row = await row_of(bai, "resource-groups", "gpu")
    options = json.loads(row["scheduler_opts"])
    assert (row["scheduler"], row["is_public"], options["pending_timeout"]) == ("fifo", False, 0)
    assert options["agent_selection_strategy"] == "dispersed"
    assert await bai("DELETE", "admin/resource-groups/gpu") == (204, None)
    assert (await bai("GET", "admin/resource-groups?text=gpu"))[1]["total"] == 0


async def test_an_image_gets_other_names_is_forgotten_and_looked_at_again(bai: Callable[..., Any]) -> None:
    image = "admin/images/bai/python:test"
    assert await bai("PUT", f"{image}/aliases", {"items": ["py", "snake"]}) == (204, None)
    assert await bai("PUT", f"{image}/aliases", {"items": ["snake", "serpent"]}) == (204, None)
    assert (await row_of(bai, "images", "snake"))["aliases"] == ["serpent", "snake"]
    assert await bai("PUT", f"{image}/aliases", {"items": []}) == (204, None)
    assert await bai("DELETE", image) == (204, None)
    assert (await bai("GET", "admin/images?text=python"))[1]["total"] == 0
    assert await bai("POST", "admin/images", {"name": "bai/python:test"}) == (204, None)
    assert (await row_of(bai, "images", "python"))["name"] == "bai/python:test"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "sentence"),
    [
        (
            "POST",
            "admin/users",
            {"email": "no address", "username": "x", "password": "p" * 12, "role": "user"},
            400,
            "email",
        ),
        (
            "POST",
            "admin/users",
            {"email": "y@lab.org", "username": "y", "password": ["p"], "role": "user"},
            400,
            "password",
        ),
        (
            "POST",
            "admin/users",
            {"email": "y@lab.org", "username": "y", "password": "p" * 12, "role": "god"},
            400,
            "god",
        ),
        ("POST", "admin/users/nobody@lab.org/keypairs", {}, 400, "nobody@lab.org"),
        ("PATCH", "admin/users/nobody@lab.org", {"is_active": False}, 400, "nobody@lab.org"),
        ("PATCH", "admin/users/admin@localhost", {"is_active": False}, 400, ""),
        ("PATCH", "admin/users/admin@localhost", {"role": "user"}, 400, "That is you"),
        ("PATCH", "admin/policies/nothing", {"idle_timeout": 0}, 400, "nothing"),
        ("PATCH", "admin/policies/default", {"idle_timeout": "1 h"}, 400, "idle_timeout"),
        ("PATCH", "admin/policies/default", {"idle_timeout": True}, 400, "idle_timeout"),
        ("PATCH", "admin/policies/default", {"gpu_hours_per_week": "10"}, 400, "gpu_hours_per_week"),
        ("PATCH", "admin/policies/default", {"gpu_hours_per_week": True}, 400, "gpu_hours_per_week"),
        ("PATCH", "admin/policies/default", {"gpu_hours_per_week": -5}, 400, "gpu_hours_per_week"),
        ("PATCH", "admin/policies/default", {"max_concurrent_sessions": -1}, 400, "max_concurrent_sessions"),
        ("PATCH", "admin/policies/default", {"total_resource_slots": {"cpu": "many"}}, 400, "many"),
        ("PATCH", "admin/policies/default", {"name": "x"}, 400, "max_concurrent_sessions"),
        ("POST", "admin/presets", {"resource_slots": {"cpu": "1"}}, 400, "name"),
        ("POST", "admin/presets", {"name": "p", "resource_slots": {"cpu": "many"}}, 400, "many"),
        ("POST", "admin/presets", {"name": "a/b", "resource_slots": {"cpu": "1"}}, 400, "a/b"),
        ("PATCH", "admin/presets/nothing", {"resource_slots": {"cpu": "1"}}, 400, "nothing"),
        ("DELETE", "admin/presets/nothing", None, 400, "nothing"),
        ("DELETE", "admin/policies/default", None, 400, "default"),
        ("DELETE", "admin/users/admin@localhost", None, 405, ""),
        ("POST", "admin/projects", {"name": "default", "domain_name": "default"}, 400, "already"),
        ("POST", "admin/projects", {"name": "p", "domain_name": "nowhere"}, 400, "nowhere"),
        ("PATCH", "admin/projects/no-id", {"is_active": False}, 400, "no-id"),
        ("PUT", f"admin/projects/{NOBODY}/members", {"items": [NOBODY]}, 400, NOBODY),
        ("PUT", f"admin/projects/{NOBODY}/members", {"items": NOBODY}, 400, "items"),
        ("POST", "admin/resource-groups", {"name": "g", "scheduler": "dice"}, 400, "dice"),
        ("PATCH", "admin/resource-groups/nothing", {"is_active": False}, 400, "nothing"),
        ("DELETE", "admin/resource-groups/default", None, 400, "1 agent."),
        ("PUT", "admin/resource-groups/nothing/scopes", {"items": ["domain:default"]}, 400, "nothing"),
        ("PUT", "admin/resource-groups/default/scopes", {"items": ["domain:default", "x:y"]}, 400, "x:y"),
        ("POST", "admin/images", {"name": ""}, 400, "image name"),
        ("DELETE", "admin/images/no/such", None, 404, "no/such"),
        ("PUT", "admin/images/no/such/aliases", {"items": ["a"]}, 400, "no/such"),
        ("GET", "admin/secrets", None, 404, "secrets"),
        ("GET", "admin/users?limit=0", None, 400, "limit"),
        ("GET", "admin/users?offset=-1", None, 400, "offset"),
        ("POST", "admin/join-tokens", {"resource_group": "nowhere"}, 404, "nowhere"),
        ("POST", "admin/join-tokens", {"uses": 0}, 400, "uses"),
        ("POST", "admin/join-tokens", {"expires_s": "1 h"}, 400, "expires_s"),
        ("POST", "admin/join-tokens", {"expires_s": 10**9}, 400, "expires_s"),
        ("PATCH", "admin/agents/lab-1", {"schedulable": "yes"}, 400, "schedulable"),
        ("PATCH", "admin/agents/lab-1", {"schedulable": False, "drain_by": 5}, 400, "drain_by"),
        ("PATCH", "admin/agents/lab-1", {"schedulable": False, "drain_by": "2020-01-01T18:00Z"}, 400, "the next year"),
        ("PATCH", "admin/agents/nothing", {"schedulable": True}, 404, "nothing"),
        ("PATCH", "admin/keypairs/NOTHING", {"is_active": True}, 400, "NOTHING"),
    ],
)
async def test_refusals(bai: Callable[..., Any], method: str, path: str, body: Any, status: int, sentence: str) -> None:
    code, answer = await bai(method, path, body)
    assert (code, sentence in answer["message"]) == (status, True), answer


async def test_who_is_no_superadmin_sees_and_changes_nothing(bai_as_user: Callable[..., Any]) -> None:
    asked: list[tuple[str, str, Any]] = [("GET", f"admin/{name}", None) for name in TABLES]
    asked += [
        ("PATCH", "admin/agents/lab-1", {"schedulable": False}),
        ("GET", "admin/agents/lab-1/sessions", None),
        ("POST", "admin/join-tokens", {}),
        ("PATCH", "admin/keypairs/AKIA", {"is_active": False}),
        ("POST", "admin/users", {"email": "z@lab.org", "username": "z", "password": "p" * 12, "role": "user"}),
        ("POST", "admin/user-refusals", {"email": "z@lab.org", "password": "p" * 12}),
        ("POST", "admin/users/ned@localhost/keypairs", {}),
        ("PATCH", "admin/users/admin@localhost", {"is_active": False}),
        ("PATCH", "admin/policies/default", {"max_concurrent_sessions": 99}),
        ("POST", "admin/policies/default/effect", {}),
        ("POST", "admin/presets", {"name": "p", "resource_slots": {"cpu": "1"}}),
        ("POST", "admin/projects", {"name": "p", "domain_name": "default"}),
        ("DELETE", f"admin/projects/{NOBODY}", None),
        ("PUT", f"admin/projects/{NOBODY}/members", {"items": []}),
        ("DELETE", "admin/resource-groups/default", None),
        ("PUT", "admin/resource-groups/default/scopes", {"items": []}),
        ("POST", "admin/images", {"name": "bai/python:test"}),
        ("DELETE", "admin/images/bai/python:test", None),
        ("PUT", "admin/images/bai/python:test/aliases", {"items": []}),
    ]
    for method, path, body in asked:
        status, answer = await bai_as_user(method, path, body)
        assert (status, "Only" in answer["message"], "superadmins" in answer["message"]) == (403, True, True), path


async def test_who_is_no_admin_sees_nobody_elses_session(bai_as_user: Callable[..., Any], cluster: RealManager) -> None:
    otto = cluster.add_user("otto")
    body = {"name": "private", "image": "bai/python:test", "config": {"resources": {"cpu": "1", "mem": "1g"}}}
    session, owner = cluster.ask("POST", "/session", body, otto)["sessionId"], otto.access_key
    for what in ("", *ABOUT_SESSION):
        (status, hidden), (_, none) = [
            await bai_as_user("GET", f"sessions/{one}{what}?owner={owner}") for one in (session, NOBODY)
        ]
        assert (status, hidden["message"].replace(session, NOBODY)) == (404, none["message"])
    assert (await bai_as_user("DELETE", f"sessions/{session}?owner={owner}"))[0] == 404


async def test_a_domains_admin_sees_and_changes_the_domains_and_nothing_above(
    bai_as_domain_admin: Callable[..., Any], cluster: RealManager
) -> None:
    bai = bai_as_domain_admin
    for name in TABLES:
        assert (await bai("GET", f"admin/{name}"))[0] == (403 if name in OF_ALL else 200), name
    for name in ("users", "projects"):
        _, page = await bai("GET", f"admin/{name}")
        assert {one["domain_name"] for one in page["items"]} == {"lab"}
    assert (await bai("GET", "admin/domains"))[1]["total"] == 1

    assert await bai("POST", "admin/projects", {"name": "vision", "domain_name": "lab"}) == (204, None)
    project = await row_of(bai, "projects", "vision")
    user = {"email": "ben@lab", "username": "ben", "password": "a long secret of ben", "role": "user"}
    assert await bai("POST", "admin/users", {**user, "domain_name": "lab"}) == (204, None)
    ben = await row_of(bai, "users", "ben@")
    assert await bai("PUT", f"admin/projects/{project['id']}/members", {"items": [ben["uuid"]]}) == (204, None)
    status, keypair = await bai("POST", "admin/users/ben@lab/keypairs", {"resource_policy": "default"})
    assert status == 201
    body = {"name": "bens", "image": "bai/python:test", "config": {"resources": {"cpu": "1", "mem": "1g"}}}
    made = cluster.ask("POST", "/session", body, ClientConfig(cluster.config.endpoint, **keypair))
    session, owner = made["sessionId"], keypair["access_key"]
    shown = {what: await bai("GET", f"sessions/{session}{what}?owner={owner}") for what in ("", *ABOUT_SESSION)}
    assert {what: status for what, (status, _) in shown.items()} == dict.fromkeys(shown, 200)
    assert (shown[""][1]["name"], shown["/project"][1]) == ("bens", {"name": "default", "owner": "ben@lab"})
    assert (await bai("GET", f"sessions/{session}"))[0] == 404  # it is not the admin's own
    assert await bai("DELETE", f"sessions/{session}?owner={owner}") == (204, None)
    assert await bai("PATCH", f"admin/keypairs/{keypair['access_key']}", {"is_active": False}) == (204, None)

    refused = [
        ("POST", "admin/projects", {"name": "more", "domain_name": "default"}, 400),
        ("PATCH", f"admin/projects/{project['id']}", {"total_resource_slots": {}}, 400),
        ("POST", "admin/users", {**user, "email": "x@lab", "username": "x", "role": "superadmin"}, 400),
        ("PATCH", "admin/users/admin@localhost", {"is_active": False}, 400),
        ("PATCH", "admin/agents/lab-1", {"schedulable": False}, 403),
        ("GET", "admin/agents/lab-1/sessions", None, 403),
        ("POST", "admin/join-tokens", {}, 403),
        ("GET", "admin/health", None, 403),
        ("PATCH", "admin/health", {"is_frozen": True}, 403),
        ("POST", "admin/domains", {"name": "other"}, 403),
        ("POST", "admin/presets", {"name": "p", "resource_slots": {"cpu": "1"}}, 403),
        ("POST", "admin/policies/default/effect", {}, 403),
        ("DELETE", "admin/policies/default", None, 403),
        ("PUT", "admin/resource-groups/default/scopes", {"items": []}, 403),
        ("PUT", "admin/images/bai/python:test/aliases", {"items": []}, 403),
        ("DELETE", "admin/images/bai/python:test", None, 403),
    ]
    for method, path, body, status in refused:
        code, answer = await bai(method, path, body)
        assert (code, bool(answer["message"])) == (status, True), path


def test_a_projects_usage_is_what_it_held_in_the_month() -> None:
    gib = 2**30
    held = {"smp": 2, "mem_allocated": 4 * gib, "created_at": "2026-10-31T23:00:00+00:00"}
    project = {"g_name": "lab", "domain_name": "default", "c_infos": [
        {**held, "terminated_at": "2026-11-01T01:00:00+00:00"},  # an hour of it in the month
        {**held, "created_at": "2026-11-01T00:30:00+00:00", "terminated_at": ""},
        {**held, "terminated_at": "2026-10-31T23:30:00+00:00"},
    ]}  # fmt: skip
    since, now = (datetime(2026, 11, 1, hour, tzinfo=UTC) for hour in (0, 2))
    assert usage_of(project, since, now) == {
        "name": "lab", "domain_name": "default", "sessions": 3, "core_hours": 5.0, "gib_hours": 10.0,
    }  # fmt: skip


async def test_usage_by_month_ends_with_this_one(bai: Callable[..., Any], cluster: RealManager) -> None:
    cluster.ask("DELETE", f"/session/{cluster.start_session('used')}")
    _, page = await bai("GET", "admin/months?text=default")
    (row,) = [one for one in page["items"] if (one["name"], one["domain_name"]) == ("default", "default")]
    assert list(row["months"]) == [f"{one:%Y%m}" for one in months_until(datetime.now(UTC), MONTHS)]


def test_months_begin_on_their_first_day_also_across_years() -> None:
    now = datetime(2026, 3, 31, 23, 59, tzinfo=UTC)
    assert [f"{one:%Y-%m-%d %H:%M}" for one in months_until(now, 5)] == [
        "2025-11-01 00:00", "2025-12-01 00:00", "2026-01-01 00:00", "2026-02-01 00:00", "2026-03-01 00:00",
    ]  # fmt: skip


def test_what_is_searched_for_is_a_value_and_never_a_part_of_the_filter() -> None:
    assert filter_of("", ["name"]) is None
    assert filter_of('a" | x', ["name", "email"]) == 'name ilike "%a\\" | x%" | email ilike "%a\\" | x%"'
    assert filter_of("\\", ["name"]) == 'name ilike "%\\\\%"'
