"""What of the cluster a caller sees, and whom an admin may touch."""

from typing import Any

from sqlalchemy.engine import Connection

from bai_jupyter.common.errors import NotFound
from bai_jupyter.common.reasons import Reason
from bai_jupyter.manager.auth import policy
from bai_jupyter.manager.auth.keypairs import Caller
from bai_jupyter.manager.db import groups, people
from bai_jupyter.manager.db.records import GroupRecord


def visible_groups(conn: Connection, caller: Caller) -> list[GroupRecord]:
    """All for superadmins; for others the public ones that they may use in any of their projects."""
    if policy.may(caller.role, "group:any"):
        return groups.list_groups(conn)
    scopes = people.scopes_of(conn, caller.domain, caller.user_id, caller.access_key)
    return [group for group in groups.usable(conn, scopes) if group.is_public]


def may_touch(caller: Caller, user: Any) -> bool:
    """Whether this admin may change that user."""
    if policy.may(caller.role, "domain:any"):
        return True
    return bool(user.domain == caller.domain and user.role in (policy.USER, policy.ADMIN))


def check_domain(caller: Caller, domain: str) -> None:
    """Raises ``NotFound`` for another domain than the caller's, unless they see all."""
    if domain != caller.domain and not policy.may(caller.role, "domain:any"):
        raise NotFound(Reason.of("not-found", kind="domain", name=domain), title="No such domain.")
