"""What the way to a remote kernel costs: a kernel through the whole stack beside a local one, in the same run.

    python benchmarks/kernel_path.py [--runtime docker|process] [--image NAME] [--rounds 3] [--executes 200]

Starts a manager and an agent of its own on free ports, and takes rounds in turn, local and remote, so that what else
the machine does hits both. Prints one table; compare ratios, not figures. ``floor`` for a start is a local kernel's
start plus, with docker, an empty ``docker run`` of the same image.
"""

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from jupyter_client.manager import AsyncKernelManager

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "end_to_end"))
from cluster import Cluster, free_port

PRINTS = "for i in range(100_000): print(i)"
BYTES = "import sys; _ = sys.stdout.write(('x' * 99 + '\\n') * 1_000_000)"
BUSY = "while True: pass"


class Kernel:
    """One kernel, local or remote, with a client."""

    def __init__(self, name: str, cwd: str) -> None:
        self.manager = AsyncKernelManager(kernel_name=name)
        self.cwd = cwd

    async def start(self) -> float:
        """Seconds from the call to the first kernel_info reply."""
        begin = time.perf_counter()
        await self.manager.start_kernel(cwd=self.cwd)
        self.client = self.manager.client()
        self.client.start_channels(hb=False)
        await self._hear_kernel_info()
        took = time.perf_counter() - begin
        await self.client.wait_for_ready(timeout=60)
        return took

    async def _hear_kernel_info(self) -> None:
        self.client.kernel_info()
        await self.client.get_shell_msg(timeout=60)

    async def run(self, code: str) -> float:
        """Seconds to reply and idle."""
        begin = time.perf_counter()
        await self.client.execute_interactive(code, output_hook=lambda _: None, timeout=300, store_history=False)
        return time.perf_counter() - begin

    async def interrupt(self) -> float:
        """Seconds from the interrupt of a busy loop to its reply."""
        running = asyncio.ensure_future(self.run(BUSY))
        await asyncio.sleep(0.3)
        begin = time.perf_counter()
        await self.manager.interrupt_kernel()
        await running
        return time.perf_counter() - begin

    async def restart(self) -> float:
        begin = time.perf_counter()
        await self.manager.restart_kernel(now=True)
        await self._hear_kernel_info()
        took = time.perf_counter() - begin
        await self.client.wait_for_ready(timeout=60)
        return took

    async def stop(self) -> None:
        self.client.stop_channels()
        await self.manager.shutdown_kernel(now=True)
        self.manager.context.destroy(linger=0)


async def measure(names: dict[str, str], cwd: str, options: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    """``{what: {"local": [seconds], "remote": [seconds]}}``."""
    times: dict[str, dict[str, list[float]]] = {}

    def note(what: str, where: str, *seconds: float) -> None:
        times.setdefault(what, {}).setdefault(where, []).extend(seconds)

    for _ in range(options.rounds):
        kernels = {where: Kernel(name, cwd) for where, name in names.items()}
        for where, kernel in kernels.items():
            note("start", where, await kernel.start())
        for _ in range(5):
            for where, kernel in kernels.items():
                note("execute", where, *[await kernel.run("1") for _ in range(options.executes // 5)])
        work: dict[str, Callable[[Kernel], Awaitable[float]]] = {
            "100,000 prints": lambda kernel: kernel.run(PRINTS),
            "100 MB stdout": lambda kernel: kernel.run(BYTES),
            "interrupt": Kernel.interrupt,
            "restart": Kernel.restart,
        }
        for what, do in work.items():
            for where, kernel in kernels.items():
                note(what, where, await do(kernel))
        for kernel in kernels.values():
            await kernel.stop()
    return times


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def pss_kib(pid: int) -> int:
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pss:"))


async def relay_memory(cluster: Cluster, name: str, count: int = 2) -> float:
    """MiB of relay for each idle kernel, shared pages counted once among ``count`` of them."""
    kernels = [Kernel(name, str(cluster.home)) for _ in range(count)]
    for kernel in kernels:
        await kernel.start()
    total = sum(pss_kib(pid) for pid in cluster.relay_pids())
    for kernel in kernels:
        await kernel.stop()
    return total / count / 1024


def docker_run(image: str) -> float:
    """Seconds for an empty container of this image."""
    begin = time.perf_counter()
    done = subprocess.run(["docker", "run", "-d", image, "sleep", "60"], capture_output=True, check=True, text=True)
    took = time.perf_counter() - begin
    subprocess.run(["docker", "rm", "-f", done.stdout.strip()], capture_output=True, check=True)
    return took


def show(times: dict[str, dict[str, list[float]]], floor_s: float, memory_mib: float) -> None:
    print(f"{'':22}{'local':>10}{'remote':>10}   ")
    for what, by_where in times.items():
        local, remote = by_where["local"], by_where["remote"]
        if what == "execute":
            for share in (0.5, 0.99):
                a, b = percentile(local, share), percentile(remote, share)
                label = f"execute p{round(share * 100)}, ms"
                print(f"{label:22}{a * 1e3:10.1f}{b * 1e3:10.1f}   {(b - a) * 1e3:+.1f} ms")
            continue
        a, b = statistics.median(local), statistics.median(remote)
        note = f"{(b - a) * 1e3:+.0f} ms" if what == "interrupt" else f"{a / b:.2f} of local speed"
        if what == "start":
            note = f"{b / (floor_s + a):.2f} of floor ({floor_s + a:.2f} s)"
        print(f"{what + ', s':22}{a:10.3f}{b:10.3f}   {note}")
    print(f"{'relay memory, MiB':22}{'':10}{memory_mib:10.1f}   per kernel")


async def main(options: argparse.Namespace) -> None:
    folder = Path(tempfile.mkdtemp(prefix="bai-bench-"))
    folder.chmod(0o755)
    cluster = Cluster(folder, free_port(), options.runtime)
    with cluster.in_environ():
        try:
            cluster.start("manager")
            cluster.start("agent")
            await cluster.ready()
            if options.runtime == "docker":
                await cluster.add_image(options.image)
            remote = next(name for name in await cluster.write_kernelspecs() if name.endswith("python3"))
            write_local_spec(folder)
            times = await measure({"local": "local-floor", "remote": remote}, str(cluster.home), options)
            floor_s = 0.0
            if options.runtime == "docker":
                floor_s = statistics.median(docker_run(options.image) for _ in range(5))
            show(times, floor_s, await relay_memory(cluster, remote))
            await cluster.end_sessions()
        finally:
            cluster.stop()
            cluster.clean_up()


def write_local_spec(folder: Path) -> None:
    spec = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "local",
        "language": "python",
        "env": {"PYDEVD_DISABLE_FILE_VALIDATION": "1"},
    }
    place = folder / "jupyter" / "kernels" / "local-floor"
    place.mkdir(parents=True)
    (place / "kernel.json").write_text(json.dumps(spec))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runtime", choices=("docker", "process"), default="docker")
    parser.add_argument("--image", default="bai/python-minimal:3.11")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--executes", type=int, default=200)
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    asyncio.run(main(parser.parse_args()))
