"""The manager as a service of a JupyterHub: who has logged in there sees their sessions, and may call it, by the Hub.

``python -m bai_jupyter.spawner.service``, started by the Hub (``c.JupyterHub.services``), with its ``BAI_CREDENTIALS``.
Hub users are the wards of its keypair, so what they may is decided at the manager. Which of them may look, and which
may change anything, are scopes of the Hub: its roles and groups give them. A token ends when the Hub says so, at most
``HubAuth.cache_max_age`` later. At its start it also has the Hub start again what waited (``left_behind``). Without a
``url`` it does nothing but that.
"""

import asyncio
import os
import signal
import ssl
import sys
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from jupyterhub.services.auth import HubAuth, HubOAuth, HubOAuthCallbackHandler, HubOAuthenticated
from jupyterhub.utils import make_ssl_context, url_path_join
from tornado.httpserver import HTTPServer
from tornado.web import Application, Finish, HTTPError, RequestHandler, authenticated

from bai_jupyter.client import ConfigError, ManagerAway, ManagerClient
from bai_jupyter.common.errors import PublicError
from bai_jupyter.spawner.credentials import service_config
from bai_jupyter.spawner.left_behind import go_on
from bai_jupyter.spawner.service_page import STYLE_SOURCE, page_of

READ, USE = "custom:bai:read", "custom:bai:use"
_READING = frozenset({"GET", "HEAD"})
_MAX_BODY_BYTES = 1024 * 1024
_LOOK_EVERY_S = 1.0
_ASKED_WITH = ("Accept", "Content-Type", "If-Range", "Range", "Tus-Resumable", "Upload-Length", "Upload-Offset")
"""What of a request's headers the manager is told; who asks, it is told by us."""
_ANSWERED_WITH = frozenset(
    {"accept-ranges", "allow", "content-disposition", "content-length", "content-range", "content-type", "etag"}
    | {"last-modified", "retry-after", "tus-resumable", "upload-length", "upload-offset"}
)
"""What of an answer's is passed on, beside ``Location``; never a cookie, which would be one of the Hub's origin."""
_POLICY = f"default-src 'none'; style-src {STYLE_SOURCE}; form-action 'self'; frame-ancestors 'none'"


class _Handler(HubOAuthenticated, RequestHandler):
    """Of somebody who may use this service, with ``READ`` for what only looks and ``USE`` for the rest."""

    def set_default_headers(self) -> None:
        self.set_header("Content-Security-Policy", _POLICY)
        self.set_header("Cache-Control", "no-store")

    async def prepare(self) -> None:
        await self.hub_auth.get_user(self, sync=False)  # asked now, so that nothing blocks when it is needed
        if self.current_user is not None and not self.may(READ if self.request.method in _READING else USE):
            raise HTTPError(403)

    def may(self, scope: str) -> bool:
        user = self.current_user
        return user.get("kind") == "user" and bool(self.hub_auth.check_scopes({scope}, user))

    async def manager(self) -> ManagerClient:
        """Acts for the user, who is made one of the manager's if need be. Raises ``PublicError``."""
        config = service_config()
        async with ManagerClient(config) as service:
            await service.make_ward(self.current_user["name"])
        return ManagerClient(replace(config, on_behalf_of=self.current_user["name"]))

    def write_error(self, status_code: int, **details: Any) -> None:  # noqa: ARG002 - tornado's
        """What the manager has refused, as it would say so itself."""
        error = details["exc_info"][1] if "exc_info" in details else None
        if isinstance(error, PublicError):
            self.set_status(error.status)
            self.finish(error.to_problem())
        else:
            self.finish({"title": self._reason, "msg": getattr(error, "log_message", None) or self._reason})

    def log_exception(self, kind: Any, error: Any, trace: Any) -> None:
        if not isinstance(error, PublicError):
            super().log_exception(kind, error, trace)


class _PageHandler(_Handler):
    @authenticated
    async def get(self) -> None:
        async with await self.manager() as client:
            sessions = await client.list_sessions()
        xsrf = self.xsrf_token.decode() if self.may(USE) else None
        hub, prefix = self.hub_auth.hub_prefix, self.hub_auth.base_url
        self.finish(page_of(self.current_user["name"], sessions, prefix=prefix, hub=hub, scope=USE, xsrf=xsrf))


class _EndHandler(_Handler):
    @authenticated
    async def post(self) -> None:
        async with await self.manager() as client:
            await client.destroy_session(self.get_body_argument("session"))
        self.redirect(self.hub_auth.base_url)


class _ApiHandler(_Handler):
    """The manager's calls, for scripts on the page's own origin and for tokens, answered as the manager does.

    Whatever a session shows of itself comes by it too, so no answer is a page with rights on the Hub's origin.
    """

    _passing: asyncio.Task[None] | None = None

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Content-Security-Policy", f"{_POLICY}; sandbox")
        self.set_header("X-Content-Type-Options", "nosniff")

    def get_login_url(self) -> str:
        raise HTTPError(403)  # a program follows no login

    def compute_etag(self) -> None:
        return None  # the manager's, if it has one

    @authenticated
    async def get(self) -> None:
        self._passing = asyncio.create_task(self._pass_on())
        try:
            await self._passing
        except asyncio.CancelledError:
            raise Finish from None

    head = post = put = patch = delete = get

    def on_connection_close(self) -> None:
        super().on_connection_close()
        if self._passing is not None:
            self._passing.cancel()

    async def _pass_on(self) -> None:
        request, base = self.request, url_path_join(self.hub_auth.base_url, "api")
        query = {name: self.get_query_argument(name, strip=False) for name in request.query_arguments}
        headers = {name: request.headers[name] for name in _ASKED_WITH if name in request.headers}
        path = str(request.path).removeprefix(base)
        async with (
            await self.manager() as client,
            client.forward(str(request.method), path, request.body, query, headers) as answer,
        ):
            self.set_status(answer.status)
            for name in _ANSWERED_WITH & {name.lower() for name in answer.headers}:
                self.set_header(name, answer.headers[name])
            if place := answer.headers.get("Location"):
                self.set_header("Location", _below(place, client.config.endpoint, base))
            if "Content-Type" not in answer.headers:
                self.clear_header("Content-Type")
            try:
                async for piece in answer.pieces:
                    self.write(piece)
                    await self.flush()
            except ManagerAway:
                if not self._headers_written:
                    raise
                request.connection.stream.close()  # it would look whole otherwise


def _below(place: str, endpoint: str, base: str) -> str:
    """An address of the manager's, as it is to be had here; any other as it is."""
    is_ours = place == endpoint or place.startswith((f"{endpoint}/", f"{endpoint}?"))
    return base + place.removeprefix(endpoint) if is_ours else place


def make_app(auth: HubOAuth) -> Application:
    """Everything lies below the service's prefix."""
    base = auth.base_url
    return Application(
        [
            (base, _PageHandler),
            (url_path_join(base, "oauth_callback"), HubOAuthCallbackHandler),
            (url_path_join(base, "end"), _EndHandler),
            (url_path_join(base, "api/.*"), _ApiHandler),
        ],
        cookie_secret=os.urandom(32),  # the cookies of an earlier process are worth a look at the Hub
    )


async def serve() -> None:
    """Until SIGTERM or SIGINT, where the Hub says; or the Hub is gone, whose successor starts another one of us."""
    url = os.environ.get("JUPYTERHUB_SERVICE_URL")
    auth = HubOAuth.instance() if url else HubAuth.instance()
    server = _listen(auth, url) if url else None
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    tasks = [asyncio.create_task(one) for one in (go_on(auth), _end_with(os.getppid(), stop))]
    await stop.wait()
    if server is not None:
        server.stop()
        await server.close_all_connections()
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _listen(auth: HubOAuth, url: str) -> HTTPServer:
    place = urlsplit(url)
    server = HTTPServer(make_app(auth), xheaders=True, max_body_size=_MAX_BODY_BYTES, ssl_options=_tls(auth))
    server.listen(place.port, str(place.hostname))
    return server


async def _end_with(parent: int, stop: asyncio.Event) -> None:
    while os.getppid() == parent:
        await asyncio.sleep(_LOOK_EVERY_S)
    stop.set()


def _tls(auth: HubOAuth) -> ssl.SSLContext | None:
    """With the Hub's internal_ssl: the certificate that the Hub has made for this service."""
    return make_ssl_context(auth.keyfile, auth.certfile, cafile=auth.client_ca, purpose=ssl.Purpose.CLIENT_AUTH)


def main() -> None:
    try:
        service_config()
    except ConfigError as error:
        sys.exit(str(error))
    asyncio.run(serve())


if __name__ == "__main__":
    main()
