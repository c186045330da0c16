"""Shares in real containers, with the preload library on a stub driver: who is held, and what its user can do."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from bai_agent.runtimes.base import CreateRequest
from bai_agent.shares.holding import PRELOAD, RESOURCES, Holding, NotHeld
from bai_agent.shares.ladder import Enforcement
from bai_agent.shares.limits import Rule
from bai_agent.shares.nvml import Nvml
from cuda_stubs import GPU

from bai_jupyter.common.messages import DeviceFacts
from bai_jupyter.common.slots import ResourceSlots

pytestmark = [pytest.mark.asyncio, pytest.mark.docker]

CARD = DeviceFacts(
    GPU, "cuda", "Stub", ResourceSlots({"cuda.shares": 1}), mem_bytes=8 << 30, attributes={"cores": "1000"}
)
HELD = {"cuda.shares": {GPU: Decimal("0.5")}}
RULE = Rule(reserved_bytes=256 << 20)


@dataclass
class Session:
    """A container that holds half of the one GPU, through the gate."""

    bench: Any
    want: Any
    ref: str
    shares: Holding

    @property
    def place(self) -> Path:
        folder: Path = self.bench.folder(self.want.kernel_id)
        return folder

    async def run(self, script: str) -> list[str]:
        _, output = await self.bench.run(self.want, self.ref, script)
        return list(output.splitlines())


@pytest_asyncio.fixture
async def session(docker_bench: Any, cuda_image: str, library_cache: Path) -> AsyncIterator[Session]:
    docker_bench.image = cuda_image
    shares = Holding(Enforcement.SHIM, RULE, [CARD], library_cache, Nvml())
    want = docker_bench.want(slots=ResourceSlots.parse({"cpu": "0.5", "mem": "128m", "cuda.shares": "0.5"}))
    prepared = docker_bench.prepare(want)
    options = shares.prepare(docker_bench.folder(want.kernel_id), HELD)
    ref = await docker_bench.runtime.create(CreateRequest(want, prepared, options))
    await docker_bench.runtime.start(ref)
    made = Session(docker_bench, want, ref, shares)
    pid = await docker_bench.runtime.main_pid(ref)
    await asyncio.to_thread(shares.hold, made.place, HELD, pid)
    yield made


async def test_its_processes_together_are_held_to_the_share(session: Session) -> None:
    assert await session.run("probe total info alloc 3000 info") == [
        "total 4096",
        "info 3840 4096",
        "alloc 0",
        "info 840 4096",
    ]
    log = session.place / "run" / "holder"
    argv = ["/bin/sh", "-c", "probe alloc 3000 hold"]
    holder = await session.bench.runtime.exec(session.ref, argv, env={}, cwd="/", log_path=log)
    async with asyncio.timeout(30):
        while "holding" not in (log.read_text() if log.exists() else ""):
            await asyncio.sleep(0.02)
    # A second process is refused what the first has, alone, and however it is started.
    for start in ("probe", "env -i /bin/probe", 'sh -c \'sh -c "exec probe \\$0 \\$@" "$@"\' sh'):
        said = await session.run(f"LD_LIBRARY_PATH=/usr/lib; export LD_LIBRARY_PATH; {start} info alloc 1000 alloc 800")
        assert said == ["info 840 4096", "alloc 2", "alloc 0"], start
    assert await session.bench.runtime.exit_code(holder) is None
    await session.bench.runtime.signal(holder, 9)
    await session.bench.runtime.wait(holder)
    assert await session.run("probe alloc 3800") == ["alloc 0"]


async def test_its_user_cannot_take_the_limits_away(session: Session) -> None:
    attempts = (
        f"rm -f {PRELOAD}",
        f"echo > {PRELOAD}",
        "echo > /opt/bai/gpu/limits",
        "rm -f /opt/bai/gpu/libbai_gpu.so /opt/bai/gpu/usage",
        f"busybox umount {PRELOAD}",
        "LD_PRELOAD= LD_LIBRARY_PATH=/usr/lib probe alloc 5000",
    )
    for attempt in attempts:
        await session.run(f"{attempt} 2>&1")
        assert await session.run("probe total alloc 5000") == ["total 4096", "alloc 2"], attempt
    # The count is the user's to write, so what all processes hold together can be hidden, which the watchdog sees; one
    # process alone still gets no more than the share.
    wipe = "dd if=/dev/zero of=/opt/bai/gpu/usage bs=16 count=1 conv=notrunc 2>/dev/null"
    assert await session.run(f"{wipe}; probe alloc 5000") == ["alloc 2"]


async def test_it_is_told_what_it_has_and_the_gate_stays_shut_where_something_else_is_mounted(session: Session) -> None:
    image = await session.bench.runtime.inspect_image(session.bench.image)
    assert image.labels["bai.environ.CUDA_VERSION"] == "12.4.1"
    told = dict(line.split("=", 1) for line in await session.run(f"cat {RESOURCES}"))
    assert told == {
        "CUDA_GLOBAL_DEVICE_IDS": f"0:{GPU}",
        "CUDA_MEMORY_LIMITS": f"0:{4 << 30}",
        "CUDA_PROCESSOR_LIMITS": "0:500",
        "CUDA_RESOURCE_VIRTUALIZED": "1",
    }
    pid = await session.bench.runtime.main_pid(session.ref)
    session.shares.hold(session.place, HELD, pid)  # again, as after a start of the agent
    preload = session.place / "gpu" / "ld.so.preload"
    preload.unlink()
    session.shares.hold(session.place, HELD, pid)  # as one that was made before there was a library
    preload.write_text("/opt/other.so\n")
    with pytest.raises(NotHeld, match=r"ld\.so\.preload is not what was to be mounted there"):
        session.shares.hold(session.place, HELD, pid)
