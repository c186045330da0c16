"""What only the docker runtime promises: limits, isolation, mounts that cannot be led astray, the engine's events."""

import asyncio
import io
import json
import os
import shutil
import socket
import subprocess
import tarfile
import tempfile
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from bai_agent import firewall
from bai_agent.devices.base import ContainerOptions
from bai_agent.runtimes import mounts, packages
from bai_agent.runtimes.base import CreateRequest, RuntimeFault, Size, config_hash
from bai_agent.runtimes.engine_images import INSPECTS
from docker.errors import ImageNotFound

from bai_jupyter.common.messages import UNCOMPILED

pytestmark = [pytest.mark.asyncio, pytest.mark.docker]


async def test_container_defaults_are_really_set(docker_bench: Any, docker_client: Any) -> None:
    want, ref = await docker_bench.launch()
    facts = docker_client.api.inspect_container(ref)
    host, config = facts["HostConfig"], facts["Config"]
    assert host["Memory"] == host["MemorySwap"] == 64 * 1024**2
    assert host["NanoCpus"] == 500_000_000
    assert host["ShmSize"] == 16 * 1024**2
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["PidsLimit"] == 4096
    assert host["Init"] is True
    assert not host["Privileged"]
    assert host["IpcMode"] == "private"
    assert host["NetworkMode"] == docker_bench.runtime.bridge
    assert config["User"] == "1000:1000"
    assert config["Labels"]["bai.kernel-id"] == want.kernel_id
    assert config["Labels"]["bai.config-hash"] == config_hash(want)
    assert config["Hostname"] == "my-session"
    assert not any("docker.sock" in mount["Source"] for mount in facts["Mounts"])


async def test_no_process_inside_has_a_capability_or_can_gain_one(docker_bench: Any) -> None:
    want, ref = await docker_bench.launch()
    code, output = await docker_bench.run(want, ref, "cat /proc/self/status")
    fields = dict(line.split(":\t", 1) for line in output.splitlines() if ":\t" in line)
    assert code == 0
    assert {fields[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert fields["NoNewPrivs"] == "1"


async def test_options_of_devices_reach_the_container(docker_bench: Any, docker_client: Any) -> None:
    want = docker_bench.want(environ={"MOCK_VISIBLE_DEVICES": "all"})
    options = ContainerOptions(
        env={"MOCK_VISIBLE_DEVICES": "m-1"}, nodes=(("/dev/null", "/dev/mock0", "rwm"),), groups=(4242,), cpus=(0,)
    )
    ref = await docker_bench.runtime.create(CreateRequest(want, docker_bench.prepare(want), options))
    await docker_bench.runtime.start(ref)
    code, output = await docker_bench.run(want, ref, 'echo "$MOCK_VISIBLE_DEVICES"; ls /dev/mock0; id -G')
    assert code == 0
    assert output.splitlines() == ["m-1", "/dev/mock0", "1000 4242"]
    assert docker_client.api.inspect_container(ref)["HostConfig"]["CpusetCpus"] == "0"


async def test_a_container_gets_another_size_while_it_runs(docker_bench: Any) -> None:
    want, ref = await docker_bench.launch()
    state = await docker_bench.runtime.inspect(ref)
    assert state.size == Size(Decimal("0.5"), 64 * 1024**2)
    for size in (Size(Decimal(2), 128 * 1024**2, (0,)), Size(Decimal("0.25"), 32 * 1024**2, (0,))):
        await docker_bench.runtime.resize(ref, size)
        assert (await docker_bench.runtime.inspect(ref)).size == size
        memory = await docker_bench.runtime.memory(ref)
        assert memory is not None
        assert memory.limit_bytes == size.mem_bytes
    assert (await docker_bench.run(want, ref, "echo still here"))[1] == "still here\n"


async def test_two_containers_cannot_reach_each_other(docker_bench: Any, docker_client: Any) -> None:
    server, server_ref = await docker_bench.launch()
    client, client_ref = await docker_bench.launch()
    address = docker_client.api.inspect_container(server_ref)["NetworkSettings"]["Networks"]
    ip = address[docker_bench.runtime.bridge]["IPAddress"]
    log = docker_bench.folder(server.kernel_id) / "run" / "log"
    listener = await docker_bench.runtime.exec(
        server_ref, ["nc", "-ll", "-p", "5000", "-e", "/bin/echo", "hello"], env={}, cwd="/", log_path=log
    )
    ask = f"nc -w 2 {ip} 5000 </dev/null"
    # It does listen: the same question from inside its own container is answered.
    async with asyncio.timeout(10):
        while "hello" not in (await docker_bench.run(server, server_ref, ask))[1]:
            pass
    code, output = await docker_bench.run(client, client_ref, ask)
    assert code != 0
    assert "hello" not in output
    await docker_bench.runtime.signal(listener, 9)


async def test_a_container_reaches_no_port_of_the_host(docker_bench: Any, docker_client: Any) -> None:
    want, ref = await docker_bench.launch()
    network = docker_client.api.inspect_network(docker_bench.runtime.bridge)
    gateway = network["IPAM"]["Config"][0]["Gateway"]
    with _listener() as (port, visits):
        ask = f"nc -w 2 {gateway} {port} </dev/null"
        code, output = await docker_bench.run(want, ref, ask)
        assert (code != 0, visits) == (True, [])
        assert "hello" not in output
        # Without our rules it is open: so the rules are what closes it.
        await firewall.remove(docker_bench.runtime.bridge)
        code, output = await docker_bench.run(want, ref, ask)
        assert (code, output.strip()) == (0, "hello")
        assert await firewall.ensure(docker_bench.runtime.bridge, firewall.Policy()) == []
        code, _ = await docker_bench.run(want, ref, ask)
        assert code != 0


async def test_the_firewall_is_put_up_once_and_taken_down_whole(docker_bench: Any) -> None:
    bridge = docker_bench.runtime.bridge
    before = await _rules(bridge)
    assert {program for program, _ in before} == {"iptables", "ip6tables"}
    await firewall.ensure(bridge, firewall.Policy())
    assert await _rules(bridge) == before
    await docker_bench.runtime.cleanup()
    assert await _rules(bridge) == []


async def test_private_networks_and_the_metadata_address_are_refused_but_for_exceptions(
    docker_bench: Any, neighbour: Any
) -> None:
    want, ref = await docker_bench.launch()
    bridge = docker_bench.runtime.bridge

    async def answer_of(address: IPv4Address, port: int = 80) -> str:
        return (await docker_bench.run(want, ref, f"nc -w 5 {address} {port} </dev/null 2>&1"))[1].strip()

    async def allow(*networks: str) -> None:
        assert await firewall.ensure(bridge, firewall.Policy(allowed=tuple(map(IPv4Network, networks)))) == []

    for address in neighbour.addresses:
        assert "hello" not in await answer_of(address)
    await allow(f"{neighbour.addresses[0]}/32")
    assert [await answer_of(address) == "hello" for address in neighbour.addresses] == [True, False, False]
    await firewall.ensure(bridge, firewall.Policy(blocked=()))
    # All of them do answer: so the rules are what closes them.
    assert [await answer_of(address) for address in neighbour.addresses] == ["hello"] * 3


async def test_a_name_server_in_a_blocked_network_is_reached_at_its_port_alone(
    docker_bench: Any, neighbour: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    resolver = neighbour.addresses[0]
    (tmp_path / "resolv.conf").write_text(f"nameserver {resolver}\nnameserver 127.0.0.53\nnameserver fd00::1\n")
    monkeypatch.setattr(firewall, "_RESOLVER_FILES", (tmp_path / "resolv.conf",))
    want, ref = await docker_bench.launch()
    assert await firewall.ensure(docker_bench.runtime.bridge, firewall.Policy()) == []
    _, output = await docker_bench.run(want, ref, f"nc -w 5 {resolver} 53 </dev/null; nc -w 5 {resolver} 80 </dev/null")
    assert output.count("hello") == 1


async def test_an_open_network_is_refused_where_that_is_asked(
    docker_bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    said = await docker_bench.runtime.check()
    assert any("Containers can reach ports of this host" in sentence for sentence in said)
    docker_bench.runtime._allow_open_network = False
    with pytest.raises(RuntimeFault, match="can reach ports of this host"):
        await docker_bench.runtime.check()


async def test_a_read_only_folder_cannot_be_written(docker_bench: Any) -> None:
    (docker_bench.volume / "u1").mkdir()
    os.chown(docker_bench.volume / "u1", 1000, 1000)
    want, ref = await docker_bench.launch(docker_bench.want(mounts=[docker_bench.mount("data", "u1", read_only=True)]))
    code, output = await docker_bench.run(want, ref, "touch /home/work/data/x")
    assert code != 0
    assert "Read-only" in output


@pytest.mark.parametrize("by", ["us", "the engine"])
async def test_a_folder_exchanged_between_check_and_mount_is_noticed(
    docker_bench: Any, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """The tenant swaps the checked folder for a link out of the volume just before somebody follows the path."""
    if by == "the engine":
        monkeypatch.setattr(mounts, "why_not", lambda: "it does not run as root")
    outside = docker_bench.state_dir / "secrets"
    outside.mkdir()
    (docker_bench.volume / "u1").mkdir()
    want = docker_bench.want(mounts=[docker_bench.mount("data", "u1")])
    place = docker_bench.prepare(want)
    ref = await docker_bench.runtime.create(CreateRequest(want, place))
    (docker_bench.volume / "u1").rename(docker_bench.volume / "old")
    (docker_bench.volume / "u1").symlink_to(outside)
    if by == "the engine":
        with pytest.raises(RuntimeFault, match="exchanged"):
            await docker_bench.runtime.start(ref)
        assert await docker_bench.runtime.inspect(ref) is None
        return
    await docker_bench.runtime.start(ref)
    refused = await docker_bench.runtime.change_mounts(ref, [], place.mounts, must_be_empty=False)
    assert refused.keys() == {"/home/work/data"}
    assert await docker_bench.runtime.mounted(ref) == {}


async def test_where_mounts_are_fixed_the_engine_makes_them(docker_bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent that is not root."""
    monkeypatch.setattr(mounts, "why_not", lambda: "it does not run as root")
    runtime = docker_bench.runtime
    (docker_bench.volume / "u1").mkdir()
    want = docker_bench.want(mounts=[docker_bench.mount("data", "u1", read_only=True)])
    place = docker_bench.prepare(want)
    ref = await runtime.create(CreateRequest(want, place))
    await runtime.start(ref)
    assert await runtime.mounted(ref) == {"/home/work/data": True}
    assert await runtime.sees(ref, place.mounts[0])
    assert not await runtime.sees(ref, replace(place.mounts[0], inode=1))
    for change in (runtime.change_mounts(ref, ["/home/work/data"], [], must_be_empty=False), runtime.release(ref, "x")):
        with pytest.raises(RuntimeFault, match="lab-1 cannot change the folders of a session that runs: it does not"):
            await change
    assert await runtime.mounted(ref) == {"/home/work/data": True}
    # Of an agent that may, such a container's folders come and go like any other's.
    monkeypatch.undo()
    assert await runtime.mounted(ref) == {"/home/work/data": True}
    assert await runtime.sees(ref, place.mounts[0])
    assert await runtime.release(ref, "/home/work/data") == []
    assert await runtime.mounted(ref) == {}


async def test_who_has_lost_a_folder_cannot_reach_it(docker_bench: Any) -> None:
    """Not by what was open, nor from where it stands: that is ended. Others go on, and the files are as they were."""
    (docker_bench.volume / "u1").mkdir()
    (docker_bench.volume / "u1" / "file").write_text("mine")
    os.chown(docker_bench.volume / "u1", 1000, 1000)
    want, ref = await docker_bench.launch(docker_bench.want(mounts=[docker_bench.mount("data", "u1")]))
    uses = {
        "stands": "cd /home/work/data; sleep 1000",
        "reads": "exec 3</home/work/data/file; sleep 1000",
        "runs": "sleep 1000",
    }
    run = docker_bench.folder(want.kernel_id) / "run"
    started = {}
    for name, script in uses.items():
        command = ["/bin/sh", "-c", script.replace("sleep", f"touch /run/bai/{name}; sleep")]
        started[name] = await docker_bench.runtime.exec(ref, command, env={}, cwd="/home/work", log_path=run / "log")
    async with asyncio.timeout(60):
        while not all((run / name).exists() for name in uses):
            await asyncio.sleep(0.01)
    users = await docker_bench.runtime.release(ref, "/home/work/data")
    assert users
    assert await docker_bench.runtime.mounted(ref) == {"/home/work/data": False}
    assert await docker_bench.runtime.change_mounts(ref, ["/home/work/data"], [], must_be_empty=False) == {}
    assert await docker_bench.runtime.mounted(ref) == {}
    assert {await docker_bench.runtime.wait(started[name]) for name in ("stands", "reads")} == {137}
    assert await docker_bench.runtime.exit_code(started["runs"]) is None
    assert (await docker_bench.run(want, ref, "ls /home/work/data"))[0] != 0
    assert (docker_bench.volume / "u1" / "file").read_text() == "mine"
    assert await docker_bench.runtime.release(ref, "/home/work/data") == []  # once more does no harm
    assert await docker_bench.runtime.change_mounts(ref, ["/home/work/data"], [], must_be_empty=False) == {}
    await docker_bench.runtime.signal(started["runs"], 9)


async def test_out_of_memory_is_counted_with_figures_and_told(docker_bench: Any) -> None:
    want, ref = await docker_bench.launch()
    events = docker_bench.runtime.events()
    assert (await asyncio.wait_for(anext(events), 10)).kind == "sync"
    before = await docker_bench.runtime.memory(ref)
    code, _ = await docker_bench.run(want, ref, "exec dd if=/dev/zero of=/dev/null bs=300M count=1")
    assert code == 137
    event = await asyncio.wait_for(anext(events), 10)
    assert (event.kind, event.kernel_id) == ("oom", want.kernel_id)
    after = await docker_bench.runtime.memory(ref)
    assert after.kills == before.kills + 1
    assert after.limit_bytes == 64 * 1024**2
    assert after.used_bytes > 0.9 * after.limit_bytes
    state = await docker_bench.runtime.inspect(ref)
    assert state.running
    await events.aclose()


async def test_looking_into_an_image_starts_nothing_and_leaves_nothing(docker_bench: Any, docker_client: Any) -> None:
    with _recorded(docker_client) as happened:
        facts = await docker_bench.runtime.inspect_image(docker_bench.image)
    assert [spec.name for spec in facts.kernelspecs] == ["demo"]
    assert facts.kernelspecs[0].argv == ["/bin/demo", "-f", "{connection_file}"]
    assert facts.labels["ai.backend.role"] == "COMPUTE"
    assert facts.architecture == os.uname().machine
    assert "start" not in happened(docker_bench.runtime._agent_id)
    assert "destroy" in happened(docker_bench.runtime._agent_id)


@pytest.mark.parametrize("is_compiled", [True, False])
async def test_an_image_whose_packages_are_not_compiled_is_told_apart(
    docker_bench: Any, docker_client: Any, test_run: dict[str, str], is_compiled: bool
) -> None:
    package = "opt/venv/lib/python3.11/site-packages/ipykernel"
    spec = {"argv": ["/opt/venv/bin/python", "-m", "ipykernel_launcher"], "language": "python"}
    files = {"opt/venv/share/jupyter/kernels/python3/kernel.json": json.dumps(spec), f"{package}/kernelapp.py": "1"}
    if is_compiled:
        files[f"{package}/__pycache__/kernelapp.cpython-311.pyc"] = "1"
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content.encode()))
    name = f"bai-test-packages:{uuid.uuid4().hex[:8]}"
    changes = [f"LABEL {label}={value}" for label, value in test_run.items()]
    docker_client.api.import_image_from_data(out.getvalue(), *name.split(":"), changes=changes)
    try:
        (told,) = (await docker_bench.runtime.inspect_image(name)).kernelspecs
    finally:
        docker_client.images.remove(name)
    assert told.metadata.get(UNCOMPILED, False) is not is_compiled


async def test_containers_of_others_are_neither_listed_nor_removed(
    docker_bench: Any, docker_client: Any, test_run: dict[str, str]
) -> None:
    foreign = docker_client.api.create_container(
        docker_bench.image, ["/bin/true"], labels={**test_run, "bai.agent-id": "another", "bai.kernel-id": "k"}
    )
    try:
        _, ref = await docker_bench.launch()
        assert [found.ref for found in await docker_bench.runtime.list_ours()] == [ref]
        await docker_bench.runtime.cleanup()
        assert docker_client.api.inspect_container(foreign["Id"])
    finally:
        docker_client.api.remove_container(foreign["Id"], force=True)


@contextmanager
def _recorded(docker_client: Any) -> Iterator[Any]:
    """Which container events of an agent's inspections happened inside the block."""
    since = _engine_time(docker_client)
    found: dict[str, list[str]] = {}

    def happened(agent_id: str) -> list[str]:
        if agent_id not in found:
            stream = docker_client.api.events(
                since=since,
                until=_engine_time(docker_client) + 1,
                decode=True,
                filters={"label": [f"bai.inspects={agent_id}"], "type": "container"},
            )
            found[agent_id] = [event["Action"] for event in stream]
        return found[agent_id]

    yield happened


def _engine_time(docker_client: Any) -> int:
    from bai_agent.runtimes.docker import _moment

    return int(_moment(docker_client.api.info()["SystemTime"]).timestamp())


@contextmanager
def _listener() -> Iterator[tuple[int, list[str]]]:
    """A server on all addresses of the host that greets, and who came."""
    visits: list[str] = []
    with socket.create_server(("0.0.0.0", 0)) as server:  # noqa: S104 - that a container cannot reach it is the test

        def serve() -> None:
            while True:
                try:
                    connection, peer = server.accept()
                except OSError:
                    return
                with connection:
                    visits.append(peer[0])
                    connection.sendall(b"hello\n")

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1], visits
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


@dataclass
class Neighbour:
    """A machine on another network of the host, greeting at ports 53 and 80 of these addresses."""

    addresses: tuple[IPv4Address, ...]


@pytest.fixture
def neighbour(docker_bench: Any) -> Iterator[Neighbour]:
    """In a network namespace, behind a pair of interfaces: to a container it is a machine of the local network."""
    addresses = tuple(map(IPv4Address, ("10.213.77.2", "192.168.213.2", "169.254.169.254")))
    name = docker_bench.runtime.bridge
    outer, inner = f"{name[:12]}-o", f"{name[:12]}-i"
    subprocess.run(["ip", "netns", "add", name], check=True)
    inside = ["ip", "netns", "exec", name]
    servers = []
    try:
        for command in (
            ["ip", "link", "add", outer, "type", "veth", "peer", "name", inner, "netns", name],
            ["ip", "addr", "add", "10.213.77.1/24", "dev", outer],
            ["ip", "link", "set", outer, "up"],
            [*inside, "ip", "addr", "add", "10.213.77.2/24", "dev", inner],
            *([*inside, "ip", "addr", "add", f"{one}/32", "dev", inner] for one in addresses[1:]),
            [*inside, "ip", "link", "set", inner, "up"],
            [*inside, "ip", "route", "add", "default", "via", "10.213.77.1"],
            *(["ip", "route", "add", str(one), "via", "10.213.77.2"] for one in addresses[1:]),
        ):
            subprocess.run(command, check=True)
        for port in ("53", "80"):
            greet = [*inside, "busybox", "nc", "-ll", "-p", port, "-e", "/bin/echo", "hello"]
            servers.append(subprocess.Popen(greet))
        _await_greeting(addresses)
        yield Neighbour(addresses)
    finally:
        for server in servers:
            server.kill()
            server.wait()
        subprocess.run(["ip", "link", "del", outer], check=False)  # its routes and the other end go with it
        subprocess.run(["ip", "netns", "del", name], check=True)


def _await_greeting(addresses: Iterable[IPv4Address]) -> None:
    deadline = time.monotonic() + 10
    for address in addresses:
        for port in (53, 80):
            while True:
                with suppress(OSError), socket.create_connection((str(address), port), timeout=5) as connection:
                    assert connection.recv(16) == b"hello\n"
                    break
                assert time.monotonic() < deadline, f"{address} does not greet at {port}"


async def _rules(bridge: str) -> list[tuple[str, str]]:
    found = []
    for program in ("iptables", "ip6tables"):
        process = await asyncio.create_subprocess_exec(program, "-S", stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate()
        found += [(program, line) for line in out.decode().splitlines() if f"{bridge.upper()}-" in line]
    return found


async def test_an_image_of_a_container_has_its_files_and_nothing_that_we_had_given_it(
    docker_bench: Any, docker_client: Any, minimal_image: str
) -> None:
    secret = 'a "secret" $HOME \\'
    wanted = docker_bench.want(environ={"TOKEN": secret, "PATH": "/elsewhere:/bin"})
    want, ref = await docker_bench.launch(wanted)
    await docker_bench.run(want, ref, "echo kept > /tmp/kept; echo gone > /home/work/gone")
    name = f"bai-user/test-{want.kernel_id[:8]}/my-work:1"
    try:
        facts = await docker_bench.runtime.commit(ref, name)
        assert (facts.name, [spec.name for spec in facts.kernelspecs]) == (name, ["demo"])
        made, base = (docker_client.api.inspect_image(one) for one in (name, minimal_image))
        assert (await docker_bench.runtime.inspect(ref)).running
        environ = dict(line.split("=", 1) for line in made["Config"]["Env"])
        assert (environ["TOKEN"], environ["PATH"], environ["BACKENDAI_SESSION_ID"]) == ("", "/usr/local/bin:/bin", "")
        kept = {key: value for key, value in made.items() if key != "ContainerConfig"}  # engines before 26 keep it
        assert "secret" not in str(kept)
        assert (made["Config"]["WorkingDir"], made["Config"]["User"]) == (base["Config"]["WorkingDir"] or "/", "0")
        assert not made["Config"]["Labels"]["bai.kernel-id"]
        assert [found.kernel_id for found in await docker_bench.runtime.list_ours()] == [want.kernel_id]

        again, ref = await docker_bench.launch(docker_bench.want(image=name))
        assert await docker_bench.run(again, ref, "cat /tmp/kept; ls /home/work") == (0, "kept\n")
        await docker_bench.runtime.remove(ref)
    finally:
        await docker_bench.runtime.remove_image(name)
    await docker_bench.runtime.remove_image(name)  # gone: no failure
    assert not docker_client.images.list(name)


async def test_an_image_of_a_container_brings_along_what_was_installed_in_its_home(
    docker_bench: Any, docker_client: Any, minimal_image: str
) -> None:
    """Only that, without a trace of how it came there, and as it is at the last save."""
    want, ref = await docker_bench.launch()
    kernel = ".local/share/jupyter/kernels/mine"
    install = (
        f"mkdir -p .local/lib/one .local/bin {kernel}; "
        "echo one >.local/lib/one/data; echo 'echo hello' >.local/bin/one; "
        f"""echo '{{"argv": ["/bin/cat"], "display_name": "Mine"}}' >{kernel}/kernel.json"""
    )
    await docker_bench.run(want, ref, f"{install}; echo secret >secret.txt; echo kept >/tmp/kept")
    names = [f"bai-user/test-{want.kernel_id[:8]}/my-work:{number}" for number in (1, 2, 3)]
    try:
        facts = await docker_bench.runtime.commit(ref, names[0])
        assert packages.parts_of(facts.labels) == ["share/jupyter/kernels", "bin", "lib"]
        assert [spec.name for spec in facts.kernelspecs][-1:] == ["mine"]
        made, base = (docker_client.api.inspect_image(one)["Config"] for one in (names[0], minimal_image))
        assert (made["Labels"][packages.LABEL], made["Labels"][INSPECTS]) == ("share/jupyter/kernels bin lib", "")
        assert (made["WorkingDir"], made["User"]) == (base["WorkingDir"] or "/", "0")
        names_in_it = "\n".join(_files_of(docker_client, names[0]))
        assert ("tmp/kept" in names_in_it, "opt/bai/packages.tar" in names_in_it) == (True, True)
        assert "secret" not in names_in_it

        script = packages.unpacking(packages.parts_of(facts.labels), ())
        again, other = await docker_bench.launch(docker_bench.want(image=names[0]))
        assert await docker_bench.run(again, other, script) == (0, "")
        seen = "cat .local/lib/one/data /tmp/kept; sh .local/bin/one; ls secret.txt 2>/dev/null"
        assert (await docker_bench.run(again, other, seen))[1] == "one\nkept\nhello\n"

        await docker_bench.run(again, other, "echo two >.local/lib/one/data; : >.local/bin/one")
        facts = await docker_bench.runtime.commit(other, names[1])
        third, last = await docker_bench.launch(docker_bench.want(image=names[1]))
        await docker_bench.run(third, last, script)
        assert (await docker_bench.run(third, last, "cat .local/lib/one/data .local/bin/one"))[1] == "two\n"

        shutil.rmtree(docker_bench.folder(third.kernel_id) / "scratch/.local")
        assert packages.parts_of((await docker_bench.runtime.commit(last, names[2])).labels) == []
        steps = [docker_client.api.inspect_image(name)["Parent"] for name in names[:2]]
        for one in (last, other):
            await docker_bench.runtime.remove(one)
    finally:
        for name in reversed(names):
            await docker_bench.runtime.remove_image(name)
    for step in steps:
        with pytest.raises(ImageNotFound):
            docker_client.api.inspect_image(step)


def _files_of(client: Any, image: str) -> list[str]:
    """Also what another layer hides."""
    with tempfile.TemporaryFile() as file:
        for piece in client.api.get_image(image):
            file.write(piece)
        file.seek(0)
        with tarfile.open(fileobj=file) as saved:
            layers = [saved.extractfile(one) for one in saved if one.name.endswith(".tar")]
            return [name for layer in layers if layer for name in tarfile.open(fileobj=layer).getnames()]


async def test_what_a_killed_agent_left_of_an_image_is_removed(docker_bench: Any, docker_client: Any) -> None:
    want, ref = await docker_bench.launch()
    await docker_bench.run(want, ref, "mkdir -p .local/bin; : >.local/bin/one")
    label = f"{INSPECTS}={docker_bench.runtime._agent_id}"
    left = docker_client.api.commit(ref, changes=[f"LABEL {label}"])["Id"]
    next_agent = docker_bench.remake()
    await next_agent.check()
    await next_agent.close()
    assert not docker_client.api.images(filters={"label": label})
    with pytest.raises(ImageNotFound):
        docker_client.api.inspect_image(left)
