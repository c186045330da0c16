"""What a caller sees of a session and of its Jupyter kernels, as JSON values."""

import itertools
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, TypedDict, cast

from bai_jupyter.common.ids import SessionId
from bai_jupyter.common.messages import MountWant, folder_at
from bai_jupyter.common.reasons import Reason, ReasonView
from bai_jupyter.common.statuses import JupyterKernelStatus, SessionResult, SessionStatus, SessionType
from bai_jupyter.manager.agents.registry import Registry
from bai_jupyter.manager.db.records import JupyterKernelRecord, KernelRecord, SessionRecord
from bai_jupyter.manager.scheduler import Waiting
from bai_jupyter.manager.sessions.clusters import SINGLE_NODE, host_of, index_of, role_of
from bai_jupyter.manager.sessions.idle_watch import IdleWatch
from bai_jupyter.manager.sessions.query_counts import QueryCounts
from bai_jupyter.manager.vfolders.views import hex_id


class VariableView(TypedDict):
    """A variable of which something is to be said."""

    name: str
    type: str
    why: str


class _Saved(TypedDict):
    variables: int
    bytes: int
    left_out: list[VariableView]
    doubtful: list[VariableView]


class SavedView(_Saved):
    """What was last saved of a Jupyter kernel's variables."""

    at: str


class SaveView(_Saved):
    """What came of saving a Jupyter kernel's variables."""

    jupyter_kernel_id: str
    refused: ReasonView | None


class JupyterKernelView(TypedDict):
    id: str
    session_id: str
    generation: int
    kernelspec: str
    status: JupyterKernelStatus
    cwd: str
    notice: str | None
    exit_code: int | None
    reason: ReasonView | None
    interrupt_mode: str
    saved: SavedView | None


LiveStat = dict[str, float | None]
"""``cpu_used_s``, ``mem_used_bytes``, ``mem_limit_bytes``, and figures of accelerators."""


class KernelView(TypedDict):
    """One container of a session."""

    id: str
    role: str
    index: int
    host: str
    status: str
    agent: str
    exitCode: int | None
    liveStat: LiveStat | None


class QueueView(TypedDict):
    position: int
    of: int
    estimate_s: float | None


class SessionMountView(TypedDict):
    folder: str | None  # its id; None for a home
    name: str
    target: str
    read_only: bool


class RouteView(TypedDict):
    path: str
    port: int | None


class SessionView(TypedDict):
    id: str
    name: str
    type: SessionType
    tag: str | None
    domainName: str
    groupId: str
    userId: str
    image: str
    lang: str
    registry: str
    architecture: str
    resourceGroup: str
    status: SessionStatus
    result: SessionResult
    statusInfo: str
    statusData: dict[str, Any]
    age: int
    runningFor: int | None
    creationTime: str
    terminationTime: str | None
    occupiedSlots: str
    occupyingSlots: str
    occupiedShares: str
    requestedSlots: str
    memoryLimit: int
    environ: str
    resourceOpts: str
    startsAt: str | None
    startupCommand: str | None
    preopenPorts: list[int]
    containerId: str | None
    exitCode: int | None
    numQueriesExecuted: int
    lastStat: dict[str, Any] | None
    idleChecks: dict[str, Any]
    reason: ReasonView
    queue: QueueView | None
    agent: str | None
    runtime: str | None
    isolated: bool | None
    unreachable: bool
    suspended: bool
    slots: dict[str, str]
    clusterMode: str
    clusterSize: int
    kernels: list[KernelView]
    mounts: list[SessionMountView]
    managerAccess: str | None
    route: RouteView | None
    doors: list[str]
    jupyterKernels: list[JupyterKernelView]
    liveStat: LiveStat | None
    progress: float | None


class Views:
    """Joins a session's record with what is only in memory: queue place, its agent's silence, live figures, what is
    about to stop it, how often code was run."""

    def __init__(
        self,
        registry: Registry,
        waiting: Mapping[SessionId, Waiting],
        looked_at: Mapping[str, datetime],
        idle: IdleWatch,
        queries: QueryCounts,
        now: Callable[[], datetime],
    ) -> None:
        self._registry, self._waiting, self._idle, self._queries, self._now = registry, waiting, idle, queries, now
        self._looked_at = looked_at

    def session(self, record: SessionRecord) -> SessionView:
        kernel = record.kernel
        unreachable = not record.is_final and kernel is not None and not self._registry.is_reachable(kernel.agent_id)
        reason = self._reason(record, unreachable=unreachable)
        ended_at = record.terminated_at or self._now()
        slots = record.slots.to_json()
        requested = (record.slots * record.cluster_size).to_json()
        occupied = requested if kernel is not None and not record.is_final else {}
        return {
            "id": record.id,
            "name": record.name,
            "type": record.type,
            "tag": record.tag,
            "domainName": record.domain,
            "groupId": record.project_id,
            "userId": record.user_id,
            "image": record.image,
            "lang": record.image,
            "registry": "",
            "architecture": record.architecture,
            "resourceGroup": record.resource_group,
            "status": record.status,
            "result": record.result,
            "statusInfo": reason.slug,
            "statusData": _status_data(record, reason, self._looked_at.get(record.resource_group)),
            "age": int((ended_at - record.created_at).total_seconds() * 1000),
            "runningFor": _running_ms(record, ended_at),
            "creationTime": record.created_at.isoformat(),
            "terminationTime": record.terminated_at.isoformat() if record.terminated_at else None,
            "occupiedSlots": json.dumps(occupied),
            "occupyingSlots": json.dumps(occupied),
            "occupiedShares": "{}",
            "requestedSlots": json.dumps(requested),
            "memoryLimit": int(record.slots["mem"]) // 1024,  # KiB, for the oldest clients
            "environ": "{}",  # may hold secrets: never shown
            "resourceOpts": json.dumps({**record.resource_opts, "shmem": str(record.shm_bytes)}),
            "startsAt": record.starts_at.isoformat() if record.starts_at else None,
            "startupCommand": record.command,
            "preopenPorts": list(record.preopen_ports),
            "containerId": kernel.id if kernel else None,
            "exitCode": kernel.exit_code if kernel else None,
            "numQueriesExecuted": self._queries.of(record),
            "lastStat": self.final_stats(record) if record.is_final else None,
            "idleChecks": {} if record.is_final else self._idle.view(record.id),
            "reason": reason.to_json(),
            "queue": self._queue(record),
            "agent": kernel.agent_name if kernel else None,
            "runtime": kernel.runtime if kernel else None,
            "isolated": kernel.isolated if kernel else None,
            "unreachable": unreachable,
            "suspended": record.status is SessionStatus.RUNNING and kernel is not None and kernel.suspended,
            "slots": slots,
            "clusterMode": SINGLE_NODE,
            "clusterSize": record.cluster_size,
            "kernels": [self._kernel(record, one) for one in record.kernels],
            "mounts": [_mount(one) for one in record.mounts],
            "managerAccess": record.manager_access,
            "route": {"path": record.route_path, "port": record.route_port} if record.route_path else None,
            "doors": list(record.doors),
            "jupyterKernels": [jupyter_kernel_view(one) for one in record.jupyter_kernels],
            "liveStat": self._live_stat(record, kernel) if kernel else None,
            "progress": _progress(record),
        }

    def final_stats(self, record: SessionRecord) -> dict[str, Any]:
        """What it used, as Backend.AI tells at the end of a session: the newest that is known."""
        kernel = record.kernel
        figures = kernel and (kernel.stats or self._registry.stats(kernel.agent_id, kernel.id))
        return {"status": "terminated", **(_final_stats(figures, record) if figures else {})}

    def _reason(self, record: SessionRecord, *, unreachable: bool) -> Reason:
        if record.status is SessionStatus.PENDING:
            waiting = self._waiting.get(record.id)
            return waiting.reason if waiting else record.reason or _queued(record)
        if unreachable and record.kernel is not None:
            heard_at = self._registry.heard_at(record.kernel.agent_id)
            since = heard_at.strftime("%H:%M UTC") if heard_at else "the manager started"
            return Reason.of("unreachable", agent=record.kernel.agent_name, time=since)
        standing = self._idle.standing.get(record.id)
        if record.status is SessionStatus.RUNNING and standing is not None and standing.warning is not None:
            return standing.warning
        if record.status is SessionStatus.RUNNING and record.kernel is not None and record.kernel.suspended:
            return record.kernel.suspended_for or Reason.of("suspended", agent=record.kernel.agent_name)
        return record.reason or _queued(record)

    def _queue(self, record: SessionRecord) -> QueueView | None:
        waiting = self._waiting.get(record.id)
        if waiting is None or record.status is not SessionStatus.PENDING:
            return None
        return {"position": waiting.position, "of": waiting.of, "estimate_s": waiting.estimate_s}

    def _kernel(self, record: SessionRecord, kernel: KernelRecord) -> KernelView:
        return {
            "id": kernel.id,
            "role": role_of(kernel.place),
            "index": index_of(kernel.place),
            "host": host_of(kernel.place),
            "status": kernel.status,
            "agent": kernel.agent_name,
            "exitCode": kernel.exit_code,
            "liveStat": self._live_stat(record, kernel),
        }

    def _live_stat(self, record: SessionRecord, kernel: KernelRecord) -> LiveStat | None:
        if record.is_final or kernel.is_gone:
            return None
        stats = self._registry.stats(kernel.agent_id, kernel.id)
        if stats is None:
            return None
        return {**dict.fromkeys(("cpu_used_s", "mem_used_bytes", "mem_limit_bytes")), **stats}


def _running_ms(record: SessionRecord, until: datetime) -> int | None:
    return int((until - record.started_at).total_seconds() * 1000) if record.started_at else None


_PREDICATES = {"starts-at": "reserved_time", "dependency": "dependencies", "sessions-wait": "concurrency"}


_ALWAYS_FIRST = ("reserved_time", "dependencies")
_ALL = (
    *_ALWAYS_FIRST,
    "concurrency",
    *(f"{one}_resource_limit" for one in ("keypair", "user", "user_group", "domain")),
)


def _status_data(record: SessionRecord, reason: Reason, looked_at: datetime | None) -> dict[str, Any]:
    """Our reason, and what Backend.AI's clients look for: what the scheduler found, and how it ended."""
    data: dict[str, Any] = {"reason": reason.to_json()}
    if record.status is SessionStatus.PENDING:
        name = _PREDICATES.get(reason.code, f"{reason.params.get('level', 'keypair')}_resource_limit")
        failed = [{"name": name, "msg": reason.text}] if reason.slug == "predicate-checks-failed" else []
        data["scheduler"] = {
            "retries": record.attempts,
            "last_try": looked_at.isoformat() if looked_at else None,
            "msg": reason.text,
            "failed_predicates": failed,
            "passed_predicates": [{"name": one} for one in _passed(name if failed else None)],
        }
    if record.is_final and record.kernel is not None:
        data["kernel"] = data["session"] = {"exit_code": record.kernel.exit_code}
    return data


def _passed(failed: str | None) -> Iterable[str]:
    """What was looked at before that; of limits it is not told which came first."""
    return _ALL if failed is None else itertools.takewhile(lambda one: one != failed, _ALWAYS_FIRST)


def _final_stats(figures: Mapping[str, float], record: SessionRecord) -> dict[str, Any]:
    stats: dict[str, Any] = {"version": 2}
    if "cpu_used_s" in figures:
        used = f"{1000 * figures['cpu_used_s']:.3f}"
        stats["cpu_used"] = {"current": used, "capacity": None, "pct": None, "unit_hint": "msec"}
    if "mem_used_bytes" in figures:
        used_bytes, limit_bytes = int(figures["mem_used_bytes"]), int(record.slots["mem"])
        stats["mem"] = {
            "current": str(used_bytes),
            "capacity": str(limit_bytes),
            "pct": f"{100 * used_bytes / limit_bytes:.2f}",
            "unit_hint": "bytes",
        }
    return {**stats, **accelerator_stat(figures)}


def accelerator_stat(figures: Mapping[str, float | None]) -> dict[str, Any]:
    """Figures of accelerators as Backend.AI tells them: ``rocm_util_pct`` as ``rocm_util``, and
    ``rocm_mem_used_bytes`` with its total as ``rocm_mem``."""
    stat: dict[str, Any] = {}
    for figure, value in figures.items():
        if value is None:
            continue
        if name := _before(figure, "_util_pct"):
            pct = f"{value:.2f}"
            stat[f"{name}_util"] = {"current": pct, "capacity": "100", "pct": pct, "unit_hint": "percent"}
        total = figures.get(f"{name}_mem_total_bytes") if (name := _before(figure, "_mem_used_bytes")) else None
        if total:
            pct, capacity = f"{100 * value / total:.2f}", str(int(total))
            stat[f"{name}_mem"] = {"current": str(int(value)), "capacity": capacity, "pct": pct, "unit_hint": "bytes"}
    return stat


def _before(text: str, ending: str) -> str:
    return text.removesuffix(ending) if text.endswith(ending) else ""


def jupyter_kernel_view(record: JupyterKernelRecord) -> JupyterKernelView:
    return {
        "id": record.id,
        "session_id": record.session_id,
        "generation": record.generation,
        "kernelspec": record.kernelspec,
        "status": record.status,
        "cwd": record.cwd,
        "notice": _notice(record),
        "exit_code": record.exit_code,
        "reason": record.reason.to_json() if record.reason else None,
        "interrupt_mode": record.interrupt_mode,
        "saved": cast("SavedView | None", record.saved),
    }


def _mount(mount: MountWant) -> SessionMountView:
    folder = folder_at(mount.subpath)
    return {
        "folder": folder and hex_id(folder),
        "name": mount.name,
        "target": mount.target,
        "read_only": mount.read_only,
    }


def _notice(record: JupyterKernelRecord) -> str | None:
    """What its user should know of one that runs: where it is, and what it began with."""
    woken = record.reason if record.status is JupyterKernelStatus.RUNNING else None
    return " ".join(one.text for one in (record.notice, woken) if one is not None) or None


def _queued(record: SessionRecord) -> Reason:
    return Reason.of("queued", place="Waiting", group=record.resource_group)


def _progress(record: SessionRecord) -> float | None:
    """Per cent of the image that is there, while it is pulled."""
    if record.status is not SessionStatus.PULLING or record.reason is None:
        return None
    try:
        return min(100.0, max(0.0, float(record.reason.params.get("pct", ""))))
    except ValueError:
        return None
