"""Idle sessions are suspended by policy."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_JSON = sa.JSON(none_as_null=True)


def upgrade() -> None:
    op.add_column("resource_policies", sa.Column("suspend_after_s", sa.Integer()))
    op.add_column("session_idle", sa.Column("quiet_since", sa.DateTime(timezone=True)))
    op.add_column("kernels", sa.Column("suspended_for", _JSON))
