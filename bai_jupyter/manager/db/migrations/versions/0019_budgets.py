"""Policies may limit the GPU-hours of a week, which are summed up from what was held since its beginning."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("resource_policies", sa.Column("gpu_hours_per_week", sa.Float()))
    op.create_index("ix_kernels_terminated_at", "kernels", ["terminated_at"])
