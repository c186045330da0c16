"""``/bai/apps/{session}/{app}/…``: web apps inside sessions, behind Jupyter's own login, by way of the manager.

An app's pages must not act as the user of this server, although they come from its origin. So browsers are told to
give them an origin of their own (``sandbox``). A page without an origin has no cookies, so it could not load its own
parts by the login's: who has logged in is sent on to an address that holds a *ticket*, ``…/{app}/~TICKET/…``, which
lets in to this one app and nothing else. Relative addresses keep it. The app may know it: it is the way to itself.

What is changed in its pages for that is in ``app_pages.py``.

Cookies, tokens and everything else that speaks for the user stay here; what the app sets as cookie does, too.
"""

import asyncio
import hashlib
import hmac
import re
import time
from collections.abc import Awaitable, Iterable
from contextlib import suppress
from importlib.util import find_spec
from typing import Any, TypeVar
from urllib.parse import unquote_plus

from jupyter_server.auth.decorator import allow_unauthenticated, authorized
from jupyter_server.base.handlers import JupyterHandler
from tornado.http1connection import HTTP1Connection, HTTP1ConnectionParameters
from tornado.httputil import HTTPHeaders, HTTPInputError, RequestStartLine
from tornado.iostream import IOStream, StreamClosedError
from tornado.log import app_log
from tornado.web import Finish, HTTPError, RequestHandler, authenticated, stream_request_body

from bai_jupyter.client import ManagerClient, app_path, link_of
from bai_jupyter.common.errors import PublicError
from bai_jupyter.common.statuses import SessionStatus
from bai_jupyter.extension.app_pages import (
    STORAGE,
    STORAGE_FILE,
    Page,
    asks_for_page,
    is_plain_html,
    places_of,
    with_workers,
)
from bai_jupyter.extension.status import kernel_status
from bai_jupyter.reverse_proxy import (
    HOP_BY_HOP,
    MAX_BODY_BYTES,
    NEEDS_LENGTH,
    PIECE_BYTES,
    AnswerCopy,
    agrees,
    handshake,
    handshake_answer,
    needs_length,
)

T = TypeVar("T")

TICKET_S = 12 * 3600

SANDBOX = "sandbox allow-scripts allow-forms allow-modals allow-popups allow-downloads allow-pointer-lock"
"""Not ``allow-same-origin``: that would be the user's."""

_NOT_FOR_APPS = HOP_BY_HOP | {"authorization", "cookie", "host", "origin", "referer", "x-xsrftoken"}
_NOT_IN_QUERIES = frozenset({"_xsrf", "bai-token", "on_behalf_of", "token"})
_OF_THE_WHOLE_ORIGIN = {"alt-svc", "clear-site-data", "nel", "report-to", "reporting-endpoints"}
_OF_THE_WHOLE_ORIGIN |= {"set-cookie", "strict-transport-security", "www-authenticate"}
_NOT_FOR_BROWSERS = HOP_BY_HOP | _OF_THE_WHOLE_ORIGIN | {"referrer-policy"}
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class AppEntryHandler(JupyterHandler):
    """Who has logged in gets a ticket, or a link to where the app has an origin of its own."""

    auth_resource = "bai"

    @authenticated
    @authorized
    async def get(self, session: str, app: str) -> None:
        rest = rest_of(self.request.path, self.base_url, len(("bai", "apps", session, app)))
        secret, expires = self.settings["cookie_secret"], int(time.time()) + TICKET_S
        query = without(self.request.query, _NOT_IN_QUERIES)
        service = await refusing(client_of(self).start_service(session, app))
        self.set_header("Cache-Control", "no-store")
        if self.settings["bai_extension"].is_apart(service):
            self.redirect(link_of(service, rest[1:], query))
        else:
            given = ticket(secret, session, app, expires)
            self.redirect(joined(f"{entry(self.base_url, session, app)}/~{given}{rest}", query))

    head = get


class PortHandler(JupyterHandler):
    """``/bai/proxy/{port}/…``, and ``/proxy/…`` if jupyter-server-proxy does not have it: where kernels believe their
    ports to be. Of the sessions that have an app or anything else there, that of the kernel that was active last.

    With ``absolute/`` before the port, the app is asked for the path as it is here."""

    auth_resource = "bai"

    @authenticated
    @authorized
    async def get(self, absolute: str | None, port: str) -> None:
        is_ours = self.request.path.startswith(f"{self.base_url}bai/")
        rest = self.request.path if absolute else rest_of(self.request.path, self.base_url, 2 + is_ours)
        kernels = self.kernel_manager
        sessions = sessions_of([kernels.get_kernel(kernel_id) for kernel_id in kernels.list_kernel_ids()])
        for session in sessions:
            apps = await refusing(client_of(self).list_apps(session))
            if any(int(port) in app["ports"] for app in apps):
                query = without(self.request.query, _NOT_IN_QUERIES)
                self.redirect(joined(f"{entry(self.base_url, session, port)}{rest}", query))
                return
        where = (
            "in the sessions of this server's kernels"
            if sessions
            else ": no kernel of this server has a session that runs"
        )
        raise HTTPError(404, f"Nothing listens at port {port} {where}.")

    head = get


@stream_request_body
class AppHandler(RequestHandler):
    """Who has a ticket reaches the app. Bodies go through in pieces, both ways, no faster than the other side takes
    them. Nobody's login counts here, so there is nothing that a page of somebody else's could make use of."""

    SUPPORTED_METHODS = _METHODS
    _far_side: HTTP1Connection | None = None
    _work: asyncio.Task[None] | None = None
    _page: Page | None = None

    def check_xsrf_cookie(self) -> None:
        """A ticket is not sent by a browser on its own, as a cookie is."""

    def set_default_headers(self) -> None:
        self.set_header("Content-Security-Policy", SANDBOX)
        self.set_header("Referrer-Policy", "no-referrer")  # addresses hold the ticket
        self.set_header("X-Content-Type-Options", "nosniff")
        if self.request.headers.get("Origin") == "null":  # so the app's own pages are not strangers to it
            self.set_header("Access-Control-Allow-Origin", "null")
            self.set_header("Access-Control-Allow-Credentials", "true")
            self.set_header("Access-Control-Expose-Headers", "*")

    def _log(self) -> None:
        """Not here: addresses hold the ticket."""

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """As tornado does, but without the address."""
        what = f"{self.request.method} {self.request.path.partition('/~')[0]}"
        if isinstance(value, HTTPError):
            app_log.warning("%s: %s", what, value)
        else:
            app_log.error("%s", what, exc_info=(typ, value, tb))

    async def prepare(self) -> None:
        self.request.connection.set_max_body_size(MAX_BODY_BYTES)  # type: ignore[union-attr]
        session, app, given = self.path_args
        rest = rest_of(self.request.path, self.settings["base_url"], len(("bai", "apps", session, app, given)))
        if needs_length(str(self.request.method), self.request.headers):
            raise HTTPError(411, NEEDS_LENGTH)
        if not is_valid(self.settings["cookie_secret"], session, app, given, time.time()):
            self._send_back(session, app, rest)
        elif self.request.method == "OPTIONS" and "Access-Control-Request-Method" in self.request.headers:
            self._let_own_pages_ask()
        elif rest == STORAGE:
            self.set_header("Content-Type", "text/javascript; charset=utf-8")
            self.finish(STORAGE_FILE.read_bytes())
        else:
            await self._begin(session, app, rest)

    async def data_received(self, chunk: bytes) -> None:
        if self._far_side is not None:
            with suppress(StreamClosedError):  # it has heard enough; its answer says why
                await self._far_side.write(chunk)

    @allow_unauthenticated
    async def get(self, *_: str) -> None:
        self._work = asyncio.create_task(self._answer())
        try:
            await self._work
        except asyncio.CancelledError:  # nobody waits for it any more
            raise Finish from None

    head = post = put = patch = delete = options = get

    async def _answer(self) -> None:
        assert self._far_side is not None
        copy = AnswerCopy(self, self._answer_headers, self._piece)
        with suppress(StreamClosedError):
            self._far_side.finish()
            await self._far_side.read_response(copy)
        if not copy.has_begun:
            raise HTTPError(502, "The Backend.AI manager ended the connection without an answer. Try again.")
        if not copy.is_whole:  # it must not look whole
            self.request.connection.stream.close()  # type: ignore[union-attr]
            return
        await self.finish(self._page.end() or None if self._page is not None else None)

    def on_connection_close(self) -> None:
        super().on_connection_close()
        if self._work is not None:
            self._work.cancel()
        self._let_go()

    def on_finish(self) -> None:
        self._let_go()

    def _let_go(self) -> None:
        if self._far_side is not None:
            self._far_side.close()

    def write_error(self, status_code: int, **kwargs: object) -> None:
        error = kwargs.get("exc_info", (None, None, None))[1]  # type: ignore[index]
        said = said_by(error) if isinstance(error, HTTPError) else None
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(said or f"{status_code} {self._reason}")

    # The way there

    @property
    def _address(self) -> str:
        """Where the browser has the app."""
        session, app, given = self.path_args
        return f"{entry(self.settings['base_url'], session, app)}/~{given}"

    async def _begin(self, session: str, app: str, rest: str) -> None:
        client = client_of(self)
        method, content_type = str(self.request.method), self.request.headers.get("Content-Type", "")
        target = joined(rest, without(self.request.query, _NOT_IN_QUERIES))
        stream, target, ours = await refusing(client.connect_to_app(method, session, app, target, content_type))
        if self.request.connection.stream.closed():  # type: ignore[union-attr]  # meanwhile
            stream.close()
            raise Finish
        headers = self._request_headers(ours, client.config.endpoint)
        if self.request.headers.get("Upgrade", "").lower() == "websocket":
            await self._join(stream, handshake(method, target, headers))
            return
        self._far_side = HTTP1Connection(
            stream, True, HTTP1ConnectionParameters(no_keep_alive=True, max_body_size=MAX_BODY_BYTES)
        )
        headers["Connection"] = "close"
        with suppress(StreamClosedError):  # there may be an answer all the same
            await self._far_side.write_headers(RequestStartLine(method, target, "HTTP/1.1"), headers)

    def _request_headers(self, ours: HTTPHeaders, endpoint: str) -> HTTPHeaders:
        headers = HTTPHeaders()
        for name, value in self.request.headers.get_all():
            if name.lower() not in _NOT_FOR_APPS and name not in ours and not name.lower().startswith("x-backendai-"):
                headers.add(name, value)
        for name, value in ours.get_all():
            if value:
                headers[name] = value
        if "Origin" in self.request.headers:  # as the app sees its own, so that it does not take its pages for others'
            headers["Origin"] = "/".join(endpoint.split("/")[:3])
        headers["X-Forwarded-Prefix"] = self._address
        if asks_for_page(self.request.headers):
            headers["Accept-Encoding"] = "identity"  # a page's beginning is changed
        return headers

    def _answer_headers(self, headers: HTTPHeaders) -> HTTPHeaders:
        session, app, _ = self.path_args
        places = places_of(self.settings["base_url"], app)
        if is_plain_html(headers) and asks_for_page(self.request.headers):
            self._page = Page(self._address, places)
        kept = HTTPHeaders()
        for name, value in headers.get_all():
            if name.lower() == "location":
                value = moved(value, [app_path(session, app), *places], self._address)
            elif name.lower() == "content-security-policy":
                value = with_workers(value)
            is_wrong = self._page is not None and name.lower() == "content-length"
            if name.lower() not in _NOT_FOR_BROWSERS and not self._is_ours(name) and not is_wrong:
                kept.add(name, value)
        return kept

    def _piece(self, piece: bytes) -> bytes:
        return self._page.piece(piece) if self._page is not None else piece

    def _is_ours(self, name: str) -> bool:
        """Of the answers about origins, ours counts where we gave one; a second policy only forbids more."""
        return name.lower().startswith("access-control-") and name in self._headers

    async def _join(self, far: IOStream, asked: bytes) -> None:
        """The handshake, and then bytes both ways until either side ends."""
        near: IOStream = self.request.connection.detach()  # type: ignore[union-attr]
        near.set_nodelay(True)
        self._finished = True  # tornado has nothing more to do with it
        near.set_close_callback(far.close)  # an app may never answer
        try:
            with suppress(StreamClosedError, HTTPInputError):
                await far.write(asked)
                head = await far.read_until(b"\r\n\r\n", max_bytes=PIECE_BYTES)
                near.set_close_callback(None)  # what it has said last still goes there
                await near.write(handshake_answer(head, self._answer_headers))
                if not agrees(head):
                    return  # what comes next is no business of the app's
                ways = [asyncio.create_task(_carry(near, far)), asyncio.create_task(_carry(far, near))]
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        finally:
            far.close()
            near.close()

    # Without it

    def _send_back(self, session: str, app: str, rest: str) -> None:
        """To where a login gets a ticket: this one is over, or somebody made it up."""
        if self.request.method not in ("GET", "HEAD") or "Upgrade" in self.request.headers:
            raise HTTPError(403, "This page of the app is too old. Load it again.")
        query = without(self.request.query, _NOT_IN_QUERIES)
        self.redirect(joined(entry(self.settings["base_url"], session, app) + rest, query))

    def _let_own_pages_ask(self) -> None:
        self.set_header("Access-Control-Allow-Methods", ", ".join(_METHODS))
        self.set_header("Access-Control-Allow-Headers", self.request.headers.get("Access-Control-Request-Headers", ""))
        self.set_status(204)
        self.finish()


def client_of(handler: RequestHandler) -> ManagerClient:
    client: ManagerClient | None = handler.settings["bai_extension"].client
    if client is None:
        raise HTTPError(503, "This Jupyter server is not connected to a Backend.AI manager.")
    return client


async def refusing(call: Awaitable[T]) -> T:
    """A refusal of the manager as that of a page."""
    try:
        return await call
    except PublicError as error:
        raise HTTPError(error.status, error.message) from error


def said_by(error: HTTPError) -> str | None:
    """Its sentence; tornado keeps it as a form to be filled in."""
    return error.log_message % error.args if error.log_message else None


async def _carry(source: IOStream, target: IOStream) -> None:
    with suppress(StreamClosedError):
        while True:
            await target.write(await source.read_bytes(PIECE_BYTES, partial=True))


# Pure


def sessions_of(kernels: Iterable[Any]) -> list[str]:
    """Ids of the sessions of a server's kernels that run, that of the kernel that was active last first."""
    remote = [kernel for kernel in kernels if hasattr(kernel.provisioner, "view")]
    remote.sort(key=lambda kernel: kernel.last_activity, reverse=True)
    found = [kernel_status(kernel) for kernel in remote]
    running = [one for one in found if one["status"] == SessionStatus.RUNNING]
    return list(dict.fromkeys(one["session_id"] for one in running))


def entry(base_url: str, session: str, app: str) -> str:
    """Where a Jupyter server has an app."""
    return f"{base_url}bai/apps/{session}/{app}"


def rest_of(path: str, base_url: str, count: int) -> str:
    """What follows after the server's own beginning and so many parts, quoted as it was, from its slash on."""
    parts = path[len(base_url) :].split("/", count)
    return "/" + (parts[count] if len(parts) > count else "")


def joined(path: str, query: str) -> str:
    return f"{path}?{query}" if query else path


def ticket(secret: bytes, session: str, app: str, expires: int) -> str:
    """For one app of one session, until ``expires`` (seconds since 1970)."""
    signed = f"bai-app {expires} {session} {app}".encode()
    return f"{expires}-{hmac.new(secret, signed, hashlib.sha256).hexdigest()}"


def is_valid(secret: bytes, session: str, app: str, given: str, now: float) -> bool:
    expires = given.partition("-")[0]
    is_good = bool(re.fullmatch(r"\d{1,12}-[0-9a-f]{64}", given, re.ASCII)) and int(expires) > now
    return is_good and hmac.compare_digest(ticket(secret, session, app, int(expires)), given)


def moved(address: str, places: Iterable[str], there: str) -> str:
    """An address below one of the places, as it is below another one."""
    found = (place for place in places if address.startswith(f"{place}/"))
    return next((there + address.removeprefix(place) for place in found), address)


def without(query: str, names: Iterable[str]) -> str:
    """A query without these parameters; the others exactly as they were."""
    return "&".join(part for part in query.split("&") if unquote_plus(part.partition("=")[0]) not in names)


_APP = r"/bai/apps/([\w.-]+)/([\w.-]+)"
_PORT = r"/proxy/(absolute/)?(\d{1,5})(?:/.*)?"

HANDLERS = [
    (_APP + r"/~([^/]*)(?:/.*)?", AppHandler),
    (_APP + r"(?:/.*)?", AppEntryHandler),
    (r"/bai" + _PORT, PortHandler),
]
if find_spec("jupyter_server_proxy") is None:
    HANDLERS.append((_PORT, PortHandler))


def environ(base_url: str) -> dict[str, str]:
    """What kernels are told, so that ``%tensorboard`` shows what runs in their session."""
    return {"TENSORBOARD_PROXY_URL": f"{base_url}bai/proxy/%PORT%/"}
