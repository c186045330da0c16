"""The tables, as SQLAlchemy Core. What may be read and written with them is in the modules beside this one.

Moments are aware UTC. Slot amounts in JSON columns are string decimals (``ResourceSlots.to_json``); in ``counters``
they are whole thousandths, because a guarded update must be exact in every database.
"""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """An aware moment, stored as UTC: SQLite has no time zones, so they are put back when reading."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


JSON = sa.JSON(none_as_null=True)

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# Who

domains = sa.Table(
    "domains",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("description", sa.String, nullable=False),
    sa.Column("is_active", sa.Boolean, nullable=False),
    sa.Column("total_slots", JSON, nullable=False),  # besides the policy's: an absent slot is unlimited
    sa.Column("allowed_vfolder_hosts", JSON),  # {host: [permission]}; None: no rule here
    sa.Column("resource_policy", sa.ForeignKey("resource_policies.name")),
    sa.Column("created_at", UtcDateTime, nullable=False),
)

projects = sa.Table(
    "projects",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("description", sa.String, nullable=False),
    sa.Column("domain", sa.ForeignKey("domains.name"), nullable=False),
    sa.Column("is_active", sa.Boolean, nullable=False),
    sa.Column("total_slots", JSON, nullable=False),
    sa.Column("allowed_vfolder_hosts", JSON),
    sa.Column("resource_policy", sa.ForeignKey("resource_policies.name")),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.UniqueConstraint("domain", "name"),
)

users = sa.Table(
    "users",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("name", sa.String, nullable=False, unique=True),
    sa.Column("email", sa.String, nullable=False),
    sa.Column("full_name", sa.String, nullable=False),
    sa.Column("description", sa.String, nullable=False),
    sa.Column("role", sa.String, nullable=False),
    sa.Column("status", sa.String, nullable=False),  # a UserStatus
    sa.Column("status_info", sa.String),
    sa.Column("domain", sa.ForeignKey("domains.name"), nullable=False),
    sa.Column("project_id", sa.ForeignKey("projects.id"), nullable=False),  # for requests that name none, if a member
    sa.Column("password_hash", sa.String),  # None: cannot log in with a password
    sa.Column("need_password_change", sa.Boolean, nullable=False),
    sa.Column("allowed_client_ip", JSON),  # [network]; None: from everywhere
    sa.Column("main_access_key", sa.String),
    sa.Column("resource_policy", sa.ForeignKey("resource_policies.name")),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("modified_at", UtcDateTime, nullable=False),
    sa.Index("uq_users_email", "email", unique=True),
)

project_members = sa.Table(
    "project_members",
    metadata,
    sa.Column("project_id", sa.ForeignKey("projects.id"), primary_key=True),
    sa.Column("user_id", sa.ForeignKey("users.id"), primary_key=True, index=True),
)

keypairs = sa.Table(
    "keypairs",
    metadata,
    sa.Column("access_key", sa.String, primary_key=True),
    sa.Column("secret_encrypted", sa.String, nullable=False),  # with master.key, which is not in the database
    sa.Column("user_id", sa.ForeignKey("users.id"), nullable=False, index=True),
    sa.Column("is_active", sa.Boolean, nullable=False),
    sa.Column("is_admin", sa.Boolean, nullable=False),  # without it the owner's role counts as a user's
    sa.Column("rate_limit", sa.Integer),  # requests in auth.rates.WINDOW_S; None: no limit
    sa.Column("concurrency_limit", sa.Integer),  # kept for who gave it; what counts is the policy's max_sessions
    sa.Column("resource_policy", sa.ForeignKey("resource_policies.name")),
    sa.Column("used_at", UtcDateTime),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("modified_at", UtcDateTime, nullable=False),
)

wards = sa.Table(  # users for whom a service's keypair may act
    "wards",
    metadata,
    sa.Column("access_key", sa.ForeignKey("keypairs.access_key"), primary_key=True),
    sa.Column("user_id", sa.ForeignKey("users.id"), primary_key=True),
    sa.Column("created_at", UtcDateTime, nullable=False),
)

ward_policies = sa.Table(  # which resource policies a service may give to keypairs of its wards
    "ward_policies",
    metadata,
    sa.Column("access_key", sa.ForeignKey("keypairs.access_key"), primary_key=True),
    sa.Column("resource_policy", sa.ForeignKey("resource_policies.name"), primary_key=True),
)

user_configs = sa.Table(  # what a user has in each of their new sessions, besides dotfiles
    "user_configs",
    metadata,
    sa.Column("user_id", sa.ForeignKey("users.id"), primary_key=True),
    sa.Column("bootstrap_encrypted", sa.Text),
    sa.Column("ssh_public_key", sa.Text),
    sa.Column("ssh_private_encrypted", sa.Text),
)

dotfiles = sa.Table(  # files that are put into new sessions
    "dotfiles",
    metadata,
    sa.Column("scope", sa.String, primary_key=True),  # domain:, project: or user:, as in ``counters``
    sa.Column("path", sa.String, primary_key=True),  # below the session's home
    sa.Column("permission", sa.String, nullable=False),  # three octal digits
    sa.Column("data_encrypted", sa.Text, nullable=False),
    sa.Column("size_bytes", sa.Integer, nullable=False),  # of what is sealed
)

resource_policies = sa.Table(
    "resource_policies",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("total_slots", JSON, nullable=False),
    sa.Column("is_limited", sa.Boolean, nullable=False),  # whether a slot absent above is forbidden, or unlimited
    sa.Column("default_slots", JSON, nullable=False),  # for requests that name nothing
    sa.Column("max_sessions", sa.Integer),  # None, here and below: no limit
    sa.Column("max_containers_per_session", sa.Integer),
    sa.Column("gpu_hours_per_week", sa.Float),
    sa.Column("max_session_lifetime_s", sa.Integer),
    sa.Column("idle_timeout_s", sa.Integer),
    sa.Column("suspend_after_s", sa.Integer),
    sa.Column("utilization", JSON),  # as ``people.inputs.utilization`` gives it
    sa.Column("allowed_vfolder_hosts", JSON),
    sa.Column("max_vfolder_count", sa.Integer),
    sa.Column("max_vfolder_bytes", sa.BigInteger),  # of each
    sa.Column("max_quota_scope_bytes", sa.BigInteger),
    sa.Column("created_at", UtcDateTime, nullable=False),
)

# Where

resource_groups = sa.Table(
    "resource_groups",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("description", sa.String, nullable=False),
    sa.Column("selection", sa.String, nullable=False),  # dispersed, concentrated
    sa.Column("sequencer", sa.String, nullable=False),
    sa.Column("head_of_line_skips", sa.Integer),
    sa.Column("is_active", sa.Boolean, nullable=False),
    sa.Column("is_public", sa.Boolean, nullable=False),  # whether those who may use it are told of it
    sa.Column("allowed_session_types", JSON, nullable=False),
    sa.Column("pending_timeout_s", sa.Integer),
    sa.Column("created_at", UtcDateTime, nullable=False),
)

resource_group_grants = sa.Table(
    "resource_group_grants",
    metadata,
    sa.Column("resource_group", sa.ForeignKey("resource_groups.name", ondelete="CASCADE"), primary_key=True),
    sa.Column("scope", sa.String, primary_key=True),  # domain:, project: or keypair:, as in ``counters``
)

presets = sa.Table(
    "presets",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("slots", JSON, nullable=False),
    sa.Column("shm_bytes", sa.BigInteger),
    sa.Column("rank", sa.Integer, nullable=False),
)

agents = sa.Table(
    "agents",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("name", sa.String, nullable=False, unique=True),
    sa.Column("credential_hash", sa.String, nullable=False, unique=True),
    sa.Column("resource_group", sa.ForeignKey("resource_groups.name"), nullable=False, index=True),
    sa.Column("status", sa.String, nullable=False),
    sa.Column("is_schedulable", sa.Boolean, nullable=False),  # False: an admin lets it run empty
    sa.Column("drain_by", UtcDateTime),  # when what then still runs there is ended; None: never
    sa.Column("runtime", sa.String, nullable=False),
    sa.Column("isolated", sa.Boolean, nullable=False),
    sa.Column("architecture", sa.String, nullable=False),
    sa.Column("slots", JSON, nullable=False),
    sa.Column("devices", JSON, nullable=False),
    sa.Column("volumes", JSON, nullable=False),
    sa.Column("version", sa.String, nullable=False),
    sa.Column("heard_at", UtcDateTime),
    sa.Column("created_at", UtcDateTime, nullable=False),
)

join_tokens = sa.Table(
    "join_tokens",
    metadata,
    sa.Column("token_hash", sa.String, primary_key=True),
    sa.Column("resource_group", sa.ForeignKey("resource_groups.name"), nullable=False),
    sa.Column("uses_left", sa.Integer, nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=False),
    sa.Column("created_by", sa.ForeignKey("users.id")),
    sa.Column("created_at", UtcDateTime, nullable=False),
)

images = sa.Table(
    "images",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("digest", sa.String, nullable=False),
    sa.Column("architecture", sa.String, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("labels", JSON, nullable=False),
    sa.Column("kernelspecs", JSON, nullable=False),
    sa.Column("builtin", sa.Boolean, nullable=False),
    sa.Column("user_id", sa.String, index=True),  # whose it is, made from a session; none: everybody's
    sa.Column("created_at", UtcDateTime, nullable=False),
)

image_aliases = sa.Table(
    "image_aliases",
    metadata,
    sa.Column("alias", sa.String, primary_key=True),
    sa.Column("image", sa.ForeignKey("images.name", ondelete="CASCADE"), nullable=False),
)

agent_images = sa.Table(
    "agent_images",
    metadata,
    sa.Column("agent_id", sa.ForeignKey("agents.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("image", sa.String, primary_key=True),  # may be there before an admin adds it to ``images``
    sa.Column("digest", sa.String, nullable=False),
)

_KEPT = sa.text("status IN ('ready', 'cloning')")  # one in the trash keeps no name taken

vfolders = sa.Table(
    "vfolders",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("user_id", sa.ForeignKey("users.id")),  # of a user folder
    sa.Column("project_id", sa.ForeignKey("projects.id")),  # of a project folder; exactly one of the two
    sa.Column("creator", sa.String, nullable=False),  # whom the listing names; may be gone
    sa.Column("volume", sa.String, nullable=False),  # host:volume
    sa.Column("subpath", sa.String, nullable=False),
    sa.Column("permission", sa.String, nullable=False),  # ro, rw, wd: of a project's members, unless given another
    sa.Column("status", sa.String, nullable=False),  # a FolderStatus
    sa.Column("usage_mode", sa.String, nullable=False),  # general, model, data
    sa.Column("cloneable", sa.Boolean, nullable=False),
    sa.Column("quota_bytes", sa.BigInteger),  # None: no limit
    sa.Column("used_bytes", sa.BigInteger),  # as last measured
    sa.Column("num_files", sa.BigInteger),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Index("uq_vfolders_user_name", "user_id", "name", unique=True, sqlite_where=_KEPT, postgresql_where=_KEPT),
    sa.Index("uq_vfolders_project_name", "project_id", "name", unique=True, sqlite_where=_KEPT, postgresql_where=_KEPT),
)

vfolder_permissions = sa.Table(
    "vfolder_permissions",
    metadata,
    sa.Column("vfolder_id", sa.ForeignKey("vfolders.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("user_id", sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, index=True),
    sa.Column("permission", sa.String, nullable=False),
)

vfolder_invitations = sa.Table(
    "vfolder_invitations",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("vfolder_id", sa.ForeignKey("vfolders.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("inviter_id", sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("invitee_id", sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("permission", sa.String, nullable=False),
    sa.Column("state", sa.String, nullable=False),  # pending, accepted, rejected, canceled
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("modified_at", UtcDateTime, nullable=False),
)

# What runs

_ALIVE = sa.text("status NOT IN ('TERMINATED', 'CANCELLED', 'ERROR')")

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("type", sa.String, nullable=False),
    sa.Column("user_id", sa.ForeignKey("users.id"), nullable=False),
    sa.Column("access_key", sa.ForeignKey("keypairs.access_key"), nullable=False),
    sa.Column("domain", sa.String, nullable=False),
    sa.Column("project_id", sa.String, nullable=False),
    sa.Column("resource_group", sa.String, nullable=False),
    sa.Column("image", sa.String, nullable=False),
    sa.Column("image_digest", sa.String, nullable=False),
    sa.Column("architecture", sa.String, nullable=False),
    sa.Column("status", sa.String, nullable=False),
    sa.Column("target", sa.String, nullable=False),
    sa.Column("reason", JSON),
    sa.Column("slots", JSON, nullable=False),  # of each of its containers
    sa.Column("cluster_size", sa.Integer, nullable=False, server_default="1"),  # how many containers it has
    sa.Column("shm_bytes", sa.BigInteger, nullable=False),
    sa.Column("mounts", JSON, nullable=False),
    sa.Column("environ_encrypted", sa.String, nullable=False),
    sa.Column("manager_access", sa.String),  # a Scope of auth.session_tokens, or none
    sa.Column("tag", sa.String),
    sa.Column("starts_at", UtcDateTime),
    sa.Column("command", sa.String),  # of a batch session
    sa.Column("bootstrap_encrypted", sa.String),
    sa.Column("callback_encrypted", sa.String),
    sa.Column("callback_after", sa.Integer, nullable=False, server_default="0"),  # status_history told so far
    sa.Column("preopen_ports", JSON, nullable=False, server_default="[]"),
    sa.Column("resource_opts", JSON, nullable=False, server_default="{}"),
    sa.Column("route_path", sa.String),  # requests for it and below go to that port of the session
    sa.Column("route_port", sa.Integer),
    sa.Column("doors", JSON, nullable=False, server_default="[]"),  # names of the agent's doors that it may use
    sa.Column("result", sa.String, nullable=False, server_default="undefined"),
    sa.Column("restarts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("resizes", sa.Integer, nullable=False, server_default="0"),  # how often ``slots`` were changed
    sa.Column("mount_changes", sa.Integer, nullable=False, server_default="0"),  # how often ``mounts`` were changed
    sa.Column("queries", sa.Integer, nullable=False, server_default="0"),  # pieces of code that the API ran in it
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("passed_by", sa.Integer, nullable=False),  # later sessions placed while this one was first in line
    sa.Column("excluded_agents", JSON, nullable=False),
    sa.Column("kernel_id", sa.String),  # the present main one; earlier attempts keep their rows
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("status_changed_at", UtcDateTime, nullable=False),
    sa.Column("started_at", UtcDateTime),
    sa.Column("terminated_at", UtcDateTime),
    sa.Index("uq_sessions_alive_name", "user_id", "name", unique=True, sqlite_where=_ALIVE, postgresql_where=_ALIVE),
    sa.Index("uq_sessions_alive_route", "route_path", unique=True, sqlite_where=_ALIVE, postgresql_where=_ALIVE),
    sa.Index(None, "status", "created_at"),
    sa.Index(None, "user_id", "created_at"),
)

session_idle = sa.Table(  # a ``sessions.idle.History``
    "session_idle",
    metadata,
    sa.Column("session_id", sa.ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("active_at", UtcDateTime, nullable=False),
    sa.Column("what", sa.String, nullable=False),
    sa.Column("used_at", JSON, nullable=False),  # {policy: when its use was last not low}
    sa.Column("extensions", sa.Integer, nullable=False),
    sa.Column("extended_until", UtcDateTime),
    sa.Column("warned_of", sa.String),
    sa.Column("warned_lead_s", sa.Integer),
    sa.Column("warned_since", UtcDateTime),
    sa.Column("quiet_since", UtcDateTime),
)

session_dependencies = sa.Table(
    "session_dependencies",
    metadata,
    sa.Column("session_id", sa.ForeignKey("sessions.id"), primary_key=True),
    sa.Column("depends_on", sa.ForeignKey("sessions.id"), primary_key=True, index=True),
)

session_templates = sa.Table(
    "session_templates",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("user_id", sa.ForeignKey("users.id"), nullable=False, index=True),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("template", JSON, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
)

kernels = sa.Table(
    "kernels",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("session_id", sa.ForeignKey("sessions.id"), nullable=False, index=True),
    sa.Column("agent_id", sa.ForeignKey("agents.id"), nullable=False, index=True),
    sa.Column("main_id", sa.String, index=True),  # the main one of those that were placed together; of that its own
    sa.Column("place", sa.Integer, nullable=False, server_default="0"),  # among those; 0 is the main one's
    sa.Column("status", sa.String, nullable=False),  # KernelStatus, or SCHEDULED before the first report
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("runtime_ref", sa.String),
    sa.Column("devices", JSON, nullable=False),
    sa.Column("restarts", sa.Integer, nullable=False, server_default="0"),  # of its session's, those that it has had
    sa.Column("reason", JSON),  # as its agent last told it
    sa.Column("exit_code", sa.Integer),
    sa.Column("holds_slots", sa.Boolean, nullable=False),  # whether its owners' counters include this kernel
    sa.Column("holds_agent", sa.Boolean, nullable=False, server_default=sa.false()),  # whether its agent's do
    sa.Column("lends_cpu", sa.Boolean, nullable=False, server_default=sa.false()),  # frozen: they leave out its CPU
    sa.Column("slots", JSON),  # what counters include for it, if that is not what its session asks for
    sa.Column("resizes", sa.Integer, nullable=False, server_default="0"),  # how many of its session's were dealt with
    sa.Column("refused", JSON),  # why the last of them was not done
    sa.Column("mount_changes", sa.Integer, nullable=False, server_default="0"),  # as ``resizes``
    sa.Column("refused_mounts", JSON, nullable=False, server_default="{}"),  # {target: why it cannot have that folder}
    sa.Column("suspended", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("suspended_for", JSON),  # why, if not by somebody's word
    sa.Column("stats", JSON),  # the last figures, once it is gone
    sa.Column("log", sa.Text),  # the last that it printed; kept for a while
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("terminated_at", UtcDateTime, index=True),
)

jupyter_kernels = sa.Table(
    "jupyter_kernels",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("session_id", sa.ForeignKey("sessions.id"), nullable=False, index=True),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("kernelspec", sa.String, nullable=False),
    sa.Column("interrupt_mode", sa.String, nullable=False),
    sa.Column("secret_encrypted", sa.String, nullable=False),  # JSON {key, env}
    sa.Column("cwd", sa.String, nullable=False),
    sa.Column("notice", JSON),
    sa.Column("status", sa.String, nullable=False),
    sa.Column("target", sa.String, nullable=False),
    sa.Column("exit_code", sa.Integer),
    sa.Column("reason", JSON),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("saved", JSON),  # of its variables {at, variables, bytes, left_out, doubtful}
    sa.Column("wake_from", sa.String),  # the folder of those that this generation starts with, inside
)

# Bookkeeping

settings = sa.Table(
    "settings",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("value", JSON, nullable=False),
)

counters = sa.Table(
    "counters",
    metadata,
    sa.Column("scope", sa.String, primary_key=True),  # agent:<id>, keypair:<access key>, user:, project:, domain:
    sa.Column("slot", sa.String, primary_key=True),  # a slot, or ``#sessions``
    sa.Column("used", sa.BigInteger, nullable=False),  # thousandths
)

background_tasks = sa.Table(
    "background_tasks",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("user_id", sa.ForeignKey("users.id"), nullable=False, index=True),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("status", sa.String, nullable=False),
    sa.Column("current", sa.BigInteger, nullable=False),
    sa.Column("total", sa.BigInteger, nullable=False),
    sa.Column("message", sa.String, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("ended_at", UtcDateTime),
)

status_history = sa.Table(
    "status_history",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("session_id", sa.ForeignKey("sessions.id"), nullable=False, index=True),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("status", sa.String, nullable=False),
    sa.Column("event", sa.String, nullable=False),
    sa.Column("reason", JSON),
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", UtcDateTime, nullable=False, index=True),
    sa.Column("user_id", sa.String),
    sa.Column("access_key", sa.String),
    sa.Column("action", sa.String, nullable=False),
    sa.Column("target", sa.String, nullable=False),
    sa.Column("result", sa.Integer, nullable=False),  # HTTP status
    sa.Column("request_id", sa.String, nullable=False),
)
