"""Figures of devices, and what of them is a session's."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from bai_agent.allocation import Allocation
from bai_agent.book import Book
from bai_agent.devices.base import ContainerOptions, DevicePlugin, Figures
from bai_agent.devices.inventory import Inventory
from bai_agent.devices.meter import Meter
from bai_agent.state import KernelState, StateFolder

from bai_jupyter.common.ids import KernelId
from bai_jupyter.common.messages import DeviceFacts, Heartbeat, KernelReport
from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.common.statuses import KernelStatus

GB = 10**9


class Measured(DevicePlugin):
    """Three whole devices and one that is shared."""

    key = "tt"
    metrics = {"tt-n300.device": "tt_n300", "gpu.shares": "gpu"}  # noqa: RUF012

    def __init__(self) -> None:
        self.figures: dict[str, Figures] | Exception = {
            "a": {"util_pct": 10.0, "mem_used_bytes": GB, "mem_total_bytes": 4 * GB, "power_w": 100.0, "energy_j": 5.0},
            "b": {"util_pct": 30.0, "power_w": 50.5},
            "shared": {"util_pct": 99.0},
            "masked": {"util_pct": 99.0},
        }

    def discover(self) -> list[DeviceFacts]:
        whole = [DeviceFacts(name, "tt", "n300", ResourceSlots({"tt-n300.device": 1})) for name in ("a", "b", "masked")]
        return [*whole, DeviceFacts("shared", "tt", "gpu", ResourceSlots({"gpu.shares": 2}))]

    def options(self, held: Allocation) -> ContainerOptions:
        return ContainerOptions()

    def measure(self) -> Mapping[str, Figures]:
        if isinstance(self.figures, Exception):
            raise self.figures
        return self.figures


def since_now(kernel_id: KernelId, device_id: str, now_j: float) -> float:
    return now_j


async def run_once(meter: Meter, done: Any) -> None:
    running = asyncio.create_task(meter.run())
    try:
        async with asyncio.timeout(30):
            while not done():
                await asyncio.sleep(0.01)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.mark.asyncio
async def test_a_heartbeat_tells_devices_and_of_sessions_what_they_hold_whole() -> None:
    meter = Meter(Inventory([Measured()], ["masked"]), since_now)
    await run_once(meter, lambda: meter.latest)
    stats = {"k-1": {"cpu_used_s": 1.0}, "k-2": {"cpu_used_s": 2.0}, "k-3": {}}
    held = {
        KernelId("k-1"): {"cpu": {"cpu": "1"}, "tt-n300.device": {"a": "1", "b": "1"}},
        KernelId("k-2"): {"gpu.shares": {"shared": "0.5"}},
    }
    beat = meter.heartbeat(stats, held)
    assert beat.stats == {
        "k-1": {
            "cpu_used_s": 1.0,
            "tt_n300_util_pct": 20.0,
            "tt_n300_mem_used_bytes": GB,
            "tt_n300_mem_total_bytes": 4 * GB,
            "tt_n300_power_w": 150.5,
            "tt_n300_energy_j": 0.0,
        },
        "k-2": {"cpu_used_s": 2.0},
        "k-3": {},
    }
    assert beat.devices.keys() == {"a", "b", "shared"}


def test_slots_whose_figures_have_one_name_are_told_together() -> None:
    plugin = Measured()
    plugin.metrics = {"tt-n300.device": "gpu", "gpu.shares": "gpu"}
    meter = Meter(Inventory([plugin]), since_now)
    meter.latest = {"a": {"util_pct": 10.0, "power_w": 5.0}, "shared": {"util_pct": 30.0, "power_w": 7.0}}
    held = {"tt-n300.device": {"a": "1"}, "gpu.shares": {"shared": "2"}}
    assert meter.of_session(KernelId("k-1"), held) == {"gpu_util_pct": 20.0, "gpu_power_w": 12.0}


def test_energy_is_what_a_session_has_used_whoever_is_its_agent_and_shares_have_figures_of_their_own(
    make_process_bench: Any,
) -> None:
    bench = make_process_bench()
    store = StateFolder(bench.state_dir)
    store.lock()
    plugin, (one, two, three) = Measured(), (bench.want() for _ in range(3))
    held = {one.kernel_id: {"tt-n300.device": {"a": "1"}}, two.kernel_id: {"gpu.shares": {"shared": "0.5"}}}

    def agent() -> tuple[Book, Meter]:
        book = Book(store, lambda report: None)
        book.load()
        meter = Meter(Inventory([plugin]), book.energy_before)
        meter.shared.append(lambda: {two.kernel_id: {"gpu_mem_used_bytes": 7.0}})
        meter.shared.append(lambda: {three.kernel_id: {"gpu_mem_used_bytes": 9.0}})
        return book, meter

    def told(meter: Meter, energy_j: float) -> Heartbeat:
        meter.latest = {"a": {"energy_j": energy_j}, "shared": {"energy_j": 99.0}}
        return meter.heartbeat({one.kernel_id: {}, two.kernel_id: {}}, held)

    book, meter = agent()
    for want in (one, two):
        book.begin(KernelState(want, KernelReport(want.kernel_id, want.session_id, KernelStatus.RUNNING, 1)))
    assert told(meter, 1000.0).stats == {
        one.kernel_id: {"tt_n300_energy_j": 0.0},
        two.kernel_id: {"gpu_mem_used_bytes": 7.0},
    }
    beat = told(meter, 1250.0)
    assert (beat.stats[one.kernel_id], beat.devices["a"]) == ({"tt_n300_energy_j": 250.0}, {"energy_j": 1250.0})
    book, meter = agent()  # another run
    assert told(meter, 1300.0).stats[one.kernel_id] == {"tt_n300_energy_j": 300.0}
    assert told(meter, 20.0).stats[one.kernel_id] == {"tt_n300_energy_j": 20.0}  # the host was started anew
    book, meter = agent()
    assert told(meter, 30.0).stats[one.kernel_id] == {"tt_n300_energy_j": 30.0}
    book.drop(one.kernel_id)
    assert told(meter, 40.0).stats[one.kernel_id] == {"tt_n300_energy_j": 0.0}
    store.unlock()


@pytest.mark.asyncio
async def test_a_plugin_that_fails_takes_figures_away_and_nothing_else(caplog: Any) -> None:
    plugin = Measured()
    meter = Meter(Inventory([plugin]), since_now, every_s=0)
    await run_once(meter, lambda: meter.latest)
    plugin.figures = RuntimeError("the vendor's library is amiss")
    await run_once(meter, lambda: not meter.latest)
    assert "devices cannot be measured" in caplog.text
    assert meter.heartbeat({"k-1": {}}, {KernelId("k-1"): {"tt-n300.device": {"a": "1"}}}).stats == {"k-1": {}}
