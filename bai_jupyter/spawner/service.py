"""The manager as a service of a JupyterHub: who has logged in there sees their sessions, and may call it, by the Hub.

``python -m bai_jupyter.spawner.service``, started by the Hub (``c.JupyterHub.services``), with its ``BAI_CREDENTIALS``.
Hub users are the wards of its keypair, so what they may is decided at the manager. Which of them may look, and which
may change anything, are scopes of the Hub: its roles and groups give them. A token ends when the Hub says so, at most
``HubAuth.cache_max_age`` later. At its start it also has the Hub start again what waited (``left_behind``). Without a
``url`` it does nothing but that.
"""

import asyncio
import json
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
from tornado.web import Application, HTTPError, RequestHandler, authenticated

from bai_jupyter.client import ConfigError, ManagerClient
from bai_jupyter.common.errors import BadRequest, PublicError
from bai_jupyter.spawner.credentials import service_config
from bai_jupyter.spawner.left_behind import go_on
from bai_jupyter.spawner.service_page import STYLE_SOURCE, page_of

READ, USE = "custom:bai:read", "custom:bai:use"
_READING = frozenset({"GET", "HEAD"})
_MAX_BODY_BYTES = 1024 * 1024
_LOOK_EVERY_S = 1.0
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
    """The manager's calls whose bodies and answers are JSON, for scripts on the page's own origin and for tokens."""

    def get_login_url(self) -> str:
        raise HTTPError(403)  # a program follows no login

    @authenticated
    async def get(self) -> None:
        path = str(self.request.path).removeprefix(url_path_join(self.hub_auth.base_url, "api"))
        query = {name: self.get_query_argument(name) for name in self.request.query_arguments}
        async with await self.manager() as client:
            answer = await client.request(str(self.request.method), path, self._body(), query)
        self.set_status(204 if answer is None else 200)
        if answer is not None:
            self.set_header("Content-Type", "application/json")
            self.write(json.dumps(answer))

    post = put = patch = delete = get

    def _body(self) -> Any:
        if not self.request.body:
            return None
        try:
            return json.loads(self.request.body)
        except ValueError as error:
            raise BadRequest("The body is not JSON.") from error


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
