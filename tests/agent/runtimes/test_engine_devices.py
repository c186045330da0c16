"""Devices in a real engine's hands: the null device stands for each vendor's nodes."""

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bai_agent.devices import cdi
from bai_agent.devices.base import ContainerOptions
from bai_agent.runtimes import engine_devices, seccomp
from bai_agent.runtimes.base import CreateRequest, RuntimeFault
from bai_agent.runtimes.engine_devices import Abilities

NO_CDI = Abilities(cdi=False, own_seccomp=True)
IO_URING = ("io_uring_enter", "io_uring_register", "io_uring_setup")

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make device nodes")


# In an engine's words


@pytest.mark.parametrize(
    ("info", "abilities"),
    [
        ({}, Abilities(cdi=False, own_seccomp=False)),
        ({"SecurityOptions": ["name=seccomp,profile=default"]}, NO_CDI),
        ({"SecurityOptions": ["name=seccomp,profile=builtin"]}, NO_CDI),
        ({"SecurityOptions": ["name=seccomp,profile=/etc/ours.json"]}, Abilities(cdi=False, own_seccomp=False)),
        ({"CDISpecDirs": ["/etc/cdi"], "SecurityOptions": None}, Abilities(cdi=True, own_seccomp=False)),
        ({"CDISpecDirs": []}, Abilities(cdi=False, own_seccomp=False)),
    ],
)
def test_what_an_engine_can_do_it_says_itself(info: dict[str, Any], abilities: Abilities) -> None:
    assert engine_devices.abilities_of(info) == abilities


def test_a_runtime_that_gives_devices_by_variables_is_told_of() -> None:
    assert list(engine_devices.runtime_trouble({"DefaultRuntime": "runc"})) == []
    (told,) = engine_devices.runtime_trouble({"DefaultRuntime": "habana"})
    assert told.startswith("The engine's default runtime is habana, which gives containers")


def test_without_devices_a_container_is_as_closed_as_ever() -> None:
    found = engine_devices.host_config(ContainerOptions(), NO_CDI, memlock=False, shm_bytes=5)
    assert found == {
        "cap_add": None,
        "security_opt": ["no-new-privileges"],
        "ipc_mode": "private",
        "ulimits": None,
        "cpuset_cpus": None,
        "shm_size": 5,
        "devices": [],
        "group_add": None,
        "device_requests": None,
    }


def test_locked_memory_falls_back_to_a_capability() -> None:
    options = ContainerOptions(memlock=True, caps=("SYS_NICE",))
    lifted = engine_devices.host_config(options, NO_CDI, memlock=True, shm_bytes=0)
    assert (lifted["cap_add"], lifted["ulimits"][0]["Hard"]) == (["SYS_NICE"], -1)
    kept = engine_devices.host_config(options, NO_CDI, memlock=False, shm_bytes=0)
    assert (kept["cap_add"], kept["ulimits"]) == (["IPC_LOCK", "SYS_NICE"], None)


def test_an_engine_that_knows_cdi_is_asked_by_name() -> None:
    options = ContainerOptions(cdi=("amd.com/gpu=0",), gpu_ids=("GPU-1",))
    found = engine_devices.host_config(options, replace(NO_CDI, cdi=True), memlock=False, shm_bytes=0)
    assert [(one["Driver"], one["DeviceIDs"]) for one in found["device_requests"]] == [
        ("nvidia", ["GPU-1"]),
        ("cdi", ["amd.com/gpu=0"]),
    ]


def test_an_admin_s_seccomp_profile_stays() -> None:
    options = ContainerOptions(syscalls=IO_URING)
    theirs = engine_devices.host_config(options, Abilities(cdi=False, own_seccomp=False), memlock=False, shm_bytes=0)
    assert theirs["security_opt"] == ["no-new-privileges"]
    ours = engine_devices.host_config(options, NO_CDI, memlock=False, shm_bytes=0)["security_opt"]
    assert ours[1].startswith("seccomp={")


def test_the_host_s_ipc_is_shared_on_demand_only_and_then_has_no_size() -> None:
    options = ContainerOptions(host_ipc=True, shm_bytes=1 << 30)
    found = engine_devices.host_config(options, NO_CDI, memlock=False, shm_bytes=5)
    assert (found["ipc_mode"], found["shm_size"]) == ("host", None)
    private = engine_devices.host_config(replace(options, host_ipc=False), NO_CDI, memlock=False, shm_bytes=5)
    assert (private["ipc_mode"], private["shm_size"]) == ("private", 1 << 30)


def test_the_profile_allows_what_was_asked_and_nothing_that_needs_power_over_the_host() -> None:
    def allowed(*more: str) -> set[str]:
        rules = json.loads(seccomp.profile(more))["syscalls"]
        return {
            name
            for rule in rules
            if rule["action"] == "SCMP_ACT_ALLOW" and "args" not in rule
            for name in rule["names"]
        }

    assert allowed(*IO_URING) - allowed() == set(IO_URING)
    refused = {"mount", "unshare", "setns", "bpf", "keyctl", "init_module", "kexec_load", "perf_event_open", "reboot"}
    assert not allowed() & {*refused, *IO_URING, "clone", "clone3", "socket", "personality", "userfaultfd", "ptrace2"}
    assert {"read", "openat", "execve", "futex", "epoll_wait", "rseq", "statx"} <= allowed()


# A real engine


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Path]:
    """Vendors' nodes: the null device, owned by groups that no image knows."""
    for name, gid in (("npu3", 4301), ("npu30", 4302), ("ctl", 4303)):
        os.mknod(tmp_path / name, 0o660 | stat.S_IFCHR, os.makedev(1, 3))
        (tmp_path / name).chmod(0o660)  # whatever our umask is
        os.chown(tmp_path / name, 0, gid)
    yield tmp_path
    for name in ("npu3", "npu30", "ctl"):
        (tmp_path / name).unlink(missing_ok=True)


async def launch(bench: Any, options: ContainerOptions, **want: Any) -> tuple[Any, str]:
    wanted = bench.want(**want)
    ref = await bench.runtime.create(CreateRequest(wanted, bench.prepare(wanted), options))
    await bench.runtime.start(ref)
    return wanted, ref


@pytest.mark.asyncio
@pytest.mark.docker
@needs_root
async def test_a_container_gets_its_nodes_renumbered_its_files_and_no_others(docker_bench: Any, nodes: Path) -> None:
    (nodes / "library").write_text("vendor's\n")
    options = ContainerOptions(
        nodes=((str(nodes / "npu3"), "/dev/npu0", "rwm"), (str(nodes / "ctl"), "/dev/npu_ctl", "rwm")),
        groups=(4301, 4303),
        binds=((str(nodes / "library"), "/opt/vendor/library", True),),
        shm_bytes=48 << 20,
        env={"NPU_VISIBLE": "0"},
    )
    want, ref = await launch(docker_bench, options)
    script = "ls /dev | /bin/busybox grep npu; id -G; cat /opt/vendor/library; echo x >/dev/npu0 && echo written"
    script += (
        "; echo x 2>/dev/null >/opt/vendor/library || echo 'read only'; /bin/busybox df -k /dev/shm; echo $NPU_VISIBLE"
    )
    code, output = await docker_bench.run(want, ref, script)
    lines = output.splitlines()
    assert (code, lines[:4]) == (0, ["npu0", "npu_ctl", "1000 4301 4303", "vendor's"])
    assert "written" in lines
    assert any("Read-only" in line or line == "read only" for line in lines)
    assert any(line.split()[1:2] == [str(48 << 10)] for line in lines)
    assert lines[-1] == "0"


@pytest.mark.asyncio
@pytest.mark.docker
@needs_root
async def test_cdi_is_resolved_for_an_engine_that_cannot(
    docker_bench: Any, nodes: Path, monkeypatch: Any, caplog: Any
) -> None:
    device = {"deviceNodes": [{"path": "/dev/npu0", "hostPath": str(nodes / "npu30")}], "additionalGids": [4302]}
    hooks = [{"hookName": "createContainer", "path": "/usr/bin/tool", "args": ["tool", "prepare"]}]
    spec = {
        "cdiVersion": "0.7.0",
        "kind": "vendor.example/npu",
        "devices": [{"name": "a", "containerEdits": device}],
        "containerEdits": {"env": ["NPU=yes"], "hooks": hooks},
    }
    (nodes / "cdi").mkdir()
    (nodes / "cdi" / "vendor.json").write_text(json.dumps(spec))
    monkeypatch.setattr(cdi, "FOLDERS", (str(nodes / "cdi"),))
    monkeypatch.setattr(docker_bench.runtime._containers, "abilities", NO_CDI)
    want, ref = await launch(docker_bench, ContainerOptions(cdi=("vendor.example/npu=a",)))
    code, output = await docker_bench.run(want, ref, "ls /dev/npu0; id -G; echo $NPU")
    assert (code, output.split()) == (0, ["/dev/npu0", "1000", "4302", "yes"])
    assert "vendor.example/npu=a: hooks that are not run: /usr/bin/tool prepare" in caplog.text
    with pytest.raises(RuntimeFault) as caught:
        await launch(docker_bench, ContainerOptions(cdi=("vendor.example/npu=b",)))
    assert caught.value.reason.code == "device-not-ready"
    assert caught.value.reason.text.startswith("vendor.example/npu=b could not be made ready on lab-1: no file in")


@pytest.mark.asyncio
@pytest.mark.docker
@pytest.mark.parametrize("path", ["/dev/no-such-npu", "/etc/hostname"])
async def test_a_node_that_is_gone_is_our_error_before_anything_is_made(
    docker_bench: Any, path: str, docker_client: Any
) -> None:
    want = docker_bench.want()
    options = ContainerOptions(nodes=((path, "/dev/npu0", "rwm"),))
    with pytest.raises(RuntimeFault) as caught:
        await docker_bench.runtime.create(CreateRequest(want, docker_bench.prepare(want), options))
    assert caught.value.reason.text == f"{path} was assigned but is gone from lab-1."
    assert await docker_bench.runtime.list_ours() == []


@pytest.mark.asyncio
@pytest.mark.docker
async def test_a_session_that_locks_memory_starts_on_any_engine(docker_bench: Any, docker_client: Any) -> None:
    """Whether limits can be lifted is found out once; where they cannot, the admin is told."""
    options = ContainerOptions(memlock=True)
    first, second = await launch(docker_bench, options), await launch(docker_bench, options)
    facts = [docker_client.api.inspect_container(ref)["HostConfig"] for _, ref in (first, second)]
    _, limits = await docker_bench.run(*first, "cat /proc/self/limits")
    (locked,) = [line for line in limits.splitlines() if line.startswith("Max locked memory")]
    said = await docker_bench.runtime.check()
    assert [one["IpcMode"] for one in facts] == ["private"] * 2  # as the engine says itself
    if "unlimited" in locked:
        assert (facts[0]["CapAdd"], engine_devices.NO_MEMLOCK in said) == (None, False)
    else:
        assert ([one["CapAdd"] for one in facts], engine_devices.NO_MEMLOCK in said) == ([["IPC_LOCK"]] * 2, True)
    labels = {"label": f"bai.inspects={docker_bench.runtime._agent_id}"}
    assert docker_client.containers.list(all=True, filters=labels) == []


@pytest.mark.asyncio
@pytest.mark.docker
async def test_our_seccomp_profile_is_taken_and_holds(docker_bench: Any, docker_client: Any) -> None:
    want, ref = await launch(docker_bench, ContainerOptions(syscalls=IO_URING))
    security = docker_client.api.inspect_container(ref)["HostConfig"]["SecurityOpt"]
    if not docker_bench.runtime._containers.abilities.own_seccomp:  # an admin's profile, or an engine without any
        assert security == ["no-new-privileges"]
        return
    assert [one.split("=")[0] for one in security] == ["no-new-privileges", "seccomp"]
    script = "cat /proc/self/status | /bin/busybox grep Seccomp:; /bin/busybox unshare -U true || echo refused"
    code, output = await docker_bench.run(want, ref, script)
    assert code == 0
    assert output.split()[:2] == ["Seccomp:", "2"]
    assert output.split()[-1] == "refused"
    assert "Operation not permitted" in output


@pytest.mark.asyncio
@pytest.mark.docker
async def test_a_container_joins_the_networks_of_its_devices(
    docker_bench: Any, docker_client: Any, test_run: dict[str, str]
) -> None:
    network = docker_client.networks.create(f"bai-test-{docker_bench.runtime._agent_id[:8]}", labels=test_run)
    try:
        want = docker_bench.want()
        request = CreateRequest(want, docker_bench.prepare(want), ContainerOptions(networks=(network.name,)))
        ref = await docker_bench.runtime.create(request)
        assert await docker_bench.runtime.create(request) == ref  # again, as after a crash
        await docker_bench.runtime.start(ref)
        joined = docker_client.api.inspect_container(ref)["NetworkSettings"]["Networks"]
        assert set(joined) == {docker_bench.runtime.bridge, network.name}
    finally:
        for found in await docker_bench.runtime.list_ours():
            await docker_bench.runtime.remove(found.ref)
        network.remove()
