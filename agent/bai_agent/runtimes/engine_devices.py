"""What devices need, in a Docker engine's words; and what of it this engine cannot do.

Pure but for looking at files of the host. Asking the engine is ``docker``'s and ``engine_containers``'.
"""

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from docker.types import DeviceRequest, Ulimit

from bai_agent.devices.base import ContainerOptions
from bai_agent.runtimes import seccomp

_UNLIMITED = -1
MEMLOCK = Ulimit(name="memlock", soft=_UNLIMITED, hard=_UNLIMITED)
NO_MEMLOCK = (
    "The container engine may not lift limits of its processes (it lacks CAP_SYS_RESOURCE): sessions with accelerators "
    "that lock memory get the capability IPC_LOCK instead, which helps processes of root only."
)

_RUNTIMES_BY_VARIABLE = ("amd", "habana")  # NVIDIA's is told by a variable that there are none


@dataclass(frozen=True)
class Abilities:
    """What an engine can do. ``cdi``: it knows CDI names. ``own_seccomp``: it uses the profile that it came with, so
    that one of ours may take its place; an admin's profile, and none at all, stay."""

    cdi: bool
    own_seccomp: bool


def abilities_of(info: Mapping[str, Any]) -> Abilities:
    """From the engine's own description of itself (``docker info``)."""
    security = [str(one) for one in info.get("SecurityOptions") or []]
    profiles = ("name=seccomp,profile=default", "name=seccomp,profile=builtin")
    return Abilities(cdi=bool(info.get("CDISpecDirs")), own_seccomp=any(one in profiles for one in security))


def runtime_trouble(info: Mapping[str, Any]) -> Iterator[str]:
    """A sentence if the engine starts containers with a runtime that gives devices to whoever names them."""
    runtime = info.get("DefaultRuntime")
    if runtime in _RUNTIMES_BY_VARIABLE:
        yield (
            f"The engine's default runtime is {runtime}, which gives containers the devices that a variable of their "
            "image names, held by others or not. Make runc the default."
        )


def missing(options: ContainerOptions) -> Iterator[str]:
    """Device nodes and paths to bind that are not on this host. An engine tells only when it starts the container."""
    for host, _, _ in options.nodes:
        if not _is_device(host):
            yield host
    for host, _, _ in options.binds:
        if not os.path.exists(host):
            yield host


def host_config(options: ContainerOptions, abilities: Abilities, *, memlock: bool, shm_bytes: int) -> dict[str, Any]:
    """Keywords for docker-py's ``create_host_config``. ``memlock``: the engine can lift that limit.

    ``options`` holds CDI names only if the engine knows them.
    """
    caps = {*options.caps} | ({"IPC_LOCK"} if options.memlock and not memlock else set())
    security = ["no-new-privileges"]
    if options.syscalls and abilities.own_seccomp:
        security.append(f"seccomp={seccomp.profile(options.syscalls)}")
    return {
        "cap_add": sorted(caps) or None,
        "security_opt": security,
        "ipc_mode": "host" if options.host_ipc else "private",
        "ulimits": [MEMLOCK] if options.memlock and memlock else None,
        "cpuset_cpus": ",".join(map(str, options.cpus)) or None,
        # An engine sets the size of a private /dev/shm only.
        "shm_size": None if options.host_ipc else max(shm_bytes, options.shm_bytes) or None,
        "devices": [f"{host}:{inside}:{access}" for host, inside, access in options.nodes],
        "group_add": list(options.groups) or None,
        "device_requests": _requests(options.gpu_ids, options.cdi),
    }


def _requests(gpu_ids: Sequence[str], cdi: Sequence[str]) -> list[DeviceRequest] | None:
    requests = []
    if gpu_ids:
        capabilities = [["gpu", "compute", "utility"]]
        requests.append(DeviceRequest(driver="nvidia", device_ids=list(gpu_ids), capabilities=capabilities))
    if cdi:
        requests.append(DeviceRequest(driver="cdi", device_ids=list(cdi)))
    return requests or None


def _is_device(path: str) -> bool:
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)
