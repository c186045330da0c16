"""What admins send to make or change things, turned into columns: one table of fields for each kind of thing. Pure.

A value that is null leaves things as they are, as clients of Backend.AI expect. Fields that have no meaning here take
only the value that says so; anything else is refused rather than forgotten.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, NoReturn

from bai_jupyter.common.errors import BadRequest
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import SlotLimits, parse_size
from bai_jupyter.manager.auth import policy
from bai_jupyter.manager.db.admission import to_quanta
from bai_jupyter.manager.db.records import UserStatus
from bai_jupyter.manager.scheduler import SEQUENCERS
from bai_jupyter.manager.sessions.idle import METRICS

HOST_PERMISSIONS = (
    "create-vfolder",
    "modify-vfolder",
    "delete-vfolder",
    "mount-in-session",
    "upload-file",
    "download-file",
    "invite-others",
    "set-user-specific-permission",
)
SESSION_TYPES = ("interactive", "batch", "inference", "system")
ROLES = (policy.SUPERADMIN, policy.ADMIN, policy.USER, policy.SERVICE)
_NAME = re.compile(r"\w(?:[\w.+@-]{0,62}\w)?", re.ASCII)
_EMAIL = re.compile(r"[^\s@]{1,64}@[^\s@]{1,190}")
_SELECTIONS = ("dispersed", "concentrated")
_MAX_INT = 2**31 - 1
_MAX_BYTES = 2**63 - 1
_MAX_HOURS = 1_000_000
_MOST_PERCENT = 100
_SPAN = re.compile(r"([0-9]{1,9})([smhd]?)")
_SPAN_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}

Reader = Callable[[str, Any], Any]
"""Given the field's name and what was sent; raises ``BadRequest``."""


@dataclass(frozen=True)
class Field:
    """``column`` None: read and checked, but nothing to store."""

    column: str | None
    read: Reader


def read(fields: Mapping[str, Field], sent: Mapping[str, Any]) -> dict[str, Any]:
    """``{column: value}`` of all that was sent and is not null. Raises ``BadRequest`` naming the field."""
    values: dict[str, Any] = {}
    for name, value in sent.items():
        if name not in fields:
            raise BadRequest(f"{name} cannot be set here. What can: {', '.join(fields)}.")
        field = fields[name]
        if value is not None:
            found = field.read(name, value)
            if field.column is not None:
                values[field.column] = found
    return values


def refuse(field: str, given: object, expected: str) -> NoReturn:
    raise BadRequest(Reason.of("bad-value", field=field, given=repr(given), expected=expected))


# Readers


def text(field: str, value: object) -> str:
    return value if isinstance(value, str) and len(value) <= 4096 else refuse(field, value, "a text")


def name(field: str, value: object) -> str:
    """A name that is safe in paths, queries and sentences."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        refuse(field, value, "1 to 64 letters, digits and . + @ - _, with a letter or digit at both ends")
    return value


def email(field: str, value: object) -> str:
    return value if isinstance(value, str) and _EMAIL.fullmatch(value) else refuse(field, value, "an e-mail address")


def boolean(field: str, value: object) -> bool:
    return value if isinstance(value, bool) else refuse(field, value, "true or false")


def one_of(*allowed: str) -> Reader:
    def read_one(field: str, value: object) -> str:
        found = str(value).lower()
        return found if found in allowed else refuse(field, value, f"one of {', '.join(allowed)}")

    return read_one


def count(field: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_INT:
        refuse(field, value, f"a number from 0 to {_MAX_INT}")
    return value


def count_or_none(field: str, value: object) -> int | None:
    """Zero, or minus one, is no limit."""
    return None if value in (0, -1) else count(field, value)


def size_or_none(field: str, value: object) -> int | None:
    """Zero in any unit, or minus one, is no limit."""
    if value in (-1, "-1"):
        return None
    try:
        size_bytes = parse_size(value)  # type: ignore[arg-type]
    except ValueError:
        size_bytes = _MAX_BYTES + 1
    if size_bytes > _MAX_BYTES:
        refuse(field, value, "a size such as 10g, less than 8388608t, or 0 for no limit")
    return size_bytes or None


def hours_or_none(field: str, value: object) -> float | None:
    """Zero, or minus one, is no limit."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not (value == -1 or 0 <= value <= _MAX_HOURS):
        refuse(field, value, f"a number of hours from 0 to {_MAX_HOURS}, of which 0 is no limit")
    return None if value in (0, -1) else float(value)


def names(field: str, value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        refuse(field, value, "a list of texts")
    return value


def networks(field: str, value: object) -> list[str]:
    for one in names(field, value):
        try:
            ip_network(one, strict=False)
        except ValueError:
            refuse(field, one, "an address or a network such as 10.0.0.0/8")
    return names(field, value)


def limits(field: str, value: object) -> SlotLimits:
    """JSON text or an object; an infinite amount is no limit, as is none."""
    raw = {slot: amount for slot, amount in _object(field, value).items() if amount not in (None, "Infinity")}
    try:
        found = SlotLimits.parse(raw)
        to_quanta(found)
    except ValueError as error:
        refuse(field, str(error), "amounts by slot")
    return found


def limits_json(field: str, value: object) -> dict[str, str]:
    return limits(field, value).to_json()


def hosts(field: str, value: object) -> dict[str, list[str]]:
    """``{host: [permission]}``, as JSON text or an object."""
    found = _object(field, value)
    for host, permissions in found.items():
        for one in names(f"{field}.{host}", permissions):
            if one not in HOST_PERMISSIONS:
                refuse(f"{field}.{host}", one, f"one of {', '.join(HOST_PERMISSIONS)}")
    return found


def utilization(field: str, value: object) -> dict[str, Any] | None:
    """What counts as low use, in the words of Backend.AI's ``utilization`` checker; an empty object is no limit.

    ::

        {"time-window": 3600, "resource-thresholds": {"cuda_util": 5}, "initial-grace-period": 300,
         "thresholds-check-operator": "and", "spare-running": true}
    """
    sent = _object(field, value)
    if not sent:
        return None
    fields = {
        "time-window": Field("time-window", _seconds),
        "initial-grace-period": Field("initial-grace-period", _seconds),
        "thresholds-check-operator": Field("thresholds-check-operator", one_of("and", "or")),
        "resource-thresholds": Field("resource-thresholds", _thresholds),
        "spare-running": Field("spare-running", boolean),
    }
    found = read(fields, sent)
    for name in ("time-window", "resource-thresholds"):
        if not found.get(name):
            refuse(f"{field}.{name}", sent.get(name), "given; without it there is no limit")
    return {"initial-grace-period": 0, "thresholds-check-operator": "and", "spare-running": True, **found}


def _thresholds(field: str, value: object) -> dict[str, float]:
    """``{metric: per cent}``, or as Backend.AI has it ``{metric: {"average": per cent}}``."""
    found = {}
    for metric, given in _object(field, value).items():
        if metric not in METRICS:
            refuse(field, metric, f"a metric: {', '.join(METRICS)}")
        amount = given.get("average") if isinstance(given, dict) else given
        if isinstance(amount, bool) or not isinstance(amount, int | float) or not 0 < amount <= _MOST_PERCENT:
            refuse(f"{field}.{metric}", amount, f"per cent, more than 0 and at most {_MOST_PERCENT}")
        found[metric] = float(amount)
    return found


def _seconds(field: str, value: object) -> int:
    """Also ``90s``, ``10m``, ``1h``, ``1d``."""
    match = _SPAN.fullmatch(str(value))
    if match is None:
        refuse(field, value, "a time such as 600, 10m or 1h")
    return count(field, int(match[1]) * _SPAN_SECONDS[match[2]])


def only(*harmless: object) -> Reader:
    """For what does not exist here."""

    def read_only(field: str, value: object) -> None:
        if value not in harmless:
            refuse(field, value, f"{harmless[0]!r}: nothing else is supported here")

    return read_only


def _object(field: str, value: object) -> dict[str, Any]:
    try:
        found = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else refuse(field, value, "a JSON object")


def _status(field: str, value: object) -> UserStatus:
    return UserStatus.ACTIVE if boolean(field, value) else UserStatus.INACTIVE


def _is_limited(field: str, value: object) -> bool:
    return bool(one_of("limited", "unlimited")(field, value) == "limited")


# Things

DOMAIN: Mapping[str, Field] = {
    "description": Field("description", text),
    "is_active": Field("is_active", boolean),
    "total_resource_slots": Field("total_slots", limits_json),
    "allowed_vfolder_hosts": Field("allowed_vfolder_hosts", hosts),
    "allowed_docker_registries": Field(None, only([])),
    "integration_id": Field(None, only("")),
    "resource_policy": Field("resource_policy", text),
}
PROJECT: Mapping[str, Field] = {
    "type": Field(None, one_of("general")),
    "name": Field("name", name),
    "description": Field("description", text),
    "is_active": Field("is_active", boolean),
    "total_resource_slots": Field("total_slots", limits_json),
    "allowed_vfolder_hosts": Field("allowed_vfolder_hosts", hosts),
    "integration_id": Field(None, only("")),
    "resource_policy": Field("resource_policy", text),
}
USER: Mapping[str, Field] = {
    "username": Field("name", name),
    "full_name": Field("full_name", text),
    "description": Field("description", text),
    "role": Field("role", one_of(*ROLES)),
    "status": Field("status", one_of(*UserStatus)),
    "is_active": Field("status", _status),
    "domain_name": Field("domain", text),
    "need_password_change": Field("need_password_change", boolean),
    "allowed_client_ip": Field("allowed_client_ip", networks),
    "main_access_key": Field("main_access_key", text),
    "group_ids": Field("projects", names),
    "resource_policy": Field("resource_policy", text),
    "totp_activated": Field(None, only(False)),
    "sudo_session_enabled": Field(None, only(False)),
}
KEYPAIR: Mapping[str, Field] = {
    "is_active": Field("is_active", boolean),
    "is_admin": Field("is_admin", boolean),
    "resource_policy": Field("resource_policy", text),
    "rate_limit": Field("rate_limit", count_or_none),
    "concurrency_limit": Field("concurrency_limit", count),  # Backend.AI keeps it, too, and limits by policy
}
POLICY: Mapping[str, Field] = {
    "total_resource_slots": Field("total_slots", limits),
    "default_for_unspecified": Field("is_limited", _is_limited),
    "max_concurrent_sessions": Field("max_sessions", count),
    "max_containers_per_session": Field("max_containers_per_session", count_or_none),
    "gpu_hours_per_week": Field("gpu_hours_per_week", hours_or_none),
    "max_session_lifetime": Field("max_session_lifetime_s", count_or_none),
    "idle_timeout": Field("idle_timeout_s", count_or_none),
    "suspend_after": Field("suspend_after_s", count_or_none),
    "utilization": Field("utilization", utilization),
    "allowed_vfolder_hosts": Field("allowed_vfolder_hosts", hosts),
    "max_vfolder_count": Field("max_vfolder_count", count_or_none),
    "max_quota_scope_size": Field("max_quota_scope_bytes", size_or_none),
    "max_vfolder_size": Field("max_vfolder_bytes", size_or_none),
    "max_concurrent_sftp_sessions": Field(None, only(30)),  # SFTP is an app of any session; clients send 30 unasked
}
PRESET: Mapping[str, Field] = {
    "resource_slots": Field("slots", limits_json),
    "shared_memory": Field("shm_bytes", size_or_none),
}
RESOURCE_GROUP: Mapping[str, Field] = {
    "description": Field("description", text),
    "is_active": Field("is_active", boolean),
    "is_public": Field("is_public", boolean),
    "scheduler": Field("sequencer", one_of(*SEQUENCERS)),
    "driver": Field(None, only("static")),
    "driver_opts": Field(None, only("{}")),
    "use_host_network": Field(None, only(False)),
    "wsproxy_addr": Field(None, only("")),
    "wsproxy_api_token": Field(None, only("")),
}


def scheduler_opts(sent: object) -> dict[str, Any]:
    """Columns of a resource group from Backend.AI's ``scheduler_opts``; a time-out of 0 is none."""
    options = _object("scheduler_opts", sent)
    config = _object("scheduler_opts.config", options.get("config") or {})
    fields = {
        "allowed_session_types": Field("allowed_session_types", _session_types),
        "pending_timeout": Field("pending_timeout_s", count_or_none),
        "agent_selection_strategy": Field("selection", one_of(*_SELECTIONS)),
        "config": Field(None, _object),
    }
    skips = {"num_retries_to_skip": Field("head_of_line_skips", count_or_none)}
    return read(fields, options) | read(skips, config)


def _session_types(field: str, value: object) -> list[str]:
    return [one_of(*SESSION_TYPES)(field, one) for one in names(field, value)]
