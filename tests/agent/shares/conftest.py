"""Built for these tests from C: the preload library, a stub of the driver's library, and a program that uses both."""

import io
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bai_agent.shares import library
from cuda_stubs import GPU, Probe, compile_c

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def cuda_folder(compiler: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the stub ``libcuda.so.1`` and the program ``probe``."""
    folder = tmp_path_factory.mktemp("cuda")
    compile_c("-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o", folder / "libcuda.so.1", HERE / "cuda_stub.c")
    compile_c("-O1", "-o", folder / "probe", HERE / "cuda_probe.c", f"-L{folder}", "-l:libcuda.so.1")
    return folder


@pytest.fixture(scope="session")
def _probe(cuda_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Probe:
    folder = tmp_path_factory.mktemp("shares")
    return Probe(folder, cuda_folder, library.build(folder / "cache", inside=str(folder)))


@pytest.fixture
def probe(_probe: Probe) -> Probe:
    """With 4 GiB of the first GPU, of which 256 MiB are reserved."""
    _probe.limit((GPU, 4096, 256))
    return _probe


@pytest.fixture(scope="session")
def library_cache(compiler: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the library for containers is built once."""
    folder = tmp_path_factory.mktemp("library")
    library.build(folder)
    return folder


@pytest.fixture(scope="session")
def cuda_image(minimal_image: str, cuda_folder: Path, docker_client: Any, test_run: dict[str, str]) -> Iterator[str]:
    """``minimal_image`` with glibc, the stub driver and ``probe``: no GPU, no Python."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path in _libraries_of(cuda_folder / "probe", cuda_folder):
            tar.add(path.resolve(), str(path).lstrip("/"))
        tar.add(cuda_folder / "libcuda.so.1", "usr/lib/libcuda.so.1")
        tar.add(cuda_folder / "probe", "bin/probe")
    name = f"{minimal_image}-cuda"
    container = docker_client.api.create_container(minimal_image, ["/bin/true"], labels=test_run)
    try:
        docker_client.api.put_archive(container["Id"], "/", out.getvalue())
        repository, tag = name.rsplit(":", 1)
        docker_client.api.commit(container["Id"], repository, tag, changes=["ENV CUDA_VERSION=12.4.1"])
    finally:
        docker_client.api.remove_container(container["Id"], force=True)
    yield name
    docker_client.images.remove(name, force=True)


def _libraries_of(program: Path, folder: Path) -> list[Path]:
    """The loader and the C library that a program needs, where it looks for them; and what our library needs."""
    said = subprocess.run(
        ["ldd", program], env={"LD_LIBRARY_PATH": str(folder)}, capture_output=True, text=True, check=True, timeout=60
    )
    words = {word for word in said.stdout.split() if word.startswith("/") and "libcuda" not in word}
    found = sorted(map(Path, words))
    return [*found, *(path.with_name("libdl.so.2") for path in found if path.name == "libc.so.6")]
