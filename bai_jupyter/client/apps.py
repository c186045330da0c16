"""Apps of sessions: links for browsers, and connections of one's own."""

from urllib.parse import urlencode

from tornado.httputil import HTTPHeaders
from tornado.iostream import IOStream
from tornado.websocket import WebSocketClientConnection

from bai_jupyter.client.answers import Json
from bai_jupyter.client.connection import Connection
from bai_jupyter.client.paths import app_path, session_path


class Apps(Connection):
    async def list_apps(self, session: str) -> list[Json]:
        """``[{"name", "protocol", "ports"}]``: those of the image, and the ports that were asked for."""
        return await self.request("GET", f"/stream{session_path(session)}/apps")

    async def start_app(self, session: str, app: str, timeout_s: float = 60) -> str:
        """A link that lets a browser in within the next minute. The app is started if it does not answer."""
        return link_of(await self.start_service(session, app, timeout_s))

    async def start_service(self, session: str, app: str, timeout_s: float = 60) -> Json:
        """``{"token", "wsproxy_addr", "knows_base_url"}``: where the manager has an app, and what lets a browser in."""
        return await self.request("POST", f"{session_path(session)}/start-service", {"app": app}, timeout_s=timeout_s)

    async def open_app(self, session: str, app: str) -> WebSocketClientConnection:
        """One TCP connection to an app, which is started if it does not answer: binary messages are its bytes."""
        return await self._dial(f"/stream{session_path(session)}/tcpproxy", {"app": app})

    async def connect_to_app(
        self, method: str, session: str, app: str, rest: str, content_type: str
    ) -> tuple[IOStream, str, HTTPHeaders]:
        """A connection for one HTTP request to an app, whose body and answer are the caller's matter.

        ``rest`` is what follows the app's address: a path that begins with ``/``, quoted, and its query. Returns the
        connection, the request's target there, and headers that go in the place of those of the same names. The
        answer is the app's, or the manager's refusal as a problem document. Raises ``ManagerAway``.
        """
        path, _, given = rest.partition("?")
        acting = urlencode({"on_behalf_of": self.config.on_behalf_of}) if self.config.on_behalf_of else ""
        query = "&".join(part for part in (given, acting) if part)
        target = f"{self._prefix}{app_path(session, app)}{path}" + (f"?{query}" if query else "")
        try:
            stream = await self._connect()
        except (OSError, TimeoutError) as error:
            raise self._away(error) from error
        return stream, target, self._headers(method, target, None, content_type)


def link_of(service: Json, rest: str = "", query: str = "") -> str:
    """For a browser, by the manager's address; ``rest`` and ``query``, quoted, go to the app."""
    token = urlencode({"bai-token": service["token"]})
    return f"{service['wsproxy_addr']}{rest}?{'&'.join(filter(None, [query, token]))}"
