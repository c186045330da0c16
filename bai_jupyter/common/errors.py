"""The error tree.

::

    BaiError                      anything this project raises on purpose
    ├── PublicError               may be shown to the caller: has an HTTP status and a Backend.AI problem slug
    │   ├── BadRequest            400
    │   │   └── AlreadyExists     400
    │   ├── AuthFailed            401
    │   ├── Forbidden             403
    │   ├── NotFound              404   the same for what is missing and what you may not see
    │   ├── QuotaExceeded         412
    │   ├── RateLimited           429
    │   └── Unavailable           503
    │       └── Frozen            503   an admin has paused new sessions
    ├── InvalidTransition         a status change that the lifecycle table does not have
    └── ProtocolError             a peer sent something that is not in the protocol

Messages say what was asked, what was found, and what to do.
"""

from bai_jupyter.common.reasons import Reason


class BaiError(Exception):
    """Root of everything raised on purpose."""

    code = "internal"


class PublicError(BaiError):
    """An error a caller may see. ``status`` is the HTTP status, ``slug`` and ``title`` are Backend.AI's.

    ``reason`` carries the sentence for people; its text is the problem's ``msg``.
    """

    status = 500
    slug = "internal-server-error"
    title = "Internal server error."

    def __init__(
        self, message: str | Reason, *, title: str | None = None, data: dict[str, object] | None = None
    ) -> None:
        self.reason = message if isinstance(message, Reason) else None
        self.message = message.text if isinstance(message, Reason) else message
        self.title = title or type(self).title
        self.data = data
        super().__init__(self.message)

    @property
    def code(self) -> str:  # type: ignore[override]
        return self.reason.code if self.reason else self.slug

    @property
    def why(self) -> Reason:
        """Its reason, which is its message where it was given none."""
        return self.reason or Reason.of("other", text=self.message)

    def to_problem(self) -> dict[str, object]:
        """The RFC 7807 body as Backend.AI spells it."""
        problem: dict[str, object] = {
            "type": f"https://api.backend.ai/probs/{self.slug}",
            "title": self.title,
            "msg": self.message,
        }
        data = dict(self.data or {})
        if self.reason:
            data["reason"] = self.reason.to_json()
        if data:
            problem["data"] = data
        return problem


class BadRequest(PublicError):
    status, slug, title = 400, "invalid-api-params", "Missing or invalid API parameters."


class AlreadyExists(PublicError):
    status, slug, title = 400, "session-already-exists", "The session already exists but you requested not to reuse it."


class AuthFailed(PublicError):
    status, slug, title = 401, "auth-failed", "Credential/signature mismatch."


class Forbidden(PublicError):
    status, slug, title = 403, "generic-forbidden", "Forbidden operation."


class NotFound(PublicError):
    status, slug, title = 404, "object-not-found", "No such object."


class QuotaExceeded(PublicError):
    status, slug, title = 412, "quota-exceeded", "You have reached your resource limit."


class RateLimited(PublicError):
    status, slug, title = 429, "rate-limit-exceeded", "You have reached your API query rate limit."


class Unavailable(PublicError):
    status, slug, title = 503, "service-unavailable", "Service unavailable."


class Frozen(Unavailable):
    slug, title = "server-frozen", "The server is frozen due to maintenance. Please try again later."


class InvalidTransition(BaiError):
    code = "invalid-transition"


class ProtocolError(BaiError):
    code = "protocol"
