"""A session's own way to the manager: what its token may do, and when it is no token any more."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest
from tornado.httpclient import HTTPRequest

from bai_jupyter.common.ids import SessionId
from bai_jupyter.manager.auth.session_tokens import Claims, Scope, seal, unseal

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CLAIMS = Claims(SessionId("s-1"), Scope.SELF, int(NOW.timestamp()) + 60)


async def granted(client, agent, name, scope):
    """A running session that was granted ``scope``: its id, and how to see its present token."""
    session = (await client.create(name, manager_access=scope))["sessionId"]
    await client.until_status(session, "RUNNING")
    (want,) = [want for want in agent.wants.values() if want.session_id == session]
    return session, lambda: agent.wants[want.kernel_id].access_token


def test_a_token_says_what_was_sealed_until_its_time_is_over():
    token = seal(b"key", CLAIMS)
    assert unseal(b"key", token, NOW) == CLAIMS
    assert unseal(b"key", token, NOW + timedelta(seconds=60)) is None
    assert unseal(b"other", token, NOW) is None


def test_nothing_but_what_was_sealed_is_believed():
    token = seal(b"key", CLAIMS)
    for place in range(len(token)):
        other = "A" if token[place] != "A" else "B"
        assert unseal(b"key", token[:place] + other + token[place + 1 :], NOW) is None, place
    for wrong in ("", ".", "..", "bai1..", "é.é.é", token + "=", token[:-1], "x" * 5000):
        assert unseal(b"key", wrong, NOW) is None


@pytest.mark.asyncio
async def test_nobody_gets_a_token_unasked(agent, admin):
    session = (await admin.create("plain-one"))["sessionId"]
    await admin.until_status(session, "RUNNING")
    assert [want.access_token for want in agent.wants.values()] == [None]
    assert (await admin.session(session))["managerAccess"] is None
    refused = await admin.create("greedy", status=400, manager_access="admin")
    assert refused["msg"] == "config.manager_access: 'admin' is not self or user."


@pytest.mark.asyncio
async def test_a_session_may_see_and_end_itself_and_nothing_else(agent, admin, call_with):
    session, token_of = await granted(admin, agent, "narrow", "self")
    other = (await admin.create("another"))["sessionId"]
    token = token_of()
    assert (await call_with(token, "GET", f"/session/{session}"))[1]["managerAccess"] == "self"
    assert (await call_with(token, "GET", "/session/narrow"))[0] == 200
    status, listed = await call_with(token, "GET", "/sessions")
    assert (status, [one["id"] for one in listed["sessions"]]) == (200, [session])
    for ref in (other, "another"):
        seen = await call_with(token, "GET", f"/session/{ref}")
        missing = await call_with(token, "GET", f"/session/{'0' * len(ref)}")
        assert seen[0] == missing[0] == 404
        assert json.dumps(seen[1]).replace(ref, "X") == json.dumps(missing[1]).replace("0" * len(ref), "X")
        assert (await call_with(token, "DELETE", f"/session/{ref}"))[0] == 404
    for method, path in [
        ("POST", "/session"),
        ("POST", f"/session/{session}/rename?name=other"),
        ("POST", f"/session/{session}/jupyter-kernels"),
        ("GET", f"/stream/session/{session}/jupyter-kernels/x"),
        ("POST", "/resource/dry-run"),
        ("GET", "/agents"),
        ("GET", "/images"),
        ("GET", "/sessions?all=true"),
        ("POST", "/agents/join-tokens"),
    ]:
        assert (await call_with(token, method, path, {} if method == "POST" else None))[0] == 403, path
    assert (await call_with(token, "DELETE", f"/session/{session}"))[0] == 200
    await admin.until_status(session, "TERMINATED")
    await admin.until_status(other, "RUNNING")


@pytest.mark.asyncio
async def test_events_of_a_session_s_token_are_its_own(agent, admin, call_with, helpers):
    session, token_of = await granted(admin, agent, "narrow", "self")
    await admin.create("another")
    heard = bytearray()
    hearing = asyncio.ensure_future(
        admin.http.fetch(
            HTTPRequest(
                f"{admin.endpoint}/events/session-views?sessionName=*",
                headers={"Authorization": f"Bearer {token_of()}"},
                streaming_callback=heard.extend,
            ),
            raise_error=False,
        )
    )
    await helpers.wait_until(lambda: b"\n\n" in heard)
    await admin.create("a-third")
    await admin.call("DELETE", f"/session/{session}")
    await helpers.wait_until(lambda: b'"TERMINATED"' in heard)
    views = [json.loads(line[6:]) for line in heard.splitlines() if line.startswith(b"data: ")]
    assert {view["id"] for view in views} == {session}
    hearing.cancel()
    await asyncio.gather(hearing, return_exceptions=True)


@pytest.mark.asyncio
async def test_acting_for_its_owner_stops_short_of_admin_calls_and_of_granting(agent, admin, make_user, call_with):
    alice = await make_user("alice")
    hers = (await alice.create("her-work"))["sessionId"]
    session, token_of = await granted(admin, agent, "broad", "user")
    body = {"name": "made-inside", "image": agent.facts["images"][0].name, "enqueueOnly": True}
    assert (await call_with(token_of(), "POST", "/session", body))[0] == 201
    assert (await call_with(token_of(), "GET", "/session/made-inside"))[1]["userId"] == (await admin.session(session))[
        "userId"
    ]
    assert (await call_with(token_of(), "GET", f"/session/{hers}"))[0] == 404
    for method, path in [
        ("GET", "/sessions?all=true"),
        ("POST", "/agents/join-tokens"),
        ("POST", "/images"),
        ("DELETE", "/images/x"),
    ]:
        status, problem = await call_with(token_of(), method, path, {} if method == "POST" else None)
        assert (status, problem["msg"]) == (403, "Only superadmins may do this."), path
    config = {"manager_access": "self"}
    assert (await call_with(token_of(), "POST", "/session", {**body, "name": "heir", "config": config}))[0] == 403
    assert (await admin.call("GET", "/session/heir")).status == 404


@pytest.mark.asyncio
@pytest.mark.parametrize("manager_options", [{"session_token_s": 6}])
async def test_a_fresh_token_comes_and_the_end_of_the_session_is_the_end_of_all(agent, admin, call_with, helpers):
    session, token_of = await granted(admin, agent, "narrow", "self")
    first = token_of()
    await helpers.wait_until(lambda: token_of() != first)
    agent.keep_ending = True  # the container is still there: its token is over all the same
    fresh = token_of()
    assert (await call_with(fresh, "GET", "/auth"))[0] == 200
    await admin.call("DELETE", f"/session/{session}")
    assert (await call_with(fresh, "GET", "/auth"))[0] == 401


@pytest.mark.asyncio
async def test_whatever_is_wrong_with_a_token_the_answer_is_the_same(manager, agent, admin, call_with):
    session, _ = await granted(admin, agent, "narrow", "self")
    plain = (await admin.create("plain-one"))["sessionId"]
    key = manager.vault.derive("session tokens")
    soon = int(datetime.now(UTC).timestamp()) + 60
    good = seal(key, Claims(session, Scope.SELF, soon))
    assert (await call_with(good, "GET", "/auth"))[0] == 200
    wrong = [
        "",
        "nonsense",
        good[:-2] + "AA",
        seal(b"another key", Claims(session, Scope.SELF, soon)),
        seal(key, Claims(session, Scope.SELF, soon - 120)),
        seal(key, Claims(session, Scope.USER, soon)),  # more than it was granted
        seal(key, Claims(plain, Scope.SELF, soon)),  # granted nothing
        seal(key, Claims(SessionId("0" * 32), Scope.SELF, soon)),
    ]
    answers = [await call_with(token, "GET", "/auth") for token in wrong]
    assert {status for status, _ in answers} == {401}
    assert {json.dumps(problem) for _, problem in answers} == {json.dumps(answers[0][1])}
    assert answers[0][1]["msg"] == "The token is not valid, or not any more."


@pytest.mark.asyncio
async def test_a_session_does_not_see_what_it_depends_on(agent, admin, call_with, helpers):
    first = await admin.create("first-step")
    body = {"name": "next-step", "image": helpers.image.name, "enqueueOnly": True, "type": "interactive"}
    await admin.until_status("first-step", "RUNNING")
    session = await admin.post(
        "/session", {**body, "dependencies": ["first-step"], "config": {"manager_access": "self", "resources": {}}}
    )
    await admin.call("DELETE", "/session/first-step")
    await admin.until_status("next-step", "RUNNING")
    kernel_id = (await admin.session("next-step"))["containerId"]
    token = agent.wants[kernel_id].access_token
    status, graph = await call_with(token, "GET", f"/session/{session['sessionId']}/dependency-graph")
    assert (status, graph["depends_on"]) == (200, [])
    assert len((await admin.get("/session/next-step/dependency-graph"))["depends_on"]) == 1
    assert (await call_with(token, "GET", f"/session/{first['sessionId']}/status-history"))[0] == 404
