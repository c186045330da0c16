"""Folders of projects, the trash, quotas, sharing."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_KEPT = sa.text("status IN ('ready', 'cloning')")


def upgrade() -> None:
    _widen_vfolders()
    op.create_table(
        "vfolder_permissions",
        sa.Column("vfolder_id", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("permission", sa.String(), nullable=False),
        _reference("vfolder_permissions", "vfolder_id", "vfolders"),
        _reference("vfolder_permissions", "user_id", "users"),
        sa.PrimaryKeyConstraint("vfolder_id", "user_id", name=op.f("pk_vfolder_permissions")),
    )
    op.create_index(op.f("ix_vfolder_permissions_user_id"), "vfolder_permissions", ["user_id"])
    op.create_table(
        "vfolder_invitations",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("vfolder_id", sa.String(), nullable=False),
        sa.Column("inviter_id", sa.String(), nullable=False),
        sa.Column("invitee_id", sa.String(), nullable=False),
        sa.Column("permission", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("modified_at", sa.DateTime(timezone=True), nullable=False),
        _reference("vfolder_invitations", "vfolder_id", "vfolders"),
        _reference("vfolder_invitations", "inviter_id", "users"),
        _reference("vfolder_invitations", "invitee_id", "users"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_vfolder_invitations")),
    )
    for column in ("vfolder_id", "inviter_id", "invitee_id"):
        op.create_index(op.f(f"ix_vfolder_invitations_{column}"), "vfolder_invitations", [column])


def _widen_vfolders() -> None:
    with op.batch_alter_table("vfolders") as batch:
        batch.alter_column("user_id", nullable=True)
        batch.drop_constraint("uq_vfolders_user_id_name", type_="unique")
        batch.add_column(sa.Column("project_id", sa.String()))
        batch.add_column(sa.Column("creator", sa.String()))
        batch.add_column(sa.Column("usage_mode", sa.String()))
        batch.add_column(sa.Column("cloneable", sa.Boolean()))
        batch.add_column(sa.Column("quota_bytes", sa.BigInteger()))
        batch.add_column(sa.Column("used_bytes", sa.BigInteger()))
        batch.add_column(sa.Column("num_files", sa.BigInteger()))
        batch.create_foreign_key(op.f("fk_vfolders_project_id"), "projects", ["project_id"], ["id"])
    op.execute(
        "UPDATE vfolders SET usage_mode = 'general', cloneable = false,"
        " creator = (SELECT name FROM users WHERE users.id = vfolders.user_id)"
    )
    with op.batch_alter_table("vfolders") as batch:
        for column in ("creator", "usage_mode", "cloneable"):
            batch.alter_column(column, nullable=False)
        for owner in ("user", "project"):
            columns = [f"{owner}_id", "name"]
            batch.create_index(
                f"uq_vfolders_{owner}_name", columns, unique=True, sqlite_where=_KEPT, postgresql_where=_KEPT
            )


def _reference(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{target}.id"], name=op.f(f"fk_{table}_{column}"), ondelete="CASCADE")
