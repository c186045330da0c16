"""Resource policies limit each folder; keypairs keep the limit that Backend.AI's clients may still give them."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("resource_policies", sa.Column("max_vfolder_bytes", sa.BigInteger()))
    op.add_column("keypairs", sa.Column("concurrency_limit", sa.Integer()))
