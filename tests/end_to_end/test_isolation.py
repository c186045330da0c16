"""A hostile notebook in a real container: what it tries (``hostile.py``), and that nothing comes of it."""

import json
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from end_to_end.kernels import Kernel, kernel_of

from bai_jupyter.client import ManagerClient, SessionRequest, load_config
from bai_jupyter.common.ids import new_jupyter_kernel_id
from bai_jupyter.common.statuses import SessionStatus

DOCKER = pytest.param({"runtime": "docker", "pids_limit": 100}, id="docker")
pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.docker,
    pytest.mark.parametrize("cluster", [DOCKER], indirect=True),
]

HOSTILE = Path(__file__).with_name("hostile.py").read_text()


@dataclass
class Session:
    """A kernel with what the host knows of its container."""

    kernel: Kernel
    id: str
    container: dict[str, Any]
    folder: Path  # the agent's, on the host

    async def ask(self, expression: str) -> Any:
        """The value of an expression of ``hostile.py``'s names."""
        answer = await self.kernel.run(f"import json; print(json.dumps({expression}))")
        try:
            return json.loads(answer)
        except ValueError:
            raise AssertionError(answer) from None


@pytest_asyncio.fixture
async def sessions(cluster: Any, docker_client: Any) -> AsyncIterator[list[Session]]:
    """Two running sessions: the notebook that attacks, and its victim."""
    async with AsyncExitStack() as stack, ManagerClient(cluster.config) as client:
        found: list[Session] = []
        for _ in range(2):
            kernel = await stack.enter_async_context(kernel_of(cluster))
            known = {session.id for session in found}
            (view,) = [view for view in await client.list_sessions() if view["id"] not in known]
            (container,) = docker_client.api.containers(filters={"label": f"bai.session-id={view['id']}"})
            facts = docker_client.api.inspect_container(container["Id"])
            folder = cluster.folder / "agent" / "kernels" / facts["Config"]["Labels"]["bai.kernel-id"]
            found.append(Session(kernel, view["id"], facts, folder))
            await kernel.run(HOSTILE)
        yield found


async def test_a_notebook_reaches_no_port_but_its_own(sessions, cluster):
    attacker, victim = sessions
    serve = "import threading; server = socket.create_server(('0.0.0.0', 5000)); print('listens')"
    assert await victim.kernel.run(serve) == "listens\n"
    assert await attacker.kernel.run(serve) == "listens\n"
    (network,) = victim.container["NetworkSettings"]["Networks"].values()
    with _listener() as port:
        addresses = [network["Gateway"], *_addresses_of_host()]
        targets = [(address, number) for address in dict.fromkeys(addresses) for number in (port, cluster.port)]
        targets += [(network["IPAddress"], 5000), ("169.254.169.254", 80), ("100.100.100.200", 80)]
        assert await attacker.ask(f"got(ports({targets!r}))") == {}
        # The same attempt succeeds where it may: at its own port, and for the host at the host's.
        assert list(await attacker.ask("got(ports([('127.0.0.1', 5000)]))")) == ["127.0.0.1:5000"]
        for address in addresses:
            socket.create_connection((address, port), timeout=5).close()


async def test_a_notebook_finds_no_file_that_is_not_its_own(sessions, cluster):
    attacker, victim = sessions
    await victim.kernel.run("open('/home/work/secret-of-the-victim', 'w').write('x')")
    agent = cluster.folder / "agent"
    relays = list(agent.glob("kernels/*/jupyter/*/relay.sock"))
    sockets = list(victim.folder.glob("run/*/k-*"))
    assert len(relays) == 2
    assert len(sockets) == 5
    engine = [path for path in ("/var/run/docker.sock", "/run/docker.sock", "/run/containerd") if Path(path).exists()]
    assert engine
    targets = [*engine, *map(str, [cluster.folder, agent / "credential", cluster.credentials, *relays, *sockets])]
    targets += [f"/proc/1/root{path}" for path in targets]
    assert await attacker.ask(f"got(paths({targets!r}))") == {}
    names = {"secret-of-the-victim", "docker.sock", "relay.sock", "credential", "credentials.json", "master.key"}
    assert await attacker.ask(f"files_named({names!r})") == []
    assert await victim.ask(f"files_named({names!r})") == ["/home/work/secret-of-the-victim"]
    assert len(await attacker.ask("files_named({'connection.json'})")) == 1


async def test_a_notebook_has_no_power_over_the_host_or_another(sessions):
    attacker, victim = sessions
    pid = victim.container["State"]["Pid"]
    assert await attacker.ask(f"got(powers({pid}))") == {}
    # No attempt is merely broken: each raised for want of the right or the thing, not for being called wrongly.
    reasons = await attacker.ask(f"refusals(powers({pid}))")
    assert set(reasons.values()) <= {"EPERM", "EACCES", "ENOENT", "ESRCH", "EROFS"}, reasons


async def test_a_fork_bomb_ends_at_its_own_limit(sessions):
    attacker, victim = sessions
    assert 0 < await attacker.ask("fork_until_refused(300)") < 100
    assert await victim.kernel.run("import subprocess; subprocess.run(['true'], check=True); print('well')") == "well\n"
    assert await attacker.kernel.run("print('well, too')") == "well, too\n"


async def test_sockets_that_are_links_to_anothers_are_refused(sessions, cluster):
    """What connects follows no link: neither to another session's kernel nor to the engine, by their host paths."""
    attacker, victim = sessions
    await victim.kernel.run("x = 41")
    (place,) = {path.parent for path in victim.folder.glob("run/*/k-1")}
    links = {name: str(place / name) for name in ("k-1", "k-2", "k-3")} | {"k-5": "/var/run/docker.sock"}
    mine = new_jupyter_kernel_id()
    shared = f"{mine[:8]}-1"
    await attacker.kernel.run(f"planter = plant_links('/run/bai/{shared}', {links!r})")
    async with ManagerClient(cluster.config) as client:
        await client.create_jupyter_kernel(attacker.id, "python3", "key", jupyter_kernel_id=mine)

        async def is_dead() -> bool:
            return (await client.get_jupyter_kernel(attacker.id, mine))["status"] == "dead"

        await cluster.until(is_dead)
        reason = (await client.get_jupyter_kernel(attacker.id, mine))["reason"]
    assert (reason["code"], reason["params"]["line"]) == ("kernel-died-start", "what listens is not the kernel")
    assert "is not a socket" in (attacker.folder / "jupyter" / shared / "relay.log").read_text()
    assert await victim.kernel.run("print(x + 1)") == "42\n"
    await attacker.kernel.run("os.kill(planter, signal.SIGKILL)")


async def test_the_manager_is_reached_only_where_it_was_granted_and_only_as_granted(cluster, python_image):
    """The manager listens on the host's loopback: no network leads there, only the socket of a session that has one."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(ManagerClient(cluster.config))
        plain = await stack.enter_async_context(kernel_of(cluster))
        (other,) = await client.list_sessions()
        seen = "print(sorted(n for n in os.listdir('/run/bai') if '-' not in n), os.environ.get('BAI_TOKEN_FILE'))"
        assert await plain.run(f"import os; {seen}") == "['supervise.py', 'supervisor.sock', 'variables.zip'] None\n"
        request = SessionRequest("granted", python_image, manager_access="self")
        granted = (await client.create_session(request))["sessionId"]
        await client.wait_for(granted)
        async with kernel_of(cluster, bai_session="granted") as kernel:
            await kernel.run(HOSTILE)
            notebook = Session(kernel, granted, {}, cluster.folder)
            assert (await notebook.ask(f"ask_manager('GET', '/session/{granted}')"))["status"] == "RUNNING"
            for path in (f"/session/{other['id']}", "/session/nothing-of-that-name"):
                assert (await notebook.ask(f"ask_manager('GET', '{path}')"))["title"] == "No such session."
            problem = await notebook.ask("ask_manager('POST', '/agents/join-tokens')")
            assert problem["msg"] == "Only superadmins may do this."
        (run,) = {path.parent for path in cluster.folder.glob("agent/kernels/*/run/token")}
        await _end_from_inside(cluster, run, granted)
        await client.wait_for(granted, [SessionStatus.TERMINATED])


async def _end_from_inside(cluster: Any, run: Path, session: str) -> None:
    """As a client of ours in the session would, which finds its way by the same files."""
    folder = os.open(run, os.O_PATH)  # the path itself is too long for a socket's address
    try:
        environ = {
            "BACKEND_ENDPOINT": cluster.config.endpoint,
            "BAI_TOKEN_FILE": f"/proc/self/fd/{folder}/token",
            "BAI_MANAGER_SOCKET": f"/proc/self/fd/{folder}/manager.sock",
        }
        config = load_config(environ, "/")
        assert config is not None
        async with ManagerClient(config) as inside:
            assert [one["id"] for one in await inside.list_sessions()] == [session]
            await inside.destroy_session(session)
    finally:
        os.close(folder)


@contextmanager
def _listener() -> Iterator[int]:
    with socket.create_server(("0.0.0.0", 0)) as server:  # noqa: S104 - that a container cannot reach it is the test
        yield server.getsockname()[1]


def _addresses_of_host() -> list[str]:
    """But those of agents' bridges, which come and go."""
    listed = json.loads(subprocess.run(["ip", "-j", "-4", "addr"], capture_output=True, check=True).stdout)
    devices = [device for device in listed if not device["ifname"].startswith(("bai-", "lo"))]
    return [entry["local"] for device in devices for entry in device["addr_info"]]
