"""``/apps/{session}/{app}/…``: the way in to web apps inside sessions.

An app that is told its base URL, and our terminal, is asked at the address where it listens, as by a program beside it:
so it may refuse other hosts' names, which is how servers without a login (Jupyter's) keep out pages from elsewhere.

Who asks is known by a signature or bearer token, as everywhere, or in a browser by a cookie, which a link's
``?bai-token=`` is exchanged for. Neither reaches the app. What an app sets as cookie stays with that app's paths.
"""

from collections.abc import Collection, Hashable, Iterable
from urllib.parse import parse_qsl, urlencode, urlsplit

from tornado.httputil import HTTPHeaders

from bai_jupyter.common.errors import AuthFailed, NotFound
from bai_jupyter.common.reasons import Reason
from bai_jupyter.manager.agents.streams import ByteStream
from bai_jupyter.manager.api.reverse_proxy import ReverseProxyHandler
from bai_jupyter.manager.auth import policy
from bai_jupyter.manager.db.records import SessionRecord
from bai_jupyter.manager.sessions.ports import App
from bai_jupyter.reverse_proxy import HOP_BY_HOP

COOKIE, LINK_TOKEN = "bai-app", "bai-token"
_CREDENTIALS = frozenset({"authorization", "x-backendai-version", "x-backendai-date", "x-backendai-domain"})


class AppProxyHandler(ReverseProxyHandler):
    """An app that is told its base URL gets whole paths, another one what follows that."""

    _session: SessionRecord
    _app: App
    _port: int
    _not_for_apps = HOP_BY_HOP

    async def _admit(self) -> str | None:
        token = self.get_query_argument(LINK_TOKEN, None)
        if token is not None:
            self._exchange(token)
            return None
        self._session = await self._find_session()
        self._app, self._port = await self.services.apps.find(self._session, self.path_args[1])
        return target_of(str(self.request.uri), self.path_args, self._app, self._session.id)

    @property
    def _key(self) -> Hashable:
        return self._session.id, self._port, self._app.is_terminal  # a program may listen at the same port

    async def _open(self) -> ByteStream:
        return ByteStream(await self.services.apps.open(self._session, self._app, self._port))

    def request_headers(self) -> HTTPHeaders:
        request = self.request
        headers = HTTPHeaders()
        for name, value in request.headers.get_all():
            if name.lower() == "cookie":
                value = without_cookie(value)
            if value and name.lower() not in self._not_for_apps:
                headers.add(name, value)
        headers["X-Forwarded-For"] = str(request.remote_ip)
        headers["X-Forwarded-Proto"] = request.protocol
        headers["X-Forwarded-Host"] = request.host
        if self._app.checks_host:
            at_home(headers, {request.host, urlsplit(self.services.public_url).netloc}, f"localhost:{self._port}")
        # A proxy before this one knows better where the browser has the app.
        headers["X-Forwarded-Prefix"] = request.headers.get("X-Forwarded-Prefix") or _prefix(self.path_args).rstrip("/")
        return headers

    def answer_headers(self, headers: HTTPHeaders) -> HTTPHeaders:
        prefix = _prefix(self.path_args)
        return answer_headers(headers, prefix, "" if self._app.knows_base_url else prefix.rstrip("/"))

    # Who asks

    def _exchange(self, token: str) -> None:
        """A link's token for a cookie, and the link for one without it."""
        claims = self.services.app_tokens.read(token)
        url = urlsplit(str(self.request.uri))
        query = [item for item in parse_qsl(url.query, keep_blank_values=True) if item[0] != LINK_TOKEN]
        self.set_cookie(
            COOKIE,
            self.services.app_tokens.extend(claims),
            path=_prefix(self.path_args),
            httponly=True,
            secure=self.request.protocol == "https",
            samesite="Lax",
        )
        self.set_header("Cache-Control", "no-store")
        self.redirect(url._replace(query=urlencode(query)).geturl())

    async def _find_session(self) -> SessionRecord:
        """Raises ``AuthFailed``, or ``NotFound`` for what is not theirs as for what is not there."""
        cookie = self.get_cookie(COOKIE)
        if cookie is None:
            self._not_for_apps |= _CREDENTIALS
            caller = await self._authenticate()
            policy.require(caller.role, "session:execute")
            return await self.services.sessions.get(caller, self.path_args[0])
        claims = self.services.app_tokens.read(cookie)
        found = await self.services.sessions.get_by_link(claims.session_id)
        if found is None or self.path_args[0] not in (found.id, found.name):
            raise NotFound(Reason.of("not-found", kind="session", name=self.path_args[0]), title="No such session.")
        if claims.app != self.path_args[1]:
            raise AuthFailed(Reason.of("token"))
        return found


# Pure


def target_of(uri: str, path_args: Iterable[str], app: App, session_id: str) -> str:
    """The request's target as the app knows it: behind its base URL, or whole if it was told that."""
    rest = uri.removeprefix(_prefix(path_args).rstrip("/"))
    if app.knows_base_url:
        return app.base_url(session_id).rstrip("/") + rest
    return rest if rest.startswith("/") else "/" + rest


def at_home(headers: HTTPHeaders, hosts: Collection[str], place: str) -> None:
    """What names one of our ``hosts`` then names the app's own ``place``. A page of elsewhere is told as it is."""
    headers["Host"] = place
    for name in ("Origin", "Referer"):
        url = urlsplit(headers.get(name, ""))
        if url.netloc and url.netloc in hosts:
            headers[name] = url._replace(scheme="http", netloc=place).geturl()


def answer_headers(headers: HTTPHeaders, prefix: str, base: str) -> HTTPHeaders:
    """An app's headers for the browser. ``base`` goes before redirects of an app that does not know its own."""
    kept = HTTPHeaders()
    for name, value in headers.get_all():
        match name.lower():
            case name_ if name_ in HOP_BY_HOP:
                continue
            case "set-cookie":
                kept_cookie = confined_cookie(value, prefix)
                if kept_cookie is not None:
                    kept.add(name, kept_cookie)
            case "location" if value.startswith("/") and not value.startswith("//"):
                kept.add(name, base + value)
            case _:
                kept.add(name, value)
    return kept


def confined_cookie(value: str, prefix: str) -> str | None:
    """An app's cookie for that app's paths alone; none of ours, and none that cannot be read."""
    name, *attributes = [part.strip() for part in value.split(";")]
    if not name or name.partition("=")[0].strip() == COOKIE:
        return None
    kept, path = [], prefix
    for attribute in attributes:
        key, _, given = attribute.partition("=")
        if key.lower() == "path" and given.startswith(prefix):
            path = given
        elif key.lower() not in ("path", "domain"):
            kept.append(attribute)
    return "; ".join([name, *kept, f"Path={path}"])


def without_cookie(header: str) -> str:
    """A Cookie header without ours."""
    parts = [part.strip() for part in header.split(";")]
    return "; ".join(part for part in parts if part and part.partition("=")[0] != COOKIE)


def _prefix(path_args: Iterable[str]) -> str:
    session, app, *_ = path_args
    return f"/apps/{session}/{app}/"


ROUTES = [(r"/apps/([^/]+)/([^/]+)(?:/.*)?", AppProxyHandler)]
