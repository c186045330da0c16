"""Every route of the application refuses what it must. Routes that are added later are walked by themselves.

A route that needs no signature is named in ``PUBLIC``, so that none becomes public by accident. Whoever adds a kind of
object that has an owner adds to ``OBJECTS`` how to make one; strangers must then get the same answer for it as for one
that does not exist.
"""

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import uuid4

import pytest
import sqlalchemy as sa
from tornado.web import RequestHandler
from tornado.websocket import WebSocketHandler

from bai_jupyter.common import signing
from bai_jupyter.manager.agents.streams import NO_SUCH
from bai_jupyter.manager.api.app_proxy import AppProxyHandler
from bai_jupyter.manager.api.base import MAX_BODY_BYTES, ApiHandler
from bai_jupyter.manager.api.openapi import path_of
from bai_jupyter.manager.db import people
from bai_jupyter.manager.db import tables as t

pytestmark = pytest.mark.asyncio

PUBLIC = {
    r"/(?:v\d+/?)?",
    r"/health",
    r"/openapi\.json",
    r"/api",
    r"/auth/authorize",  # here somebody gets the keypair to sign with,
    r"/auth/update-password-no-auth",  # or the right to
    r"/storage/download",  # by tokens of their own
    r"/storage/upload",
    r"/(?:.+/)?user/([^/]+)(?:/.*)?",  # the server inside asks who it is
}


OTHERS = {r"/agent/link", r"/agent/streams/([^/]+)"}
"""Routes that are not for callers of the API: agents have credentials and tickets of their own."""


async def make_session(admin):
    return (await admin.create(f"secret-{uuid4().hex[:8]}"))["sessionId"]


async def make_template(admin):
    kernel = {"image": "bai/python:test"}
    template = {"kind": "taskTemplate", "metadata": {"name": "secret"}, "spec": {"kernel": kernel}}
    return (await admin.post("/template/session", {"payload": template}, 200))[0]["id"]


async def make_folder(admin):
    return (await admin.post("/folders", {"name": f"secret-{uuid4().hex[:8]}"}))["id"]


OBJECTS = {
    "session": make_session,
    "kernel": make_session,
    "template/session": make_template,
    "folders": make_folder,
}

WRONG = ([], {}, [[]], {"a": {}}, 5, -1.5, True, "", "\0", "x" * 5000, None)
NAMES = (
    *("name", "image", "lang", "type", "config", "status", "id", "kernelspec", "key", "env", "folder", "path", "uses"),
    *("tag", "starts_at", "dependencies", "callback_url", "startupCommand", "bootstrap_script", "maxWaitSeconds"),
    *("sessionId", "sessionName", "scope", "taskId", "forced", "recursive", "all", "resource_group", "expires_s"),
    *("payload", "template_id", "clusterSize", "reuseIfExists", "enqueueOnly", "task_id", "group", "code", "mode"),
)


SWITCHING_PROTOCOLS = 101
LISTS_OF_PATHS = {"files"}
PATHS = {"path", "file", "src", "dst", "target_path", *LISTS_OF_PATHS}


class Call(NamedTuple):
    pattern: str
    method: str
    handler: type

    def path(self, ref):
        """An example of the route, with ``ref`` for each part that is not fixed."""
        return path_of(self.pattern, [ref] * re.compile(self.pattern).groups)

    @property
    def kind(self):
        """What the first part that is not fixed names: ``session`` in ``/stream/session/([^/]+)/…``."""
        fixed, part, _ = self.path("{}").partition("/{}")
        return fixed.strip("/").removeprefix("stream/") if part else None

    def __str__(self):
        return f"{self.method} {self.pattern}"


def calls_of(manager, *, public=False):
    """Every method of every route that speaks for a caller."""
    return [
        Call(rule.matcher.regex.pattern.rstrip("$"), method, rule.target)
        for rule in manager.web.wildcard_router.rules
        if issubclass(rule.target, ApiHandler) and rule.target.is_public is public
        for method in RequestHandler.SUPPORTED_METHODS
        if getattr(rule.target, method.lower()) is not getattr(RequestHandler, method.lower())
    ]


async def send(client, call, path, body=b"", **options):
    """Status and body of an answer; of one that does not end, the status alone; of a WebSocket, how it is closed."""
    content_type = "application/json" if body else None
    request = client.request(call.method, path, content_type=content_type, **options.pop("signing", {}))
    headers = {**request.headers, **options}
    host, port = client.endpoint.removeprefix("http://").split(":")
    lines = [f"{call.method} {path} HTTP/1.1", f"Host: {host}:{port}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items() if value is not None]
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        async with asyncio.timeout(20):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            status = int(head.split()[1])
            if status == SWITCHING_PROTOCOLS:
                return await closed_with(reader)
            length = re.search(r"(?i)content-length: (\d+)", head)
            has_body = length and call.method != "HEAD"
            return status, await reader.readexactly(int(length[1])) if has_body else b""
    finally:
        writer.close()
        await writer.wait_closed()


def upgrade_of(call):
    """The headers with which a WebSocket is asked for, where that is what the route has."""
    asked = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "x"}
    return asked if issubclass(call.handler, WebSocketHandler) else {}


def paths_of(call):
    """Which of its parameters are paths."""
    return PATHS & set(getattr(getattr(call.handler, call.method.lower()), "takes", ()))


async def closed_with(reader):
    """The code and the reason of the frame that ends a WebSocket, which must be its first."""
    assert await reader.readexactly(1) == b"\x88"
    frame = await reader.readexactly((await reader.readexactly(1))[0])
    return int.from_bytes(frame[:2]), frame[2:]


async def all_refuse(calls, send_one, allowed):
    wrong = [f"{call}: {answer}" for call in calls if not allowed((answer := await send_one(call))[0], answer[1])]
    assert not wrong, "\n".join(wrong)
    assert len(calls) > 20


def is_problem(slug):
    return lambda status, body: status == 401 and (not body or json.loads(body)["type"].endswith(f"/{slug}"))


async def test_what_is_public_is_named_here(manager):
    assert {call.pattern for call in calls_of(manager, public=True)} == PUBLIC
    rules = manager.web.wildcard_router.rules
    others = {rule.matcher.regex.pattern for rule in rules if not issubclass(rule.target, ApiHandler)}
    assert {pattern.rstrip("$") for pattern in others} == OTHERS


async def test_unsigned(manager, admin):
    await all_refuse(
        calls_of(manager), lambda call: send(admin, call, call.path("x"), Authorization=None), is_problem("auth-failed")
    )


async def test_a_stale_date(manager, admin):
    stale = {"skew": timedelta(minutes=-20)}
    await all_refuse(
        calls_of(manager), lambda call: send(admin, call, call.path("x"), signing=stale), is_problem("auth-failed")
    )


async def test_a_wrong_key(manager, admin):
    wrong = {"secret_key": "wrong"}
    await all_refuse(
        calls_of(manager), lambda call: send(admin, call, call.path("x"), signing=wrong), is_problem("auth-failed")
    )


async def test_an_inactive_key(manager, admin, make_user):
    alice = await make_user("alice")

    def switch_off(conn):
        keypairs = t.keypairs
        conn.execute(sa.update(keypairs).where(keypairs.c.access_key == alice.access_key).values(is_active=False))

    await manager.store.write(switch_off)
    await all_refuse(calls_of(manager), lambda call: send(alice, call, call.path("x")), is_problem("auth-failed"))


async def test_a_version_that_does_not_exist(manager, admin):
    version = {"X-BackendAI-Version": "v9.20991231"}
    await all_refuse(
        calls_of(manager),
        lambda call: send(admin, call, call.path("x"), **version),
        lambda status, _: status in (400, 401),  # what is passed on to an app need not be in our protocol, but signed
    )


NOT_OBJECTS = [b"{", b"\xff\xfe", b'{"name": NaN}', b"[]", b'"text"', b"[" * 100_000]


@pytest.mark.parametrize("body", NOT_OBJECTS, ids=lambda body: repr(body[:8]))
async def test_what_is_not_a_json_object(manager, admin, body):
    await all_refuse(
        calls_of(manager), lambda call: send(admin, call, call.path("x"), body), lambda status, _: 400 <= status < 500
    )


async def test_oversized(manager, admin):
    body = json.dumps({"name": "x" * MAX_BODY_BYTES}).encode()
    await all_refuse(
        calls_of(manager), lambda call: send(admin, call, call.path("x"), body), lambda status, _: 400 <= status < 500
    )


@pytest.mark.parametrize("value", WRONG, ids=lambda value: repr(value)[:12])
async def test_values_of_another_type_are_never_our_fault(manager, holder, make_user, value):
    alice = await make_user("alice")
    body = json.dumps(dict.fromkeys(NAMES, value)).encode()
    ref = await make_session(alice)
    for used in (ref, "x", "%00"):
        await all_refuse(
            calls_of(manager), lambda call, used=used: send(alice, call, call.path(used), body), lambda s, _: s < 500
        )


async def test_a_way_out_is_no_name(manager, holder, make_user):
    alice = await make_user("alice")
    named = [call for call in calls_of(manager) if call.kind is not None]
    await all_refuse(
        named,
        lambda call: send(alice, call, call.path("..%2f..%2fetc"), b"{}", **upgrade_of(call)),
        lambda status, _: 400 <= status < 500 or status == NO_SUCH,
    )


async def test_a_way_out_of_ones_folder_is_refused(manager, holder, make_user):
    alice = await make_user("alice")
    mine = await make_folder(alice)
    within = [call for call in calls_of(manager) if call.kind == "folders" and paths_of(call)]
    assert len(within) == 8
    for call in within:
        for path in ("../../etc/passwd", "/../../etc/passwd", "a/../../../etc/passwd"):
            paths = {name: [path] if name in LISTS_OF_PATHS else path for name in paths_of(call)}
            # A file without content is made by the first call: there is nothing to send.
            body = json.dumps({"size": 0, "new_name": "x", "recursive": True, **paths}).encode()
            status, answer = await send(alice, call, call.path(mine), body)
            assert 400 <= status < 500, (str(call), path, status, answer)


async def test_too_many(manager, make_user):
    alice = await make_user("alice")
    await manager.store.write(people.change_keypair, alice.access_key, {"rate_limit": 1}, datetime.now(UTC))
    manager.services.auth.forget()
    assert (await alice.call("GET", "/auth")).status == 200
    await all_refuse(
        [call for call in calls_of(manager) if not issubclass(call.handler, AppProxyHandler)],  # pages have many parts
        lambda call: send(alice, call, call.path("x"), **upgrade_of(call)),
        lambda status, body: status == 429 and (not body or json.loads(body)["type"].endswith("/rate-limit-exceeded")),
    )


@pytest.mark.parametrize("role", ["user", "admin"])
async def test_strangers_see_the_same_as_of_what_does_not_exist(manager, holder, admin, make_user, gql, role):
    """Of another user, of their own domain and of another one; an admin reaches what is of their own."""
    alice = await make_user("alice", role)
    made = 'mutation {create_domain(name: "lab", props: {}) {ok}}'
    assert (await gql(admin, made))["create_domain"]["ok"]
    granted = 'mutation {associate_scaling_group_with_domain(domain: "lab", scaling_group: "default") {ok}}'
    assert (await gql(admin, granted))["associate_scaling_group_with_domain"]["ok"]
    owners = [await make_user("bob"), await make_user("carol", domain="lab")]
    theirs = {(kind, owner): await make(owner) for kind, make in OBJECTS.items() for owner in owners}
    calls = [call for call in calls_of(manager) if call.kind in OBJECTS]
    assert any(issubclass(call.handler, WebSocketHandler) for call in calls)
    for call in calls:
        missing = str(uuid4())
        unknown = await send(alice, call, call.path(missing), **upgrade_of(call))
        for owner in owners:
            ref = theirs[call.kind, owner]
            seen = await send(alice, call, call.path(ref), **upgrade_of(call))
            assert seen[0] == unknown[0] >= 400, str(call)
            assert seen[1].replace(ref.encode(), b"X") == unknown[1].replace(missing.encode(), b"X"), str(call)


async def test_a_method_in_a_header(agent, admin):
    created = await admin.create("my-work")
    request = admin.request("POST", "/session/my-work", {"forced": True})
    request.headers["X-Method-Override"] = "DELETE"
    answer = await admin.http.fetch(request)
    assert (answer.code, json.loads(answer.body)["stats"]["status"]) == (200, "terminated")
    assert (await admin.session(created["sessionId"]))["status"] in ("TERMINATED", "CANCELLED")
    request = admin.request("POST", "/session/my-work", {})
    request.headers["X-Method-Override"] = "CONNECT"
    assert (await admin.http.fetch(request, raise_error=False)).code == 400


@pytest.mark.parametrize("version", ["v4.20181215", "v5.20191215", "v6.20220615", "v7.20230615"])
async def test_every_version_of_the_protocol_is_signed_alike(admin, version):
    date = datetime.now(UTC).isoformat()
    host = admin.endpoint.removeprefix("http://")
    parts = signing.SignedParts("GET", "/auth", date, host, "", "x-backendai-version", version)
    signature = signing.sign(admin.secret_key, parts, signing.EMPTY_HASH)
    headers = {
        "Date": date,
        "X-BackendAI-Version": version,
        "Authorization": signing.format_authorization(admin.access_key, signature),
    }
    assert (await admin.http.fetch(f"{admin.endpoint}/auth", headers=headers)).code == 200
