"""Units of work that read how much of this week's accelerators was used: of the containers that reports of usage
(``usage``) are about, so that both say the same."""

import json
from collections.abc import Collection
from datetime import datetime
from decimal import Decimal
from functools import lru_cache

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.manager.db import tables as t
from bai_jupyter.manager.sessions.budgets import Spending, week_of

_COLUMNS = {
    "domain": t.sessions.c.domain,
    "project": t.sessions.c.project_id,
    "user": t.sessions.c.user_id,
    "keypair": t.sessions.c.access_key,
}
HELD_UNTIL = sa.case(
    (t.sessions.c.terminated_at < t.kernels.c.terminated_at, t.sessions.c.terminated_at),
    else_=sa.func.coalesce(t.kernels.c.terminated_at, t.sessions.c.terminated_at),
)
"""To its end, or to its session's where that was ended without waiting for an agent: nobody can use it from then on."""
_SLOTS = sa.cast(t.sessions.c.slots, sa.Text).label("slots")  # read once for each of the few texts there are


def load_spending(conn: Connection, scopes: Collection[str], now: datetime) -> dict[str, Spending]:
    """Of each scope, which are named as in ``counters``; of what agents hold nothing is told."""
    found = {scope: Spending(now) for scope in scopes}
    if not found:
        return found
    keys: dict[str, list[str]] = {}
    for level, _, key in (scope.partition(":") for scope in scopes):
        keys.setdefault(level, []).append(key)
    kernels = t.kernels.c
    query = (
        sa.select(
            kernels.created_at,
            HELD_UNTIL.label("ended_at"),
            _SLOTS,
            *(_COLUMNS[level].label(level) for level in keys),
        )
        .select_from(t.kernels.join(t.sessions, t.sessions.c.id == kernels.session_id))
        .where(kernels.terminated_at.is_(None) | (kernels.terminated_at > week_of(now)))
        .where(kernels.created_at < now, sa.or_(*(_COLUMNS[level].in_(names) for level, names in keys.items())))
    )
    for row in conn.execute(query):
        amount = _accelerators(row.slots)
        for scope in [f"{level}:{row._mapping[level]}" for level in keys] if amount else ():
            if scope in found:
                found[scope] = found[scope].with_use(amount, row.created_at, row.ended_at)
    return found


@lru_cache
def _accelerators(slots: str) -> Decimal:
    return ResourceSlots.parse(json.loads(slots)).accelerators
