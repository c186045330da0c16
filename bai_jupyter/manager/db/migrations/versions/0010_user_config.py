"""What people have in each of their new sessions: dotfiles, a bootstrap script, an SSH keypair."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "user_configs",
        sa.Column("user_id", sa.String(), sa.ForeignKey("users.id"), primary_key=True),
        sa.Column("bootstrap_encrypted", sa.Text()),
        sa.Column("ssh_public_key", sa.Text()),
        sa.Column("ssh_private_encrypted", sa.Text()),
    )
    op.create_table(
        "dotfiles",
        sa.Column("scope", sa.String(), primary_key=True),
        sa.Column("path", sa.String(), primary_key=True),
        sa.Column("permission", sa.String(), nullable=False),
        sa.Column("data_encrypted", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
    )
