"""How strictly this host can hold sessions to their shares: the first step that works, tried at the agent's start.

=========  ===================================================================  =====================================
level      what holds                                                           who gets past it
=========  ===================================================================  =====================================
cgroup     the driver refuses more to the container's cgroup                    nobody inside
shim       a preload library refuses more to all processes of the container     own system calls, programs with a
                                                                                loader of their own
watch      nothing refuses; the watchdog sees it within seconds                 everybody, for seconds
=========  ===================================================================  =====================================

The watchdog runs on every step.
"""

import enum
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from bai_agent.shares import library
from bai_agent.shares.nvml import Nvml, NvmlFault

log = logging.getLogger(__name__)

_PROBED_BYTES = 1024**3


class Enforcement(enum.StrEnum):
    """Strongest first."""

    CGROUP = "cgroup"
    SHIM = "shim"
    WATCH = "watch"

    def is_at_least(self, other: "Enforcement") -> bool:
        order = list(Enforcement)
        return order.index(self) <= order.index(other)


Step = tuple[Enforcement, Callable[[], str]]
"""A level, and why it does not work here (empty: it does)."""


def climb(steps: Sequence[Step]) -> Enforcement:
    """The first that works, else ``WATCH``. What does not is logged with its cause."""
    for level, why_not in steps:
        cause = why_not()
        if not cause:
            return level
        log.info("GPU shares cannot be held by %s: %s", level, cause)
    return Enforcement.WATCH


def why_no_cgroup(nvml: Nvml, root: Path = Path("/sys/fs/cgroup"), *, has_cgroups: bool) -> str:
    """Set and read back a limit on a cgroup of our own. Empty if that works. ``has_cgroups``: this runtime gives each
    session one."""
    if not has_cgroups:
        return "this runtime gives sessions no cgroup of their own"
    if not (root / "cgroup.controllers").exists():
        return f"{root} is not cgroup version 2"
    scratch = root / f"bai-probe-{os.getpid()}"
    try:
        scratch.mkdir()
    except OSError as error:
        return f"no cgroup can be made: {error.strerror}"
    try:
        device = nvml.first_device()
        nvml.limit(device, str(scratch), _PROBED_BYTES, _PROBED_BYTES)
        nvml.limit(device, str(scratch), 0, _PROBED_BYTES)  # or the parent keeps what was promised to it
    except NvmlFault as fault:
        return str(fault)
    finally:
        scratch.rmdir()
    return ""


def why_no_shim(cache: Path, *, has_mounts: bool) -> str:
    """Build the preload library. Empty if that works. ``has_mounts``: this runtime can put it before every program."""
    if not has_mounts:
        return "this runtime mounts nothing, so a program could do without it"
    try:
        library.build(cache)
    except (library.NoLibrary, OSError) as error:
        return f"the preload library cannot be made: {error}"
    return ""
