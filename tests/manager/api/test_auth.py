"""Signatures over real HTTP, and what strangers see."""

import hashlib
import json
from datetime import timedelta

import pytest

PROBLEM = "application/problem+json"


@pytest.mark.asyncio
async def test_unsigned_calls(manager, admin):
    answer = await admin.http.fetch(manager.endpoint + "/")
    assert json.loads(answer.body) == {"version": "v7.20230615", "manager": "0.1.0"}
    assert answer.headers["Server"] == "BackendAI"
    assert json.loads((await admin.http.fetch(manager.endpoint + "/health")).body) == {"status": "ok"}


@pytest.mark.asyncio
async def test_good_signature(admin):
    answer = await admin.get("/auth")
    assert answer["authorized"] == "yes"
    assert answer["user"]["name"] == "admin"
    assert answer["user"]["role"] == "superadmin"


@pytest.mark.asyncio
async def test_signature_covers_the_query(admin):
    assert await admin.get("/sessions?status=RUNNING,PENDING") == {"sessions": []}
    request = admin.request("GET", "/sessions?status=RUNNING")
    request.url = request.url.replace("RUNNING", "PENDING")
    assert (await admin.http.fetch(request, raise_error=False)).code == 401


@pytest.mark.asyncio
async def test_hash_of_the_real_body_is_taken_too(agent, admin):
    body = {"image": agent.facts["images"][0].name}
    body_hash = hashlib.sha256(json.dumps(body).encode()).hexdigest()
    answer = await admin.call("POST", "/resource/dry-run", body, body_hash=body_hash)
    assert answer.status == 200
    assert answer.json["verdict"] == "now"


@pytest.mark.asyncio
@pytest.mark.parametrize("content_type", [None, "application/json", "application/json; charset=utf-8"])
async def test_content_types(admin, content_type):
    assert (await admin.call("GET", "/auth", content_type=content_type)).status == 200


@pytest.mark.asyncio
async def test_wrong_secret_and_unknown_key_look_alike(admin):
    wrong = await admin.call("GET", "/auth", secret_key="wrong")
    admin.access_key = "AKIAUNKNOWNUNKNOWN00"
    unknown = await admin.call("GET", "/auth")
    assert wrong.status == unknown.status == 401
    assert wrong.json == unknown.json
    assert wrong.headers["Content-Type"] == PROBLEM
    assert wrong.json["type"].endswith("/auth-failed")


@pytest.mark.asyncio
@pytest.mark.parametrize(("minutes", "direction"), [(20, "ahead"), (-20, "behind")])
async def test_clock_skew_says_which_way(admin, minutes, direction):
    answer = await admin.call("GET", "/auth", skew=timedelta(minutes=minutes))
    assert answer.status == 401
    assert answer.json["data"]["reason"]["code"] == "clock"
    assert direction in answer.json["msg"]


@pytest.mark.asyncio
async def test_a_little_skew_is_fine(admin):
    assert (await admin.call("GET", "/auth", skew=timedelta(minutes=10))).status == 200


@pytest.mark.asyncio
async def test_no_date_is_a_bad_request(admin):
    request = admin.request("GET", "/auth")
    del request.headers["Date"]
    answer = await admin.http.fetch(request, raise_error=False)
    assert answer.code == 400
    assert json.loads(answer.body)["type"].endswith("/invalid-auth-params")


@pytest.mark.asyncio
async def test_strangers_session_and_missing_one_are_the_same_404(agent, admin, make_user):
    alice = await make_user("alice")
    created = await admin.create("secret-work")
    for ref in (created["sessionId"], "secret-work"):
        seen = await alice.call("GET", f"/session/{ref}")
        missing = await alice.call("GET", f"/session/{'0' * len(ref)}")
        assert seen.status == missing.status == 404
        assert seen.json["type"] == missing.json["type"]
        assert seen.body.replace(ref.encode(), b"X") == missing.body.replace(b"0" * len(ref), b"X")
    assert (await alice.call("DELETE", f"/session/{created['sessionId']}")).status == 404


@pytest.mark.asyncio
async def test_superadmin_finds_others_by_id_but_not_by_name(agent, admin, make_user):
    alice = await make_user("alice")
    created = await alice.create("her-work")
    assert (await admin.session(created["sessionId"]))["name"] == "her-work"
    assert (await admin.call("GET", "/session/her-work")).status == 404


@pytest.mark.asyncio
async def test_what_only_superadmins_may(manager, make_user):
    alice = await make_user("alice")
    for method, path in [
        ("POST", "/images"),
        ("DELETE", "/images/x"),
        ("POST", "/agents/join-tokens"),
        ("GET", "/sessions?all=true"),
    ]:
        answer = await alice.call(method, path, {} if method == "POST" else None)
        assert answer.status == 403, path
        assert answer.json["data"]["reason"]["code"] == "forbidden"


@pytest.mark.asyncio
async def test_unknown_path_and_method(admin):
    answer = await admin.call("GET", "/nothing/here")
    assert (answer.status, answer.json["type"].rsplit("/", 1)[1]) == (404, "url-not-found")
    answer = await admin.call("PUT", "/auth")
    assert (answer.status, answer.json["type"].rsplit("/", 1)[1]) == (405, "method-not-allowed")
    assert answer.headers["Allow"] == "GET"


@pytest.mark.asyncio
async def test_fault_of_ours_is_a_500_without_details(manager, admin, monkeypatch):
    def explode(_conn):
        raise RuntimeError("secret detail")

    monkeypatch.setattr("bai_jupyter.manager.db.groups.list_groups", explode)
    answer = await admin.call("GET", "/resource-groups")
    assert answer.status == 500
    assert b"secret detail" not in answer.body
    monkeypatch.undo()
