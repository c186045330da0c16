"""What starting containers ahead saves: a kernel whose session gets one, beside a cold start and a local kernel.

    python benchmarks/warm_start.py [--image NAME] [--rounds 5] [--at-once 10 30]

Starts a manager and an agent of its own on free ports; local, cold and warm in turn, so that what else the machine does
hits all. Seconds from the call that starts a kernel to its first kernel_info reply, through the whole stack: session
created, placed, container, Jupyter kernel. Compare ratios, not figures. Cold ones ask for a little less memory than a
container has that was started ahead, so they are never given one.
"""

import argparse
import asyncio
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from kernel_path import free_port, remove_small_image, small_image, start_at_once, write_local_spec
from kernels import Kernel

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "end_to_end"))
from cluster import Cluster

DEADLINE_S = 300  # for thirty on few cores
COLD, WARM = "127m", "128m"


async def start(name: str, cwd: str, **options: Any) -> float:
    kernel = Kernel(name, cwd)
    took = await kernel.start(**options)
    await kernel.stop()
    return took


async def until_ready(cluster: Cluster, count: int) -> list[str]:
    """Wait until so many containers stand ready; their ids."""

    async def are_ready() -> bool:
        return len(ahead(cluster)) >= count

    await cluster.until(are_ready, DEADLINE_S)
    return ahead(cluster)


def ahead(cluster: Cluster) -> list[str]:
    """Those that are ready and that nobody has: a claimed one's folder is a link."""
    there = [path.name for path in (cluster.folder / "agent" / "spares").glob("*") if not path.is_symlink()]
    ready = {word for line in cluster.log("agent").splitlines() if "started ahead" in line for word in line.split()}
    return [spare for spare in there if spare in ready]


async def one_by_one(cluster: Cluster, remote: str, image: str, rounds: int) -> dict[str, list[float]]:
    cwd = str(cluster.home)
    cold, warm = ({"bai_image": image, "bai_resources": {"cpu": "1", "mem": mem}} for mem in (COLD, WARM))
    times: dict[str, list[float]] = {"local": [], "cold": [], "warm": []}
    await start(remote, cwd, **warm)  # so that the next is foreseen
    for _ in range(rounds):
        await cluster.end_sessions()
        await until_ready(cluster, 1)
        times["local"].append(await start("local-floor", cwd))
        times["cold"].append(await start(remote, cwd, **cold))
        times["warm"].append(await start(remote, cwd, **warm))
    await cluster.end_sessions()
    return times


async def at_once(cluster: Cluster, remote: str, image: str, count: int) -> dict[str, list[float]]:
    cwd = str(cluster.home)
    share = {"cpu": f"{(os.cpu_count() or 1) / count:.3f}", "mem": WARM}
    times = {"local": [await start_at_once("local-floor", cwd, count)]}
    for kind in ("cold", "warm"):
        times[kind] = [await start_at_once(remote, cwd, count, bai_image=image, bai_resources=share)]
        await cluster.end_sessions()
        if kind == "cold":
            await until_ready(cluster, count)
    return times


def mib_of(cluster: Cluster) -> float:
    """What one that stands ready uses, by the engine's figures."""
    sizes = []
    for spare in ahead(cluster):
        shown = subprocess.run(
            ["docker", "stats", "--no-stream", "--format", "{{.MemUsage}}", f"bai-{spare}"],
            capture_output=True,
            check=True,
            text=True,
        )
        sizes.append(float(shown.stdout.partition("MiB")[0]))
    return statistics.median(sizes)


def load() -> str:
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


def show(label: str, times: dict[str, list[float]]) -> None:
    middle = {kind: statistics.median(found) for kind, found in times.items()}
    figures = "".join(f"{middle[kind]:9.3f}" for kind in ("local", "cold", "warm"))
    ratio = f"warm is {middle['warm'] / middle['local']:.2f} of local, {middle['warm'] / middle['cold']:.2f} of cold"
    print(f"{label:18}{figures}   {ratio}; {load()}", flush=True)


async def main(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="bai-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        cluster = Cluster(folder, free_port(), "docker", warm_pool_mem=f"{128 * max(options.at_once)}m")
        os.environ.update(cluster.environ)
        try:
            cluster.start("manager")
            cluster.start("agent")
            await cluster.ready()
            await cluster.add_image(options.image)
            remote = next(name for name in await cluster.write_kernelspecs() if name.endswith("python3"))
            write_local_spec(folder)
            small = small_image(options.image)
            await cluster.add_image(small)
            print(f"{'seconds':18}{'local':>9}{'cold':>9}{'warm':>9}", flush=True)
            show("one", await one_by_one(cluster, remote, small, options.rounds))
            await until_ready(cluster, 1)
            print(f"{'memory of one':18}{mib_of(cluster):27.0f} MiB", flush=True)
            for count in options.at_once:
                show(f"{count} at once", await at_once(cluster, remote, small, count))
        finally:
            cluster.stop()
            cluster.clean_up()
            remove_small_image()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--image", default="bai/python-minimal:3.11")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--at-once", type=int, nargs="+", default=[10, 30])
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    asyncio.run(main(parser.parse_args()))
