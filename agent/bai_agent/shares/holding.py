"""Puts a session's limits in place and reads them back, before anything of the session runs.

On ``shim`` the limits come with the container's mounts: they hold from its first program on, and ``hold`` checks that
the mounts are ours. On ``cgroup`` the limits are set on the running container's own cgroup, as they always are for
AMD's GPUs. Where anything of that
fails the session fails: it never runs without.
"""

import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bai_agent import folders
from bai_agent.allocation import Allocation
from bai_agent.devices.base import ContainerOptions, Figures
from bai_agent.shares import library
from bai_agent.shares.dmem import Dmem, DmemFault, region_of
from bai_agent.shares.ladder import Enforcement
from bai_agent.shares.limits import CUDA, Limit, Rule, limits_of, resource_text, shim_text
from bai_agent.shares.nvml import Nvml, NvmlFault
from bai_jupyter.common.errors import BaiError
from bai_jupyter.common.messages import DeviceFacts

log = logging.getLogger(__name__)

RESOURCES = "/home/config/resource.txt"
PRELOAD = "/etc/ld.so.preload"
_CGROUPS = "/sys/fs/cgroup"
_LIBRARY = "libbai_gpu.so"
_USAGE_BYTES = 16 + 1024 * (16 + 16 * 8)  # struct usage of shim.c


class NotHeld(BaiError):
    """The limits are not in place; the message says what is amiss."""


@dataclass(frozen=True)
class Bind:
    """A file or folder of the host, and where it is seen inside."""

    source: Path
    target: str
    read_only: bool = True


class Holding:
    """``enforcement`` is that of NVIDIA's GPUs. ``cache`` keeps the preload library. ``place`` is a kernel's folder, of
    which ``place/gpu`` is ours."""

    def __init__(
        self,
        enforcement: Enforcement,
        rule: Rule,
        devices: Sequence[DeviceFacts],
        cache: Path,
        nvml: Nvml,
        dmem: Dmem | None = None,
        proc: Path = Path("/proc"),
    ) -> None:
        self.enforcement = enforcement
        self._rule, self._devices, self._cache, self._nvml, self._proc = rule, devices, cache, nvml, proc
        self._dmem = dmem or Dmem()

    def limits(self, held: Allocation) -> list[Limit]:
        return limits_of(held, self._devices, self._rule)

    def prepare(self, place: Path, held: Allocation) -> ContainerOptions:
        """Write what the container is told, and the mounts it needs. May be repeated. Raises ``NotHeld``. Blocks."""
        limits = self._of_cuda(held)
        resources = resource_text(held, self._devices, limits)
        if not resources:
            return ContainerOptions()
        folder = place / "gpu"
        try:
            folder.mkdir(mode=0o700, exist_ok=True)  # on the host; inside, only what is mounted is seen
            _write(folder / "resource.txt", resources)
            if limits and self.enforcement is Enforcement.SHIM:
                self._write_shim(folder, limits)
        except (OSError, library.NoLibrary) as error:
            raise NotHeld(str(error)) from error
        return ContainerOptions(
            binds=tuple((str(bind.source), bind.target, bind.read_only) for bind in self._binds(place, limits))
        )

    def _write_shim(self, folder: Path, limits: Sequence[Limit]) -> None:
        inside = folder / "inside"
        inside.mkdir(mode=0o755, exist_ok=True)
        shutil.copyfile(library.build(self._cache), inside / _LIBRARY)
        (inside / _LIBRARY).chmod(0o755)
        _write(inside / "limits", shim_text(limits))
        _write(folder / "ld.so.preload", f"{library.INSIDE}/{_LIBRARY}\n")
        usage = inside / "usage"
        if not usage.exists():
            usage.touch()
            os.truncate(usage, _USAGE_BYTES)
            usage.chmod(0o666)  # every process inside counts there, whoever it is

    def _binds(self, place: Path, limits: Sequence[Limit]) -> list[Bind]:
        folder = place / "gpu"
        told = [Bind(folder / "resource.txt", RESOURCES)]
        if not limits or self.enforcement is not Enforcement.SHIM:
            return told
        return [
            *told,
            Bind(folder / "inside", library.INSIDE),
            Bind(folder / "inside" / "usage", f"{library.INSIDE}/usage", read_only=False),
            Bind(folder / "ld.so.preload", PRELOAD),
        ]

    def hold(self, place: Path, held: Allocation, pid: int) -> None:
        """Put the limits in force for the container whose main process is ``pid``, and read them back.

        Raises ``NotHeld``; then nothing of the session may run. May be repeated. Blocks. A container that was made when
        only watching worked here is not held to more.
        """
        limits = self._of_cuda(held)
        try:
            self._limit_by_cgroup(held, pid)
        except (NvmlFault, DmemFault, OSError) as error:
            raise NotHeld(str(error)) from error
        if limits and self.enforcement is Enforcement.SHIM:
            if not (place / "gpu" / "ld.so.preload").exists():
                # It was made while nothing stricter worked here, and goes on as it began.
                log.warning("%s: its share of a GPU is only watched", place.name)
                return
            for bind in self._binds(place, limits):
                self._check(bind, pid)

    def figures(self, held: Allocation, pid: int) -> Figures:
        """What the container holds of its shares of AMD's GPUs, as the kernel counts it. Never raises."""
        limits = [limit for limit in self.limits(held) if limit.slot != CUDA]
        try:
            used = [self._dmem.used(self._region_of(limit), self._cgroup_of(pid)) for limit in limits]
        except (DmemFault, OSError):
            return {}
        known = [one for one in used if one is not None]
        if not known or len(known) < len(used):
            return {}
        total = sum(limit.total_bytes for limit in limits)
        return {"rocm_mem_used_bytes": float(sum(known)), "rocm_mem_total_bytes": float(total)}

    def _limit_by_cgroup(self, held: Allocation, pid: int) -> None:
        for limit in self.limits(held):
            if limit.slot != CUDA:
                self._dmem.limit(self._region_of(limit), self._cgroup_of(pid), limit.total_bytes)
            elif self.enforcement is Enforcement.CGROUP:
                cgroup = f"{_CGROUPS}{self._cgroup_of(pid)}"
                self._nvml.limit(limit.device_id, cgroup, limit.total_bytes, limit.total_bytes)

    def _region_of(self, limit: Limit) -> str:
        addresses = {device.device_id: device.attributes.get("pci") for device in self._devices}
        pci = addresses.get(limit.device_id)
        if pci is None:
            raise DmemFault(f"{limit.device_id} is not a GPU of this host any more")
        return region_of(pci)

    def _of_cuda(self, held: Allocation) -> list[Limit]:
        return [limit for limit in self.limits(held) if limit.slot == CUDA]

    def let_go(self, held: Allocation, pid: int) -> None:
        """Before the container ends: what the driver keeps for a cgroup would stay taken from the cgroups above."""
        if self.enforcement is not Enforcement.CGROUP:
            return
        try:
            for limit in self._of_cuda(held):
                self._nvml.limit(limit.device_id, f"{_CGROUPS}{self._cgroup_of(pid)}", 0, limit.total_bytes)
        except (NvmlFault, OSError):
            return  # it has ended already

    def _cgroup_of(self, pid: int) -> str:
        """As it is named below where cgroups are mounted."""
        for line in (self._proc / str(pid) / "cgroup").read_text().splitlines():
            if line.startswith("0::") and line != "0::/":
                return line.removeprefix("0::")
        raise FileNotFoundError(f"process {pid} is in no cgroup of its own")

    def _check(self, bind: Bind, pid: int) -> None:
        """The engine follows paths by name; what it mounted must be what we wrote."""
        parent, _, name = bind.target.lstrip("/").rpartition("/")
        try:
            folder = folders.open_below(self._proc / str(pid) / "root", parent)
            try:
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            finally:
                os.close(folder)
            expected = bind.source.stat()
        except OSError as error:
            raise NotHeld(f"{bind.target} cannot be checked: {error.strerror}") from error
        if (found.st_dev, found.st_ino) != (expected.st_dev, expected.st_ino):
            raise NotHeld(f"{bind.target} is not what was to be mounted there")


def _write(path: Path, text: str) -> None:
    """Not in place: what is mounted keeps its inode, so a second time nothing may change it."""
    if not path.exists():
        scratch = path.with_name(path.name + ".tmp")
        scratch.write_text(text)
        scratch.chmod(0o644)
        scratch.replace(path)
