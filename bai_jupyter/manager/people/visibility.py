"""What of the cluster a caller sees."""

from sqlalchemy.engine import Connection

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
