"""What units of work return: frozen values, never rows or connections."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bai_jupyter.common.ids import AccessKey, AgentId, JupyterKernelId, KernelId, SessionId, UserId, VFolderId
from bai_jupyter.common.messages import DeviceFacts, KernelSpecFacts, MountWant
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.common.statuses import FINAL, AgentStatus, JupyterKernelStatus, SessionStatus, Target


@dataclass(frozen=True)
class Keypair:
    """An access key with its owner. ``secret_encrypted`` opens with the vault only."""

    access_key: AccessKey
    secret_encrypted: str = field(repr=False)
    is_active: bool  # the key and its user
    user_id: UserId
    user_name: str
    role: str
    domain: str
    project_id: str


@dataclass(frozen=True)
class AgentRecord:
    id: AgentId
    name: str
    resource_group: str
    status: AgentStatus
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


@dataclass(frozen=True)
class ImageRecord:
    name: str
    digest: str
    architecture: str
    size_bytes: int
    labels: Mapping[str, str]
    kernelspecs: tuple[KernelSpecFacts, ...]
    builtin: bool
    agents: tuple[str, ...]  # names of those that have it


@dataclass(frozen=True)
class PresetRecord:
    name: str
    slots: ResourceSlots
    shm_bytes: int | None


@dataclass(frozen=True)
class GroupRecord:
    name: str
    selection: str
    sequencer: str
    head_of_line_skips: int | None
    is_active: bool


@dataclass(frozen=True)
class VFolderRecord:
    id: VFolderId
    name: str
    volume: str
    subpath: str
    permission: str


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


@dataclass(frozen=True)
class KernelRecord:
    """The present container of a session, with what is shown of its agent."""

    id: KernelId
    agent_id: AgentId
    agent_name: str
    runtime: str
    isolated: bool
    status: str
    revision: int
    exit_code: int | None


@dataclass(frozen=True)
class SessionRecord:
    id: SessionId
    name: str
    type: str
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
    slots: ResourceSlots
    shm_bytes: int
    mounts: tuple[MountWant, ...]
    environ_encrypted: str = field(repr=False)
    priority: int
    attempts: int
    passed_by: int
    excluded_agents: frozenset[AgentId]
    created_at: datetime
    status_changed_at: datetime
    started_at: datetime | None
    terminated_at: datetime | None
    kernel: KernelRecord | None
    jupyter_kernels: tuple[JupyterKernelRecord, ...] = ()

    @property
    def is_final(self) -> bool:
        return self.status in FINAL


def read_reason(raw: Mapping[str, Any] | None) -> Reason | None:
    """A stored reason; one whose sentence has changed since keeps the sentence it had."""
    if raw is None:
        return None
    try:
        return Reason(raw["code"], raw["params"])
    except ValueError:
        return Reason("other", {"text": raw["text"]})


def write_reason(reason: Reason | None) -> dict[str, object] | None:
    return reason.to_json() if reason else None
