"""What admins set for the whole cluster, agents that run empty, and second names of images."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("agents", sa.Column("is_schedulable", sa.Boolean(), nullable=False, server_default=sa.true()))
    op.create_table(
        "settings",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.JSON(none_as_null=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_settings")),
    )
    op.create_table(
        "image_aliases",
        sa.Column("alias", sa.String(), nullable=False),
        sa.Column("image", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["image"], ["images.name"], name=op.f("fk_image_aliases_image"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("alias", name=op.f("pk_image_aliases")),
    )
