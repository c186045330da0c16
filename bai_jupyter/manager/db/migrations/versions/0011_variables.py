"""Where the variables of Jupyter kernels were saved, and from where they are restored."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jupyter_kernels", sa.Column("saved", sa.JSON(none_as_null=True)))
    op.add_column("jupyter_kernels", sa.Column("wake_from", sa.String()))
