"""Compares what processes hold of the GPUs with what their sessions may, every few seconds.

On every step of the ladder: the preload library can be got past by somebody who means to, and ``watch`` has nothing
else. A session that is over its share in two samples in a row is told of (``log``), loses its largest process
(``kill-process``), or is ended (``terminate``). ``excesses`` and ``confirmed`` decide, pure; the loop is thin.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bai_agent.devices.base import Figures
from bai_agent.runtimes import pids
from bai_agent.shares.nvml import Loads, Nvml, NvmlFault, Use
from bai_jupyter.common.ids import KernelId
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import format_size

log = logging.getLogger(__name__)

EVERY_S = 2.0
POLICIES = ("log", "kill-process", "terminate")
_MARKER = b"BACKENDAI_KERNEL_ID="


@dataclass(frozen=True)
class Watched:
    """A running kernel with shares: its container, and ``{device id: bytes}`` that it may hold."""

    kernel_id: KernelId
    ref: str
    limits: Mapping[str, int]


@dataclass(frozen=True)
class Excess:
    """One kernel holds more of one GPU than it may."""

    kernel_id: KernelId
    device_id: str
    limit_bytes: int
    uses: tuple[Use, ...]

    @property
    def used_bytes(self) -> int:
        return sum(use.used_bytes for use in self.uses)

    @property
    def largest(self) -> Use:
        return max(self.uses, key=lambda use: (use.used_bytes, use.pid))

    def reason(self, code: str) -> Reason:
        return Reason.of(code, used=format_size(self.used_bytes), limit=format_size(self.limit_bytes))


def excesses(
    uses: Iterable[Use], watched: Iterable[Watched], owners: Mapping[int, KernelId], tolerance_bytes: int
) -> list[Excess]:
    """Who is over. A GPU that a kernel was not given at all is one of which it may hold nothing.

    ``owners`` is ``{pid: kernel}``; processes of others are left out.
    """
    limits = {kernel.kernel_id: kernel.limits for kernel in watched}
    held: dict[tuple[KernelId, str], list[Use]] = {}
    for use in uses:
        kernel_id = owners.get(use.pid)
        if kernel_id in limits:
            held.setdefault((kernel_id, use.device_id), []).append(use)
    found = [
        Excess(kernel_id, device_id, limits[kernel_id].get(device_id, 0), tuple(of_kernel))
        for (kernel_id, device_id), of_kernel in sorted(held.items())
    ]
    return [one for one in found if one.used_bytes > one.limit_bytes + tolerance_bytes]


def figures_of(
    uses: Iterable[Use], watched: Iterable[Watched], owners: Mapping[int, KernelId], loads: Loads
) -> dict[KernelId, Figures]:
    """What each kernel holds of its shares, over all its GPUs, how much they are, and how busy it keeps the GPUs: its
    own part of each, as their mean; absent unless that is known of all of them."""
    used: dict[KernelId, int] = {}
    for use in uses:
        if owner := owners.get(use.pid):
            used[owner] = used.get(owner, 0) + use.used_bytes
    return {
        kernel.kernel_id: {
            "cuda_mem_used_bytes": float(used.get(kernel.kernel_id, 0)),
            "cuda_mem_total_bytes": float(sum(kernel.limits.values())),
            **({"cuda_util_pct": _load_of(kernel, owners, loads)} if kernel.limits.keys() <= loads.keys() else {}),
        }
        for kernel in watched
    }


def _load_of(kernel: Watched, owners: Mapping[int, KernelId], loads: Loads) -> float:
    each = [
        sum(percent for pid, percent in loads[device_id].items() if owners.get(pid) == kernel.kernel_id)
        for device_id in kernel.limits
    ]
    return sum(min(100.0, percent) for percent in each) / len(each)


def confirmed(before: Iterable[Excess], now: Iterable[Excess]) -> list[Excess]:
    """Those that were over in the sample before as well: what is being freed takes a moment to be so."""
    over = {(one.kernel_id, one.device_id) for one in before}
    return [one for one in now if (one.kernel_id, one.device_id) in over]


def owner_of(pid: int, watched: Iterable[Watched], proc: Path = Path("/proc")) -> KernelId | None:
    """The kernel that a process belongs to: by its cgroup, or, where there are no containers, by its environment."""
    cgroup, environ = "", b""
    with suppress(OSError):
        cgroup = (proc / str(pid) / "cgroup").read_text()
    with suppress(OSError):
        environ = (proc / str(pid) / "environ").read_bytes()
    for kernel in watched:
        is_process = kernel.ref == kernel.kernel_id  # of the process runtime
        if (_MARKER + kernel.ref.encode() in environ.split(b"\0")) if is_process else kernel.ref in cgroup:
            return kernel.kernel_id
    return None


def kill(use: Use) -> bool:
    """End that process, and nobody who got its number since. False if it is gone."""
    pidfd = pids.open_pidfd(use.pid, use.started)
    if pidfd is None:
        return False
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        return False
    finally:
        os.close(pidfd)
    return True


class Watchdog:
    """``watched`` are the kernels to look at; ``tell`` shows an owner a reason, ``end`` ends the session with it."""

    def __init__(
        self,
        nvml: Nvml,
        watched: Callable[[], list[Watched]],
        tell: Callable[[KernelId, Reason], None],
        end: Callable[[KernelId, Reason], None],
        *,
        policy: str,
        tolerance_bytes: int,
        every_s: float = EVERY_S,
    ) -> None:
        self._nvml, self._watched, self._tell, self._end = nvml, watched, tell, end
        self._policy, self._tolerance_bytes, self._every_s = policy, tolerance_bytes, every_s
        self._over: list[Excess] = []
        self.figures: dict[KernelId, Figures] = {}
        """Of sessions, at the last look: ``cuda_mem_used_bytes``, ``cuda_mem_total_bytes`` (their share), and
        ``cuda_util_pct``, if the driver tells it of processes."""
        self._said = ""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.look()
                self._said = ""
            except NvmlFault as fault:
                self.figures = {}
                if str(fault) != self._said:
                    self._said = str(fault)
                    log.warning("GPU shares are not watched: %s", fault)
            await asyncio.sleep(self._every_s)

    async def look(self) -> None:
        """One sample, and what follows from it and the one before. Raises ``NvmlFault``."""
        watched = self._watched()
        if not watched:
            self._over, self.figures = [], {}
            return
        uses, owners, loads = await asyncio.to_thread(self._sample, watched)
        self.figures = figures_of(uses, watched, owners, loads)
        over = excesses(uses, watched, owners, self._tolerance_bytes)
        for excess in confirmed(self._over, over):
            self._act(excess)
        self._over = over

    def _sample(self, watched: list[Watched]) -> tuple[list[Use], dict[int, KernelId], Loads]:
        """Who computes also holds memory, so owners are sought of those who do."""
        device_ids = sorted({device_id for kernel in watched for device_id in kernel.limits})
        uses, loads = self._nvml.uses(device_ids), self._nvml.loads(device_ids)
        owners = {use.pid: owner for use in uses if (owner := owner_of(use.pid, watched)) is not None}
        return uses, owners, loads

    def _act(self, excess: Excess) -> None:
        reason = excess.reason("gpu-share-exceeded")
        log.warning("kernel %s: gpu_share_violation on %s: %s", excess.kernel_id, excess.device_id, reason.text)
        if self._policy == "terminate":
            self._end(excess.kernel_id, excess.reason("gpu-share-ended"))
            return
        if self._policy == "kill-process" and kill(excess.largest):
            log.warning("kernel %s: ended process %s", excess.kernel_id, excess.largest.pid)
        self._tell(excess.kernel_id, reason)
