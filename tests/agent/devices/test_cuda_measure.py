"""What NVIDIA GPUs do, with NVML's module replaced: no GPU is near these tests."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from bai_agent.devices.cuda import CudaPlugin


class NvmlError(Exception):
    pass


class Nvml:
    """Two GPUs, of which one is in MIG mode and does not tell its use, and one does not tell its power."""

    NVMLError = NvmlError
    starts = True
    open = 0

    def nvmlInit(self) -> None:  # noqa: N802
        if not self.starts:
            raise NvmlError
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetUUID(self, handle: int) -> bytes:  # noqa: N802
        return b"GPU-%d" % handle

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: int) -> int:  # noqa: N802
        raise NvmlError(handle)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:  # noqa: N802
        if handle == 1:
            raise NvmlError
        return SimpleNamespace(gpu=37, memory=2)

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:  # noqa: N802
        return SimpleNamespace(used=handle + 1, total=10)

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:  # noqa: N802
        if handle == 0:
            raise NvmlError
        return 250_500

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:  # noqa: N802
        if handle == 0:
            raise NvmlError
        return 7_500


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Nvml:
    made = Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", made)
    return made


def test_what_each_tells(nvml: Nvml) -> None:
    assert CudaPlugin(by_request=False).measure() == {
        "GPU-0": {"util_pct": 37.0, "mem_used_bytes": 1.0, "mem_total_bytes": 10.0},
        "GPU-1": {"mem_used_bytes": 2.0, "mem_total_bytes": 10.0, "power_w": 250.5, "energy_j": 7.5},
    }
    assert nvml.open == 0


def test_no_driver_tells_nothing(nvml: Nvml) -> None:
    nvml.starts = False
    assert CudaPlugin(by_request=False).measure() == {}


def test_a_driver_that_fails_tells_nothing(nvml: Nvml, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> int:
        raise NvmlError

    monkeypatch.setattr(nvml, "nvmlDeviceGetCount", fails)
    assert CudaPlugin(by_request=False).measure() == {}
    assert nvml.open == 0
