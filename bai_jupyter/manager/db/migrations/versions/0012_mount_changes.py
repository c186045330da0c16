"""Folders of running sessions are attached and detached."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sessions", sa.Column("mount_changes", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("kernels", sa.Column("mount_changes", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("kernels", sa.Column("refused_mounts", sa.JSON(), nullable=False, server_default="{}"))
