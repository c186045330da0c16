"""Login by e-mail and password, and what it takes to change one."""

import json

import pytest
from tornado.httpclient import HTTPRequest

from bai_jupyter.manager.auth import logins

pytestmark = pytest.mark.asyncio
GOOD = "correct horse"


async def unsigned(manager, client, path, **body):
    request = HTTPRequest(manager.endpoint + path, "POST", body=json.dumps({"domain": "default", **body}))
    answer = await client.http.fetch(request, raise_error=False)
    return answer.code, json.loads(answer.body)


async def authorize(manager, client, username="alice@localhost", password=GOOD, **more):
    return await unsigned(manager, client, "/auth/authorize", username=username, password=password, **more)


@pytest.fixture
def alice_with_password(manager, admin, gql):
    async def make(**props):
        props = {"password": GOOD, "username": "alice", **props}
        made = await gql(admin, CREATE, email="alice@localhost", props=props)
        assert made["create_user"]["ok"], made

    return make


CREATE = (
    "mutation($email: String!, $props: UserInput!) {create_user(email: $email, props: $props) {ok msg user {uuid}}}"
)
MODIFY = "mutation($email: String!, $props: ModifyUserInput!) {modify_user(email: $email, props: $props) {ok msg}}"


async def test_password_gives_the_keypair(manager, admin, alice_with_password, helpers):
    await alice_with_password()
    status, body = await authorize(manager, admin, type="keypair")
    assert status == 200
    found = body["data"]
    assert (found["role"], found["status"]) == ("user", "active")
    alice = helpers.client(manager.endpoint, found["access_key"], found["secret_key"])
    assert (await alice.get("/auth"))["user"]["name"] == "alice"
    assert await alice.get("/auth/role") == {"global_role": "user", "domain_role": "user", "group_role": "user"}
    alice.close()


async def test_logins_are_in_the_audit_trail_without_what_was_typed(manager, admin, alice_with_password, helpers):
    await alice_with_password()
    await authorize(manager, admin, username="secret-in-the-wrong-place", password="x")
    await authorize(manager, admin, password="wrong horse")
    _, body = await authorize(manager, admin)
    trail = await admin.get("/audit?filter=action%20%3D%3D%20%22POST%20auth%3Alogin%22&order=at")
    told = [(one["target"], one["result"], one["access_key"]) for one in trail["entries"]]
    access_key = body["data"]["access_key"]
    assert told == [("", 401, None), ("alice@localhost", 401, None), ("alice@localhost", 200, access_key)]
    alice = helpers.client(manager.endpoint, access_key, body["data"]["secret_key"])
    assert (await alice.get("/audit"))["total_count"] == 2
    alice.close()


async def test_whatever_is_wrong_the_answer_is_the_same(manager, admin, alice_with_password, gql):
    await alice_with_password()
    wrong = await authorize(manager, admin, password="wrong horse")
    assert wrong[0] == 401
    assert await authorize(manager, admin, username="nobody@localhost") == wrong
    assert await authorize(manager, admin, username="admin@localhost") == wrong  # has no password
    assert await authorize(manager, admin, domain="elsewhere") == wrong
    await gql(admin, MODIFY, email="alice@localhost", props={"status": "inactive"})
    assert await authorize(manager, admin) == wrong


async def test_password_must_be_changed_first_where_an_admin_says_so(manager, admin, alice_with_password):
    await alice_with_password(need_password_change=True)
    status, body = await authorize(manager, admin)
    assert (status, body["type"].rsplit("/", 1)[1]) == (401, "password-expired")
    change = {"username": "alice@localhost", "current_password": GOOD, "new_password": "battery staple"}
    path = "/auth/update-password-no-auth"
    assert (await unsigned(manager, admin, path, **{**change, "current_password": "wrong"}))[0] == 401
    assert (await unsigned(manager, admin, path, **{**change, "new_password": GOOD}))[0] == 400
    assert (await unsigned(manager, admin, path, **{**change, "new_password": "short"}))[0] == 400
    assert await unsigned(manager, admin, path, **change) == (200, {})
    assert (await authorize(manager, admin, password="battery staple"))[0] == 200
    assert (await authorize(manager, admin))[0] == 401


async def test_users_change_their_own_password(manager, admin, alice_with_password, helpers):
    await alice_with_password()
    keypair = (await authorize(manager, admin))[1]["data"]
    alice = helpers.client(manager.endpoint, keypair["access_key"], keypair["secret_key"])
    change = {"old_password": GOOD, "new_password": "battery staple", "new_password2": "battery staple"}
    await alice.post("/auth/update-password", {**change, "new_password2": "another staple"}, 400)
    await alice.post("/auth/update-password", {**change, "old_password": "wrong horse"}, 401)
    assert await alice.post("/auth/update-password", change, 200) == {}
    assert (await authorize(manager, admin, password="battery staple"))[0] == 200
    alice.close()


async def test_guessing_is_slowed_down(manager, admin, monkeypatch):
    monkeypatch.setattr(logins, "ATTEMPTS_PER_ACCOUNT", 2)
    for _ in range(2):
        assert (await authorize(manager, admin))[0] == 401
    status, body = await authorize(manager, admin)
    assert (status, body["data"]["reason"]["code"]) == (429, "login-limited")
    assert (await authorize(manager, admin, username="bob@localhost"))[0] == 401


async def test_only_where_the_account_may_be_used_from(manager, admin, alice_with_password, helpers, gql):
    await alice_with_password()
    keypair = (await authorize(manager, admin))[1]["data"]
    alice = helpers.client(manager.endpoint, keypair["access_key"], keypair["secret_key"])
    for networks, status in ((["10.0.0.0/8", "127.0.0.1"], 200), (["10.0.0.0/8", "::1"], 401)):
        await gql(admin, MODIFY, email="alice@localhost", props={"allowed_client_ip": networks})
        assert (await authorize(manager, admin))[0] == status
        answer = await alice.call("GET", "/auth")
        assert answer.status == status
    assert answer.json["data"]["reason"]["code"] == "address"
    alice.close()


@pytest.mark.parametrize("body", [{}, {"username": 1, "password": GOOD}, {"username": "a@b", "password": {}}])
async def test_malformed_logins(manager, admin, body):
    status, problem = await unsigned(manager, admin, "/auth/authorize", **body)
    assert (status, problem["data"]["reason"]["code"]) == (400, "bad-value")
    assert GOOD not in json.dumps(problem)
