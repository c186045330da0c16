"""What a role may do: one table. Whether a thing is the caller's own is decided where it is looked up."""

from collections.abc import Mapping
from dataclasses import dataclass

from bai_jupyter.common.errors import Forbidden
from bai_jupyter.common.reasons import Reason

SUPERADMIN, ADMIN, USER = "superadmin", "admin", "user"
DELEGATE, OWN_SESSION = "delegate", "own-session"
"""Roles of a session's token, never of a user: it acts for its owner, or may only see and end its session."""
SCRAPER = "scraper"
"""Role of the token for metrics, never of a user."""
SERVICE = "service"
"""Role of a user that is a program, such as a JupyterHub: it acts for users it made or was given, and only so."""

_PEOPLE = frozenset({SUPERADMIN, ADMIN, USER})
_ACTING = _PEOPLE | {DELEGATE}
_OF_USERS = _PEOPLE | {SERVICE}
_EVERYBODY = _ACTING | {OWN_SESSION}
_ADMINS = frozenset({SUPERADMIN, ADMIN})
_SUPERADMIN = frozenset({SUPERADMIN})
_SERVICE = frozenset({SERVICE})


@dataclass(frozen=True)
class Permission:
    """Roles that have it, and whether using it goes into the audit trail."""

    roles: frozenset[str]
    is_audited: bool


PERMISSIONS: Mapping[str, Permission] = {
    "auth:read": Permission(_EVERYBODY | _SERVICE, is_audited=False),
    "auth:password": Permission(_PEOPLE, is_audited=True),
    "user:act-for": Permission(_SERVICE, is_audited=False),
    "user:make-ward": Permission(_SERVICE, is_audited=True),
    "policy:give": Permission(_SERVICE, is_audited=True),  # to keypairs of its wards, of those allowed to it
    "user:give-ward": Permission(_PEOPLE, is_audited=True),  # oneself
    "user:give-others": Permission(_SUPERADMIN, is_audited=False),
    "manager:read": Permission(_EVERYBODY | _SERVICE, is_audited=False),
    "session:read": Permission(_EVERYBODY, is_audited=False),
    "session:create": Permission(_ACTING, is_audited=True),
    "session:control": Permission(_ACTING, is_audited=True),
    "session:execute": Permission(_ACTING, is_audited=False),  # each poll for output is a use
    "session:terminal": Permission(_ACTING, is_audited=True),  # when it is opened
    "session:end": Permission(_EVERYBODY, is_audited=True),
    "session:grant-access": Permission(_PEOPLE | _SERVICE, is_audited=False),  # a service: to servers of its wards
    "session:serve": Permission(_SERVICE, is_audited=False),  # by a path of the manager, and through an agent's doors
    "session:any-owner": Permission(_SUPERADMIN, is_audited=False),
    "task:read": Permission(_ACTING, is_audited=False),
    "template:read": Permission(_ACTING, is_audited=False),
    "template:manage": Permission(_ACTING, is_audited=True),
    "image:read": Permission(_ACTING, is_audited=False),
    "image:delete": Permission(_ACTING, is_audited=True),  # one's own; others' need image:manage
    "image:manage": Permission(_SUPERADMIN, is_audited=True),
    "agent:read": Permission(_ACTING, is_audited=False),
    "manager:control": Permission(_SUPERADMIN, is_audited=True),
    "metrics:read": Permission(_SUPERADMIN | {SCRAPER}, is_audited=False),
    "manager:errors": Permission(_SUPERADMIN, is_audited=False),
    "manager:settings": Permission(_SUPERADMIN, is_audited=False),
    "audit:read": Permission(_PEOPLE, is_audited=False),
    "agent:schedule": Permission(_SUPERADMIN, is_audited=True),
    "agent:join": Permission(_SUPERADMIN, is_audited=True),
    "group:any": Permission(_SUPERADMIN, is_audited=False),
    "domain:any": Permission(_SUPERADMIN, is_audited=False),
    "graphql:use": Permission(_ACTING, is_audited=False),
    "keypair:secret": Permission(_PEOPLE, is_audited=False),
    # Not for sessions' tokens: what a notebook did would go on in all later sessions.
    "config:read": Permission(_PEOPLE, is_audited=False),
    "config:change": Permission(_PEOPLE, is_audited=True),
    "people:read": Permission(_ACTING, is_audited=False),
    "people:manage": Permission(_ADMINS, is_audited=True),
    "usage:read": Permission(_ADMINS, is_audited=False),
    "policy:manage": Permission(_SUPERADMIN, is_audited=True),
    "folder:read": Permission(_ACTING, is_audited=False),
    "folder:create": Permission(_ACTING, is_audited=True),
    "folder:change": Permission(_ACTING, is_audited=True),
    "folder:write": Permission(_ACTING, is_audited=True),
    "folder:share": Permission(_ACTING, is_audited=True),
    "folder:of-project": Permission(_ADMINS, is_audited=False),
    "folder:hand-over": Permission(_SUPERADMIN, is_audited=True),
    "folder:any-owner": Permission(_SUPERADMIN, is_audited=False),
    "resource:read": Permission(_ACTING, is_audited=False),
}


def may(role: str, permission: str) -> bool:
    return role in PERMISSIONS[permission].roles


def require(role: str, permission: str) -> None:
    """Raises ``Forbidden`` naming who may."""
    if not may(role, permission):
        roles = " or ".join(f"{one}s" for one in sorted(PERMISSIONS[permission].roles & _OF_USERS))
        raise Forbidden(Reason.of("forbidden", role=roles))
