"""What may go wrong: a manager that is away, and its refusals back in the tree of ``common.errors``."""

import json
import ssl

from bai_jupyter.client.answers import Json
from bai_jupyter.common import errors
from bai_jupyter.common.errors import BaiError, PublicError, Unavailable
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.trust import refusal


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
        return ManagerAway(endpoint) if status in (502, 503, 504) else unexpected(status, endpoint)
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


def unexpected(status: int, endpoint: str) -> PublicError:
    kind = _BY_STATUS.get(status, PublicError)
    error = kind(f"{endpoint} answered {status}, and not as a Backend.AI manager does. Is the address right?")
    error.status = status
    return error
