"""Apps behind Jupyter's login: a real server, a real manager, and an app that tells what it hears."""

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from real_manager import RealManager
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest, HTTPResponse
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders
from tornado.tcpclient import TCPClient
from tornado.testing import bind_unused_port
from tornado.web import Application, HTTPError, RequestHandler, stream_request_body
from tornado.websocket import WebSocketError, WebSocketHandler, websocket_connect

from bai_jupyter.common.errors import NotFound
from bai_jupyter.extension import app_pages, app_proxy
from bai_jupyter.reverse_proxy import handshake

MIB = 1024 * 1024
OURS = {"Cookie": "_xsrf=secret", "X-XSRFToken": "secret", "Referer": "http://lab/?token=secret", "X-Own": "kept"}


class Tell(RequestHandler):
    def prepare(self) -> None:
        for name, value in (
            ("Set-Cookie", "_xsrf=guess; Path=/"),
            ("Clear-Site-Data", '"cookies"'),
            ("Content-Security-Policy", "sandbox allow-same-origin allow-scripts"),
            ("Referrer-Policy", "unsafe-url"),
            ("Access-Control-Allow-Origin", "https://example.org"),
            ("X-Own", "kept"),
        ):
            self.add_header(name, value)

    def get(self) -> None:
        headers = {name.lower(): value for name, value in self.request.headers.get_all()}
        self.write({"method": self.request.method, "uri": self.request.uri, "headers": headers})

    post = get

    def check_xsrf_cookie(self) -> None:
        pass


class Page(RequestHandler):
    def get(self) -> None:
        self.write("<!DOCTYPE html>\n<title>A page</title>")


class Dash(RequestHandler):
    """As Dash with a ``requests_pathname_prefix``: all its addresses are below that. In no whole pieces."""

    async def get(self) -> None:
        place = self.get_argument("place")
        self.write(f'<script src="{place}/a.js"></script>{{"prefix":"{place[:7]}')
        await self.flush()
        self.write(f'{place[7:]}/"}} "{place}0/" "{place[:-1]}')


class Quiet(RequestHandler):
    """Keeps no connection, and does not say so."""

    async def get(self) -> None:
        await self.finish(self.request.body)
        self.request.connection.stream.close()  # type: ignore[union-attr]


class Elsewhere(RequestHandler):
    def get(self) -> None:
        self.redirect("/login?a=1")


@stream_request_body
class Count(RequestHandler):
    def prepare(self) -> None:
        self.request.connection.set_max_body_size(1 << 30)  # type: ignore[union-attr]
        self.heard = 0

    def data_received(self, chunk: bytes) -> None:
        self.heard += len(chunk)

    async def post(self) -> None:
        self.write(str(self.heard))

    async def get(self) -> None:
        for _ in range(50):
            self.write(bytes(MIB))
            await self.flush()


class Silent(RequestHandler):
    """Takes a request and never answers."""

    asked, gone = asyncio.Event(), asyncio.Event()

    async def get(self) -> None:
        self.asked.set()
        await self.gone.wait()

    def on_connection_close(self) -> None:
        self.gone.set()


class Talk(WebSocketHandler):
    """Takes nobody but its own pages, as is the rule."""

    def prepare(self) -> None:
        self.set_header("Set-Cookie", "_xsrf=guess; Path=/")

    def on_message(self, message: str | bytes) -> None:
        self.write_message(message, binary=isinstance(message, bytes))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealManager]:
    with RealManager(tmp_path_factory.mktemp("cluster")) as manager:
        manager.session = manager.start_session("served")  # type: ignore[attr-defined]
        yield manager


@pytest.fixture
def connected(cluster: RealManager, monkeypatch: pytest.MonkeyPatch) -> RealManager:
    for name, value in cluster.environ.items():
        monkeypatch.setenv(name, value)
    return cluster


@pytest.fixture
def app(jp_asyncio_loop: Any, connected: Any) -> Iterator[Any]:
    """The address of an app in a session, below the Jupyter server's; ``port`` is where it listens."""
    routes = [
        ("/page", Page),
        ("/dash", Dash),
        ("/elsewhere", Elsewhere),
        ("/count", Count),
        ("/talk", Talk),
        ("/quiet", Quiet),
        ("/silent", Silent),
        ("/.*", Tell),
    ]

    async def start() -> tuple[HTTPServer, int]:
        listening, port = bind_unused_port()
        server = HTTPServer(Application(routes))
        server.add_sockets([listening])
        return server, port

    async def stop() -> None:
        server.stop()
        await server.close_all_connections()

    server, port = jp_asyncio_loop.run_until_complete(start())
    connected.open_real_ports(port)
    yield SimpleNamespace(port=port, path=("bai", "apps", connected.session, str(port)))
    jp_asyncio_loop.run_until_complete(stop())


@pytest.fixture
def ask(jp_http_port: int, jp_serverapp: Any) -> Callable[..., Any]:
    """Any request by nobody, not following redirects; ``path`` with the base URL."""

    async def ask(path: str, method: str = "GET", **more: Any) -> HTTPResponse:
        url = f"http://127.0.0.1:{jp_http_port}{path}"
        more = {"follow_redirects": False, "allow_nonstandard_methods": True, "request_timeout": 60, **more}
        return await AsyncHTTPClient().fetch(HTTPRequest(url, method, **more), raise_error=False)

    return ask


@pytest.fixture
def enter(jp_fetch: Callable[..., Any]) -> Callable[..., Any]:
    """Who has logged in is sent on; there."""

    async def enter(*path: str, **more: Any) -> str:
        with pytest.raises(HTTPClientError) as moved:
            await jp_fetch(*path, follow_redirects=False, **more)
        assert moved.value.response is not None
        assert moved.value.code == 302, moved.value.response.body
        return moved.value.response.headers["Location"]

    return enter


async def test_the_way_in(app: Any, ask: Any, enter: Any, jp_base_url: str, jp_serverapp: Any, caplog: Any) -> None:
    there = await enter(*app.path, "a b", params={"x": "%2F", "_xsrf": "secret"})
    entry = jp_base_url + "/".join(app.path)
    assert there.startswith(f"{entry}/~")
    assert there.endswith("/a%20b?x=%252F")
    got = await ask(f"{there}&token=secret&x", headers=OURS | {"Authorization": "token secret"})
    heard = json.loads(got.body)
    assert (heard["method"], heard["uri"]) == ("GET", "/a%20b?x=%252F&x")
    assert "secret" not in str(heard)
    assert not {"cookie", "authorization", "referer"} & heard["headers"].keys()
    assert heard["headers"]["x-own"] == "kept"
    assert heard["headers"]["x-forwarded-prefix"] == there.rpartition("/")[0]

    assert got.headers["X-Own"] == "kept"
    assert not {"Set-Cookie", "Clear-Site-Data"} & set(got.headers)
    policies = got.headers.get_list("Content-Security-Policy")  # what one of them forbids is forbidden
    assert app_proxy.SANDBOX in policies
    assert "allow-same-origin" not in app_proxy.SANDBOX
    assert got.headers.get_list("Referrer-Policy") == ["no-referrer"]

    home = there.partition("/a%20b")[0]
    moved = await ask(f"{home}/elsewhere")
    assert (moved.code, moved.headers["Location"]) == (302, f"{home}/login?a=1")
    posted = await ask(f"{home}/form", "POST", body="a=1", headers={"Content-Type": "application/x-form"})
    assert json.loads(posted.body)["headers"]["content-type"] == "application/x-form"
    assert home.rpartition("~")[2] not in caplog.text


async def test_strangers(app: Any, ask: Any, enter: Any, jp_base_url: str, jp_serverapp: Any, monkeypatch: Any) -> None:
    there = await enter(*app.path)
    entry = jp_base_url + "/".join(app.path)
    given = there.rpartition("~")[2].rstrip("/")
    past = app_proxy.ticket(jp_serverapp.web_app.settings["cookie_secret"], app.path[2], app.path[3], 1)
    nobody = await ask(entry + "/")
    assert nobody.code == 302
    assert "/login" in nobody.headers["Location"]
    for made_up in ("", "x", given[:-1] + ("0" if given[-1] != "0" else "1"), past):
        sent_back = await ask(f"{entry}/~{made_up}/page?x=1&token=t")
        assert (sent_back.code, sent_back.headers["Location"]) == (302, f"{entry}/page?x=1")
        assert (await ask(f"{entry}/~{made_up}/", "POST", body="")).code == 403
    other = f"{jp_base_url}bai/apps/{app.path[2]}/1/~{given}/"
    assert (await ask(other)).headers["Location"] == f"{jp_base_url}bai/apps/{app.path[2]}/1/"
    monkeypatch.setattr(jp_serverapp.authorizer, "is_authorized", lambda *_: False)
    with pytest.raises(AssertionError, match="403"):
        await enter(*app.path)


async def test_a_refusal_is_logged_without_the_ticket(
    app: Any, ask: Any, enter: Any, jp_serverapp: Any, monkeypatch: Any, caplog: Any
) -> None:
    there = await enter(*app.path)
    extension = jp_serverapp.web_app.settings["bai_extension"]
    monkeypatch.setattr(extension, "client", None)
    refused = await ask(f"{there}page")
    assert (refused.code, b"not connected" in refused.body) == (503, True)
    monkeypatch.setattr(extension, "client", object())  # something that nobody has thought of
    assert (await ask(f"{there}page")).code == 500
    assert "not connected" in caplog.text
    assert "AttributeError" in caplog.text
    assert there.rpartition("~")[2].rstrip("/") not in caplog.text


async def test_a_request_that_is_broken_off_leaves_nothing(
    app: Any, enter: Any, jp_http_port: int, monkeypatch: Any
) -> None:
    there = await enter(*app.path)
    begun, far_sides = asyncio.Event(), []
    data_received = app_proxy.AppHandler.data_received

    async def hear(self: Any, chunk: bytes) -> None:
        await data_received(self, chunk)
        far_sides.append(self._far_side)
        begun.set()

    monkeypatch.setattr(app_proxy.AppHandler, "data_received", hear)
    _, writer = await asyncio.open_connection("127.0.0.1", jp_http_port)
    writer.write(f"POST {there}count HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nbegun".encode())
    await begun.wait()
    writer.close()
    await until(lambda: far_sides[0].stream.closed())
    await until(lambda: not [task for task in asyncio.all_tasks() if is_of(task, app_proxy.AppHandler)])


async def test_its_own_pages_are_no_strangers_to_it(app: Any, ask: Any, enter: Any) -> None:
    """A page without an origin asks as one of another site would."""
    there = await enter(*app.path)
    origin = {"Origin": "null"}
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    may = await ask(there, "OPTIONS", headers=origin | asks)
    assert (may.code, may.headers["Access-Control-Allow-Headers"]) == (204, "content-type")
    assert "POST" in may.headers["Access-Control-Allow-Methods"]
    got = await ask(there, headers=origin)
    assert got.headers.get_list("Access-Control-Allow-Origin") == ["null"]
    assert json.loads(got.body)["headers"]["origin"] != "null"


@pytest.mark.parametrize(
    ("policy", "seen"),
    [
        ("script-src 'self' 'unsafe-eval'; object-src 'none'", "; worker-src 'self' 'unsafe-eval' blob:"),
        ("Worker-Src 'self'", None),
        ("worker-src 'none'; script-src 'self'", ""),
        ("script-src https:", ""),
        ("sandbox allow-scripts", ""),
        ("default-src 'self', default-src 'none'", ""),
    ],
)
def test_a_policy_that_allows_an_apps_own_workers_allows_what_they_become(policy: str, seen: str | None) -> None:
    assert app_pages.with_workers(policy) == ("worker-src 'self' blob:" if seen is None else policy + seen)


async def test_a_page_has_storage_before_its_own_scripts_run(app: Any, ask: Any, enter: Any) -> None:
    there = await enter(*app.path)
    script = f"{there}~storage.js"
    page = await ask(f"{there}page", headers={"Accept": "text/html", "Accept-Encoding": "gzip"})
    assert page.body.decode() == f'<!DOCTYPE html><script src="{script}"></script>\n<title>A page</title>'
    assert b"localStorage" in (await ask(script)).body
    assert (await ask(f"{there}page", "HEAD")).body == b""


@pytest.mark.parametrize("place", ["", "/bai", "BASE", "BASE/bai"])
async def test_a_page_that_believes_to_be_where_jupyter_server_proxy_has_its_port(
    app: Any, ask: Any, enter: Any, jp_base_url: str, place: str
) -> None:
    there = await enter(*app.path)
    place = place.replace("BASE", jp_base_url.rstrip("/"))
    place += f"/proxy/{app.port}"
    there_too = f"{there}dash?place={quote(place)}"
    page = (await ask(there_too, headers={"Accept": "text/html"})).body.decode()
    assert f'<script src="{there}a.js"></script>{{"prefix":"{there}"}}' in page
    assert page.endswith(f' "{place}0/" "{place[:-1]}')
    fetched = await ask(there_too, headers={"Accept": "application/json"})
    assert f'"{place}/' in fetched.body.decode()


@pytest.mark.parametrize("slash", app_pages.SLASHES)
async def test_addresses_in_the_json_of_a_page(slash: str) -> None:
    page = app_pages.Page("/there", ["/proxy/80"])
    pieces = ["<p>", '{"prefix":"/proxy/80/"} "/proxy/8'.replace("/", slash), "1"]
    text = b"".join(page.piece(piece.encode()) for piece in pieces) + page.end()
    assert text.decode().endswith('<p>{"prefix":"/there/"} "/proxy/81'.replace("/", slash))


async def test_where_a_server_has_an_app_that_is_a_port() -> None:
    assert app_pages.places_of("/", "80") == ["/proxy/80", "/bai/proxy/80"]
    hub = [f"{base}{place}" for base in ("/user/a/", "/") for place in ("proxy/80", "bai/proxy/80")]
    assert app_pages.places_of("/user/a/", "80") == hub
    assert app_pages.places_of("/", "jupyter") == []


@pytest.mark.parametrize(
    ("address", "becomes"),
    [("/proxy/80/a?b", "/there/a?b"), ("/apps/s/80/", "/there/"), ("/proxy/800/", "/proxy/800/"), ("a", "a")],
)
async def test_where_an_answer_sends_its_visitor(address: str, becomes: str) -> None:
    assert app_proxy.moved(address, ["/apps/s/80", "/proxy/80"], "/there") == becomes


@pytest.mark.parametrize(
    ("headers", "is_page"),
    [
        ({"Sec-Fetch-Dest": "iframe"}, True),
        ({"Sec-Fetch-Dest": "empty", "Accept": "text/html"}, False),
        ({"Accept": "text/html,application/xml"}, True),
        ({"Accept": "text/html, */*; q=0.01", "X-Requested-With": "XMLHttpRequest"}, False),
        ({"Accept": "*/*"}, False),
        ({}, False),
    ],
)
async def test_what_a_script_fetches_is_no_page(headers: dict[str, str], is_page: bool) -> None:
    assert app_pages.asks_for_page(HTTPHeaders(headers)) is is_page


@pytest.mark.parametrize(
    ("page", "begins"),
    [
        (b" <!doctype html><p>", b" <!doctype html><script"),
        (b"<p>", b'<script src="s"></script><p>'),
        (b"\xef\xbb\xbf<p>", b'\xef\xbb\xbf<script src="s">'),
        (b"<!-- of <p>\n -->\n<!DOCTYPE html><p>", b"<!-- of <p>\n -->\n<!DOCTYPE html><script"),
        (b"<!-- alone --><p>", b'<script src="s"></script><!--'),
        pytest.param(b"<!---->" * 9000, b'<script src="s"></script><!--', id="comments without end"),
        (b"", b'<script src="s">'),
    ],
)
async def test_where_a_script_goes(page: bytes, begins: bytes) -> None:
    assert app_pages.with_storage(page, "s").startswith(begins)


async def test_websockets(app: Any, enter: Any, jp_http_port: int) -> None:
    there = await enter(*app.path)
    url = f"ws://127.0.0.1:{jp_http_port}{there}talk"
    socket = await websocket_connect(HTTPRequest(url, headers=HTTPHeaders({"Origin": "null"})))
    assert "Set-Cookie" not in socket.headers
    for message in ("text", bytes(300_000), "ü"):
        await socket.write_message(message, binary=isinstance(message, bytes))
        assert await socket.read_message() == message
    socket.close()
    assert await socket.read_message() is None
    with pytest.raises(WebSocketError, match="Non-websocket response"):
        await websocket_connect(HTTPRequest(url.replace("/talk", "/none")))


@pytest.mark.parametrize("more", ["", "Connection: Upgrade\r\nUpgrade: websocket\r\n"])
async def test_who_hangs_up_on_a_silent_app_is_gone_there_too(
    app: Any, enter: Any, jp_http_port: int, monkeypatch: Any, more: str
) -> None:
    monkeypatch.setattr(Silent, "asked", asyncio.Event())
    monkeypatch.setattr(Silent, "gone", asyncio.Event())
    there = await enter(*app.path)
    _, browser = await asyncio.open_connection("127.0.0.1", jp_http_port)
    browser.write(f"GET {there}silent HTTP/1.1\r\nHost: 127.0.0.1\r\n{more}\r\n".encode())
    async with asyncio.timeout(60):
        await Silent.asked.wait()
        browser.close()
        await Silent.gone.wait()


@pytest.fixture(params=["by Jupyter", "by the manager"])
def way(app: Any, enter: Any, jp_http_port: int, jp_serverapp: Any, request: pytest.FixtureRequest) -> Any:
    """``await way("GET", "none")``: a connection of that proxy's, and what to ask for on it: target and headers."""

    async def connect(method: str, rest: str) -> tuple[Any, str, HTTPHeaders]:
        if request.param == "by Jupyter":
            stream = await TCPClient().connect("127.0.0.1", jp_http_port)
            return stream, f"{await enter(*app.path)}{rest}", HTTPHeaders({"Host": "x"})
        client = jp_serverapp.web_app.settings["bai_extension"].client
        found: tuple[Any, str, HTTPHeaders] = await client.connect_to_app(method, *app.path[2:], f"/{rest}", "")
        return found

    return connect


async def test_a_refused_websocket_is_the_end_of_its_connection(way: Any) -> None:
    """Whatever came behind it would go to the app as it is: another request, perhaps, and by somebody else."""
    stream, target, headers = await way("GET", "none")
    await stream.write(handshake("GET", target, headers) + b"GET /second HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(30):
        answer = (await stream.read_until_close()).decode()
    head, _, body = answer.partition("\r\n\r\n")
    assert (head.partition("\r\n")[0], body) == ("HTTP/1.1 200 OK", "")
    assert "Connection: close" in head
    assert "Path=/\r\n" not in f"{head}\r\n"  # not a cookie for more than the app


async def test_bodies_go_through_in_pieces(app: Any, ask: Any, enter: Any) -> None:
    """Everybody is in this process, so what anybody held would be seen."""
    there = await enter(*app.path)
    await ask(f"{there}count", "POST", body=b"x")
    before = most = resident_bytes()

    async def produce(write: Callable[[bytes], Any]) -> None:
        nonlocal most
        for _ in range(50):
            await write(bytes(MIB))
            most = max(most, resident_bytes())

    length = {"Content-Length": str(50 * MIB)}
    sent = await ask(f"{there}count", "POST", body_producer=produce, headers=length)
    assert sent.body == str(50 * MIB).encode()
    got = 0

    def take(piece: bytes) -> None:
        nonlocal got, most
        got += len(piece)
        most = max(most, resident_bytes())

    await ask(f"{there}count", streaming_callback=take)
    assert got == 50 * MIB
    assert most - before < 24 * MIB


async def test_a_body_is_not_lost_with_a_connection_that_its_app_has_closed(app: Any, ask: Any, enter: Any) -> None:
    there = await enter(*app.path)
    for _ in range(20):
        got = await ask(f"{there}quiet", body=b"asked")
        assert (got.code, got.body) == (200, b"asked")


async def test_a_body_whose_end_cannot_be_told_is_refused(way: Any) -> None:
    """Passed on without its chunks it would look like the next request."""
    stream, target, headers = await way("DELETE", "")
    lines = [f"DELETE {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.get_all())]
    body = b"GET /second HTTP/1.1\r\nHost: x\r\n\r\n"
    lines += ["Transfer-Encoding: chunked", "Connection: close", "", f"{len(body):x}", ""]
    await stream.write("\r\n".join(lines).encode() + body + b"\r\n0\r\n\r\n")
    async with asyncio.timeout(30):
        assert (await stream.read_until_close()).startswith(b"HTTP/1.1 411 ")


async def test_a_port_as_jupyter_server_proxy_has_it(
    app: Any, enter: Any, jp_fetch: Any, jp_base_url: str, jp_serverapp: Any, monkeypatch: Any
) -> None:
    with pytest.raises(HTTPClientError, match="404"):
        await jp_fetch("proxy", str(app.port))
    monkeypatch.setattr(app_proxy, "sessions_of", lambda _: [app.path[2]])
    for beginning in (("proxy",), ("bai", "proxy")):
        there = await enter(*beginning, str(app.port), "a", params={"x": "1"})
        assert there == f"{jp_base_url}{'/'.join(app.path)}/a?x=1"
        here = (*beginning, "absolute", str(app.port), "a")
        there = await enter(*here, params={"x": "1"})
        assert there == f"{jp_base_url}{'/'.join(app.path)}{jp_base_url}{'/'.join(here)}?x=1"
    with pytest.raises(HTTPClientError, match="404"):
        await jp_fetch("proxy", "1")


async def test_a_sentence_with_a_percent_sign() -> None:
    async def refuse() -> None:
        raise NotFound("There is nothing at 50%.")

    with pytest.raises(HTTPError) as refused:
        await app_proxy.refusing(refuse())
    assert app_proxy.said_by(refused.value) == "There is nothing at 50%."
    assert app_proxy.said_by(HTTPError(400, "It has %s", "20%")) == "It has 20%"
    assert app_proxy.said_by(HTTPError(400)) is None


async def test_what_is_kept_out_of_queries() -> None:
    names = app_proxy._NOT_IN_QUERIES
    given = "a=%2F&on_behalf_of=kim&%74oken=x&b&_xsrf&bai-token=y&c=+"
    assert app_proxy.without(given, names) == "a=%2F&b&c=+"
    assert app_proxy.without("", names) == ""


async def test_whose_port_it_is_when_several_kernels_run() -> None:
    def kernel(last_activity: int, **provisioner: Any) -> Any:
        more = {"execution_state": "idle", "reason": "", "notice": None, "kernel_id": "k"}
        return SimpleNamespace(last_activity=last_activity, provisioner=SimpleNamespace(**provisioner), **more)

    def view(session: str, status: str = "RUNNING") -> Any:
        return {"id": session, "status": status}

    waiting, local = kernel(9, view={}), kernel(8)
    ended, queued = kernel(7, view=view("c", "TERMINATED")), kernel(6, view=view("d", "PENDING"))
    live = [kernel(1, view=view("a")), kernel(3, view=view("b")), kernel(2, view=view("b"))]
    assert app_proxy.sessions_of([waiting, local, ended, queued, *live]) == ["b", "a"]


async def test_a_server_below_a_path_that_looks_like_an_apps() -> None:
    base_url = "/user/proxy/bai/apps/"
    assert app_proxy.rest_of(f"{base_url}proxy/8080/a%2Fb/proxy/c", base_url, 2) == "/a%2Fb/proxy/c"
    assert app_proxy.rest_of(f"{base_url}bai/proxy/8080", base_url, 3) == "/"


@pytest.mark.parametrize(
    "jp_server_config",
    [{"ServerApp": {"jpserver_extensions": {"bai_jupyter.extension": True}}, "BaiExtension": {"apps_at": "manager"}}],
)
async def test_where_the_manager_is_an_origin_of_its_own(app: Any, enter: Any, connected: Any, jp_fetch: Any) -> None:
    there = await enter(*app.path, "a", params={"x": "1"})
    assert there.startswith(f"{connected.config.endpoint}/apps/{connected.session}/{app.port}/a?x=1&bai-token=")


async def test_the_panels_link(app: Any, jp_fetch: Any, jp_base_url: str, connected: Any) -> None:
    answer = await jp_fetch("bai", "api", "sessions", connected.session, "apps", str(app.port), method="POST", body="")
    assert json.loads(answer.body) == {"link": f"{jp_base_url}{'/'.join(app.path)}/"}


def is_of(task: Any, kind: type) -> bool:
    """Whether a method of such an object runs in a task."""
    frame = task.get_coro().cr_frame
    return frame is not None and isinstance(frame.f_locals.get("self"), kind)


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not is_so():
            await asyncio.sleep(0.01)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
