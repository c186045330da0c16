"""Async client of the manager API: the only way in for provisioner, spawner, extension, widgets and command line.

Owns: where credentials are found, signing, errors back into the tree of ``common.errors``, one method per call of
``docs/api.md``, events, carrying files, and opening a kernel stream. Does not own: what to do when the manager
is away (no call is repeated here, except by ``wait_for``, ``upload`` and ``download``, which say so), and what a
stream's records mean (``common.records``).
"""

import asyncio
import hashlib
import json
import os
import socket
import ssl
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, urlencode, urlsplit

from tornado.http1connection import HTTP1Connection, HTTP1ConnectionParameters
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.httputil import HTTPHeaders, HTTPMessageDelegate, RequestStartLine, ResponseStartLine
from tornado.iostream import IOStream, StreamClosedError
from tornado.netutil import Resolver
from tornado.tcpclient import TCPClient
from tornado.websocket import WebSocketClientConnection, WebSocketClosedError, WebSocketError, websocket_connect

from bai_jupyter.common import errors, signing
from bai_jupyter.common.errors import BadRequest, BaiError, PublicError, Unavailable
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.statuses import FINAL, SessionStatus
from bai_jupyter.common.trust import BY_SYSTEM, Trust, refusal

API_VERSION = "v7.20230615"
MAX_STREAM_MESSAGE = 1024 * 1024
CONNECT_TIMEOUT_S = 10.0
TRANSFER_BYTES = 16 * 1024**2
"""Files are carried in pieces of this size: so much is in memory, and is sent again after a broken connection."""

_TRANSFER_TIMEOUT_S = 300.0
_DELETE_TIMEOUT_S = 600.0
_FORWARD_TIMEOUT_S = 600.0  # some calls hold their answer until something has happened
_COMMAND_START_S = 60.0
_READ_BYTES = 512 * 1024
_PIECES_AHEAD = 8
_TRANSFER_TRIES = 6
_DEFAULT_PORTS = {"http": 80, "https": 443}
_UNBOUNDED = 1 << 62

Json = dict[str, Any]


# Credentials


class ConfigError(BaiError):
    """Credentials were found but cannot be used; the message says which and what to do."""

    code = "credentials"


@dataclass(frozen=True)
class ClientConfig:
    """Where the manager is and who asks. ``endpoint`` is ``http(s)://host[:port][/prefix]``; ``trust`` says whose
    certificate is right there.

    A session that was granted access has no keys: ``token_file`` holds its token, exchanged for a fresh one every few
    minutes, and ``socket`` leads to the manager, where the network does not. What goes through it is HTTP: it ends at
    the agent, which sees to TLS.
    """

    endpoint: str
    access_key: str = ""
    secret_key: str = field(default="", repr=False)
    user: str = ""
    token_file: Path | None = None
    socket: Path | None = None
    on_behalf_of: str = ""  # the user for whom a service acts, with its own keys
    trust: Trust = BY_SYSTEM

    def __post_init__(self) -> None:
        url = urlsplit(self.endpoint)
        if url.scheme not in _DEFAULT_PORTS or not url.hostname or url.username or url.query or url.fragment:
            raise ConfigError(f"{self.endpoint!r} is not an address such as http://127.0.0.1:8090.")
        if self.token_file is None and not (self.access_key and self.secret_key):
            raise ConfigError(f"The access key or the secret key for {self.endpoint} is empty.")
        object.__setattr__(self, "endpoint", self.endpoint.rstrip("/"))

    @classmethod
    def of_nobody(cls, endpoint: str, trust: Trust = BY_SYSTEM) -> "ClientConfig":
        """For calls that need no keypair, as ``log_in``: the manager does not look at the signature of these."""
        return cls(endpoint, "nobody", "nobody", trust=trust)


def load_config(environ: Mapping[str, str], start_dir: str | Path) -> ClientConfig | None:
    """Find credentials, or ``None`` if there are none. The first of these that exists decides:

    1. ``BACKEND_ENDPOINT``, ``BACKEND_ACCESS_KEY``, ``BACKEND_SECRET_KEY`` (all three; of several endpoints the first),
       with ``BAI_MANAGER_FINGERPRINT`` or ``BAI_MANAGER_CA`` where no CA of the system vouches for its certificate;
       or in a session with access to the manager ``BACKEND_ENDPOINT``, ``BAI_TOKEN_FILE``, ``BAI_MANAGER_SOCKET``
    2. the file named by ``BAI_CREDENTIALS``
    3. ``.bai/credentials.json`` in ``start_dir`` or the nearest folder above it
    4. ``~/.config/bai/credentials.json``

    The file is ``{"endpoint", "access_key", "secret_key", "user", "fingerprint", "ca_file"}``, of which the first three
    are needed. Raises ``ConfigError`` for half a configuration, for a file that other users can read, and for a file
    found upward (3) that belongs to somebody else.
    """
    if environ.get("BACKEND_ENDPOINT"):
        return _from_environment(environ)
    if named := environ.get("BAI_CREDENTIALS"):
        return read_credentials(Path(named))
    start = Path(start_dir).absolute()
    for folder in (start, *start.parents):
        path = folder / ".bai" / "credentials.json"
        if path.exists():
            _check_owner(path)
            return read_credentials(path)
    path = credentials_path(environ)
    return read_credentials(path) if path.exists() else None


def credentials_path(environ: Mapping[str, str]) -> Path:
    """One's own file, which ``bai login`` writes."""
    return Path(environ.get("HOME") or Path.home()) / ".config" / "bai" / "credentials.json"


def read_credentials(path: Path) -> ClientConfig:
    """Read one credentials file. Raises ``ConfigError`` if it is missing, malformed or readable for others."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise ConfigError(f"Others can use {path} (mode {mode:04o}). Run: chmod 600 {path}")
            raw = json.load(file)
        trust = _trust(raw.get("fingerprint"), raw.get("ca_file"), path.parent)
        return ClientConfig(raw["endpoint"], raw["access_key"], raw["secret_key"], raw.get("user") or "", trust=trust)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        keys = "endpoint, access_key, secret_key"
        raise ConfigError(f"{path} is not a credentials file: it needs {keys} as JSON text.") from error


def _from_environment(environ: Mapping[str, str]) -> ClientConfig:
    endpoint = environ["BACKEND_ENDPOINT"].split(",")[0].strip()
    missing = [name for name in ("BACKEND_ACCESS_KEY", "BACKEND_SECRET_KEY") if not environ.get(name)]
    if missing and environ.get("BAI_TOKEN_FILE"):
        path = environ.get("BAI_MANAGER_SOCKET")
        return ClientConfig(endpoint, token_file=Path(environ["BAI_TOKEN_FILE"]), socket=Path(path) if path else None)
    if missing:
        raise ConfigError(f"BACKEND_ENDPOINT is set, but {' and '.join(missing)} is not.")
    trust = _trust(environ.get("BAI_MANAGER_FINGERPRINT"), environ.get("BAI_MANAGER_CA"), Path.cwd())
    return ClientConfig(endpoint, environ["BACKEND_ACCESS_KEY"], environ["BACKEND_SECRET_KEY"], trust=trust)


def _trust(fingerprint: str | None, ca_file: str | None, folder: Path) -> Trust:
    """``ca_file`` is relative to ``folder``. Raises ``ConfigError``."""
    try:
        return Trust(fingerprint or "", str(folder.absolute() / ca_file) if ca_file else "")
    except ValueError as error:
        raise ConfigError(f"The fingerprint of the manager's certificate: {error}.") from error


def _read_token(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise ConfigError(f"The session's token cannot be read at {path}: {error.strerror}.") from error


def _check_owner(path: Path) -> None:
    # A folder above may be anybody's (/tmp): their file would send our work to their manager.
    if path.stat().st_uid != os.geteuid():
        raise ConfigError(f"{path} belongs to another user. If you trust it, name it in BAI_CREDENTIALS.")


# What may go wrong


class ManagerAway(Unavailable):
    """Nothing usable answered at the endpoint. A call that failed so may or may not have been carried out."""

    def __init__(self, endpoint: str, reason: Reason | None = None) -> None:
        super().__init__(reason or Reason.of("manager-away", url=endpoint))


class ManagerNotTrusted(ManagerAway):
    """Who answers at the endpoint has another certificate than it should. Nothing was sent to it."""

    def __init__(self, endpoint: str, error: ssl.SSLCertVerificationError) -> None:
        super().__init__(endpoint, refusal(endpoint, error))


class SessionEnded(BaiError):
    """``wait_for``: the session ended in another status than the wanted ones. ``view`` is its last view."""

    code = "session-ended"

    def __init__(self, view: Json) -> None:
        self.view = view
        reason = view.get("reason") or {}
        super().__init__(reason.get("text") or f"Session {view.get('name')} is {view.get('status')}.")


_TREE = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, PublicError)]
_BY_SLUG = {kind.slug: kind for kind in _TREE}
_BY_STATUS = {kind.status: kind for kind in reversed(_TREE)}  # the parent wins where a child has the same status


def error_of(status: int, content_type: str, body: bytes, endpoint: str) -> PublicError:
    """The exception for an answer that is not a success.

    A problem document becomes its class of ``common.errors`` with its ``Reason``. Anything else was not written by the
    manager: 502 to 504 mean that a proxy did not reach it.
    """
    try:
        problem = json.loads(body) if "json" in content_type else None
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        return ManagerAway(endpoint) if status in (502, 503, 504) else _unexpected(status, endpoint)
    slug = str(problem.get("type", "")).rpartition("/")[2]
    kind = _BY_SLUG.get(slug) or _BY_STATUS.get(status) or PublicError
    data = dict(problem.get("data") or {}) if isinstance(problem.get("data"), dict) else {}
    reason = _reason_of(data.pop("reason", None))
    title = str(problem.get("title") or kind.title)
    error = kind(reason or str(problem.get("msg") or title), title=title, data=data or None)
    error.status = status
    return error


def _reason_of(raw: object) -> Reason | None:
    if not isinstance(raw, dict) or "code" not in raw:
        return None
    try:
        return Reason.from_json(raw)
    except (AssertionError, TypeError):
        return None


def _unexpected(status: int, endpoint: str) -> PublicError:
    kind = _BY_STATUS.get(status, PublicError)
    error = kind(f"{endpoint} answered {status}, and not as a Backend.AI manager does. Is the address right?")
    error.status = status
    return error


# What is asked for


@dataclass(frozen=True)
class SessionRequest:
    """What a session should be. ``resources`` as people write them: ``{"cpu": 2, "mem": "4g", "cuda.shares": "0.5"}``.

    Left out: resources come from the preset, without preset from the policy. ``mount_map`` maps a folder's name to an
    absolute path in the session.
    """

    name: str
    image: str
    resources: Mapping[str, Any] | None = None
    preset: str | None = None
    resource_opts: Mapping[str, str] = field(default_factory=dict)
    mounts: Sequence[str] = ()
    mount_map: Mapping[str, str] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    resource_group: str | None = None
    reuse_if_exists: bool = True
    enqueue_only: bool = True
    max_wait_s: int = 0
    manager_access: str | None = None  # "self" or "user": what the session may do at the manager by itself
    project: str | None = None
    read_only: Collection[str] = ()  # folders of ``mounts`` that cannot be written
    command: str | None = None  # a batch session's, which ends with it; without one it is interactive
    route: tuple[str, int] | None = None  # for services: a path of the manager, and the port that it leads to
    doors: Sequence[str] = ()  # for services: the agent's doors that the session may use
    cluster_size: int = 1  # containers, each with these resources
    bootstrap: str | None = field(default=None, repr=False)  # a shell script that runs before anything else
    dependencies: Sequence[str] = ()  # sessions that must have succeeded before
    starts_at: str | None = None  # not before: a time as ISO 8601 has it, or from now (``30m``)
    tag: str | None = None

    def to_json(self) -> Json:
        """The body of ``POST /session``; what was not given is not sent."""
        config = {
            "resources": {name: str(amount) for name, amount in self.resources.items()} if self.resources else None,
            "preset": self.preset,
            "resource_opts": dict(self.resource_opts),
            "mounts": list(self.mounts),
            "mount_map": dict(self.mount_map),
            "environ": dict(self.environ),
            "scalingGroup": self.resource_group,
            "manager_access": self.manager_access,
            "mount_options": {name: {"permission": "ro"} for name in self.read_only},
            "route": {"path": self.route[0], "port": self.route[1]} if self.route else None,
            "doors": list(self.doors),
        }
        body = {
            "name": self.name,
            "image": self.image,
            "type": "batch" if self.command else "interactive",
            "startupCommand": self.command,
            "bootstrap_script": self.bootstrap,
            "group": self.project,
            "dependencies": list(self.dependencies) or None,
            "starts_at": self.starts_at,
            "tag": self.tag,
            "enqueueOnly": self.enqueue_only,
            "maxWaitSeconds": self.max_wait_s,
            "reuseIfExists": self.reuse_if_exists,
            "clusterSize": self.cluster_size if self.cluster_size > 1 else None,
            "config": {key: value for key, value in config.items() if value},
        }
        return {key: value for key, value in body.items() if value is not None}


@dataclass(frozen=True)
class Download:
    """A file that is fetched in pieces, as it was when the first was asked for."""

    path: str
    token: str = field(repr=False)
    size: int
    version: str


@dataclass(frozen=True)
class Forwarded:
    """An answer as the manager gave it."""

    status: int
    headers: HTTPHeaders
    pieces: AsyncGenerator[bytes, None]


# The client


class ManagerClient:
    """Signed calls to one manager, for use on one event loop.

    Every call has a time-out and is made once. Raises ``PublicError`` subclasses as the manager meant them, and
    ``ManagerAway`` if it cannot be reached or does not answer in time. ``close`` ends what is open.
    """

    def __init__(self, config: ClientConfig) -> None:
        self.config = config
        url = urlsplit(config.endpoint)
        self._is_encrypted = url.scheme == "https" and config.socket is None
        self._hostname = url.hostname or ""
        self._port = url.port or _DEFAULT_PORTS[url.scheme]
        bare = f"[{self._hostname}]" if ":" in self._hostname else self._hostname
        self._host = bare if self._port == _DEFAULT_PORTS[url.scheme] else f"{bare}:{self._port}"
        self._prefix = url.path.rstrip("/")
        self._tcp: TCPClient | None = None
        self._ssl: ssl.SSLContext | None = None
        self._resolver = None if config.socket is None else _ByThisSocket(config.socket)

    async def __aenter__(self) -> "ManagerClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._tcp is not None:
            self._tcp.close()
            self._tcp = None

    async def request(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        query: Mapping[str, object] | None = None,
        timeout_s: float = 30,
    ) -> Any:
        """One call. Returns the answer's JSON, or ``None`` where the answer has no body (204).

        ``path`` is already quoted (see ``_session``); ``query`` values of ``None`` are left out.
        """
        try:
            async with asyncio.timeout(timeout_s), self._exchange(method, path, body, query) as answer:
                start = await answer.started
                content = await answer.body()
        except (OSError, TimeoutError) as error:
            raise self._away(error) from error
        if not answer.is_complete:
            raise ManagerAway(self.config.endpoint)
        content_type = answer.headers.get("Content-Type", "")
        if not 200 <= start.code < 300:
            raise error_of(start.code, content_type, content, self.config.endpoint)
        if not content:
            return None
        try:
            return json.loads(content)
        except ValueError as error:
            raise _unexpected(start.code, self.config.endpoint) from error

    @asynccontextmanager
    async def forward(
        self, method: str, path: str, content: bytes, query: Mapping[str, object], headers: Mapping[str, str]
    ) -> AsyncIterator["Forwarded"]:
        """A call of somebody else's, made as ours: gives whatever is answered, refusals too, as it arrives.

        ``headers`` go along; their ``Content-Type`` is that of ``content``. Raises ``ManagerAway``, also among pieces.
        """
        target = self._target(path, query)
        signed = self._headers(method, target, content or None, headers.get("Content-Type"))
        async with AsyncExitStack() as stack:
            try:
                sending = self._send(method, target, HTTPHeaders({**headers, **signed}), content)
                answer = await stack.enter_async_context(sending)
                async with asyncio.timeout(_FORWARD_TIMEOUT_S):
                    start = await answer.started
            except (OSError, TimeoutError) as error:
                raise self._away(error) from error
            yield Forwarded(start.code, answer.headers, self._whole(answer))

    # Sessions

    async def create_session(self, request: SessionRequest, timeout_s: float = 30) -> Json:
        """Ask for a session: ``{"sessionId", "sessionName", "status", "created"}``.

        With ``enqueue_only=False`` the manager holds the answer for up to ``max_wait_s``; give ``timeout_s`` more.
        """
        return await self.request("POST", "/session", request.to_json(), timeout_s=timeout_s)

    async def dry_run(self, request: SessionRequest) -> Json:
        """What would happen: ``{"verdict": "now" | "wait" | "refused", "reason", "estimate_s", "slots"}``."""
        return await self.request("POST", "/resource/dry-run", request.to_json())

    async def get_session(self, session: str) -> Json:
        return await self.request("GET", _session(session))

    async def find_running(self, session: str) -> str:
        """The id of a running session of one's own. Raises ``NotFound``: a superadmin sees others', but joins none."""
        view = await self.get_session(session)
        if view["userId"] != (await self.whoami())["id"]:
            raise errors.NotFound(Reason.of("not-found", kind="session", name=session))
        if view["status"] != SessionStatus.RUNNING:
            raise errors.NotFound(Reason.of("not-running", name=view["name"], status=view["status"]))
        return str(view["id"])

    async def list_sessions(self, statuses: Collection[str] = (), everyone: bool = False) -> list[Json]:
        """Session views, newest first; without ``statuses`` all that have not ended. ``everyone``: superadmins."""
        query = {"status": ",".join(statuses) or None, "all": "true" if everyone else None}
        return (await self.request("GET", "/sessions", query=query))["sessions"]

    async def destroy_session(self, session: str, forced: bool = False, owner: str | None = None) -> None:
        """Ask for its end; it is gone when its status is final (``wait_for``). ``owner``: for admins, a keypair's."""
        query = {"forced": "true" if forced else None, "owner_access_key": owner}
        await self.request("DELETE", _session(session), query=query)

    async def rename(self, session: str, name: str) -> None:
        await self.request("POST", f"{_session(session)}/rename", query={"name": name})

    async def resize(self, session: str, resources: Mapping[str, str]) -> Json:
        """Other amounts of ``cpu`` and ``mem`` for a running session. Its view, once it has them."""
        return await self.request("POST", f"{_session(session)}/resize", {"resources": dict(resources)})

    async def attach_folder(
        self, session: str, folder: str, path: str | None = None, *, read_only: bool = False
    ) -> Json:
        """One more folder for a running session, at ``/home/work/NAME`` or ``path``. Its view, once it is there."""
        given = {"path": path, "permission": "ro" if read_only else None}
        body = {"folder": folder, **{name: value for name, value in given.items() if value is not None}}
        return await self.request("POST", f"{_session(session)}/attach-folder", body)

    async def detach_folder(self, session: str, folder: str, *, force: bool = False) -> Json:
        """Take a folder away from a running session; by force also if it is in use, which ends what uses it."""
        return await self.request("POST", f"{_session(session)}/detach-folder", {"folder": folder, "force": force})

    async def suspend(self, session: str) -> Json:
        """Freeze a session in which nothing runs; it wakes when it is used. Its view."""
        return await self.request("POST", f"{_session(session)}/suspend")

    async def resume(self, session: str) -> Json:
        return await self.request("POST", f"{_session(session)}/resume")

    async def save(self, session: str, seconds: float = 60) -> list[Json]:
        """Save the variables of a session's kernels of Python and R, each at most so long: what was saved of each.

        ``{"jupyter_kernel_id", "refused", "variables", "bytes", "left_out", "doubtful"}``; of the last two
        ``{"name", "type", "why"}`` each.
        """
        body = {"seconds": seconds}
        timeout_s = 30 + 10 * seconds  # there may be several kernels
        return (await self.request("POST", f"{_session(session)}/save", body, timeout_s=timeout_s))["kernels"]

    async def wake(
        self, session: str, source: str | None = None, kernel: str | None = None, into: str | None = None
    ) -> Json:
        """Restart Jupyter kernels with what was saved of them, or of those of the session ``source``. Its view."""
        body = {"source": source, "kernel": kernel, "into": into}
        given = {name: value for name, value in body.items() if value is not None}
        return await self.request("POST", f"{_session(session)}/wake", given)

    async def extend(self, session: str) -> Json:
        """Keep a session for a while that would be stopped for being idle. Its ``idleChecks``."""
        return (await self.request("POST", f"{_session(session)}/extend"))["idleChecks"]

    async def restart(self, session: str) -> None:
        """Start its containers again, with their files, and every Jupyter kernel in them."""
        await self.request("PATCH", _session(session))

    async def commit(self, session: str, name: str | None = None) -> Json:
        """Begin to make an image of its container, for oneself alone: ``image``, its name, and ``bgtask_id``."""
        return await self.request("POST", f"{_session(session)}/commit", {"name": name} if name else None)

    async def task_end(self, task_id: str, wait_s: float) -> Json:
        """How a background task of one's own ended, ``{"status", "message"}``; ``running`` if not within ``wait_s``."""
        query = {"task_id": task_id}
        with suppress(TimeoutError):
            async with (
                asyncio.timeout(wait_s),
                aclosing(self._told("/events/background-task", query, wait_s + 60)) as events,
            ):
                async for name, data in events:
                    if (status := name.removeprefix("bgtask_")) in ("done", "failed", "cancelled"):
                        return {"status": status, "message": data["message"]}
        return {"status": "running", "message": ""}

    async def logs(self, session: str, kernel_id: str | None = None) -> str:
        """Of its main container, or of that one."""
        found = await self.request("GET", f"{_session(session)}/logs", query={"kernel_id": kernel_id})
        return found["result"]["logs"]

    async def status_history(self, session: str) -> list[Json]:
        """Each change of its status, oldest first: ``{"status", "at", "reason"}``."""
        return (await self.request("GET", f"{_session(session)}/status-history"))["changes"]

    async def audit(self, only: str, limit: int = 50) -> list[Json]:
        """What was done in one's own name, of everybody for a superadmin, newest first; ``only`` is a filter."""
        return (await self.request("GET", "/audit", query={"filter": only, "limit": limit}))["entries"]

    async def wait_for(
        self,
        session: str,
        statuses: Collection[str] = (SessionStatus.RUNNING,),
        timeout_s: float = 300,
        on_change: Callable[[Json], None] | None = None,
    ) -> Json:
        """Wait until the session is in one of ``statuses`` and return its view; ``on_change`` sees each view till then.

        Redials while the manager is away, with growing pauses of at most 2 s. Raises ``SessionEnded`` if it reached
        another final status, ``NotFound``, and when time is up ``TimeoutError``, or ``ManagerAway`` if that is why.
        """
        away: ManagerAway | None = None
        pause_s = 0.1
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    try:
                        view = await self._watch_until(session, statuses, on_change)
                        if view is not None:
                            return view
                        away, pause_s = None, 0.1
                    except ManagerAway as error:
                        away = error
                    await asyncio.sleep(pause_s)
                    pause_s = min(2 * pause_s, 2.0)
        except TimeoutError:
            if away is not None:
                raise away from None
            raise

    async def _watch_until(
        self, session: str, statuses: Collection[str], on_change: Callable[[Json], None] | None
    ) -> Json | None:
        view = await self.get_session(session)
        if (found := _arrived(view, statuses)) is not None:
            return found
        async with aclosing(self.events(view["id"])) as events:
            async for name, view in events:
                if name != "session_changed":
                    continue
                if (found := _arrived(view, statuses)) is not None:
                    return found
                if on_change is not None:
                    on_change(view)
        return None

    # Apps

    async def list_apps(self, session: str) -> list[Json]:
        """``[{"name", "protocol", "ports"}]``: those of the image, and the ports that were asked for."""
        return await self.request("GET", f"/stream{_session(session)}/apps")

    async def start_app(self, session: str, app: str, timeout_s: float = 60) -> str:
        """A link that lets a browser in within the next minute. The app is started if it does not answer."""
        return link_of(await self.start_service(session, app, timeout_s))

    async def start_service(self, session: str, app: str, timeout_s: float = 60) -> Json:
        """``{"token", "wsproxy_addr", "knows_base_url"}``: where the manager has an app, and what lets a browser in."""
        return await self.request("POST", f"{_session(session)}/start-service", {"app": app}, timeout_s=timeout_s)

    async def open_app(self, session: str, app: str) -> WebSocketClientConnection:
        """One TCP connection to an app, which is started if it does not answer: binary messages are its bytes."""
        return await self._dial(f"/stream{_session(session)}/tcpproxy", {"app": app})

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

    # Jupyter kernels

    async def create_jupyter_kernel(
        self,
        session: str,
        kernelspec: str,
        key: str,
        *,
        jupyter_kernel_id: str | None = None,
        env: Mapping[str, str] | None = None,
        folder: str | None = None,
        path: str | None = None,
        timeout_s: float = 30,
    ) -> Json:
        """Start a Jupyter kernel, now or when the session runs. ``key`` signs its messages and is a secret.

        ``path`` is relative to the root of the vfolder ``folder``. Returns the Jupyter kernel view.
        """
        body = {"id": jupyter_kernel_id, "kernelspec": kernelspec, "key": key, "env": dict(env or {})}
        body |= {"folder": folder, "path": path}
        given = {name: value for name, value in body.items() if value is not None}
        return await self.request("POST", f"{_session(session)}/jupyter-kernels", given, timeout_s=timeout_s)

    async def get_jupyter_kernel(self, session: str, jupyter_kernel_id: str) -> Json:
        return await self.request("GET", _jupyter_kernel(session, jupyter_kernel_id))

    async def restart_jupyter_kernel(self, session: str, jupyter_kernel_id: str) -> Json:
        """The view, with ``generation`` one larger. Not to be repeated blindly: each call restarts."""
        return await self.request("POST", f"{_jupyter_kernel(session, jupyter_kernel_id)}/restart")

    async def interrupt_jupyter_kernel(self, session: str, jupyter_kernel_id: str) -> None:
        await self.request("POST", f"{_jupyter_kernel(session, jupyter_kernel_id)}/interrupt")

    async def delete_jupyter_kernel(self, session: str, jupyter_kernel_id: str) -> None:
        await self.request("DELETE", _jupyter_kernel(session, jupyter_kernel_id))

    # Folders and their files

    async def list_folders(self) -> list[Json]:
        """Own, shared and project folders, also those in the trash (``status``)."""
        return await self.request("GET", "/folders")

    async def get_folder(self, folder: str) -> Json:
        return await self.request("GET", _folder(folder))

    async def create_folder(
        self, name: str, host: str | None = None, quota: str | None = None, project: str | None = None
    ) -> Json:
        return await self.request(
            "POST", "/folders", {"name": name, "host": host, "quota": quota or "0", "group": project}
        )

    async def delete_folder(self, folder: str) -> None:
        """Into the trash."""
        await self.request("DELETE", _folder(folder))

    async def restore_folder(self, folder: str) -> None:
        await self.request("POST", f"{_folder(folder)}/restore")

    async def purge_folder(self, folder: str, timeout_s: float = 3600) -> None:
        """Delete one that is in the trash for good."""
        await self.request("POST", f"{_folder(folder)}/purge", timeout_s=timeout_s)

    async def list_shares(self, folder: str) -> list[Json]:
        """Who has it besides its owner: ``[{"shared_to": {"uuid", "email"}, "perm"}]``; of others' folders nobody."""
        return (await self.request("GET", "/folders/_/shared", query={"vfolder_id": folder}))["shared"]

    async def change_share(self, folder: str, user: str, permission: str | None) -> None:
        """What one person may; ``None`` takes the folder away."""
        body = {"vfolder": folder, "user": user, "perm": permission}
        await self.request("POST", "/folders/_/shared", body)

    async def clone_folder(self, folder: str, name: str, host: str | None = None, timeout_s: float = 6 * 3600) -> Json:
        """A copy of one's own, once it is complete."""
        body = {"target_name": name, "target_host": host}
        return await self.request("POST", f"{_folder(folder)}/clone", body, timeout_s=timeout_s)

    async def leave_folder(self, folder: str) -> None:
        """One that somebody shares with the caller."""
        await self.request("POST", f"{_folder(folder)}/leave")

    async def rename_folder(self, folder: str, name: str) -> None:
        await self.request("POST", f"{_folder(folder)}/rename", {"new_name": name})

    async def invite(self, folder: str, people: Sequence[str], permission: str) -> list[str]:
        """Who was invited; who has the folder or was invited before is left out."""
        body = {"perm": permission, "user_ids": list(people)}
        return (await self.request("POST", f"{_folder(folder)}/invite", body))["invited_ids"]

    async def list_invitations(self) -> list[Json]:
        return (await self.request("GET", "/folders/invitations/list"))["invitations"]

    async def accept_invitation(self, invitation_id: str) -> None:
        await self.request("POST", "/folders/invitations/accept", {"inv_id": invitation_id})

    async def decline_invitation(self, invitation_id: str) -> None:
        await self.request("DELETE", "/folders/invitations/delete", {"inv_id": invitation_id})

    async def list_files(
        self, folder: str, path: str = "", offset: int = 0, limit: int = 1000, match: str = ""
    ) -> Json:
        """``{"items": [{"name", "type", "size", "mode", "modified"}], "total"}``; with ``match`` in their names."""
        body = {"path": path, "offset": offset, "limit": limit, "match": match}
        return await self.request("GET", f"{_folder(folder)}/files", body)

    async def get_file(self, folder: str, path: str) -> Json:
        """``{"name", "type", "size", "mode", "created", "modified"}`` of what lies there; times in s since 1970."""
        return (await self.request("POST", f"{_folder(folder)}/request-download", {"path": path}))["file"]

    async def rename_file(self, folder: str, path: str, name: str) -> None:
        """It stays in its directory. Nothing is overwritten."""
        await self.request("POST", f"{_folder(folder)}/rename-file", {"target_path": path, "new_name": name})

    async def move_file(self, folder: str, path: str, target: str) -> None:
        """As ``mv``: into ``target`` if that is a directory, over it if that is a file."""
        await self.request("POST", f"{_folder(folder)}/move-file", {"src": path, "dst": target})

    async def delete_file(self, folder: str, path: str) -> None:
        """For good, and with it all that a directory holds."""
        body = {"files": [path], "recursive": True}
        await self.request("POST", f"{_folder(folder)}/delete-files", body, timeout_s=_DELETE_TIMEOUT_S)

    async def make_directory(self, folder: str, path: str) -> None:
        """And those above it; one that is there already will do."""
        await self.request("POST", f"{_folder(folder)}/mkdir", {"path": path, "parents": True, "exist_ok": True})

    async def upload(
        self, folder: str, path: str, source: BinaryIO, size: int, on_progress: Callable[[int], None] | None = None
    ) -> None:
        """Send ``size`` bytes of a file; it is there when all of it is. Goes on after a broken connection."""
        token = await self.begin_upload(folder, path, size)
        offset, failures = 0, 0
        while offset < size:
            try:
                if failures:
                    offset = await self.uploaded(token)
                piece = await asyncio.to_thread(_read_at, source, offset, min(TRANSFER_BYTES, size - offset))
                if not piece:  # it was cut off meanwhile
                    raise errors.BadRequest(Reason.of("file-changed", path=path))
                offset, failures = await self.send_piece(token, offset, piece), 0
            except ManagerAway:
                failures += 1
                if failures == _TRANSFER_TRIES:
                    raise
                await asyncio.sleep(_pause_s(failures))
            if on_progress is not None:
                on_progress(offset)

    async def begin_upload(self, folder: str, path: str, size: int) -> str:
        """The token that the pieces of this file are sent with; an empty file is there at once."""
        return (await self.request("POST", f"{_folder(folder)}/request-upload", {"path": path, "size": size}))["token"]

    async def send_piece(self, token: str, offset: int, piece: bytes) -> int:
        """How much of the file has come then. With the last piece the file is there."""
        sent = {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
        _, headers, _ = await self._carry("PATCH", "/storage/upload", token, sent, piece)
        return int(headers["Upload-Offset"])

    async def uploaded(self, token: str) -> int:
        """How much of the file has come."""
        _, headers, _ = await self._carry("HEAD", "/storage/upload", token, {})
        return int(headers["Upload-Offset"])

    async def drop_upload(self, token: str) -> None:
        """Forget what has come."""
        await self._carry("DELETE", "/storage/upload", token, {})

    async def download(
        self, folder: str, path: str, target: BinaryIO, on_progress: Callable[[int, int], None] | None = None
    ) -> None:
        """Fetch a file; as ``upload``. Raises ``PublicError`` if it is changed meanwhile."""
        found = await self.begin_download(folder, path)
        start = 0
        async for piece in self.pieces(found):
            await asyncio.to_thread(target.write, piece)
            start += len(piece)
            if on_progress is not None:
                on_progress(start, found.size)

    async def begin_download(self, folder: str, path: str) -> Download:
        token = (await self.request("POST", f"{_folder(folder)}/request-download", {"path": path}))["token"]
        _, headers, _ = await self._carry("HEAD", "/storage/download", token, {})
        return Download(path, token, int(headers["Content-Length"]), headers["ETag"])

    async def pieces(self, download: Download) -> AsyncGenerator[bytes, None]:
        """The file, one piece in memory at a time. Goes on after a broken connection, but not in a changed file."""
        start, failures = 0, 0
        while start < download.size:
            end = min(start + TRANSFER_BYTES, download.size)
            wanted = {"Range": f"bytes={start}-{end - 1}", "If-Range": download.version}
            try:
                status, _, piece = await self._carry("GET", "/storage/download", download.token, wanted)
            except ManagerAway:
                failures += 1
                if failures == _TRANSFER_TRIES:
                    raise
                await asyncio.sleep(_pause_s(failures))
                continue
            if status != 206:
                raise errors.BadRequest(Reason.of("file-changed", path=download.path))
            yield piece
            start, failures = start + len(piece), 0

    @asynccontextmanager
    async def archive(self, folder: str, path: str = "") -> AsyncIterator[tuple[str, AsyncGenerator[bytes, None]]]:
        """A directory of a folder, by default all of it, as a zip file that is made while it is read.

        Gives the header ``Content-Disposition``, which names it, and its pieces. Raises ``PublicError``, also among the
        pieces: one that breaks off is not begun again.
        """
        asked = {"path": path, "archive": True}
        token = (await self.request("POST", f"{_folder(folder)}/request-download", asked))["token"]
        target, headers = self._target("/storage/download", {"token": token}), HTTPHeaders({"Host": self._host})
        try:
            async with self._send("GET", target, headers, b"") as answer:
                async with asyncio.timeout(_TRANSFER_TIMEOUT_S):
                    start = await answer.started
                if start.code != 200:
                    kind = answer.headers.get("Content-Type", "")
                    raise error_of(start.code, kind, await answer.body(), self.config.endpoint)
                yield answer.headers["Content-Disposition"], self._whole(answer)
        except (OSError, TimeoutError) as error:
            raise self._away(error) from error

    async def _whole(self, answer: "_Answer") -> AsyncGenerator[bytes, None]:
        while (piece := await answer.next_piece(_TRANSFER_TIMEOUT_S)) is not None:
            yield piece
        if not answer.is_complete:
            raise ManagerAway(self.config.endpoint)

    async def _carry(
        self, method: str, path: str, token: str, headers: Mapping[str, str], content: bytes = b""
    ) -> tuple[int, HTTPHeaders, bytes]:
        """One piece of a transfer, whose token is its only credential."""
        sent = HTTPHeaders({"Host": self._host, **headers})
        try:
            async with (
                asyncio.timeout(_TRANSFER_TIMEOUT_S),
                self._send(method, self._target(path, {"token": token}), sent, content) as answer,
            ):
                start = await answer.started
                received = await answer.body()
        except (OSError, TimeoutError) as error:
            raise self._away(error) from error
        if not answer.is_complete:
            raise ManagerAway(self.config.endpoint)
        if not 200 <= start.code < 300:
            raise error_of(start.code, answer.headers.get("Content-Type", ""), received, self.config.endpoint)
        return start.code, answer.headers, received

    # Images, agents, groups

    async def list_images(self) -> list[Json]:
        return (await self.request("GET", "/images"))["images"]

    async def add_image(self, name: str, timeout_s: float = 120) -> Json:
        return await self.request("POST", "/images", {"name": name}, timeout_s=timeout_s)

    async def remove_image(self, name: str) -> None:
        await self.request("DELETE", f"/images/{quote(name, safe='')}")

    async def list_agents(self) -> list[Json]:
        return (await self.request("GET", "/agents"))["agents"]

    async def set_schedulable(self, agents: Collection[str], is_schedulable: bool) -> None:
        """Let agents take new sessions, or run empty."""
        operation = "include-agents" if is_schedulable else "exclude-agents"
        await self.request("POST", "/manager/scheduler/operation", {"op": operation, "args": list(agents)})

    async def create_join_token(self, resource_group: str = "default", uses: int = 1, expires_s: int = 3600) -> str:
        body = {"resource_group": resource_group, "uses": uses, "expires_s": expires_s}
        return (await self.request("POST", "/agents/join-tokens", body))["token"]

    async def list_resource_groups(self) -> list[Json]:
        return (await self.request("GET", "/resource-groups"))["resource_groups"]

    async def list_presets(self) -> list[Json]:
        return (await self.request("GET", "/resource/presets"))["presets"]

    async def check_presets(self) -> Json:
        """One's limits, use and what is left at each level, and which presets would start now."""
        return await self.request("POST", "/resource/check-presets", {})

    async def usage_by_day(self, start: str, end: str, scope: str = "me") -> list[Json]:
        """What was held on each day from ``20261101`` to another; admins also of ``all``, or of a project's id."""
        asked = {"scope": scope} if scope in ("me", "all") else {"group_id": scope}
        query = {"start_date": start, "end_date": end, **asked}
        return (await self.request("GET", "/resource/usage/days", query=query))["days"]

    async def whoami(self) -> Json:
        """``{"id", "name", "role"}`` of the keypair's user."""
        return (await self.request("GET", "/auth"))["user"]

    async def account(self) -> Json:
        """Who the keypair's user is: ``email``, ``full_name``, ``role``, ``domain_name``, ``resource_policy``,
        ``projects``; and their ``keypairs``, without secrets."""
        fields = "email full_name role domain_name resource_policy groups {name}"
        user = (await self.graphql(f"{{user {{{fields}}}}}"))["user"]
        projects = [one["name"] for one in user.pop("groups")]
        document = """query($domain: String, $email: String) {keypairs(domain_name: $domain, email: $email)
            {access_key is_active resource_policy created_at last_used}}"""
        keypairs = (await self.graphql(document, domain=user["domain_name"], email=user["email"]))["keypairs"]
        return {**user, "projects": projects, "keypairs": keypairs}

    async def ssh_public_key(self) -> str:
        """One's own, empty if there is none."""
        return str((await self.request("GET", "/auth/ssh-keypair"))["ssh_public_key"])

    async def new_ssh_keypair(self) -> tuple[str, str]:
        """A public and a private key, in the place of those before. The private one is told this once."""
        made = await self.request("PATCH", "/auth/ssh-keypair")
        return made["ssh_public_key"], made["ssh_private_key"]

    async def list_dotfiles(self) -> list[Json]:
        """One's own: ``path``, ``permission``, ``data``."""
        return await self.request("GET", "/user-config/dotfiles")

    async def get_dotfile(self, path: str) -> Json:
        return await self.request("GET", "/user-config/dotfiles", query={"path": path})

    async def add_dotfile(self, path: object, permission: object, data: object) -> None:
        await self.request("POST", "/user-config/dotfiles", {"path": path, "permission": permission, "data": data})

    async def change_dotfile(self, path: str, permission: object, data: object) -> None:
        await self.request("PATCH", "/user-config/dotfiles", {"path": path, "permission": permission, "data": data})

    async def delete_dotfile(self, path: str) -> None:
        await self.request("DELETE", "/user-config/dotfiles", query={"path": path})

    async def get_bootstrap(self) -> str:
        """The script that runs first in each of one's sessions; empty if there is none."""
        return str(await self.request("GET", "/user-config/bootstrap-script"))

    async def set_bootstrap(self, script: object) -> None:
        await self.request("POST", "/user-config/bootstrap-script", {"script": script})

    async def own_audit(self, offset: int, limit: int) -> tuple[list[Json], int]:
        """What was done in one's own name, newest first, and how much that is in all."""
        mine = f'user_id == "{(await self.whoami())["id"]}"'  # a superadmin is told of everybody else
        page = await self.request("GET", "/audit", query={"offset": offset, "limit": limit, "filter": mine})
        return page["entries"], page["total_count"]

    async def list_projects(self) -> list[str]:
        """Names of the projects that the keypair's user is in."""
        return [str(one["name"]) for one in (await self.graphql("{user {groups {name}}}"))["user"]["groups"]]

    async def log_in(self, email: str, password: str, domain: str = "default") -> ClientConfig:
        """What to call with as the person whose e-mail and password these are.

        Raises ``AuthFailed``: ``login`` if they are not right, ``password-expired`` if it must be changed first.
        """
        body = {"domain": domain, "username": email, "password": password}
        keypair = (await self.request("POST", "/auth/authorize", body))["data"]
        config = self.config
        return ClientConfig(config.endpoint, keypair["access_key"], keypair["secret_key"], trust=config.trust)

    async def replace_password(self, email: str, old: str, new: str, domain: str = "default") -> None:
        """A new password for whom ``log_in`` said that it must be changed first."""
        body = {"domain": domain, "username": email, "current_password": old, "new_password": new}
        await self.request("POST", "/auth/update-password-no-auth", body)

    async def make_ward(
        self,
        name: str,
        email: str | None = None,
        projects: Collection[str] | None = None,
        policy: str | None = None,
    ) -> Json:
        """For a service: the user of that name for whom it may act, made if there is none.

        Of the service's projects the user is then in those of ``projects``; without, in all at first, then as it is.
        The user's keypair then has that ``policy``, unless an admin gave it one that the service may not give.
        """
        wanted = None if projects is None else list(projects)
        body = {"name": name, "email": email, "projects": wanted, "policy": policy}
        return await self.request("POST", "/wards", body)

    async def give_ward(self, service_key: str, name: str) -> None:
        """Let a service act for a user: oneself, or for superadmins anybody."""
        await self.request("PUT", f"/wards/{quote(service_key, safe='')}/{quote(name, safe='')}")

    async def graphql(self, document: str, **variables: object) -> Json:
        """The data of a GraphQL document. Raises ``PublicError`` if the manager refuses any part of it."""
        answer = await self.request("POST", "/admin/gql", {"query": document, "variables": variables})
        if answer.get("errors"):
            raise BadRequest("; ".join(str(error["message"]) for error in answer["errors"]))
        return answer["data"]

    async def is_healthy(self, timeout_s: float = 5) -> bool:
        """True if a manager answers at the endpoint; says nothing about the credentials."""
        try:
            answer = await self.request("GET", "/health", timeout_s=timeout_s)
        except PublicError:
            return False
        return isinstance(answer, dict) and answer.get("status") == "ok"

    # Streams

    async def events(
        self, session_id: str | None = None, silence_s: float = 60
    ) -> AsyncGenerator[tuple[str, Json], None]:
        """Yield ``(event, data)`` of one session, or of all of one's own: first each as it is now, then each change.

        Ends when the connection ends or says nothing for ``silence_s`` (a cable was pulled; comments of the manager
        count as a sign of life). The caller then dials again, and misses nothing by the first rule. Raises as
        ``request`` does if it cannot begin. Close the generator (``contextlib.aclosing``) to hang up.
        """
        query = {"sessionId": session_id} if session_id else {"sessionName": "*"}
        async with aclosing(self._told("/events/session-views", query, silence_s)) as events:
            async for event in events:
                yield event

    async def _told(self, path: str, query: dict[str, str], silence_s: float) -> AsyncGenerator[tuple[str, Json], None]:
        try:
            async with self._exchange("GET", path, None, query) as answer:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    start = await answer.started
                    if start.code != 200:
                        content_type = answer.headers.get("Content-Type", "")
                        raise error_of(start.code, content_type, await answer.body(), self.config.endpoint)
                reader = _EventReader()
                while (piece := await answer.next_piece(silence_s)) is not None:
                    for name, data in reader.feed(piece):
                        if name == "server_close":
                            return
                        yield name, data
        except (OSError, TimeoutError) as error:
            raise self._away(error) from error

    async def open_stream(
        self, session: str, jupyter_kernel_id: str, generation: int, ping_s: float | None = 30
    ) -> WebSocketClientConnection:
        """Dial a Jupyter kernel's stream: binary messages, the records of ``common.records`` in pieces of any length.

        ``close_code`` at the end is 4404, 4409 (ended, nothing kept) or 4503 (dial again).
        """
        path = f"/stream{_session(session)}/jupyter-kernels/{quote(jupyter_kernel_id, safe='')}"
        return await self._dial(path, {"generation": generation}, ping_s)

    async def open_terminal(self, session: str) -> WebSocketClientConnection:
        """Look at a session's terminal: the JSON messages of ``/stream/session/{s}/pty``.

        ``close_code`` at the end is 1000 if its shell has ended; else it goes on, and can be looked at again.
        """
        return await self._dial(f"/stream{_session(session)}/pty")

    async def open_command(
        self,
        session: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        terminal: tuple[int, int] | None = None,
    ) -> WebSocketClientConnection:
        """Run a command, which lives as long as its stream: frames of ``common.stdio``, the last of which is ``ENDED``.

        ``terminal``: rows and columns of one of its own, else it has three pipes. Raises ``PublicError``.
        """
        connection = await self._dial(f"/stream{_session(session)}/command")
        wanted = {"argv": list(argv), "env": dict(env or {}), "cwd": cwd, "terminal": terminal}
        answer: str | bytes | None = None
        with suppress(WebSocketClosedError, TimeoutError):
            async with asyncio.timeout(_COMMAND_START_S):
                await connection.write_message(json.dumps(wanted))
                answer = await connection.read_message()
        if answer == "{}":
            return connection
        connection.close()
        if answer is None:
            raise ManagerAway(self.config.endpoint)
        raise error_of(BadRequest.status, "application/json", str(answer).encode(), self.config.endpoint)

    async def _dial(
        self, path: str, query: Mapping[str, object] | None = None, ping_s: float | None = None
    ) -> WebSocketClientConnection:
        """A WebSocket. No compression, no delay of small packets; one unread message is held, more wait at the sender.

        ``read_message`` gives ``None`` at the end. A reader that may stall gives no ``ping_s``: it would miss the pong.
        """
        target = self._target(path, query)
        tls = self._tls()
        request = HTTPRequest(
            f"{'wss' if tls else 'ws'}://{self._host}{target}",
            headers=self._headers("GET", target, None),
            connect_timeout=CONNECT_TIMEOUT_S,
            request_timeout=CONNECT_TIMEOUT_S,
            ssl_options=tls,
        )
        dialling = websocket_connect(
            request,
            compression_options=None,
            max_message_size=MAX_STREAM_MESSAGE,
            ping_interval=ping_s,
            resolver=self._resolver,
        )
        dialling = asyncio.ensure_future(dialling)
        try:
            connection = await asyncio.shield(dialling)
        except asyncio.CancelledError:
            dialling.add_done_callback(_hang_up)
            raise
        except HTTPClientError as error:
            if error.response is None:
                raise ManagerAway(self.config.endpoint) from error
            content_type = error.response.headers.get("Content-Type", "")
            raise error_of(error.code, content_type, error.response.body or b"", self.config.endpoint) from error
        except (OSError, WebSocketError) as error:
            raise self._away(error) from error
        stream = connection.protocol.stream if connection.protocol is not None else None
        if stream is not None and stream.socket is not None:  # the manager may have closed it at once
            stream.set_nodelay(True)
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return connection

    # Below: one HTTP exchange on a socket of its own, so that leaving it always closes it

    def _target(self, path: str, query: Mapping[str, object] | None) -> str:
        given = {name: str(value) for name, value in (query or {}).items() if value is not None}
        if self.config.on_behalf_of:
            given["on_behalf_of"] = self.config.on_behalf_of
        return f"{self._prefix}{path}" + (f"?{urlencode(given)}" if given else "")

    def _headers(self, method: str, target: str, body: bytes | None, content_type: str | None = None) -> HTTPHeaders:
        if content_type is None:
            content_type = "text/plain" if body is None else "application/json"
        if self.config.token_file is not None:
            bearer = f"Bearer {_read_token(self.config.token_file)}"
            return HTTPHeaders({"Host": self._host, "Content-Type": content_type, "Authorization": bearer})
        date = datetime.now(UTC).isoformat(timespec="microseconds")
        version_header = "x-backendai-version"
        parts = signing.SignedParts(method, target, date, self._host, content_type, version_header, API_VERSION)
        signature = signing.sign(self.config.secret_key, parts, hashlib.sha256(body or b"").hexdigest())
        return HTTPHeaders(
            {
                "Host": self._host,
                "Date": date,
                "Content-Type": content_type,
                "X-BackendAI-Version": API_VERSION,
                "Authorization": signing.format_authorization(self.config.access_key, signature),
            }
        )

    def _tls(self) -> ssl.SSLContext | None:
        """Raises ``ConfigError`` for a file of CAs that cannot be used."""
        if self._is_encrypted and self._ssl is None:
            try:
                self._ssl = self.config.trust.context()
            except OSError as error:
                raise ConfigError(f"The CA file {self.config.trust.ca_file} cannot be used: {error}.") from error
        return self._ssl

    def _away(self, error: Exception) -> ManagerAway:
        if isinstance(error, ssl.SSLCertVerificationError):
            return ManagerNotTrusted(self.config.endpoint, error)
        return ManagerAway(self.config.endpoint)

    async def _connect(self) -> Any:
        tls = self._tls()
        if self._tcp is None:
            self._tcp = TCPClient(self._resolver)
        return await self._tcp.connect(self._hostname, self._port, ssl_options=tls, timeout=CONNECT_TIMEOUT_S)

    @asynccontextmanager
    async def _exchange(
        self, method: str, path: str, body: Json | None, query: Mapping[str, object] | None
    ) -> AsyncIterator["_Answer"]:
        target = self._target(path, query)
        content = None if body is None else json.dumps(body).encode()
        async with self._send(method, target, self._headers(method, target, content), content or b"") as answer:
            yield answer

    @asynccontextmanager
    async def _send(self, method: str, target: str, headers: HTTPHeaders, content: bytes) -> AsyncIterator["_Answer"]:
        headers["Content-Length"] = str(len(content))
        headers["Connection"] = "close"
        stream = await self._connect()
        reading: asyncio.Future[None] | None = None
        try:
            connection = HTTP1Connection(
                stream,
                True,
                HTTP1ConnectionParameters(no_keep_alive=True, max_body_size=_UNBOUNDED, chunk_size=_READ_BYTES),
            )
            answer = _Answer()
            connection.write_headers(RequestStartLine(method, target, "HTTP/1.1"), headers, content)
            connection.finish()
            reading = asyncio.ensure_future(answer.read(connection))
            yield answer
        finally:
            stream.close()
            if reading is not None:
                reading.cancel()  # it may hold a piece that nobody takes
                await asyncio.wait([reading])


class _ByThisSocket(Resolver):
    """Whatever the address is, a unix socket leads there."""

    def initialize(self, path: Path) -> None:  # what tornado calls with our constructor's arguments
        self._path = str(path)

    async def resolve(self, *_: Any) -> list[tuple[int, Any]]:
        return [(socket.AF_UNIX, self._path)]


class _Answer(HTTPMessageDelegate):
    """One answer as it arrives, no faster than it is taken."""

    def __init__(self) -> None:
        self.started: asyncio.Future[ResponseStartLine] = asyncio.get_running_loop().create_future()
        self.headers = HTTPHeaders()
        self.is_complete = False
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue(_PIECES_AHEAD)

    async def read(self, connection: HTTP1Connection) -> None:
        with suppress(StreamClosedError):
            await connection.read_response(self)
        if not self.started.done():
            self.started.set_exception(ConnectionResetError("the connection ended before an answer"))
            self.started.exception()  # seen, also if nobody waits any more
        await self._pieces.put(None)

    async def next_piece(self, silence_s: float | None = None) -> bytes | None:
        """The next bytes of the body; ``None`` at its end, or when nothing came for ``silence_s``."""
        try:
            # Not wait_for: before Python 3.12 it loses a cancellation that comes together with a piece.
            async with asyncio.timeout(silence_s):
                return await self._pieces.get()
        except TimeoutError:
            return None

    async def body(self) -> bytes:
        pieces = []
        while (piece := await self.next_piece()) is not None:
            pieces.append(piece)
        return b"".join(pieces)

    def headers_received(self, start_line: Any, headers: HTTPHeaders) -> None:
        if start_line.code >= 200 and not self.started.done():
            self.headers = headers
            self.started.set_result(start_line)

    async def data_received(self, chunk: bytes) -> None:
        await self._pieces.put(chunk)

    def finish(self) -> None:
        self.is_complete = True

    def on_connection_close(self) -> None:
        self.is_complete = False


class _EventReader:
    """Server-sent events out of bytes that come in pieces. Comments and events that are not JSON are dropped."""

    def __init__(self) -> None:
        self._rest = b""
        self._name, self._data = "message", []  # type: tuple[str, list[str]]

    def feed(self, piece: bytes) -> list[tuple[str, Json]]:
        *lines, self._rest = (self._rest + piece).split(b"\n")
        found = [self._take(line.rstrip(b"\r").decode("utf-8", "replace")) for line in lines]
        return [event for event in found if event is not None]

    def _take(self, line: str) -> tuple[str, Json] | None:
        key, _, value = line.partition(":")
        if key == "event":
            self._name = value.removeprefix(" ")
        elif key == "data":
            self._data.append(value.removeprefix(" "))
        elif not line:
            name, data = self._name, "\n".join(self._data)
            self._name, self._data = "message", []
            with suppress(ValueError):
                return name, json.loads(data)
        return None


def _session(session: str) -> str:
    return f"/session/{quote(session, safe='')}"


def link_of(service: Json, rest: str = "", query: str = "") -> str:
    """For a browser, by the manager's address; ``rest`` and ``query``, quoted, go to the app."""
    token = urlencode({"bai-token": service["token"]})
    return f"{service['wsproxy_addr']}{rest}?{'&'.join(filter(None, [query, token]))}"


def app_path(session: str, app: str) -> str:
    """Where the manager has an app."""
    return f"/apps/{quote(session, safe='')}/{quote(app, safe='')}"


def _folder(folder: str) -> str:
    return f"/folders/{quote(folder, safe='')}"


def _read_at(source: BinaryIO, offset: int, length: int) -> bytes:
    source.seek(offset)
    return source.read(length)


def _pause_s(failures: int) -> float:
    return 0.1 * 2**failures


def _jupyter_kernel(session: str, jupyter_kernel_id: str) -> str:
    return f"{_session(session)}/jupyter-kernels/{quote(jupyter_kernel_id, safe='')}"


def _arrived(view: Json, statuses: Collection[str]) -> Json | None:
    if view["status"] in statuses:
        return view
    if view["status"] in FINAL:
        raise SessionEnded(view)
    return None


def _hang_up(dialling: "asyncio.Future[WebSocketClientConnection]") -> None:
    if not dialling.cancelled() and dialling.exception() is None:
        dialling.result().close()
