"""What a role may do: one table. Whether a thing is the caller's own is decided where it is looked up."""

from collections.abc import Mapping
from dataclasses import dataclass

from bai_jupyter.common.errors import Forbidden
from bai_jupyter.common.reasons import Reason

SUPERADMIN, ADMIN, USER = "superadmin", "admin", "user"
_EVERYBODY = frozenset({SUPERADMIN, ADMIN, USER})
_SUPERADMIN = frozenset({SUPERADMIN})


@dataclass(frozen=True)
class Permission:
    """Roles that have it, and whether using it goes into the audit trail."""

    roles: frozenset[str]
    is_audited: bool


PERMISSIONS: Mapping[str, Permission] = {
    "auth:read": Permission(_EVERYBODY, is_audited=False),
    "session:read": Permission(_EVERYBODY, is_audited=False),
    "session:create": Permission(_EVERYBODY, is_audited=True),
    "session:control": Permission(_EVERYBODY, is_audited=True),
    "session:any-owner": Permission(_SUPERADMIN, is_audited=False),
    "image:read": Permission(_EVERYBODY, is_audited=False),
    "image:manage": Permission(_SUPERADMIN, is_audited=True),
    "agent:read": Permission(_EVERYBODY, is_audited=False),
    "agent:join": Permission(_SUPERADMIN, is_audited=True),
    "resource:read": Permission(_EVERYBODY, is_audited=False),
}


def may(role: str, permission: str) -> bool:
    return role in PERMISSIONS[permission].roles


def require(role: str, permission: str) -> None:
    """Raises ``Forbidden`` naming who may."""
    if not may(role, permission):
        raise Forbidden(Reason.of("forbidden", role=" or ".join(sorted(PERMISSIONS[permission].roles)) + "s"))
