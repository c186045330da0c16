"""Services give their wards resource policies, of those that an admin lets them give."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "ward_policies",
        sa.Column("access_key", sa.String(), nullable=False),
        sa.Column("resource_policy", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["access_key"], ["keypairs.access_key"], name=op.f("fk_ward_policies_access_key")),
        sa.ForeignKeyConstraint(
            ["resource_policy"], ["resource_policies.name"], name=op.f("fk_ward_policies_resource_policy")
        ),
        sa.PrimaryKeyConstraint("access_key", "resource_policy", name=op.f("pk_ward_policies")),
    )
