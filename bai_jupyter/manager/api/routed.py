"""``…/user/NAME/…``: the way in for a JupyterHub's proxy, to the servers of its users inside their sessions.

Which session has a path is in its row, so it holds whoever is started again. Nobody is asked who they are, and nothing
is changed: the server inside lets in whom its hub knows.
"""

from collections.abc import Hashable

from tornado.web import HTTPError

from bai_jupyter.common.errors import BadRequest, Unavailable
from bai_jupyter.manager.agents.streams import ByteStream
from bai_jupyter.manager.api.reverse_proxy import ReverseProxyHandler
from bai_jupyter.manager.db.records import SessionRecord


class RoutedHandler(ReverseProxyHandler):
    is_public = True
    _session: SessionRecord
    _port: int

    async def _admit(self) -> str | None:
        found = await self.services.sessions.at_path(str(self.request.path))
        if found is None:
            raise HTTPError(404)
        self._session, self._port = found
        return str(self.request.uri)

    @property
    def _key(self) -> Hashable:
        return self._session.id, self._port

    async def _open(self) -> ByteStream:
        try:
            return ByteStream(await self.services.apps.open_port(self._session, self._port))
        except BadRequest as error:  # not running, or not listening: who asked did nothing wrong, and may ask again
            raise Unavailable(error.reason or error.message) from error


ROUTES = [(r"/(?:.+/)?user/([^/]+)(?:/.*)?", RoutedHandler)]
