"""``bai up``: manager, agent and JupyterLab on this machine, in numbered steps that each say when they are ready.

With ``--hub`` a JupyterHub takes JupyterLab's place.

Owns the order, the messages and what happens when a server dies. With which options each is started is ``local``'s.
"""

import argparse
import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

from bai_jupyter._version import __version__
from bai_jupyter.cli import check
from bai_jupyter.cli import hub as hubs
from bai_jupyter.cli.hub import LocalHub, Login
from bai_jupyter.cli.local import LocalCluster, lab_user
from bai_jupyter.cli.machine import Engine, Gpus, ask_engine, ask_gpus, cpu_count, memory
from bai_jupyter.cli.servers import DataFolder, Server, free_port, left_behind, stop_process
from bai_jupyter.cli.terminal import CommandFailed, Exit, Terminal, resources
from bai_jupyter.client import Json, ManagerClient
from bai_jupyter.common.errors import BaiError
from bai_jupyter.common.reasons import plural

MANAGER_PORT = 8090
LAB_PORT = 8888
HUB_PORT, HUB_OWN_PORT, HUB_PROXY_PORT = 8000, 8081, 8001
SERVERS = ("hub", "lab", "agent", "manager")
MAX_RESTARTS = 5  # of one server within RESTART_WINDOW_S; then something is wrong that a restart does not mend
RESTART_WINDOW_S = 60.0


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    folder = DataFolder(Path(options.data).absolute())
    folder.make(passable=os.geteuid() == 0)
    with folder.lock() as is_ours:
        if not is_ours:
            return _already_running(folder, options.check, terminal)
        for name, pid in left_behind(folder, SERVERS):
            stop_process(pid)
            terminal.say(f"Stopped {name}, which an earlier `bai up` had left.")
        return asyncio.run(_until_told(Up(options, terminal, folder)))


def _already_running(folder: DataFolder, is_check: bool, terminal: Terminal) -> int:
    state = folder.read_state()
    where = state.get("url") or "not ready yet"
    if is_check:
        raise CommandFailed(f"Already running ({where}). Stop it first (bai down), or check elsewhere: --data DIR")
    terminal.say(f"Already running here, process {state.get('pid', '?')}.")
    if terminal.as_json:
        terminal.event({"url": state.get("url"), "already_running": True})
    else:
        terminal.line(f"Open   {where}")
    return Exit.DONE


async def _until_told(up: "Up") -> int:
    """Run until a signal; then stop everything, whatever was under way."""
    loop = asyncio.get_running_loop()
    work = asyncio.ensure_future(up.work())
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, work.cancel)
    try:
        return await work
    except asyncio.CancelledError:
        return Exit.DONE if up.is_up else Exit.INTERRUPTED
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, lambda: None)  # stopping is under way already
        await up.stop()


class Up:
    """One run of ``bai up``."""

    def __init__(self, options: argparse.Namespace, terminal: Terminal, folder: DataFolder) -> None:
        self.options = options
        self.terminal = terminal
        self.folder = folder
        self.is_up = False
        self.cluster: LocalCluster | None = None
        self.hub: LocalHub | None = None
        self.login: Login | None = None

    async def work(self) -> int:
        self._head()
        if self.options.hub:
            if self.options.check:
                raise CommandFailed("--check tries JupyterLab. Leave --hub out.", Exit.USAGE)
            hubs.check(Path(self.options.hub))
        runtime = await self._checked()
        cluster = self.cluster = self._make_cluster(runtime)
        await self._start(cluster)
        self.is_up = True
        if self.options.check:
            await self._check(cluster)
            return Exit.DONE
        self._invite(cluster)
        return await self._keep_running(cluster)

    async def stop(self) -> None:
        if self.cluster is None or not self.cluster.running:
            return
        stopped = await self.cluster.stop()
        kept = " Sessions stay; `bai down` ends them." if self.is_up and not self.options.check else ""
        if stopped:
            self.terminal.say(f"Stopped {', '.join(stopped)}.{kept}")

    # Steps

    async def _checked(self) -> str:
        """Look at the machine and choose the runtime."""
        async with self._step("Checked") as step:
            engine, gpus = await asyncio.gather(asyncio.to_thread(ask_engine), asyncio.to_thread(ask_gpus))
            runtime = choose_runtime(self.options.runtime, engine)
            step.detail = ", ".join(
                [_engine_words(engine), f"{cpu_count()} CPU", f"{memory()} memory", _gpu_words(gpus)]
            )
            if runtime == "process":
                step.sign = "note"
        if runtime == "process" and self.options.runtime == "auto":
            self.terminal.say(f"  {engine.trouble} Until then sessions are processes of this user, not isolated.")
        return runtime

    def _make_cluster(self, runtime: str) -> LocalCluster:
        home = Path(self.options.root).expanduser().absolute() if self.options.root else self.folder.path / "home"
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        user = lab_user(home)
        manager_port = self._port("manager", MANAGER_PORT)
        cluster = LocalCluster(self.folder, home, runtime, user, manager_port, ahead=self.options.ahead)
        if self.options.hub:
            wanted = (self.options.port or HUB_PORT, HUB_OWN_PORT, HUB_PROXY_PORT)
            ports = [self._port("hub", port) for port in wanted]
            self.hub = LocalHub(cluster, Path(self.options.hub), *ports)
            cluster.doors = {hubs.DOOR: f"127.0.0.1:{self.hub.own_port}"}
        else:
            cluster.lab_port = self._port("lab", self.options.port or LAB_PORT)
        self.folder.write_state({"pid": os.getpid(), "runtime": runtime, "home": str(home)})
        return cluster

    def _port(self, server: str, wanted: int) -> int:
        port = free_port(wanted)
        if port != wanted:
            self.terminal.say(f"  Port {wanted} is taken; {server} takes {port}.")
        return port

    async def _start(self, cluster: LocalCluster) -> None:
        async with self._step("Manager") as step:
            await cluster.start_manager()
            step.detail = f"{cluster.manager_url}   data in {_short(self.folder.path)}/"
        async with self._step("Agent") as step:
            agent = await cluster.start_agent()
            isolation = "" if agent.get("isolated", True) else " (not isolated)"
            step.detail = f"{agent['name']}: {agent['runtime']}{isolation}, {resources(agent['slots'])}"
            step.sign = "done" if not isolation else "note"
        if self.hub is not None:
            await self._start_hub(self.hub)
            return
        async with self._step("Images", live=False) as step, cluster.client() as client:
            images = await self._images(client, cluster.runtime)
            step.detail = _image_words(images)
            step.sign = "done" if images else "note"
        if self.options.check and not images:
            raise CommandFailed("There is no image to check with. Run: bai image build python")
        async with self._step("Lab") as step:
            await cluster.start_lab()
            step.detail = "ready" if cluster.user is None else f"ready, as user {cluster.user.uid}"

    async def _start_hub(self, hub: LocalHub) -> None:
        async with self._step("Image", live=False) as step, hub.cluster.client() as client:
            step.detail = image = await self._hub_image(client, hub.cluster.runtime)
            if hub.cluster.runtime == "process":
                step.sign, step.detail = "note", "local: this machine's own programs, for one person only"
        async with self._step("Accounts") as step:
            self.login = await hub.accounts()
            step.detail = f"the Hub's own, and {self.login.email}"
        async with self._step("Hub") as step:
            await hub.start(image)
            step.detail = hub.url

    async def _hub_image(self, client: ManagerClient, runtime: str) -> str:
        """What people's servers run on; built where there is none."""
        if runtime == "process":
            return "local"
        from bai_jupyter.cli import images

        names = await asyncio.to_thread(images.local, "bai/hub:")
        if not names:
            if self.options.no_build:
                raise CommandFailed("There is no image for the Hub's servers. Run: bai image build hub")
            self.terminal.say("  No image for servers yet; building hub. This is done once and takes some minutes.")
            with self.terminal.progress("  Building hub") as show:
                names = await asyncio.to_thread(images.build, ["hub"], lambda what, _: show(f"  {what}"))
        if names[-1] not in [one["name"] for one in await client.list_images()]:
            await client.add_image(names[-1])
        return names[-1]

    async def _images(self, client: ManagerClient, runtime: str) -> list[Json]:
        """What sessions can start from; local images are added, and one is built where there is none at all."""
        known = await client.list_images()
        if runtime != "docker" or known:
            return known
        from bai_jupyter.cli import images

        names = await asyncio.to_thread(images.local)
        if not names and not self.options.no_build:
            self.terminal.say("  No image yet; building python. This is done once and takes some minutes.")
            with self.terminal.progress("  Building python") as show:
                names = await asyncio.to_thread(images.build, ["python"], lambda what, _: show(f"  {what}"))
        return [await client.add_image(name) for name in names]

    async def _check(self, cluster: LocalCluster) -> None:
        async with self._step("Notebook") as step:
            result = await check.run_notebook(cluster)
            step.detail = result.describe()
        if self.terminal.as_json:
            self.terminal.event(result.to_json())
        else:
            self.terminal.line(f"Result: {result.output}")

    # Words

    def _head(self) -> None:
        if not self.terminal.as_json:
            self.terminal.say(f"{'Backend.AI on this machine':<64}bai_jupyter {__version__}")

    def _invite(self, cluster: LocalCluster) -> None:
        state = self.folder.read_state()
        if self.hub is not None and self.login is not None:
            self._invite_to_hub(self.hub, self.login, state)
            return
        self.folder.write_state({**state, "url": cluster.lab_url, "manager": cluster.manager_url})
        if self.terminal.as_json:
            self.terminal.event({"url": cluster.lab_url, "manager": cluster.manager_url, "already_running": False})
            return
        self.terminal.line(f"Open   {cluster.lab_url}    (keys: {_short(self.folder.credentials)}, only yours)")
        self.terminal.say("Ctrl-C stops the servers; sessions stay. `bai down` ends them too.")

    def _invite_to_hub(self, hub: LocalHub, login: Login, state: Json) -> None:
        manager = hub.cluster.manager_url
        self.folder.write_state({**state, "url": hub.url, "manager": manager})
        if self.terminal.as_json:
            self.terminal.event({"url": hub.url, "manager": manager, "login": vars(login), "already_running": False})
            return
        self.terminal.line(f"Open   {hub.url}    log in as {login.email}, password {login.password}")
        self.terminal.say("For others: bai user add kim@example.org --name kim --password")
        self.terminal.say("Ctrl-C stops Hub, agent and manager; people's servers go on. `bai down` ends them too.")

    @asynccontextmanager
    async def _step(self, name: str, live: bool = True) -> AsyncIterator["_Step"]:
        """Time a step and print its line at the end, also when it fails. ``live=False``: it speaks meanwhile."""
        step, began = _Step(), time.monotonic()
        try:
            with self.terminal.live(f"  {name}") if live else nullcontext():
                yield step
        except BaiError:
            step.sign, step.detail = "failed", "see below"
            raise
        except asyncio.CancelledError:
            step.sign, step.detail = "failed", "interrupted"
            raise
        finally:
            self._show(name, step, time.monotonic() - began)

    def _show(self, name: str, step: "_Step", took_s: float) -> None:
        if self.terminal.as_json:
            outcome = {"phase": name, "ok": step.sign != "failed", "detail": step.detail, "seconds": round(took_s, 3)}
            self.terminal.event(outcome)
        else:
            self.terminal.say(f"  {self.terminal.sign(step.sign)} {name:<9} {step.detail:<62} {took_s:>5.1f} s")

    # Afterwards

    async def _keep_running(self, cluster: LocalCluster) -> int:
        """Start again whatever dies: each server takes up its work where the last one left it."""
        deaths: dict[str, list[float]] = {server.name: [] for server in cluster.running}
        watches = {asyncio.ensure_future(_wait(server)): server for server in cluster.running}
        try:
            while True:
                done, _ = await asyncio.wait(watches, return_when=asyncio.FIRST_COMPLETED)
                for watch in done:
                    server = watches.pop(watch)
                    self._count(server, watch.result(), deaths[server.name])
                    await server.start()
                    watches[asyncio.ensure_future(_wait(server))] = server
        finally:
            for watch in watches:
                watch.cancel()

    def _count(self, server: Server, code: int, deaths: list[float]) -> None:
        now = time.monotonic()
        deaths[:] = [moment for moment in deaths if now - moment < RESTART_WINDOW_S] + [now]
        if len(deaths) > MAX_RESTARTS:
            raise CommandFailed(f"{server.name} ended {len(deaths)} times in a minute (code {code}).\n{server.tail()}")
        self.terminal.say(f"{server.name} ended (code {code}); started again.")


class _Step:
    detail = ""
    sign = "done"


async def _wait(server: Server) -> int:
    return await server.process.wait() if server.process else 0


def choose_runtime(asked: str, engine: Engine) -> str:
    """``docker`` or ``process``. Raises ``CommandFailed`` if docker was asked for and cannot be used."""
    if asked == "docker" and not engine.answers:
        raise CommandFailed(f"{engine.trouble} Or go on without isolation: bai up --runtime process")
    if asked == "auto":
        return "docker" if engine.answers else "process"
    return asked


def _engine_words(engine: Engine) -> str:
    return f"Docker {engine.version.partition('+')[0]}" if engine.answers else "no Docker"


def _gpu_words(gpus: Gpus) -> str:
    return plural(len(gpus.models), "GPU") if gpus.models else "no GPU"


def _image_words(images: list[Json]) -> str:
    if not images:
        return "none. Run: bai image build python"
    names = [image["name"] for image in images]
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return f"{', '.join(names[:2])}{more} (use `bai image build` for more)"


def _short(path: Path) -> str:
    """A path below here as people would type it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
