"""Logins, memberships, what policies and resource groups say, and who may act for whom."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True)
EMPTY_TEXT, EMPTY_OBJECT, NO_MOMENT = "", "{}", "2000-01-01 00:00:00.000000"


def upgrade() -> None:
    _people()
    _policies()
    _resource_groups()
    _memberships()


def _people() -> None:
    for table in ("domains", "projects"):
        _add(table, "description", sa.String(), default=EMPTY_TEXT)
        _add(table, "created_at", sa.DateTime(timezone=True), default=NO_MOMENT)
        _add(table, "total_slots", JSON, default=EMPTY_OBJECT)
        _add(table, "allowed_vfolder_hosts", JSON)
    _add("users", "email", sa.String(), default=EMPTY_TEXT)
    _add("users", "full_name", sa.String(), default=EMPTY_TEXT)
    _add("users", "description", sa.String(), default=EMPTY_TEXT)
    _add("users", "status", sa.String(), default="active")
    _add("users", "status_info", sa.String())
    _add("users", "password_hash", sa.String())
    _add("users", "need_password_change", sa.Boolean(), default=sa.false())
    _add("users", "allowed_client_ip", JSON)
    _add("users", "main_access_key", sa.String())
    _add("users", "modified_at", sa.DateTime(timezone=True), default=NO_MOMENT)
    op.execute("UPDATE users SET email = name || '@localhost', modified_at = created_at")
    op.execute("UPDATE users SET status = 'inactive' WHERE NOT is_active")
    op.drop_column("users", "is_active")
    op.create_index("uq_users_email", "users", ["email"], unique=True)
    _add("keypairs", "is_admin", sa.Boolean(), default=sa.false())
    _add("keypairs", "rate_limit", sa.Integer())
    _add("keypairs", "used_at", sa.DateTime(timezone=True))
    _add("keypairs", "modified_at", sa.DateTime(timezone=True), default=NO_MOMENT)
    op.execute("UPDATE keypairs SET modified_at = created_at")
    op.execute(
        "UPDATE keypairs SET is_admin = (SELECT role IN ('superadmin', 'admin') FROM users WHERE id = keypairs.user_id)"
    )
    for table in ("domains", "projects"):
        op.execute(f"UPDATE {table} SET created_at = CURRENT_TIMESTAMP")  # noqa: S608 - names from above


def _policies() -> None:
    table = "resource_policies"
    _add(table, "is_limited", sa.Boolean(), default=sa.false())
    _add(table, "max_containers_per_session", sa.Integer())
    _add(table, "max_session_lifetime_s", sa.Integer())
    _add(table, "idle_timeout_s", sa.Integer())
    _add(table, "allowed_vfolder_hosts", JSON)
    _add(table, "max_vfolder_count", sa.Integer())
    _add(table, "max_quota_scope_bytes", sa.BigInteger())
    _add(table, "created_at", sa.DateTime(timezone=True), default=NO_MOMENT)
    op.execute("UPDATE resource_policies SET created_at = CURRENT_TIMESTAMP")


def _resource_groups() -> None:
    table = "resource_groups"
    _add(table, "description", sa.String(), default=EMPTY_TEXT)
    _add(table, "is_public", sa.Boolean(), default=sa.true())
    _add(table, "allowed_session_types", JSON, default='["interactive", "batch", "inference"]')
    _add(table, "pending_timeout_s", sa.Integer())
    _add(table, "created_at", sa.DateTime(timezone=True), default=NO_MOMENT)
    op.execute("UPDATE resource_groups SET created_at = CURRENT_TIMESTAMP")
    op.create_table(
        "resource_group_grants",
        sa.Column("resource_group", sa.String(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["resource_group"],
            ["resource_groups.name"],
            name=op.f("fk_resource_group_grants_resource_group"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("resource_group", "scope", name=op.f("pk_resource_group_grants")),
    )
    op.execute(
        "INSERT INTO resource_group_grants (resource_group, scope) "
        "SELECT resource_groups.name, 'domain:' || domains.name FROM resource_groups CROSS JOIN domains"
    )


def _memberships() -> None:
    op.create_table(
        "project_members",
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_project_members_project_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_project_members_user_id")),
        sa.PrimaryKeyConstraint("project_id", "user_id", name=op.f("pk_project_members")),
    )
    op.create_index(op.f("ix_project_members_user_id"), "project_members", ["user_id"], unique=False)
    op.execute("INSERT INTO project_members (project_id, user_id) SELECT project_id, id FROM users")
    op.create_table(
        "wards",
        sa.Column("access_key", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["access_key"], ["keypairs.access_key"], name=op.f("fk_wards_access_key")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_wards_user_id")),
        sa.PrimaryKeyConstraint("access_key", "user_id", name=op.f("pk_wards")),
    )


def _add(table: str, name: str, kind: sa.types.TypeEngine[Any], default: Any = None) -> None:
    """A column that may be null, or has a value in the rows that are there."""
    column = sa.Column(name, kind, nullable=default is None, server_default=default)
    op.add_column(table, column)
