"""A JupyterHub's servers in sessions, beside DockerSpawner's containers: the same image, Hub and proxy.

    pip install dockerspawner
    python benchmarks/hub.py [--rounds 3] [--users 10] [--image bai/hub:6.1.1]

Two Hubs on free ports, with a manager and an agent of our own; one server with each in turn, so that what else the
machine does hits both, and then many users at once. Seconds from the request that starts a server until the Hub says
that it is ready, and from the request that stops it until it has none. Compare ratios, not figures.

``seen after``: how long after a server's first answer, asked for every 10 ms, the Hub calls it ready.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import aiohttp
from kernel_path import remove_small_image, small_image

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from end_to_end.cluster import Cluster
from end_to_end.hubs import JupyterHub, Visitor, http_session, installed_proxy
from loopback import free_port

DEADLINE_S = 300
SMALL = "bai/hub-of-benchmark:small"  # so that many fit on any machine
MEM = "256M"
LOOK_EVERY_S = 0.01
ALONE = "alone"
COMMON = """
c.JupyterHub.tornado_settings = {{"slow_spawn_timeout": 0, "slow_stop_timeout": 0}}
c.Spawner.start_timeout = c.Spawner.http_timeout = {deadline}

def share(spawner):
    spawner.cpu_limit = 1 if spawner.user.name == "alone" else {share}
    spawner.mem_limit = "{mem}"
c.Spawner.pre_spawn_hook = share
"""
DOCKER = """
c.JupyterHub.spawner_class = "docker"
c.JupyterHub.hub_bind_url = "http://{gateway}:{hub_port}"
c.DockerSpawner.image = "{image}"
c.DockerSpawner.cmd = ["jupyterhub-singleuser"]
c.DockerSpawner.network_name = "bridge"
c.DockerSpawner.use_internal_ip = True
c.DockerSpawner.remove = True
c.JupyterHub.cleanup_servers = True
c.DockerSpawner.notebook_dir = "/home/work"
"""


def names(users: int) -> list[str]:
    return [f"u{number}" for number in range(users)]


def no(tool: str, why: str) -> None:
    sys.exit(f"{tool}: {why}")


def gateway() -> str:
    """Where containers of Docker's own network reach this host."""
    import docker

    client = docker.from_env()
    try:
        config = client.networks.get("bridge").attrs["IPAM"]["Config"][0]
        return str(config.get("Gateway") or ip_network(config["Subnet"])[1])
    finally:
        client.close()


@asynccontextmanager
async def running(hub: JupyterHub, users: int) -> AsyncIterator[list[Visitor]]:
    """The Hub, with ``ALONE`` and so many others who have logged in."""
    visitors: list[Visitor] = []
    try:
        await hub.start()
        for name in [ALONE, *names(users)]:
            visitors.append(Visitor(hub))
            assert await visitors[-1].log_in(name) == 302
        yield visitors
    finally:
        for visitor in visitors:
            await visitor.close()
        hub.stop()


async def start(visitor: Visitor, name: str) -> float:
    began = time.monotonic()
    status, answer = await visitor.call("POST", f"/users/{name}/server", {})
    assert status in (201, 202), answer
    await is_said_ready(visitor, name)
    return time.monotonic() - began


async def is_said_ready(visitor: Visitor, name: str) -> None:
    async with asyncio.timeout(DEADLINE_S), aclosing(visitor.progress(name)) as events:
        async for event in events:
            assert not event.get("failed"), event
            if event.get("ready"):
                return


async def stop(visitor: Visitor, name: str) -> float:
    began = time.monotonic()
    assert (await visitor.call("DELETE", f"/users/{name}/server", {}))[0] in (202, 204)
    async with asyncio.timeout(DEADLINE_S):
        while (await visitor.call("GET", f"/users/{name}"))[1]["servers"]:
            await asyncio.sleep(0.05)
    return time.monotonic() - began


async def first_answer(url: str) -> float:
    async with asyncio.timeout(DEADLINE_S), http_session() as http:
        while True:
            with suppress(aiohttp.ClientError):
                async with http.get(url, allow_redirects=False) as answer:
                    if answer.status < 500 and answer.status != 404:
                        return time.monotonic()
            await asyncio.sleep(LOOK_EVERY_S)


async def seen_after(visitor: Visitor, name: str, manager: str) -> float:
    """Of a server of ours, which the manager shows at its path."""
    answered = asyncio.create_task(first_answer(f"{manager}/user/{name}/api"))
    await start(visitor, name)
    ready_at = time.monotonic()
    took = ready_at - await answered
    await stop(visitor, name)
    return took


def mib_of(pid: int) -> float:
    (line,) = [one for one in Path(f"/proc/{pid}/status").read_text().splitlines() if one.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


async def many(visitors: list[Visitor], hub: JupyterHub) -> tuple[float, float, float]:
    """Until all are ready, the Hub's memory then in MiB, until all have stopped."""
    who = names(len(visitors))
    began = time.monotonic()
    await asyncio.gather(*map(start, visitors, who))
    started = time.monotonic() - began
    memory = mib_of(hub.pid)
    began = time.monotonic()
    await asyncio.gather(*map(stop, visitors, who))
    return started, memory, time.monotonic() - began


def show(what: str, ours: list[float], theirs: list[float], digits: int = 2) -> None:
    a, b = statistics.median(ours), statistics.median(theirs)
    print(f"{what:32}{a:10.{digits}f}{b:15.{digits}f}{a / b:9.2f}")


async def compare(cluster: Cluster, options: argparse.Namespace) -> None:
    proxies = installed_proxy(no)
    share = (os.cpu_count() or 1) / options.users
    hubs = {}
    for kind in ("ours", "docker"):
        place = cluster.folder / kind
        place.mkdir()
        ports = {"port": free_port(), "proxy_port": free_port(), "hub_port": free_port()}
        if kind == "ours":
            ports["hub_port"] = cluster.hub_port
        hubs[kind] = JupyterHub(cluster, place, proxies, ports, options.image)
        more = COMMON.format(share=share, mem=MEM, deadline=DEADLINE_S)
        if kind == "docker":
            more += DOCKER.format(gateway=gateway(), image=options.image, **ports)
        hubs[kind].configure(more)
    await hubs["ours"].make_service()
    (cluster.folder / "docker" / "service.json").symlink_to(cluster.folder / "ours" / "service.json")
    times: dict[str, dict[str, list[float]]] = {kind: {"start": [], "stop": []} for kind in hubs}
    async with running(hubs["ours"], options.users) as ours, running(hubs["docker"], options.users) as theirs:
        people = {"ours": ours, "docker": theirs}
        for _ in range(options.rounds):
            for kind, visitors in people.items():
                times[kind]["start"].append(await start(visitors[0], ALONE))
                times[kind]["stop"].append(await stop(visitors[0], ALONE))
        print(f"{'':32}{'sessions':>10}{'DockerSpawner':>15}{'ratio':>9}")
        show("request to ready, s", times["ours"]["start"], times["docker"]["start"])
        show("stop, s", times["ours"]["stop"], times["docker"]["stop"])
        seen = [await seen_after(ours[0], ALONE, cluster.config.endpoint) for _ in range(options.rounds)]
        print(f"{'seen after, s':32}{statistics.median(seen):10.3f}", flush=True)
        at_once = {kind: await many(visitors[1:], hubs[kind]) for kind, visitors in people.items()}
    for position, what in ((0, "at once, until all are ready, s"), (2, "at once, until all stopped, s")):
        show(f"{options.users} {what}", [at_once["ours"][position]], [at_once["docker"][position]])
    show(f"Hub with {options.users} servers, MiB", [at_once["ours"][1]], [at_once["docker"][1]], 0)
    print(f"load {os.getloadavg()[0]:.1f}")


async def main(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="bai-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        hub_port = free_port()
        cluster = Cluster(folder, free_port(), "docker", doors={"hub": f"127.0.0.1:{hub_port}"})
        cluster.hub_port = hub_port
        os.environ.update(cluster.environ)
        options.image = small_image(options.image, SMALL)
        try:
            cluster.start("manager")
            cluster.start("agent")
            await cluster.ready()
            await cluster.add_image(options.image)
            await compare(cluster, options)
            await cluster.end_sessions()
        finally:
            cluster.stop()
            cluster.clean_up()
            remove_small_image(SMALL)


def options_of() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--users", type=int, default=10)
    parser.add_argument("--image", default="bai/hub:6.1.1")
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(main(options_of()))
