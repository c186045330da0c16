"""The reverse proxy to a web app inside a session, in a cluster of real processes."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

# Making the client's environment counts towards the first test.
pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(600)]

CREATE = """
made = api.ComputeSession.get_or_create(
    "{image}", name="web-here", resources={{"cpu": "1", "mem": "256m"}}, architecture="x86_64", preopen_ports=[{port}]
)
result = str(made.id)
"""

SPARE_KEYPAIR = """mutation($email: String!) {create_keypair(
    user_id: $email, props: {is_active: true, is_admin: true, resource_policy: "default", rate_limit: 1000}
) {keypair {access_key secret_key}}}"""
SET_KEYPAIR = """mutation($key: String!, $props: ModifyKeyPairInput!) {
    modify_keypair(access_key: $key, props: $props) {ok}
}"""

APP = """
import hashlib, json, tornado.web, tornado.websocket
class Echo(tornado.web.RequestHandler):
    def get(self):
        self.set_cookie("mine", "1", path="/", domain="example.org")
        headers = {name.lower(): value for name, value in self.request.headers.get_all()}
        self.write(json.dumps({"method": self.request.method, "uri": self.request.uri, "headers": headers}))
    def post(self):
        self.set_status(201, "Made")
        self.write(hashlib.sha256(self.request.body).hexdigest())
class Redirect(tornado.web.RequestHandler):
    def get(self):
        self.redirect("/elsewhere")
class Large(tornado.web.RequestHandler):
    async def get(self):
        for _ in range(120):
            self.write(bytes(1024 * 1024))
            await self.flush()
class Torn(tornado.web.RequestHandler):
    async def get(self):
        self.set_header("Content-Length", "1000")
        self.write(b"x")
        await self.flush()
        self.request.connection.stream.close()
class Quiet(tornado.web.RequestHandler):
    async def get(self):
        await self.finish("whole")
        self.request.connection.stream.close()
class Talk(tornado.websocket.WebSocketHandler):
    def check_origin(self, origin):
        return True
    def on_message(self, message):
        self.write_message(message, binary=isinstance(message, bytes))
routes = [("/redirect", Redirect), ("/large", Large), ("/torn", Torn), ("/quiet", Quiet), ("/talk", Talk)]
routes += [("/.*", Echo)]
server = tornado.web.Application(routes).listen(PORT, "127.0.0.1", max_body_size=1 << 30)
"""


@pytest.fixture
def signed(cluster, helpers) -> Any:
    client = helpers.client(**helpers.of_cluster(cluster))
    yield client
    client.close()


@pytest.fixture
def serve(client_of_cluster, cluster, signed, make_free_port) -> Any:
    """Start the app in a session; its address behind the proxy."""

    async def start() -> str:
        port = make_free_port()
        await client_of_cluster.sdk(CREATE.format(image=cluster.image, port=port))
        assert await signed.run("web-here", APP.replace("PORT", str(port))) == ""
        return f"/apps/web-here/{port}"

    return start


async def test_requests_and_answers(signed, serve, cluster):
    base = await serve()
    seen = await signed.call("GET", base + "/a%20b/c?d=%2F&e")
    assert (seen.status, seen.json["method"], seen.json["uri"]) == (200, "GET", "/a%20b/c?d=%2F&e")
    headers = seen.json["headers"]
    assert not {"authorization", "cookie", "x-backendai-version"} & headers.keys()
    assert headers["x-forwarded-prefix"] == base
    assert headers["host"] == headers["x-forwarded-host"] == f"127.0.0.1:{cluster.port}"
    assert seen.headers.get_list("Set-Cookie") == [f"mine=1; Path={base}/"]
    assert (await signed.call("HEAD", base + "/")).body == b""
    redirected = await signed.call("GET", base + "/redirect", follow_redirects=False)
    assert (redirected.status, redirected.headers["Location"]) == (302, base + "/elsewhere")
    made = await signed.call("POST", base + "/", {"some": "body"})
    assert (made.status, len(made.body)) == (201, 64)


async def test_bodies_go_through_in_pieces(signed, serve, cluster):
    base = await serve()
    await signed.call("GET", base + "/")
    before = resident_bytes(cluster.pid("manager"))
    got = 0

    def count(piece: bytes) -> None:
        nonlocal got
        got += len(piece)

    large = signed.request("GET", base + "/large", streaming_callback=count)
    await signed.http.fetch(large)
    assert got == 120 * 1024**2
    request = signed.request("POST", base + "/", content_type="application/octet-stream")
    request.body = bytes(64 * 1024**2)
    sent = await signed.http.fetch(request)
    assert sent.code == 201
    assert resident_bytes(cluster.pid("manager")) - before < 24 * 1024**2


async def test_many_at_once(signed, serve):
    base = await serve()
    answers = await asyncio.gather(*[signed.call("GET", f"{base}/{n}") for n in range(100)])
    assert [answer.json["uri"] for answer in answers] == [f"/{n}" for n in range(100)]


async def test_an_answer_that_breaks_off_does_not_look_whole(signed, serve):
    base = await serve()
    request = signed.request("GET", base + "/torn")
    with pytest.raises(Exception, match=r"closed|599|Stream"):
        await signed.http.fetch(request)
    assert (await signed.call("GET", base + "/")).status == 200


async def test_an_app_may_close_its_connections_without_a_word(signed, serve):
    base = await serve()
    for _ in range(20):
        assert (await signed.call("GET", base + "/quiet")).body == b"whole"


async def test_a_browser_comes_by_a_link(signed, serve, client_of_cluster):
    base = await serve()
    _, _, session, port = base.split("/")
    link = await client_of_cluster.sdk(f'result = api.ComputeSession("{session}").start_service("{port}")')
    address, http = link["wsproxy_addr"], signed.http
    first = await http.fetch(
        HTTPRequest(f"{address}x?bai-token={link['token']}&y=1", follow_redirects=False), raise_error=False
    )
    assert (first.code, first.headers["Location"]) == (302, address.removeprefix(signed.endpoint) + "x?y=1")
    cookie, _, attributes = first.headers["Set-Cookie"].partition(";")
    assert {"HttpOnly", "SameSite=Lax"} <= {part.strip() for part in attributes.split(";")}
    seen = await http.fetch(
        HTTPRequest(address + "x", headers={"Cookie": cookie + "; other=1", "Authorization": "token of the app"})
    )
    headers = json.loads(seen.body)["headers"]
    assert (headers["cookie"], headers["authorization"]) == ("other=1", "token of the app")

    talk = HTTPRequest(address.replace("http", "ws", 1) + "talk", headers={"Cookie": cookie})
    socket = await websocket_connect(talk)
    for message in ("text", bytes(100_000), "ü"):
        await socket.write_message(message, binary=isinstance(message, bytes))
        assert await socket.read_message() == message
    socket.close()

    api = await http.fetch(HTTPRequest(signed.endpoint + "/sessions", headers={"Cookie": cookie}), raise_error=False)
    other = await http.fetch(
        HTTPRequest(f"{signed.endpoint}/apps/{session}/other/", headers={"Cookie": cookie}), raise_error=False
    )
    elsewhere = await http.fetch(
        HTTPRequest(f"{signed.endpoint}/apps/others/{port}/", headers={"Cookie": cookie}), raise_error=False
    )
    nobody = await http.fetch(HTTPRequest(address), raise_error=False)
    guessed = await http.fetch(HTTPRequest(address + "?bai-token=guess", follow_redirects=False), raise_error=False)
    assert [one.code for one in (api, other, elsewhere, nobody, guessed)] == [401, 401, 404, 401, 401]


async def test_a_link_is_of_no_use_once_its_owner_is_shut_out(signed, serve, client_of_cluster, helpers, gql):
    base = await serve()
    _, _, session, port = base.split("/")
    link = await client_of_cluster.sdk(f'result = api.ComputeSession("{session}").start_service("{port}")')
    first = await signed.http.fetch(
        HTTPRequest(f"{link['wsproxy_addr']}?bai-token={link['token']}", follow_redirects=False), raise_error=False
    )
    with_cookie = HTTPRequest(link["wsproxy_addr"], headers={"Cookie": first.headers["Set-Cookie"].partition(";")[0]})
    assert (await signed.http.fetch(with_cookie)).code == 200
    owner = (await gql(signed, "{user {email}}"))["user"]["email"]
    spare = (await gql(signed, SPARE_KEYPAIR, email=owner))["create_keypair"]["keypair"]
    other = helpers.client(endpoint=signed.endpoint, **spare)
    for is_active, code in ((False, 404), (True, 200)):
        await gql(other, SET_KEYPAIR, key=signed.access_key, props={"is_active": is_active})
        assert (await signed.http.fetch(with_cookie, raise_error=False)).code == code
    other.close()


async def test_what_is_not_there(signed, serve, make_free_port):
    base = await serve()
    assert (await signed.call("GET", "/apps/no-such/8000/")).status == 404
    closed = await signed.call("GET", f"/apps/web-here/{make_free_port()}/")
    assert (closed.status, closed.json["data"]["reason"]["code"]) == (400, "port-closed")
    assert (await signed.call("POST", base.rpartition("/")[0] + "/guess/", {"a": 1})).status == 404


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
