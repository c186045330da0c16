"""Units of work on what admins set for the whole cluster while it runs: announcement, and pause of new sessions."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bai_jupyter.common.reasons import Reason
from bai_jupyter.manager.db import tables as t

ANNOUNCEMENT, FROZEN = "announcement", "frozen"


def load(conn: Connection, name: str) -> Any:
    """The value, as JSON; None if it is not set."""
    return conn.execute(sa.select(t.settings.c.value).where(t.settings.c.name == name)).scalar()


def store(conn: Connection, name: str, value: Any) -> None:
    """Set it; None unsets it."""
    conn.execute(t.settings.delete().where(t.settings.c.name == name))
    if value is not None:
        conn.execute(t.settings.insert().values(name=name, value=value))


def frozen(conn: Connection) -> Reason | None:
    """Why no session is placed now; None if they are."""
    found = load(conn, FROZEN)
    return None if found is None else Reason.of("frozen", admin=found["admin"], time=found["time"])
