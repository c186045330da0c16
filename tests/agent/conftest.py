"""Shared by the agent's tests: a tiny image, both runtimes, and makers of what a manager would send."""

import io
import json
import os
import shutil
import sys
import tarfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from bai_agent import folders
from bai_agent.runtimes.base import CreateRequest, Folders, Identity, Runtime
from bai_agent.runtimes.process import ProcessRuntime
from cuda_stubs import compile_c

from bai_jupyter.common.ids import KernelId, new_agent_id, new_kernel_id, new_session_id
from bai_jupyter.common.messages import KernelWant, MountWant
from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.common.statuses import Target

MakeWant = Callable[..., KernelWant]

_APPLETS = (
    "sh",
    "sleep",
    "cat",
    "echo",
    "ls",
    "kill",
    "id",
    "nc",
    "wget",
    "touch",
    "true",
    "dd",
    "env",
    "mkdir",
    "tail",
    "tar",
)


@pytest.fixture(scope="session")
def minimal_image(docker_client: Any, test_run: dict[str, str], missing: Any) -> Iterator[str]:
    """An image of one static program, with one good and two bad kernelspecs. Its name, with tag."""
    busybox = Path("/usr/bin/busybox")
    if not busybox.exists():
        missing("docker", "busybox-static is not installed")
    tag = uuid.uuid4().hex[:8]
    labels = [f"LABEL {name}={value}" for name, value in {**test_run, "ai.backend.role": "COMPUTE"}.items()]
    docker_client.api.import_image_from_data(
        _image_tar(busybox.read_bytes()),
        repository="bai-test-minimal",
        tag=tag,
        changes=["ENV PATH=/usr/local/bin:/bin", *labels],
    )
    name = f"bai-test-minimal:{tag}"
    yield name
    docker_client.images.remove(name, force=True)


def _image_tar(busybox: bytes) -> bytes:
    specs = "usr/local/share/jupyter/kernels"
    good = {"argv": ["/bin/demo", "-f", "{connection_file}"], "display_name": "Demo", "language": "demo"}
    files = {
        "bin/busybox": busybox,
        f"{specs}/demo/kernel.json": json.dumps(good).encode(),
        f"{specs}/broken/kernel.json": b"{not json",
        f"{specs}/noargv/kernel.json": b'{"argv": "sh"}',
    }
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            tar.addfile(member, io.BytesIO(content))
        for applet in _APPLETS:
            member = tarfile.TarInfo(f"bin/{applet}")
            member.type, member.linkname = tarfile.SYMTYPE, "/bin/busybox"
            tar.addfile(member)
        for folder in ("tmp", "proc", "sys", "dev", "etc"):
            member = tarfile.TarInfo(folder)
            member.type, member.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
            tar.addfile(member)
    return out.getvalue()


@pytest.fixture(scope="session")
def compiler(missing: Any) -> str:
    found = shutil.which("cc")
    if found is None:
        missing("cc", "no C compiler is on PATH")
    return found


@pytest.fixture(scope="session")
def nvml_folder(compiler: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the stub ``libnvidia-ml.so.1``."""
    folder = tmp_path_factory.mktemp("nvml")
    library_path = folder / "libnvidia-ml.so.1"
    compile_c(
        "-shared",
        "-fPIC",
        "-Wl,-soname,libnvidia-ml.so.1",
        "-o",
        library_path,
        Path(__file__).parent / "devices" / "nvml_stub.c",
    )
    return folder


@dataclass
class Bench:
    """A runtime with its state folder, and one volume ``local:home``."""

    runtime: Runtime
    state_dir: Path
    volume: Path
    image: str
    remake: Callable[[], Runtime]
    environ: dict[str, str]

    def folder(self, kernel_id: KernelId) -> Path:
        return self.state_dir / "kernels" / kernel_id

    def want(self, **changes: Any) -> KernelWant:
        values: dict[str, Any] = {
            "kernel_id": new_kernel_id(),
            "session_id": new_session_id(),
            "session_name": "My Session!",
            "target": Target.RUNNING,
            "image": self.image,
            "image_digest": "",
            "slots": ResourceSlots.parse({"cpu": "0.5", "mem": "64m"}),
            "shm_bytes": 16 * 1024**2,
            "environ": self.environ,
            "mounts": [],
        }
        return KernelWant(**{**values, **changes})

    def mount(self, name: str, subpath: str, read_only: bool = False) -> MountWant:
        return MountWant(name, "local:home", subpath, f"/home/work/{name}", read_only)

    def prepare(self, want: KernelWant) -> Folders:
        place = self.folder(want.kernel_id)
        place.mkdir(parents=True, exist_ok=True)
        identity = Identity(1000, 1000) if os.geteuid() == 0 else Identity(os.geteuid(), os.getegid())
        return folders.prepare(place, want.mounts, {"local:home": self.volume}, identity, "lab-1")

    async def launch(self, want: KernelWant | None = None) -> tuple[KernelWant, str]:
        want = want or self.want()
        place = self.prepare(want)
        ref = await self.runtime.create(CreateRequest(want, place))
        await self.runtime.start(ref)
        assert await self.runtime.change_mounts(ref, [], place.mounts, must_be_empty=False) == {}
        return want, ref

    async def run(self, want: KernelWant, ref: str, script: str) -> tuple[int, str]:
        """Run a shell script inside; its exit code and output."""
        log = self.folder(want.kernel_id) / "run" / f"log-{uuid.uuid4().hex[:6]}"
        process = await self.runtime.exec(ref, ["/bin/sh", "-c", script], env={}, cwd="/home/work", log_path=log)
        code = await self.runtime.wait(process)
        return code, log.read_text()


@pytest.fixture
def open_tmp(tmp_path: Path) -> Path:
    """A folder that other users can pass through: pytest's own are closed."""
    for folder in (tmp_path, *tmp_path.parents):
        mode = folder.stat().st_mode
        if not mode & 0o001:
            folder.chmod(mode | 0o011)
    return tmp_path


@pytest.fixture
def make_process_bench(open_tmp: Path) -> Callable[[], Bench]:
    def make() -> Bench:
        volume = open_tmp / "volume"
        volume.mkdir()
        (open_tmp / "state" / "kernels").mkdir(parents=True)

        def remake() -> Runtime:
            return ProcessRuntime(open_tmp / "state", "lab-1", _python_for_everybody())

        marker = {"BAI_TEST_RUN": os.environ["BAI_TEST_RUN"]}  # so that what we leave is found
        return Bench(remake(), open_tmp / "state", volume, "local", remake, marker)

    return make


@pytest.fixture
def make_docker_bench(request: pytest.FixtureRequest, open_tmp: Path, test_run: dict[str, str]) -> Callable[[], Bench]:
    image = request.getfixturevalue("minimal_image")
    from bai_agent.runtimes.docker import DockerRuntime

    def make() -> Bench:
        volume = open_tmp / "volume"
        volume.mkdir()
        (open_tmp / "state" / "kernels").mkdir(parents=True)
        agent_id = new_agent_id()

        def remake() -> Runtime:
            return DockerRuntime(open_tmp / "state", agent_id, "lab-1", labels=test_run)

        return Bench(remake(), open_tmp / "state", volume, image, remake, {})

    return make


def _python_for_everybody() -> str:
    """As root, kernels are another user, for whom our interpreter may lie in a closed folder."""
    return sys.executable if os.geteuid() != 0 else "/usr/bin/python3"


@pytest_asyncio.fixture
async def process_bench(make_process_bench: Callable[[], Bench]) -> AsyncIterator[Bench]:
    async for bench in _serve(make_process_bench()):
        yield bench


@pytest_asyncio.fixture
async def docker_bench(make_docker_bench: Callable[[], Bench]) -> AsyncIterator[Bench]:
    async for bench in _serve(make_docker_bench()):
        yield bench


@pytest.fixture(params=["process", pytest.param("docker", marks=pytest.mark.docker)])
def bench(request: pytest.FixtureRequest) -> Bench:
    """On each runtime in turn."""
    made: Bench = request.getfixturevalue(f"{request.param}_bench")
    return made


async def _serve(bench: Bench) -> AsyncIterator[Bench]:
    await bench.runtime.check()
    yield bench
    for found in await bench.runtime.list_ours():
        await bench.runtime.remove(found.ref)
    cleanup = getattr(bench.runtime, "cleanup", None)
    if cleanup is not None:
        await cleanup()
    await bench.runtime.close()
