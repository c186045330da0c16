"""What a session can be asked for besides resources, what it depends on, what is left of it; background tasks."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0004"
branch_labels = None
depends_on = None

_JSON = sa.JSON(none_as_null=True)
_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("sessions", sa.Column("tag", sa.String()))
    op.add_column("sessions", sa.Column("starts_at", _MOMENT))
    op.add_column("sessions", sa.Column("command", sa.String()))
    op.add_column("sessions", sa.Column("bootstrap_encrypted", sa.String()))
    op.add_column("sessions", sa.Column("callback_encrypted", sa.String()))
    op.add_column("sessions", sa.Column("callback_after", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("sessions", sa.Column("preopen_ports", _JSON, nullable=False, server_default="[]"))
    op.add_column("sessions", sa.Column("resource_opts", _JSON, nullable=False, server_default="{}"))
    op.add_column("sessions", sa.Column("result", sa.String(), nullable=False, server_default="undefined"))
    op.add_column("sessions", sa.Column("restarts", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("kernels", sa.Column("holds_agent", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("kernels", sa.Column("stats", _JSON))
    op.add_column("kernels", sa.Column("log", sa.Text()))
    op.execute("UPDATE kernels SET holds_agent = holds_slots")
    op.add_column("images", sa.Column("user_id", sa.String()))
    op.create_index(op.f("ix_images_user_id"), "images", ["user_id"])
    op.create_table(
        "session_dependencies",
        sa.Column("session_id", sa.String(), nullable=False),
        sa.Column("depends_on", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name=op.f("fk_session_dependencies_session_id")),
        sa.ForeignKeyConstraint(["depends_on"], ["sessions.id"], name=op.f("fk_session_dependencies_depends_on")),
        sa.PrimaryKeyConstraint("session_id", "depends_on", name=op.f("pk_session_dependencies")),
    )
    op.create_index(op.f("ix_session_dependencies_depends_on"), "session_dependencies", ["depends_on"])
    op.create_table(
        "session_templates",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("template", _JSON, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_session_templates_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_session_templates")),
    )
    op.create_index(op.f("ix_session_templates_user_id"), "session_templates", ["user_id"])
    op.create_table(
        "background_tasks",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("current", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("ended_at", _MOMENT),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_background_tasks_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_background_tasks")),
    )
    op.create_index(op.f("ix_background_tasks_user_id"), "background_tasks", ["user_id"])
