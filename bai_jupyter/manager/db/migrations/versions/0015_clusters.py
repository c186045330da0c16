"""Sessions of several containers: which kernels belong together, and what becomes of the session when one ends."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sessions", sa.Column("cluster_size", sa.Integer(), nullable=False, server_default="1"))
    op.add_column("kernels", sa.Column("main_id", sa.String()))
    op.add_column("kernels", sa.Column("place", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("kernels", sa.Column("restarts", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("kernels", sa.Column("reason", sa.JSON()))
    op.execute("UPDATE kernels SET main_id = id")
    op.create_index("ix_kernels_main_id", "kernels", ["main_id"])
