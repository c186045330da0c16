"""What units of work return: frozen values, never rows or connections."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from bai_jupyter.common.ids import AccessKey, AgentId, JupyterKernelId, KernelId, SessionId, UserId, VFolderId
from bai_jupyter.common.messages import DeviceFacts, KernelSpecFacts, MountWant
from bai_jupyter.common.reasons import Reason, ReasonView
from bai_jupyter.common.slots import ResourceSlots, SlotLimits
from bai_jupyter.common.statuses import (
    FINAL,
    AgentStatus,
    FolderStatus,
    JupyterKernelStatus,
    SessionResult,
    SessionStatus,
    SessionType,
    Target,
)

_NO_SLOTS, _NO_LIMITS = ResourceSlots(), SlotLimits()


class UserStatus(StrEnum):
    """Only an active user gets in. A deleted one keeps what it owns, until it is purged."""

    ACTIVE = "active"
    INACTIVE = "inactive"
    DELETED = "deleted"
    BEFORE_VERIFICATION = "before-verification"


@dataclass(frozen=True)
class Keypair:
    """An access key with its owner. ``secret_encrypted`` opens with the vault only."""

    access_key: AccessKey
    secret_encrypted: str = field(repr=False)
    is_active: bool  # the key, its user and their domain
    user_id: UserId
    user_name: str
    email: str
    role: str  # a user's, if this key has no admin powers
    domain: str
    project_id: str
    rate_limit: int | None
    allowed_client_ip: tuple[str, ...] | None
    used_at: datetime | None


@dataclass(frozen=True)
class AgentRecord:
    id: AgentId
    name: str
    resource_group: str
    status: AgentStatus
    is_schedulable: bool
    runtime: str
    isolated: bool
    architecture: str
    slots: ResourceSlots
    used: ResourceSlots
    devices: tuple[DeviceFacts, ...]
    volumes: frozenset[str]
    images: frozenset[str]
    heard_at: datetime | None
    version: str
    created_at: datetime
    drain_by: datetime | None = None  # when what runs there is ended

    @property
    def free(self) -> ResourceSlots:
        """Nothing of what is used more than once: CPU, after suspended sessions have gone on."""
        return ResourceSlots({slot: max(amount - self.used[slot], Decimal(0)) for slot, amount in self.slots.items()})


@dataclass(frozen=True)
class ImageRecord:
    name: str
    digest: str
    architecture: str
    size_bytes: int
    labels: Mapping[str, str]
    kernelspecs: tuple[KernelSpecFacts, ...]
    builtin: bool
    user_id: UserId | None  # whose it is; none: everybody's
    agents: tuple[str, ...]  # names of those that have it
    created_at: datetime  # when it was added, or made
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class PresetRecord:
    name: str
    slots: ResourceSlots
    shm_bytes: int | None


@dataclass(frozen=True)
class PolicyRecord:
    """A resource policy: limits that may be put on keypairs, users, projects and domains. None is no limit.

    A slot that ``total_slots`` lacks is forbidden if the policy ``is_limited``, else unlimited.
    ``allowed_vfolder_hosts`` is ``{host: [permission]}``.
    """

    name: str
    total_slots: SlotLimits = _NO_LIMITS
    is_limited: bool = False
    default_slots: ResourceSlots = _NO_SLOTS
    max_sessions: int | None = None
    max_containers_per_session: int | None = None
    gpu_hours_per_week: float | None = None
    max_session_lifetime_s: int | None = None
    idle_timeout_s: int | None = None
    suspend_after_s: int | None = None
    utilization: Mapping[str, Any] | None = None
    allowed_vfolder_hosts: Mapping[str, Any] | None = None
    max_vfolder_count: int | None = None
    max_vfolder_bytes: int | None = None
    max_quota_scope_bytes: int | None = None
    created_at: datetime = field(kw_only=True)


@dataclass(frozen=True)
class GroupRecord:
    """A resource group: a set of agents with its own scheduling. One that is not public is not listed."""

    name: str
    selection: str = "dispersed"
    sequencer: str = "fifo"
    head_of_line_skips: int | None = None
    is_active: bool = True
    description: str = ""
    is_public: bool = True
    allowed_session_types: tuple[str, ...] = ("interactive", "batch", "inference")
    pending_timeout_s: int | None = None
    created_at: datetime = field(kw_only=True)


@dataclass(frozen=True)
class VFolderRecord:
    """A folder as one person sees it: ``access`` is what that person may (ro, rw, wd)."""

    id: VFolderId
    name: str
    user_id: UserId | None
    user_name: str | None
    project_id: str | None  # exactly one of user and project owns it
    project_name: str | None
    creator: str
    volume: str
    subpath: str
    permission: str  # of the members of its project who were given no other
    access: str
    status: FolderStatus
    usage_mode: str
    cloneable: bool
    quota_bytes: int | None
    scope_bytes: int | None  # for all folders of its owner on its volume together
    scope_used_bytes: int  # by them, as last measured; without a limit of them 0, if it was not looked for
    has_soft_beside: bool  # whether the file system keeps no limit in one of these; the same
    used_bytes: int | None  # as last measured
    num_files: int | None
    created_at: datetime
    most_bytes: int | None  # that the policies of its owner let it hold

    @property
    def limit_bytes(self) -> int | None:
        """Its own quota, as far as its owner's policies allow that now."""
        return min((limit for limit in (self.quota_bytes, self.most_bytes) if limit is not None), default=None)

    @property
    def is_limited(self) -> bool:
        """By itself, or together with its owner's others."""
        return self.limit_bytes is not None or self.scope_bytes is not None


@dataclass(frozen=True)
class Person:
    """Somebody to share with."""

    id: UserId
    name: str


@dataclass(frozen=True)
class ShareRecord:
    """What somebody was given beside ownership and membership."""

    vfolder: VFolderRecord
    person: Person
    permission: str


@dataclass(frozen=True)
class InvitationRecord:
    id: str
    vfolder_id: VFolderId
    vfolder_name: str
    inviter: Person
    invitee: Person
    permission: str
    state: str  # pending, accepted, rejected, canceled
    created_at: datetime
    modified_at: datetime


@dataclass(frozen=True)
class JupyterKernelRecord:
    id: JupyterKernelId
    session_id: SessionId
    generation: int
    kernelspec: str
    interrupt_mode: str
    secret_encrypted: str = field(repr=False)
    cwd: str
    notice: Reason | None
    status: JupyterKernelStatus
    target: Target
    exit_code: int | None
    reason: Reason | None
    saved: Mapping[str, Any] | None = None
    wake_from: str | None = None


@dataclass(frozen=True)
class KernelRecord:
    """A present container of a session, with what is shown of its agent."""

    id: KernelId
    agent_id: AgentId
    agent_name: str
    runtime: str
    isolated: bool
    status: str
    revision: int
    exit_code: int | None
    resizes: int  # how many of its session's were dealt with
    refused: Reason | None  # why the last of them was not done
    mount_changes: int  # how many of its session's were dealt with
    refused_mounts: Mapping[str, Reason]  # by target
    suspended: bool
    suspended_for: Reason | None  # why, if not by somebody's word
    stats: Mapping[str, float] | None  # the last figures, once it is gone
    place: int = 0  # in its cluster (``sessions.clusters``)
    is_gone: bool = False


@dataclass(frozen=True)
class SessionRecord:
    id: SessionId
    name: str
    type: SessionType
    user_id: UserId
    access_key: AccessKey
    domain: str
    project_id: str
    resource_group: str
    image: str
    image_digest: str
    architecture: str
    status: SessionStatus
    target: Target
    reason: Reason | None
    slots: ResourceSlots  # of each container
    cluster_size: int
    shm_bytes: int
    mounts: tuple[MountWant, ...]
    environ_encrypted: str = field(repr=False)
    manager_access: str | None
    tag: str | None
    starts_at: datetime | None
    command: str | None
    bootstrap_encrypted: str | None = field(repr=False)
    preopen_ports: tuple[int, ...]
    resource_opts: Mapping[str, str]
    route_path: str | None
    route_port: int | None
    doors: tuple[str, ...]
    result: SessionResult
    restarts: int
    resizes: int
    mount_changes: int
    queries: int  # pieces of code that the API ran in it, as far as they were written down
    priority: int
    attempts: int
    passed_by: int
    excluded_agents: frozenset[AgentId]
    created_at: datetime
    status_changed_at: datetime
    started_at: datetime | None
    terminated_at: datetime | None
    kernel: KernelRecord | None  # the main one
    subs: tuple[KernelRecord, ...] = ()
    jupyter_kernels: tuple[JupyterKernelRecord, ...] = ()

    @property
    def kernels(self) -> tuple[KernelRecord, ...]:
        """All its containers, by their place."""
        return (self.kernel, *self.subs) if self.kernel else ()

    @property
    def is_final(self) -> bool:
        return self.status in FINAL

    @property
    def is_ending(self) -> bool:
        return self.target is Target.TERMINATED and not self.is_final


def read_reason(raw: Mapping[str, Any] | None) -> Reason | None:
    """A stored reason; one whose sentence has changed since keeps the sentence it had."""
    if raw is None:
        return None
    try:
        return Reason(raw["code"], raw["params"])
    except ValueError:
        return Reason("other", {"text": raw["text"]})


def write_reason(reason: Reason | None) -> ReasonView | None:
    return reason.to_json() if reason else None
