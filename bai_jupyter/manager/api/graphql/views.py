"""Rows and records as the objects of ``schema.graphql``. What a caller may see of them was decided before."""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from bai_jupyter.common.statuses import AgentStatus
from bai_jupyter.manager.db.records import (
    AgentRecord,
    GroupRecord,
    ImageRecord,
    PolicyRecord,
    PresetRecord,
    SessionRecord,
    UserStatus,
)
from bai_jupyter.manager.sessions.views import SessionView, accelerator_stat

Row = sa.Row[Any]
View = dict[str, Any]


def user(row: Row, projects: Sequence[tuple[str, str]]) -> View:
    return {
        "id": row.id,
        "uuid": row.id,
        "username": row.name,
        "email": row.email,
        "need_password_change": row.need_password_change,
        "full_name": row.full_name,
        "description": row.description,
        "is_active": row.status == UserStatus.ACTIVE,
        "status": row.status,
        "status_info": row.status_info,
        "created_at": _moment(row.created_at),
        "modified_at": _moment(row.modified_at),
        "domain_name": row.domain,
        "role": row.role,
        "groups": [{"id": project_id, "name": name} for project_id, name in projects],
        "resource_policy": row.resource_policy,
        "allowed_client_ip": row.allowed_client_ip,
        "totp_activated": False,
        "sudo_session_enabled": False,
        "main_access_key": row.main_access_key,
    }


def keypair(row: Row, projects: Sequence[tuple[str, str]], sessions_used: int, secret_key: str | None) -> View:
    return {
        "id": row.access_key,
        "user_id": row.email,
        "full_name": row.full_name,
        "user": row.user_id,
        "user_info": {"email": row.email, "full_name": row.full_name},
        "projects": [name for _, name in projects],
        "access_key": row.access_key,
        "secret_key": secret_key,
        "is_active": row.is_active,
        "is_admin": row.is_admin,
        "resource_policy": row.resource_policy,
        "created_at": _moment(row.created_at),
        "modified_at": _moment(row.modified_at),
        "last_used": _moment(row.used_at),
        "rate_limit": row.rate_limit,
        "concurrency_limit": row.concurrency_limit,
        "concurrency_used": sessions_used,
    }


def domain(row: Row, groups: Sequence[str]) -> View:
    return {
        "name": row.name,
        "description": row.description,
        "is_active": row.is_active,
        "created_at": _moment(row.created_at),
        "total_resource_slots": _text(row.total_slots),
        "allowed_vfolder_hosts": _text(row.allowed_vfolder_hosts or {}),
        "allowed_docker_registries": [],
        "resource_policy": row.resource_policy,
        "scaling_groups": groups,
    }


def project(row: Row, groups: Sequence[str]) -> View:
    return {
        "id": row.id,
        "name": row.name,
        "description": row.description,
        "is_active": row.is_active,
        "created_at": _moment(row.created_at),
        "domain_name": row.domain,
        "total_resource_slots": _text(row.total_slots),
        "allowed_vfolder_hosts": _text(row.allowed_vfolder_hosts or {}),
        "resource_policy": row.resource_policy,
        "type": "general",
        "scaling_groups": groups,
    }


def resource_policy(policy: PolicyRecord) -> View:
    return {
        "id": policy.name,
        "name": policy.name,
        "created_at": _moment(policy.created_at),
        "default_for_unspecified": "LIMITED" if policy.is_limited else "UNLIMITED",
        "total_resource_slots": _text(policy.total_slots.to_json()),
        "max_session_lifetime": policy.max_session_lifetime_s or 0,
        "max_concurrent_sessions": policy.max_sessions,
        "max_containers_per_session": policy.max_containers_per_session,
        "gpu_hours_per_week": policy.gpu_hours_per_week or 0,
        "idle_timeout": policy.idle_timeout_s or 0,
        "suspend_after": policy.suspend_after_s or 0,
        "utilization": _text(policy.utilization or {}),
        "allowed_vfolder_hosts": _text(policy.allowed_vfolder_hosts or {}),
        "max_vfolder_count": policy.max_vfolder_count or 0,
        "max_vfolder_size": policy.max_vfolder_bytes or 0,  # the client cannot show null
        "max_quota_scope_size": policy.max_quota_scope_bytes or 0,
    }


def preset(record: PresetRecord) -> View:
    return {
        "name": record.name,
        "resource_slots": _text(record.slots.to_json()),
        "shared_memory": record.shm_bytes,
    }


def resource_group(group: GroupRecord) -> View:
    options = {
        "allowed_session_types": list(group.allowed_session_types),
        "pending_timeout": group.pending_timeout_s or 0,
        "config": {} if group.head_of_line_skips is None else {"num_retries_to_skip": group.head_of_line_skips},
        "agent_selection_strategy": group.selection,
    }
    return {
        "name": group.name,
        "description": group.description,
        "is_active": group.is_active,
        "is_public": group.is_public,
        "created_at": _moment(group.created_at),
        "driver": "static",
        "driver_opts": "{}",
        "scheduler": group.sequencer,
        "scheduler_opts": _text(options),
        "use_host_network": False,
    }


def image(record: ImageRecord) -> View:
    registry, name, tag = split_image(record.name)
    return {
        "id": record.name,
        "name": name,
        "humanized_name": name,
        "tag": tag,
        "registry": registry,
        "architecture": record.architecture,
        "is_local": record.builtin,
        "digest": record.digest,
        "labels": [{"key": key, "value": value} for key, value in record.labels.items()],
        "aliases": list(record.aliases),
        "size_bytes": record.size_bytes,
        "resource_limits": _minimums(record.labels),
        "supported_accelerators": [],
        "installed": bool(record.agents),
        "installed_agents": list(record.agents),
    }


def agent(record: AgentRecord, mem_used_bytes: float) -> View:
    """``mem_used_bytes`` is what the agent's containers use, as last measured."""
    return {
        "id": record.name,
        "status": record.status.value,
        "region": "local",
        "architecture": record.architecture,
        "scaling_group": record.resource_group,
        "schedulable": record.is_schedulable,
        "available_slots": _text(record.slots.to_json()),
        "occupied_slots": _text(record.used.to_json()),
        "addr": "",  # agents dial out: nobody need know where they are
        "first_contact": _moment(record.created_at),
        "lost_at": None if record.status is AgentStatus.ALIVE else _moment(record.heard_at),
        "version": record.version,
        "compute_plugins": "{}",
        "hardware_metadata": "{}",
        "local_config": "{}",
        "compute_containers": [],
        "mem_cur_bytes": mem_used_bytes,
    }


def session(
    record: SessionRecord,
    shown: SessionView,
    email: str,
    project: str | None,
    dependencies: Sequence[Mapping[str, str]],
) -> View:
    """``shown`` is the session as the REST API shows it."""
    registry, _, _ = split_image(record.image)
    kernel = record.kernel
    same = {
        "image": record.image,
        "architecture": record.architecture,
        "registry": registry,
        "status_info": shown["statusInfo"],
        "status_data": _text(shown["statusData"]),
        "status_changed": _moment(record.status_changed_at),
        "created_at": _moment(record.created_at),
        "terminated_at": _moment(record.terminated_at),
        "resource_opts": shown["resourceOpts"],
        "occupied_slots": shown["occupiedSlots"],
    }
    each = {
        **same,
        "session_id": record.id,
        "occupied_slots": _text(shown["slots"] if kernel and not record.is_final else {}),
        "preopen_ports": shown["preopenPorts"],
        "last_stat": shown["lastStat"] and _text(shown["lastStat"]),
    }
    containers = [
        {
            **each,
            "id": one["id"],
            "role": one["role"],
            "cluster_role": one["role"],
            "cluster_idx": one["index"],
            "cluster_hostname": one["host"],
            "status": one["status"],
            "agent": one["agent"],
            "container_id": one["id"],
            "live_stat": _stat(one["liveStat"]),
        }
        for one in shown["kernels"]
    ]
    return {
        **same,
        "id": record.id,
        "session_id": record.id,
        "main_kernel_id": kernel.id if kernel else None,
        "name": record.name,
        "type": record.type.value,
        "cluster_mode": shown["clusterMode"],
        "cluster_size": shown["clusterSize"],
        "domain_name": record.domain,
        "group_name": project,
        "group_id": record.project_id,
        "agent_ids": [kernel.agent_name] if kernel else [],
        "agents": [kernel.agent_name] if kernel else [],
        "user_email": email,
        "user_id": record.user_id,
        "access_key": record.access_key,
        "created_user_email": email,
        "created_user_id": record.user_id,
        "status": record.status.value,
        "scheduled_at": _moment(record.started_at),
        "starts_at": shown["startsAt"],
        "startup_command": record.command,
        "tag": record.tag,
        "result": record.result.value,
        "scaling_group": record.resource_group,
        "service_ports": "[]",
        "mounts": [mount.name for mount in record.mounts],
        "occupying_slots": shown["occupyingSlots"],
        "requested_slots": shown["requestedSlots"],
        "num_queries": shown["numQueriesExecuted"],
        "containers": containers,
        "dependencies": list(dependencies),
        "abusing_reports": [],
        "idle_checks": _text(shown["idleChecks"]),
    }


def storage_volume(name: str, agents: Collection[str], info: Mapping[str, Any]) -> View:
    """``info`` as of ``Volumes.describe``. Where it lies is its agents' matter, and how fast it is nobody measures."""
    space = info["usage"]
    hardware = {
        "status": "healthy" if space else "unavailable",
        "status_info": None if space else "No agent that holds it answers.",
        "metadata": {"agents": ", ".join(sorted(agents)), **space},
    }
    return {
        "id": name,
        "backend": info["backend"],
        "path": None,
        "fsprefix": None,
        "capabilities": info["capabilities"],
        "hardware_metadata": _text(hardware),
        "usage": _text(_capacity(space["total_bytes"], space["free_bytes"]) if space else {}),
        "performance_metric": None,
    }


def _capacity(total_bytes: int, free_bytes: int) -> View:
    return {"capacity_bytes": total_bytes, "used_bytes": total_bytes - free_bytes}


def _stat(figures: Mapping[str, float | None] | None) -> str | None:
    """Live figures as Backend.AI's metrics."""
    if figures is None:
        return None
    mem, limit, cpu_s = (figures.get(name) for name in ("mem_used_bytes", "mem_limit_bytes", "cpu_used_s"))
    stat: View = {}
    if mem is not None:
        pct = f"{100 * mem / limit:.2f}" if limit else None
        capacity = str(int(limit)) if limit else None
        stat["mem"] = {"current": str(int(mem)), "capacity": capacity, "pct": pct, "unit_hint": "bytes"}
    if cpu_s is not None:
        stat["cpu_used"] = {"current": str(int(1000 * cpu_s)), "capacity": None, "pct": None, "unit_hint": "msec"}
    return _text({**stat, **accelerator_stat(figures)})


def split_image(name: str) -> tuple[str, str, str]:
    """``registry.example/a/b:1`` as registry, name and tag; without a registry it is Docker's own."""
    rest, _, tag = name.rpartition(":") if ":" in name.rsplit("/", 1)[-1] else (name, "", "latest")
    first, _, remainder = rest.partition("/")
    if remainder and ("." in first or ":" in first or first == "localhost"):
        return first, remainder, tag
    return "index.docker.io", rest, tag


def _minimums(labels: Mapping[str, str]) -> list[View]:
    prefix = "ai.backend.resource.min."
    return [
        {"key": label.removeprefix(prefix), "min": value, "max": None}
        for label, value in labels.items()
        if label.startswith(prefix)
    ]


def _text(value: object) -> str:
    return json.dumps(value)


def _moment(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat()
