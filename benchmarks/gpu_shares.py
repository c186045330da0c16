"""Are parts of a GPU held, and what does it cost? ``python benchmarks/gpu_shares.py`` in a checkout, better as root.

For a machine with an NVIDIA GPU and a C compiler; neither Docker nor a manager is needed. The preload library is built
as an agent builds it and put before processes as in a container: by a mount of ``/etc/ld.so.preload`` that only they
see (root), else by ``LD_PRELOAD``, which ``env -i`` gets past. Also looked at: what the management library says, the
watchdog, how long discovery takes, and with PyTorch what a training step costs. Without a GPU it says so and measures
on stubs of the driver's libraries what can be measured there. Times are the best of several, so that what else runs
here counts less. The exit status is 0 if every check came out as it should.
"""

import argparse
import asyncio
import contextlib
import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "agent"), str(ROOT)]

from bai_agent.allocation import allocate  # noqa: E402
from bai_agent.devices.cuda import CudaPlugin  # noqa: E402
from bai_agent.shares import library  # noqa: E402
from bai_agent.shares.nvml import Nvml, NvmlFault  # noqa: E402
from bai_agent.shares.watchdog import Watchdog, Watched  # noqa: E402

from bai_jupyter.common.ids import KernelId  # noqa: E402
from bai_jupyter.common.messages import DeviceFacts  # noqa: E402
from bai_jupyter.common.slots import ResourceSlots  # noqa: E402

STUBS = {
    "libcuda.so.1": ROOT / "tests/agent/shares/cuda_stub.c",
    "libnvidia-ml.so.1": ROOT / "tests/agent/devices/nvml_stub.c",
}
MIB = 1 << 20
CAP_MIB, RESERVED_MIB = 4096, 256
ROOM_MIB = CAP_MIB - RESERVED_MIB
ROUNDS = 20_000
PARTS = 20
_USAGE_BYTES = 16 + 1024 * 144
_OUT_OF_MEMORY = 2
_TORCH = """
import torch
free, total = torch.cuda.mem_get_info()
print("total", total >> 20)
held = torch.empty(3000 << 20, dtype=torch.uint8, device="cuda")
try:
    torch.empty(2000 << 20, dtype=torch.uint8, device="cuda")
except torch.cuda.OutOfMemoryError:
    print("refused")
del held
torch.cuda.empty_cache()
torch.empty(3000 << 20, dtype=torch.uint8, device="cuda")
print("again")
"""
_TRAINING = """
import time, torch
net = torch.nn.Sequential(torch.nn.Linear(1024, 1024), torch.nn.ReLU(), torch.nn.Linear(1024, 10)).cuda()
optimizer, data = torch.optim.SGD(net.parameters(), lr=0.01), torch.randn(256, 1024, device="cuda")
def step():
    optimizer.zero_grad()
    net(data).square().mean().backward()
    optimizer.step()
for _ in range(50):
    step()
torch.cuda.synchronize()
began = time.perf_counter_ns()
for _ in range(500):
    step()
torch.cuda.synchronize()
print("step", (time.perf_counter_ns() - began) // 500)
"""


# The child: a program that uses the GPU


def child(words: Sequence[str]) -> None:
    """Carry out words through the driver's API and print a line for each answer."""
    if words[0] == "discover":
        plugin = CudaPlugin(by_request=False)
        print("discover", len(plugin.discover()), best_ns(plugin.discover) // 1000)
        return
    if words[0] == "nvml":
        print("nvml", _nvml_total(words[1]) // MIB)
        return
    driver = ctypes.CDLL("libcuda.so.1")
    context, address = ctypes.c_void_p(), ctypes.c_uint64()
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    if driver.cuInit(0) != 0 or driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) != 0:
        raise SystemExit("the driver gives no context")
    driver.cuCtxSetCurrent(context)
    todo = iter(words)
    for word in todo:
        if word == "uuid":
            uuid = (ctypes.c_ubyte * 16)()
            driver.cuDeviceGetUuid_v2(uuid, 0)
            text = bytes(uuid).hex()
            print(f"GPU-{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}")
        elif word == "info":
            driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
            print("info", free.value // MIB, total.value // MIB)
        elif word == "alloc":
            print("alloc", driver.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(int(next(todo)) * MIB)))
        elif word == "churn":
            print("churn", _pair_ns(driver, int(next(todo))))
        elif word == "hold":
            print("holding", flush=True)
            sys.stdin.read()


def _nvml_total(uuid: str) -> int:
    import pynvml

    pynvml.nvmlInit()
    return int(pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByUUID(uuid)).total)


def _pair_ns(driver: ctypes.CDLL, rounds: int) -> int:
    """Nanoseconds of one allocation of 1 MiB and its end, ctypes included."""
    address, size = ctypes.c_uint64(), ctypes.c_size_t(MIB)
    out = ctypes.byref(address)

    def once() -> None:
        for _ in range(rounds // PARTS):
            driver.cuMemAlloc_v2(out, size)
            driver.cuMemFree_v2(address)

    return best_ns(once) // (rounds // PARTS)


def best_ns(once: Callable[[], object]) -> int:
    """The shortest of ``PARTS`` runs."""
    times = []
    for _ in range(PARTS):
        began = time.perf_counter_ns()
        once()
        times.append(time.perf_counter_ns() - began)
    return min(times)


# Putting the library before it


@dataclass
class Bench:
    """``environ`` leads to the driver; with ``mounts`` the library stands before programs as in a container."""

    folder: Path
    environ: dict[str, str]
    mounts: bool = False
    results: list[tuple[str, str, str]] = field(default_factory=list)

    def limit(self, uuid: str) -> None:
        (self.folder / "limits").write_text(f"{uuid} {CAP_MIB * MIB} {RESERVED_MIB * MIB}\n")
        (self.folder / "usage").write_bytes(bytes(_USAGE_BYTES))

    def command(self, words: str, before: Sequence[str] = ()) -> list[str]:
        program = [*before, sys.executable, str(Path(__file__).resolve()), "--child", *words.split()]
        return self.held(program)

    def held(self, program: Sequence[str]) -> list[str]:
        if not self.mounts:
            return ["env", f"LD_PRELOAD={self.folder / 'shim.so'}", *program]
        script = 'mount --bind "$0" /etc/ld.so.preload && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", script, str(self.folder / "preload"), *program]

    def run(self, command: Sequence[str]) -> list[str]:
        done = subprocess.run(command, env=self.environ, capture_output=True, text=True, timeout=300, check=False)
        return done.stdout.splitlines() or [f"failed: {done.stderr.strip()[-200:]}"]

    def check(self, name: str, expected: Sequence[str], found: Sequence[str]) -> None:
        verdict = "ok" if list(expected) == list(found) else f"expected {', '.join(expected)}"
        self.results.append((name, ", ".join(found), verdict))

    @contextlib.contextmanager
    def holding(self, words: str) -> Iterator[None]:
        with subprocess.Popen(
            self.command(f"{words} hold"), env=self.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdin is not None
            for line in process.stdout:
                if line == "holding\n":
                    break
            yield
            process.stdin.close()


@contextlib.contextmanager
def preload_target() -> Iterator[bool]:
    """True if a file can be mounted over /etc/ld.so.preload for some processes only."""
    target = Path("/etc/ld.so.preload")
    is_ours = os.geteuid() == 0 and not target.exists()
    if is_ours:
        target.touch()
    try:
        tried = subprocess.run(
            ["unshare", "--mount", "sh", "-c", "mount --bind /dev/null /etc/ld.so.preload"],
            capture_output=True,
            timeout=30,
            check=False,
        )
        yield tried.returncode == 0
    except OSError:
        yield False
    finally:
        if is_ours:
            target.unlink()


# What is looked at


def checks(bench: Bench) -> None:
    bench.check("the share is the GPU", [f"info {ROOM_MIB} {CAP_MIB}"], bench.run(bench.command("info")))
    said = bench.run(bench.command(f"alloc {ROOM_MIB // 2} alloc {ROOM_MIB}"))
    bench.check("more than the share is refused", ["alloc 0", f"alloc {_OUT_OF_MEMORY}"], said)
    nested = ["sh", "-c", 'sh -c \'exec "$0" "$@"\' "$0" "$@"']
    ways = {"another process": [], "a nested shell": nested}
    if bench.mounts:
        kept = {name: bench.environ[name] for name in ("LD_LIBRARY_PATH",) if name in bench.environ}
        ways["env -i"] = ["env", "-i", *(f"{name}={value}" for name, value in kept.items())]
        ways["a login shell of a new session"] = [*ways["env -i"], "setsid", "-w", "sh", "-l", "-c", 'exec "$0" "$@"']
    with bench.holding(f"alloc {ROOM_MIB // 2}"):
        for name, before in ways.items():
            said = bench.run(bench.command(f"alloc {ROOM_MIB * 3 // 4} alloc {ROOM_MIB // 4}", before))
            bench.check(f"{name} is refused what the first holds", [f"alloc {_OUT_OF_MEMORY}", "alloc 0"], said)
    if not bench.mounts:
        bench.results.append(("env -i", "not tried: /etc/ld.so.preload cannot be mounted here", "-"))
    bench.check("ended processes give back", [f"info {ROOM_MIB} {CAP_MIB}"], bench.run(bench.command("info")))


def check_management(bench: Bench, uuid: str) -> None:
    bench.check("NVML tells the share", [f"nvml {CAP_MIB}"], bench.run(bench.command(f"nvml {uuid}")))


def check_watchdog(bench: Bench, uuid: str, processes: Path | None) -> None:
    """A process that got past the library holds more than the share, and is ended. ``processes``: what the stub of NVML
    is to tell of them."""
    kernel_id, too_much = KernelId("gpu-shares-bench"), CAP_MIB + 1024
    program = [sys.executable, str(Path(__file__).resolve()), "--child", "alloc", str(too_much), "hold"]
    environ = {**bench.environ, "BACKENDAI_KERNEL_ID": kernel_id}
    with subprocess.Popen(
        program, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        said = [process.stdout.readline().strip(), process.stdout.readline().strip()]
        if processes is not None:
            processes.write_text(f"0 {process.pid} {too_much * MIB}\n")
        watched = [Watched(kernel_id, kernel_id, {uuid: CAP_MIB * MIB})]
        told: list[str] = []
        nvml = Nvml()
        watchdog = Watchdog(
            nvml,
            lambda: watched,
            lambda _, reason: told.append(reason.code),
            lambda *_: None,
            policy="kill-process",
            tolerance_bytes=256 * MIB,
        )
        try:
            asyncio.run(_look_twice(watchdog))
            is_seen = bool(watchdog.figures[kernel_id]["cuda_mem_used_bytes"])
        except NvmlFault as fault:
            said, is_seen = [str(fault)], False
        finally:
            nvml.close()
        if is_seen:
            found = [*said, *told, f"exit {process.wait(30)}"]
            expected = ["alloc 0", "holding", "gpu-share-exceeded", "exit -9"]
            bench.check("the watchdog ends who got past the library", expected, found)
        else:
            bench.results.append(("the watchdog", f"not tried: the driver tells of no process here ({said[0]})", "-"))
        process.kill()


async def _look_twice(watchdog: Watchdog) -> None:
    for _ in range(2):
        await watchdog.look()


def check_torch(bench: Bench) -> None:
    found = subprocess.run([sys.executable, "-c", "import torch"], capture_output=True, timeout=120, check=False)
    if found.returncode != 0:
        bench.results.append(("torch", "not installed", "-"))
        return
    said = bench.run(bench.held([sys.executable, "-c", _TORCH]))
    bench.check("torch", [f"total {CAP_MIB}", "refused", "again"], said)
    program = [sys.executable, "-c", _TRAINING]
    without, with_library = (int(bench.run(command)[0].split()[1]) for command in (program, bench.held(program)))
    bench.results.append(("training step", f"{with_library - without} ns added to {without} ns", "-"))


def costs(bench: Bench, rounds: int) -> None:
    program = [sys.executable, str(Path(__file__).resolve()), "--child", "churn", str(rounds)]
    without, with_library = (int(bench.run(command)[0].split()[1]) for command in (program, bench.held(program)))
    added = f"{with_library - without} ns added to {without} ns"
    bench.results.append(("allocate and free 1 MiB", added, "-"))


def discovery(bench: Bench) -> str:
    _, count, microseconds = bench.run([sys.executable, str(Path(__file__).resolve()), "--child", "discover"])[
        0
    ].split()
    return f"{int(microseconds) / 1000:.1f} ms for {count} GPUs"


def decisions_per_second() -> str:
    """On an agent with eight GPUs in parts, of which half are taken by forty sessions."""
    devices = [
        DeviceFacts("cpu", "cpu", "m", ResourceSlots({"cpu": 128})),
        DeviceFacts("mem", "mem", "m", ResourceSlots({"mem": 1 << 40})),
        *(
            DeviceFacts(f"g{index}", "cuda", "m", ResourceSlots({"cuda.shares": 1}), numa_node=index // 4)
            for index in range(8)
        ),
    ]
    request = ResourceSlots({"cpu": 2, "mem": 1 << 33, "cuda.shares": Decimal("0.1")})
    held: list[dict[str, dict[str, Decimal]]] = []
    for _ in range(40):
        held.append(allocate(request, devices, held))

    def once() -> None:
        for _ in range(100):
            allocate(request, devices, held)

    return f"{100e9 / best_ns(once):,.0f} a second"


def build_stub(folder: Path) -> None:
    for name, source in STUBS.items():
        if shutil.which("cc") is None or not source.exists():
            raise SystemExit(f"the stub of {name} needs a C compiler and {source}")
        command = ["cc", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(folder / name), str(source)]
        subprocess.run(command, check=True, timeout=60)
    ctypes.CDLL(str(folder / "libnvidia-ml.so.1"))  # whoever asks for that name from now on gets it


def has_gpu() -> bool:
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int()
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--stub", action="store_true", help="use the stub of the driver even if there is a GPU")
    options = parser.parse_args()
    if options.child:
        child(options.child)
        return 0
    is_real = not options.stub and has_gpu()
    print("On this machine's GPU." if is_real else "No NVIDIA GPU is used here: the driver is a stub without memory.")
    with tempfile.TemporaryDirectory(prefix="bai-gpu-") as name, preload_target() as mounts:
        folder = Path(name)
        bench = Bench(folder, dict(os.environ), mounts)
        if not is_real:
            build_stub(folder)
            bench.environ["LD_LIBRARY_PATH"] = str(folder)
            bench.environ["NVML_STUB_COUNT"] = "8"
        began = time.perf_counter()
        shutil.copy(library.build(folder / "cache", inside=str(folder)), folder / "shim.so")
        bench.results.append(("building the library", f"{time.perf_counter() - began:.1f} s", "-"))
        (folder / "preload").write_text(f"{folder / 'shim.so'}\n")
        uuid = bench.run([sys.executable, str(Path(__file__).resolve()), "--child", "uuid"])[0]
        processes = None if is_real else folder / "processes"
        if processes is not None:
            told = {"NVML_STUB_UUID": uuid, "NVML_STUB_PROCESSES": str(processes)}
            bench.environ.update(told)
            os.environ.update(told)
        bench.limit(uuid)
        checks(bench)
        check_management(bench, uuid)
        check_watchdog(bench, uuid, processes)
        if is_real:
            check_torch(bench)
        costs(bench, 2000 if is_real else ROUNDS)
        bench.results.append(("discovery", discovery(bench), "-"))
    bench.results.append(("allocation decisions of an agent", decisions_per_second(), "-"))
    width = max(len(row[0]) for row in bench.results)
    for title, found, verdict in bench.results:
        print(f"{title:<{width}}  {verdict if verdict in ('ok', '-') else 'WRONG':<5}  {found}")
        if verdict not in ("ok", "-"):
            print(f"{'':<{width}}  {verdict}")
    return 0 if all(verdict in ("ok", "-") for _, _, verdict in bench.results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
