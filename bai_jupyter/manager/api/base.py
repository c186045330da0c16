"""What all handlers share: who asks, what was sent, how answers and errors look. No use case is here."""

import functools
import json
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

from tornado.web import HTTPError, RequestHandler

from bai_jupyter.common.errors import BadRequest, NotFound, PublicError
from bai_jupyter.manager.agents.service import AgentService
from bai_jupyter.manager.auth import policy
from bai_jupyter.manager.auth.keypairs import Caller, KeypairAuth, SignedRequest
from bai_jupyter.manager.db import accounts
from bai_jupyter.manager.db.accounts import AuditEntry
from bai_jupyter.manager.db.store import Store
from bai_jupyter.manager.sessions.events import Hub
from bai_jupyter.manager.sessions.service import SessionService
from bai_jupyter.manager.sessions.views import Views

log = logging.getLogger("bai_jupyter.manager.api")

API_VERSION = "v7.20230615"
PROBLEM = "application/problem+json"

Answer = tuple[int, Any]
"""HTTP status and JSON body; None for no body."""


@dataclass(frozen=True)
class Services:
    """All that handlers may use."""

    auth: KeypairAuth
    sessions: SessionService
    agents: AgentService
    views: Views
    hub: Hub
    store: Store
    now: Callable[[], datetime]


class ApiHandler(RequestHandler):
    """Checks the signature before any method runs, and turns errors into problems.

    ``params`` are query and JSON body together; the body wins. Clients send bodies with GET and DELETE too.
    """

    is_public = False
    caller: Caller
    params: dict[str, Any]

    def initialize(self, services: Services) -> None:
        self.services = services
        self.request_id = uuid4().hex

    def set_default_headers(self) -> None:
        self.set_header("Server", "BackendAI")

    def compute_etag(self) -> None:
        return None  # answers change all the time; hashing them is for nothing

    async def prepare(self) -> None:
        if not self.is_public:
            self.caller = await self.services.auth.authenticate(
                SignedRequest(str(self.request.method), str(self.request.uri), self.request.headers, self.request.body)
            )
        self.params = self._read_params()

    def answer(self, status: int, body: Any) -> None:
        self.set_status(status)
        if body is None:
            self.clear_header("Content-Type")
            self.finish()
        else:
            self.set_header("Content-Type", "application/json")
            self.finish(json.dumps(body, separators=(",", ":")))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None))[1]
        problem = _problem_of(status_code, error, str(self.request.path))
        self.set_status(problem.status)
        self.set_header("Content-Type", PROBLEM)
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
        entry = AuditEntry(
            at=self.services.now(),
            user_id=self.caller.user_id,
            access_key=self.caller.access_key,
            action=f"{self.request.method} {action}",
            target=target,
            result=result,
            request_id=self.request_id,
        )
        await self.services.store.write(accounts.write_audit, entry)

    def _read_params(self) -> dict[str, Any]:
        params: dict[str, Any] = {name: self.get_query_argument(name) for name in self.request.query_arguments}
        if self.request.body:
            try:
                body = json.loads(self.request.body)
            except ValueError as error:
                raise BadRequest(f"The body is not JSON: {error}.") from error
            if not isinstance(body, dict):
                raise BadRequest("The body must be a JSON object.")
            params |= body
        return params


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

        return checked

    return wrap


def _name_of(body: Any) -> str:
    """What was made, where the path does not say."""
    found = body if isinstance(body, dict) else {}
    return str(found.get("sessionId") or found.get("name") or "")


class UnknownPath(ApiHandler):
    is_public = True

    async def prepare(self) -> None:
        raise HTTPError(404)


class _UrlNotFound(NotFound):
    slug, title = "url-not-found", "Unknown URL path."


class _MethodNotAllowed(PublicError):
    status, slug, title = 405, "method-not-allowed", "HTTP method not allowed."


def _problem_of(status: int, error: BaseException | None, path: str) -> PublicError:
    if isinstance(error, PublicError):
        return error
    if status == 404:
        return _UrlNotFound(f"There is nothing at {path}.")
    if status == 405:
        return _MethodNotAllowed(f"{path} does not take this method.")
    if 400 <= status < 500:
        return BadRequest("The request cannot be read.")
    return PublicError("Something went wrong in the manager. Its log has the details.")


def log_request(handler: RequestHandler) -> None:
    """One line per request; never the query, which may hold a ticket."""
    request = handler.request
    took_ms = 1000 * (time.time() - request._start_time)
    request_id = getattr(handler, "request_id", "-")
    log.debug(
        "request %s: %s %s -> %d (%.0f ms)", request_id, request.method, request.path, handler.get_status(), took_ms
    )
