"""When sessions were last used, limits of low use, and sessions whose resources are changed while they run."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_JSON = sa.JSON(none_as_null=True)
_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("resource_policies", sa.Column("utilization", _JSON))
    op.add_column("sessions", sa.Column("resizes", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("kernels", sa.Column("slots", _JSON))
    op.add_column("kernels", sa.Column("resizes", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("kernels", sa.Column("refused", _JSON))
    op.add_column("kernels", sa.Column("suspended", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_table(
        "session_idle",
        sa.Column("session_id", sa.String(), nullable=False),
        sa.Column("active_at", _MOMENT, nullable=False),
        sa.Column("what", sa.String(), nullable=False),
        sa.Column("used_at", _JSON, nullable=False),
        sa.Column("extensions", sa.Integer(), nullable=False),
        sa.Column("extended_until", _MOMENT),
        sa.Column("warned_of", sa.String()),
        sa.Column("warned_lead_s", sa.Integer()),
        sa.Column("warned_since", _MOMENT),
        sa.ForeignKeyConstraint(
            ["session_id"], ["sessions.id"], name=op.f("fk_session_idle_session_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("session_id", name=op.f("pk_session_idle")),
    )
