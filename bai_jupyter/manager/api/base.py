"""What all handlers share: who asks, what was sent, how answers and errors look. No use case is here."""

import asyncio
import functools
import json
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn, TypeVar
from uuid import uuid4

from tornado.web import Finish, HTTPError, RequestHandler

from bai_jupyter.common.errors import BadRequest, PublicError
from bai_jupyter.common.ids import UserId
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import read_number
from bai_jupyter.manager.agents.idle_connections import IdleConnections
from bai_jupyter.manager.agents.service import AgentService
from bai_jupyter.manager.api.configuration import SettingView
from bai_jupyter.manager.api.graphql.execution import Executor
from bai_jupyter.manager.api.problems import PROBLEM, BodyTooLarge, MethodNotAllowed, problem_of
from bai_jupyter.manager.api.recent_errors import RecentErrors
from bai_jupyter.manager.auth import policy
from bai_jupyter.manager.auth.app_tokens import AppTokens
from bai_jupyter.manager.auth.keypairs import Caller, KeypairAuth, SignedRequest
from bai_jupyter.manager.auth.logins import Logins
from bai_jupyter.manager.auth.metrics_token import MetricsToken
from bai_jupyter.manager.auth.rates import WINDOW_S, Rate, Rates
from bai_jupyter.manager.auth.session_tokens import SessionTokens, bearer_token
from bai_jupyter.manager.auth.wards import ON_BEHALF_OF, Wards
from bai_jupyter.manager.background import BackgroundTasks
from bai_jupyter.manager.db import accounts
from bai_jupyter.manager.db.accounts import AuditEntry
from bai_jupyter.manager.db.store import Store
from bai_jupyter.manager.execution.service import Execution
from bai_jupyter.manager.people.config import UserConfig
from bai_jupyter.manager.people.owners import Owners
from bai_jupyter.manager.people.service import PeopleService
from bai_jupyter.manager.sessions.apps import Apps
from bai_jupyter.manager.sessions.changes import SessionChanges
from bai_jupyter.manager.sessions.commits import Commits
from bai_jupyter.manager.sessions.creation import SessionCreation
from bai_jupyter.manager.sessions.events import Hub
from bai_jupyter.manager.sessions.files import SessionFiles
from bai_jupyter.manager.sessions.idle_watch import IdleWatch
from bai_jupyter.manager.sessions.jupyter_kernels import JupyterKernelService
from bai_jupyter.manager.sessions.service import SessionService
from bai_jupyter.manager.sessions.templates import Templates
from bai_jupyter.manager.sessions.variables import Variables
from bai_jupyter.manager.sessions.views import Views
from bai_jupyter.manager.vfolders.files import FolderFiles
from bai_jupyter.manager.vfolders.service import VFolderService
from bai_jupyter.manager.vfolders.sharing import Sharing
from bai_jupyter.manager.vfolders.transfers import Transfers

log = logging.getLogger("bai_jupyter.manager.api")

API_VERSION = "v7.20230615"
API_VERSIONS = frozenset(
    {
        "v4.20181215",
        "v4.20190115",
        "v4.20190315",
        "v4.20190615",
        "v5.20191215",
        "v6.20200815",
        "v6.20210815",
        "v6.20220315",
        "v6.20220615",
        "v6.20230315",
        API_VERSION,
    }
)
"""What clients may say they speak. All are answered alike; where names differ, old and new ones are taken and given."""

MAX_BODY_BYTES = 1024 * 1024
_OVERRIDES = frozenset({"GET", "PUT", "PATCH", "DELETE"})

T = TypeVar("T")

Answer = tuple[int, Any]
"""HTTP status and JSON body; None for no body, ``Raw`` for one that is not JSON."""


@dataclass(frozen=True)
class Raw:
    """A body that is not JSON."""

    content_type: str
    text: str


@dataclass(frozen=True)
class Services:
    """All that handlers may use."""

    auth: KeypairAuth
    tokens: SessionTokens
    metrics_token: MetricsToken
    app_tokens: AppTokens
    rates: Rates
    logins: Logins
    owners: Owners
    wards: Wards
    people: PeopleService
    user_config: UserConfig
    graphql: Executor
    sessions: SessionService
    creation: SessionCreation
    changes: SessionChanges
    jupyter_kernels: JupyterKernelService
    idle: IdleWatch
    commits: Commits
    variables: Variables
    templates: Templates
    tasks: BackgroundTasks
    execution: Execution
    apps: Apps
    idle_connections: IdleConnections
    session_files: SessionFiles
    agents: AgentService
    folders: VFolderService
    folder_files: FolderFiles
    sharing: Sharing
    transfers: Transfers
    views: Views
    errors: RecentErrors
    options: Callable[[], list[SettingView]]
    hub: Hub
    store: Store
    public_url: str
    now: Callable[[], datetime]


class ApiHandler(RequestHandler):
    """Checks the signature or token before any method runs, counts the request, and turns errors into problems.

    ``params`` are query and JSON body together; the body wins. Clients send bodies with GET and DELETE too.
    """

    is_public = False
    rate: Rate | None = None
    _work: "asyncio.Task[Any] | None" = None
    caller: Caller
    params: dict[str, Any]

    def initialize(self, services: Services) -> None:
        self.services = services
        self.request_id = uuid4().hex

    def set_default_headers(self) -> None:
        self.set_header("Server", "BackendAI")
        if self.rate is not None and self.rate.limit is not None:
            self.set_header("X-RateLimit-Limit", str(self.rate.limit))
            self.set_header("X-RateLimit-Remaining", str(self.rate.remaining))
            self.set_header("X-RateLimit-Window", str(WINDOW_S))

    def compute_etag(self) -> None:
        return None  # answers change all the time; hashing them is for nothing

    async def prepare(self) -> None:
        self._check_version()
        if not self.is_public:
            self.caller = await self._authenticate()
            self._count()
        self._override_method()
        if self.request.method not in methods_of(type(self)):
            raise HTTPError(405)
        self.params = self._read_params()

    def _check_version(self) -> None:
        headers = self.request.headers
        version = headers.get("X-BackendAI-Version") or headers.get("X-Sorna-Version")
        if version and version not in API_VERSIONS:
            raise BadRequest(
                f"This manager does not speak {version}. It speaks {', '.join(sorted(API_VERSIONS))}.",
                title="Unsupported API version.",
            )

    def _override_method(self) -> None:
        """For clients behind proxies that let nothing but GET and POST through. The POST is what was signed."""
        wanted = self.request.headers.get("X-Method-Override", "").upper()
        if not wanted or self.request.method != "POST":
            return
        if wanted not in _OVERRIDES:
            raise BadRequest(f"X-Method-Override: {wanted!r} is not one of {', '.join(sorted(_OVERRIDES))}.")
        self.request.method = wanted

    async def _authenticate(self) -> Caller:
        request = self.request
        token = bearer_token(request.headers.get("Authorization", ""))
        if token is not None:
            return await self.services.tokens.authenticate(token)
        caller = await self.services.auth.authenticate(
            SignedRequest(str(request.method), str(request.uri), request.headers, request.body, self.address)
        )
        ward = self.get_query_argument(ON_BEHALF_OF, None)
        return caller if ward is None else await self.services.wards.act_for(caller, ward)

    @property
    def address(self) -> str:
        """Of whoever connected to us."""
        return str(self.request.remote_ip)

    def text(self, name: str) -> str:
        """A parameter that must be a text. Raises ``BadRequest``, which never shows what was sent instead."""
        value = self.params.get(name)
        if not isinstance(value, str) or not value or not _is_whole(value):
            raise BadRequest(Reason.of("bad-value", field=name, given="what was sent", expected="a text"))
        return value

    def optional_text(self, name: str) -> str | None:
        """As ``text``, but it may be left out."""
        return None if self.params.get(name) in (None, "") else self.text(name)

    def number(self, name: str, default: int, least: int, most: int) -> int:
        """A parameter that is a number, as JSON or as text. Raises ``BadRequest``."""
        given = str(self.params.get(name, default))
        found = read_number(given)
        if found is None or not least <= found <= most:
            raise BadRequest(Reason.of("bad-value", field=name, given=given, expected=f"{least} to {most}"))
        return found

    def _count(self) -> None:
        """Raises ``RateLimited``; else the headers say what is left."""
        caller = self.caller
        self.rate = Rate(caller.rate_limit, 0)  # what a refusal says
        self.rate = self.services.rates.count(f"keypair:{caller.signing_key}", caller.rate_limit)
        self.set_default_headers()

    async def while_connected(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for ``work`` unless the client hangs up: then it is cancelled, and takes nothing for one who is gone."""
        task: asyncio.Task[T] = asyncio.create_task(work)
        self._work = task
        try:
            return await task
        except asyncio.CancelledError:
            raise Finish from None

    def break_off(self, error: PublicError) -> NoReturn:
        """Say what went wrong; once the answer has begun, by cutting the connection: it would look whole otherwise."""
        if not self._headers_written:
            raise error
        log.info("request %s: %s broke off: %s", self.request_id, self.request.path, error)
        self.request.connection.stream.close()  # type: ignore[union-attr]
        raise Finish

    def on_connection_close(self) -> None:
        super().on_connection_close()
        if self._work is not None:
            self._work.cancel()

    def answer(self, status: int, body: Any) -> None:
        self.set_status(status)
        if body is None:
            self.clear_header("Content-Type")
            self.finish()
        elif isinstance(body, Raw):
            self.set_header("Content-Type", body.content_type)
            self.finish(body.text)
        else:
            self.set_header("Content-Type", "application/json")
            self.finish(json.dumps(body, separators=(",", ":")))

    def own_url(self, path: str) -> str:
        """Where this caller reaches ``path``."""
        called = f"{self.request.protocol}://{self.request.host}"
        return (self.services.public_url.rstrip("/") or called) + path

    def flag(self, name: str) -> bool:
        """A parameter that is true or false, in the query or in the body."""
        value = self.params.get(name)
        return value is True or str(value).lower() in ("true", "1")

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None))[1]
        problem = problem_of(status_code, error, str(self.request.path))
        self.set_status(problem.status)
        self.set_header("Content-Type", PROBLEM)
        if problem.status == MethodNotAllowed.status:
            self.set_header("Allow", ", ".join(methods_of(type(self))))
        self.finish(json.dumps(problem.to_problem()))

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        if isinstance(value, PublicError | HTTPError):
            log.info("request %s: %s %s refused: %s", self.request_id, self.request.method, self.request.path, value)
        else:
            log.error(
                "request %s: %s %s failed",
                self.request_id,
                self.request.method,
                self.request.path,
                exc_info=(typ, value, tb),
            )

    async def audit(self, action: str, target: str, result: int) -> None:
        await self.audit_of(self.caller.user_id, self.caller.signing_key, action, target, result)

    async def audit_of(
        self, user_id: UserId | None, access_key: str | None, action: str, target: str, result: int
    ) -> None:
        """For who is not the caller: nobody has signed yet."""
        entry = AuditEntry(
            at=self.services.now(),
            user_id=user_id,
            access_key=access_key,
            action=f"{self.request.method} {action}",
            target=target,
            result=result,
            request_id=self.request_id,
        )
        await self.services.store.write(accounts.write_audit, entry)

    def _read_params(self) -> dict[str, Any]:
        params: dict[str, Any] = {name: self.get_query_argument(name) for name in self.request.query_arguments}
        if len(self.request.body) > MAX_BODY_BYTES:
            raise BodyTooLarge(f"The body has {len(self.request.body)} bytes; at most {MAX_BODY_BYTES} are taken.")
        if self.request.body:
            try:
                body = json.loads(self.request.body, parse_constant=_refuse_constant)
            except (ValueError, RecursionError) as error:
                raise BadRequest(f"The body is not JSON: {error}.") from error
            if not isinstance(body, dict):
                raise BadRequest("The body must be a JSON object.")
            params |= body
        return params


class OwnedHandler(ApiHandler):
    """What is a person's: an admin may ask for another's, by ``owner_access_key``. The audit trail names both."""

    async def prepare(self) -> None:
        await super().prepare()
        owner = self.optional_text("owner_access_key") or self.optional_text("ownerAccessKey")
        if owner is not None:
            self.caller = await self.services.owners.act_as(self.caller, owner)


def methods_of(handler: type[RequestHandler]) -> tuple[str, ...]:
    """The HTTP methods that it answers, in tornado's order."""
    return tuple(
        method
        for method in RequestHandler.SUPPORTED_METHODS
        if getattr(handler, method.lower()) is not getattr(RequestHandler, method.lower())
    )


def _is_whole(text: str) -> bool:
    """False with half of a pair in it, which JSON can write and nothing can keep."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def read_object(message: str | bytes) -> dict[str, Any]:
    """A WebSocket's message that is a JSON object. Raises ``BadRequest``."""
    try:
        body = json.loads(message, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"The message is not JSON: {error}.") from error
    if not isinstance(body, dict):
        raise BadRequest("The message must be a JSON object.")
    return body


def _refuse_constant(name: str) -> None:
    """Python reads NaN and Infinity, JSON has none, and no number of ours is one."""
    raise ValueError(f"{name} is not a number")


Method = Callable[..., Awaitable[Answer]]


def needs(permission: str) -> Callable[[Method], Callable[..., Awaitable[None]]]:
    """Declare what a method's caller must be allowed; an unknown permission fails at import.

    The method returns ``(status, body)``. Uses of an audited permission are recorded with their result.
    """
    is_audited = policy.PERMISSIONS[permission].is_audited

    def wrap(method: Method) -> Callable[..., Awaitable[None]]:
        @functools.wraps(method)
        async def checked(self: ApiHandler, *args: str) -> None:
            try:
                policy.require(self.caller.role, permission)
                status, body = await method(self, *args)
            except PublicError as error:
                if is_audited:
                    await self.audit(permission, "/".join(args), error.status)
                raise
            if is_audited:
                await self.audit(permission, "/".join(args) or _name_of(body), status)
            self.answer(status, body)

        checked.permission = permission  # type: ignore[attr-defined]
        return checked

    return wrap


F = TypeVar("F", bound=Callable[..., Any])


def takes(**fields: type) -> Callable[[F], F]:
    """Say which parameters a method knows, for the API's own description. It checks nothing."""

    def mark(function: F) -> F:
        function.takes = fields  # type: ignore[attr-defined]
        return function

    return mark


def gives(*shapes: Any) -> Callable[[F], F]:
    """Say what a method answers when all is well, for the API's own description.

    Each is the shape of a JSON value (``schemas``), a media type for what is not JSON, or ``None`` for no body. It
    checks nothing; tests do.
    """

    def mark(function: F) -> F:
        function.gives = shapes  # type: ignore[attr-defined]
        return function

    return mark


def _name_of(body: Any) -> str:
    """What was made, where the path does not say."""
    found = body if isinstance(body, dict) else {}
    return str(found.get("sessionId") or found.get("name") or "")


class UnknownPath(ApiHandler):
    is_public = True

    async def prepare(self) -> None:
        raise HTTPError(404)


def log_request(handler: RequestHandler) -> None:
    """One line per request; never the query, which may hold a ticket."""
    request = handler.request
    took_ms = 1000 * (time.time() - request._start_time)
    request_id = getattr(handler, "request_id", "-")
    log.debug(
        "request %s: %s %s -> %d (%.0f ms)", request_id, request.method, request.path, handler.get_status(), took_ms
    )
