"""Paths of the manager that lead to a session's port, and the agent's doors that a session may use."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_ALIVE = sa.text("status NOT IN ('TERMINATED', 'CANCELLED', 'ERROR')")


def upgrade() -> None:
    op.add_column("sessions", sa.Column("route_path", sa.String()))
    op.add_column("sessions", sa.Column("route_port", sa.Integer()))
    op.add_column("sessions", sa.Column("doors", sa.JSON(none_as_null=True), nullable=False, server_default="[]"))
    op.create_index(
        "uq_sessions_alive_route",
        "sessions",
        ["route_path"],
        unique=True,
        sqlite_where=_ALIVE,
        postgresql_where=_ALIVE,
    )
