"""How many pieces of code were run in a session by the API."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sessions", sa.Column("queries", sa.Integer(), nullable=False, server_default="0"))
