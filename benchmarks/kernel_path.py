"""What the way to a remote kernel costs: a kernel through the whole stack beside a local one, in the same run.

    python benchmarks/kernel_path.py [--runtime docker|process] [--image NAME] [--rounds 3] [--executes 200]
                                     [--beside-gateway]

Starts a manager and an agent of its own on free ports, and takes rounds in turn, local and remote, so that what else
the machine does hits both. Prints one table; compare ratios, not figures. ``floor`` for a start is a local kernel's
start plus, with docker, an empty ``docker run`` of the same image. ``--beside-gateway`` adds gateway_provisioners'
DockerProvisioner (``gateway.py``), if it can be installed and run here.
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
from typing import Any

from gateway import Gateway, NotHere
from kernels import Kernel

from bai_jupyter.client import ManagerClient, SessionRequest

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "end_to_end"))
from cluster import Cluster
from loopback import free_port

PRINTS = "for i in range(100_000): print(i)"
AT_ONCE = 10
SMALL_IMAGE = "bai-bench/small"
BYTES = "import sys; _ = sys.stdout.write(('x' * 99 + '\\n') * 1_000_000)"


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


async def create_to_running(cluster: Cluster, image: str) -> float:
    """Seconds from asking the API for a session until it says that it runs."""
    async with ManagerClient(cluster.config) as client:
        begin = time.perf_counter()
        created = await client.create_session(SessionRequest(name="bench", image=image))
        await client.wait_for(created["sessionId"])
        took = time.perf_counter() - begin
    await cluster.end_sessions()
    return took


async def start_at_once(name: str, cwd: str, count: int, **options: Any) -> float:
    """Seconds until the last of ``count`` kernels started at the same time has answered."""
    return max(await all_at_once(name, cwd, count, **options))


async def all_at_once(name: str, cwd: str, count: int, **options: Any) -> list[float]:
    """Seconds of each, from its own start. Local ones, for which there are no ``options``, use sockets, not ports."""
    with tempfile.TemporaryDirectory(prefix="bai-", ignore_cleanup_errors=True) as folder:
        places = [None if options else tempfile.mkdtemp(dir=folder) for _ in range(count)]
        kernels = [Kernel(name, cwd, place) for place in places]
        took = await asyncio.gather(*(kernel.start(**options) for kernel in kernels))
        await asyncio.gather(*(kernel.stop() for kernel in kernels))
    return took


async def image_of(cluster: Cluster) -> str:
    """The image that the kernels here run on."""
    async with ManagerClient(cluster.config) as client:
        return str((await client.list_images())[0]["name"])


def small_image(image: str, tag: str = SMALL_IMAGE) -> str:
    """The same image as ``tag``, allowed to run on a part of a core, so that ``AT_ONCE`` of them fit on any machine."""
    lines = f"FROM {image}\nLABEL ai.backend.resource.min.cpu=0.01 ai.backend.resource.min.mem=64m\n"
    subprocess.run(
        ["docker", "build", "--quiet", "--tag", tag, "-"],
        input=lines,
        text=True,
        check=True,
        capture_output=True,
    )
    return tag


def remove_small_image(tag: str = SMALL_IMAGE) -> None:
    subprocess.run(["docker", "image", "rm", tag], capture_output=True, check=False)


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


async def measure_starts(
    cluster: Cluster, remote: str, image: str, options: argparse.Namespace
) -> tuple[float, list[str]]:
    """Seconds of an empty ``docker run``, and the rows of what starts beside and around a kernel."""
    cwd, is_docker = str(cluster.home), options.runtime == "docker"
    created, containers = [], []
    for _ in range(options.rounds):
        created.append(await create_to_running(cluster, image))
        if is_docker:
            containers.append(docker_run(options.image))
    container_s = statistics.median(containers) if containers else 0.0
    created_s = statistics.median(created)
    rows = [row("create to running, s", container_s, created_s, f"{created_s - container_s:+.3f} s (docker run)")]
    if is_docker:
        small = small_image(options.image)
        await cluster.add_image(small)
        part = {"cpu": f"{(os.cpu_count() or 1) / AT_ONCE:.3f}", "mem": "128m"}
        local, away = [], []
        for _ in range(options.rounds):
            local.append(await start_at_once("local-floor", cwd, AT_ONCE))
            away.append(await start_at_once(remote, cwd, AT_ONCE, bai_image=small, bai_resources=part))
            await cluster.end_sessions()
        a, b = statistics.median(local), statistics.median(away)
        floor_s = a + AT_ONCE * container_s
        rows.append(row(f"{AT_ONCE} starts at once, s", a, b, f"{b / floor_s:.2f} of local + {AT_ONCE} docker runs"))
    return container_s, rows


def beside_gateway(folder: Path, options: argparse.Namespace, remote_s: float) -> list[str]:
    """The same figures of gateway_provisioners, or the reason why there are none."""
    place = folder / "gateway"
    place.mkdir()
    gateway = None
    try:
        gateway = Gateway(place, options.image)
        runs = [gateway.measure() for _ in range(options.rounds)]
    except NotHere as error:
        return [f"gateway_provisioners is left out: {error}"]
    finally:
        if gateway is not None:
            gateway.remove()
    start_s = statistics.median(run["start"][0] for run in runs)
    execute_s = statistics.median(seconds for run in runs for seconds in run["execute"])
    return [
        f"{'gateway: start, s':22}{'':10}{start_s:10.3f}   ours takes {remote_s / start_s:.2f} of it",
        f"{'gateway: execute, ms':22}{'':10}{execute_s * 1e3:10.1f}",
    ]


def row(label: str, local: float, remote: float, note: str) -> str:
    return f"{label:22}{local:10.3f}{remote:10.3f}   {note}"


async def main(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="bai-bench-", ignore_cleanup_errors=True) as name:
        await measure_below(Path(name), options)


async def measure_below(folder: Path, options: argparse.Namespace) -> None:
    folder.chmod(0o755)
    cluster = Cluster(folder, free_port(), options.runtime)
    os.environ.update(cluster.environ)
    try:
        cluster.start("manager")
        cluster.start("agent")
        await cluster.ready()
        if options.runtime == "docker":
            await cluster.add_image(options.image)
        remote = next(name for name in await cluster.write_kernelspecs() if name.endswith("python3"))
        write_local_spec(folder)
        times = await measure({"local": "local-floor", "remote": remote}, str(cluster.home), options)
        memory_mib = await relay_memory(cluster, remote)
        await cluster.end_sessions()
        image = await image_of(cluster)
        container_s, rows = await measure_starts(cluster, remote, image, options)
        show(times, container_s, memory_mib)
        print("\n".join(rows))
        if options.beside_gateway:
            print("\n".join(beside_gateway(folder, options, statistics.median(times["start"]["remote"]))))
        await cluster.end_sessions()
    finally:
        cluster.stop()
        cluster.clean_up()
        if options.runtime == "docker":
            remove_small_image()


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
    parser.add_argument("--beside-gateway", action="store_true", help="measure gateway_provisioners as well")
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    asyncio.run(main(parser.parse_args()))
