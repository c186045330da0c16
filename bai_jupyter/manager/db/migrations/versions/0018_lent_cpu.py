"""The CPU of suspended sessions is free for others on their agents."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("kernels", sa.Column("lends_cpu", sa.Boolean(), nullable=False, server_default=sa.false()))
