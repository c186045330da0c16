"""What ``shares`` asks of the driver, through nvidia-ml-py. Blocking; short."""

import contextlib
import ctypes
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bai_agent.runtimes import pids
from bai_jupyter.common.errors import BaiError


class NvmlFault(BaiError):
    """The driver's library is not there, or refuses."""


@dataclass(frozen=True)
class Use:
    """What one process holds of a GPU. ``started`` tells the process from another that got its number."""

    device_id: str
    pid: int
    started: int
    used_bytes: int


Loads = Mapping[str, Mapping[int, float]]
"""``{device id: {pid: per cent of the GPU's computing time}}``, of those GPUs whose driver tells it."""


class Nvml:
    """The driver's library, opened with the first call and kept open: opening takes long. Raises ``NvmlFault``."""

    def __init__(self) -> None:
        self._library: Any = None
        self._seen: dict[str, int] = {}  # of each GPU, the driver's time of the newest load that was read

    def close(self) -> None:
        if self._library is not None:
            with contextlib.suppress(Exception):
                self._library.nvmlShutdown()
            self._library = None

    def uses(self, device_ids: Iterable[str]) -> list[Use]:
        """What processes hold of these GPUs now. A process that has ended meanwhile is left out, as is a GPU that does
        not answer, unless none does."""
        found: list[Use] = []
        silent: list[Exception] = []
        with self._opened() as pynvml:
            names = list(device_ids)
            for device_id in names:
                try:
                    found += self._uses_of(pynvml, device_id)
                except pynvml.NVMLError as error:
                    silent.append(error)
            if names and len(silent) == len(names):
                raise silent[0]
        return found

    def _uses_of(self, pynvml: Any, device_id: str) -> Iterator[Use]:
        handle = pynvml.nvmlDeviceGetHandleByUUID(device_id)
        questions = (pynvml.nvmlDeviceGetComputeRunningProcesses, pynvml.nvmlDeviceGetGraphicsRunningProcesses)
        used: dict[int, int] = {}
        for question in questions:
            with contextlib.suppress(pynvml.NVMLError_NotSupported, pynvml.NVMLError_FunctionNotFound):
                for process in question(handle):
                    used[process.pid] = max(used.get(process.pid, 0), process.usedGpuMemory or 0)
        for pid, used_bytes in used.items():
            started = pids.start_time(pid)
            if started is not None:
                yield Use(device_id, pid, started, used_bytes)

    def loads(self, device_ids: Iterable[str]) -> Loads:
        """How busy each process has kept these GPUs since this was asked last; who is not named was idle.

        A GPU whose driver does not tell is left out (``nvmlDeviceGetProcessUtilization`` is not supported in MIG mode,
        nor by every driver), as is one that is asked for the first time: what its driver then has may be old.
        """
        found = {}
        with self._opened() as pynvml:
            for device_id in device_ids:
                with contextlib.suppress(pynvml.NVMLError):
                    is_first = device_id not in self._seen
                    loads = self._loads_of(pynvml, device_id)
                    if not is_first:
                        found[device_id] = loads
        return found

    def _loads_of(self, pynvml: Any, device_id: str) -> dict[int, float]:
        """Drivers are known to repeat old samples, and to fill some with more than 100 %: those count for nothing."""
        handle, since = pynvml.nvmlDeviceGetHandleByUUID(device_id), self._seen.get(device_id, 0)
        try:
            told = pynvml.nvmlDeviceGetProcessUtilization(handle, since)
        except pynvml.NVMLError as error:
            if error.value not in (pynvml.NVML_ERROR_NOT_FOUND, pynvml.NVML_SUCCESS):
                raise
            told = []  # nobody has computed
        new = sorted((s.timeStamp, s.pid, s.smUtil) for s in told if s.timeStamp > since and s.smUtil <= 100)
        self._seen[device_id] = new[-1][0] if new else since
        return {pid: float(percent) for _, pid, percent in new}

    def first_device(self) -> str:
        """The id of some GPU."""
        with self._opened() as pynvml:
            uuid = pynvml.nvmlDeviceGetUUID(pynvml.nvmlDeviceGetHandleByIndex(0))
            return uuid.decode() if isinstance(uuid, bytes) else str(uuid)

    def limit(self, device_id: str, cgroup: str, soft_bytes: int, hard_bytes: int) -> None:
        """Let the processes of a cgroup (its full path) hold so much of a GPU, and read that back."""
        with self._opened() as pynvml:
            if not hasattr(pynvml, "nvmlDeviceSetMemoryLimits_v1"):
                raise NvmlFault("nvidia-ml-py is too old to limit memory by cgroup")
            handle, name = pynvml.nvmlDeviceGetHandleByUUID(device_id), cgroup.encode()
            wanted = pynvml.c_nvmlSetMemoryLimits_v1_t(name, soft_bytes, hard_bytes)
            pynvml.nvmlDeviceSetMemoryLimits_v1(handle, wanted)
            found = pynvml.c_nvmlGetMemoryLimits_v1_t(name, 0, 0, 0)
            pynvml.nvmlDeviceGetMemoryLimits_v1(handle, found)
            if (found.softLimit, found.hardLimit) != (soft_bytes, hard_bytes):
                has = f"{found.softLimit} and {found.hardLimit}"
                raise NvmlFault(f"the driver has {has} bytes where {soft_bytes} and {hard_bytes} were set")

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Any]:
        try:
            import pynvml
        except ImportError as error:
            raise NvmlFault("nvidia-ml-py is not installed") from error
        try:
            if self._library is None:
                pynvml.nvmlInit()
                self._library = pynvml
            yield pynvml
        except (pynvml.NVMLError, ctypes.ArgumentError) as error:
            raise NvmlFault(str(error)) from error
