"""Pulling an image: the figures of a pull, and a pull from a real registry."""

import io
import os
import shutil
import socket
import subprocess
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from bai_agent.runtimes.pull import PullProgress

MIB = 1024 * 1024


def _line(layer: str, status: str, current: int = 0, total: int = 0) -> dict[str, Any]:
    detail = {"current": current, "total": total} if total else {}
    return {"id": layer, "status": status, "progressDetail": detail}


def _figures(*lines: dict[str, Any]) -> list[tuple[int, int, int] | None]:
    progress = PullProgress()
    return [progress.take(line) for line in lines]


def test_half_of_a_layer_is_its_download_and_half_its_unpacking() -> None:
    assert _figures(
        _line("a", "Pulling fs layer"),
        _line("a", "Downloading", 50, 100),
        _line("a", "Download complete"),
        _line("a", "Extracting", 50, 100),
        _line("a", "Pull complete"),
    ) == [(0, 0, 0), (25, 50, 100), (50, 100, 100), (75, 100, 100), (100, 100, 100)]


def test_a_layer_that_waits_counts_as_the_others() -> None:
    begun = _line("a", "Pulling fs layer"), _line("b", "Pulling fs layer"), _line("b", "Waiting")
    assert _figures(*begun, _line("a", "Download complete", 0, 100))[-1] == (25, 100, 100)


def test_what_is_told_only_rises() -> None:
    begun = _line("a", "Pulling fs layer"), _line("b", "Pulling fs layer")
    figures = _figures(*begun, _line("a", "Pull complete", 0, 100), _line("b", "Downloading", 1, 900))
    assert figures[2:] == [(50, 100, 100), None]  # the other is nine times as large


def test_a_layer_that_is_here_already_and_other_lines_do_not_count() -> None:
    lines = {"status": "Pulling from x", "id": "1"}, _line("old", "Already exists"), {"status": "Digest: sha256:1"}
    assert _figures(*lines) == [None, None, None]


def test_an_engine_that_does_not_tell_how_far_it_has_unpacked() -> None:
    begun = _line("a", "Pulling fs layer"), _line("a", "Downloading", 100, 100)
    unpacking = {"id": "a", "status": "Extracting", "progressDetail": {"current": 3, "units": "s"}}
    assert _figures(*begun, unpacking, _line("a", "Pull complete"))[-1] == (100, 100, 100)


@pytest.fixture
def registry(tmp_path: Path, missing: Any) -> Iterator[str]:
    """The address of an empty registry. An engine asks one on the loopback without TLS."""
    program = shutil.which("docker-registry")
    if program is None:
        missing("docker", "docker-registry is not installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    config = tmp_path / "registry.yml"
    config.write_text(
        "version: 0.1\n"
        "log: {level: error}\n"
        f"storage: {{filesystem: {{rootdirectory: {tmp_path}/registry}}}}\n"
        f"http: {{addr: {address}}}\n"
    )
    with (tmp_path / "registry.log").open("wb") as log:
        process = subprocess.Popen([program, "serve", str(config)], stdout=log, stderr=log)
    try:
        _until_it_answers(f"http://{address}/v2/", process, tmp_path / "registry.log")
        yield address
    finally:
        process.kill()
        process.wait()


def _until_it_answers(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    while process.poll() is None:
        try:
            urlopen(url, timeout=10).close()  # noqa: S310 - on the loopback
            return
        except URLError:
            continue
    raise AssertionError(log.read_text())


@pytest.mark.docker
@pytest.mark.asyncio
async def test_a_pull_tells_how_far_it_is(
    docker_bench: Any, docker_client: Any, registry: str, test_run: dict[str, str]
) -> None:
    name = f"{registry}/lab/{uuid.uuid4().hex[:8]}:1"
    layers = [4 * MIB, 12 * MIB, 2 * MIB, 6 * MIB]
    # A container that is left of the build would keep the layers here.
    docker_client.images.build(fileobj=_context(layers), custom_context=True, tag=name, labels=test_run, rm=True)
    try:
        pushed = docker_client.api.push(name, stream=True, decode=True)
        assert not [line for line in pushed if "error" in line]
        docker_client.api.remove_image(name, force=True)
        told: list[tuple[float, int, int]] = []
        await docker_bench.runtime.ensure_image(name, "", lambda *figures: told.append(figures))
        percents = [percent for percent, _, _ in told]
        assert percents == sorted(set(percents))
        assert percents[-1] == 100
        assert told[-1][1] == told[-1][2]
        assert sum(layers) <= told[-1][2] < sum(layers) + MIB
        assert docker_client.api.inspect_image(name)["RootFS"]["Layers"]
    finally:
        docker_client.api.remove_image(name, force=True)


def _context(layers: list[int]) -> io.BytesIO:
    """What builds an image with layers of these sizes in bytes, which nothing can pack smaller."""
    files = {"Dockerfile": b"FROM scratch\n"}
    for number, size in enumerate(layers):
        files[f"layer-{number}"] = os.urandom(size)
        files["Dockerfile"] += f"COPY layer-{number} /\n".encode()
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    context.seek(0)
    return context
