"""Clusters for the tests of this folder, and a kernel in one of them."""

import importlib.util
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import loopback
import pytest
import pytest_asyncio
from end_to_end.hubs import JupyterHub, Visitor, installed_proxy

_spec = importlib.util.spec_from_file_location("end_to_end_cluster", Path(__file__).with_name("cluster.py"))
assert _spec is not None
assert _spec.loader is not None
cluster_module = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = cluster_module
_spec.loader.exec_module(cluster_module)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("c")


@pytest.fixture
def agent_options() -> dict[str, Any]:
    """Override to start the agent with other options."""
    return {}


@pytest.fixture
def manager_options() -> dict[str, Any]:
    """Override to start the manager with other options."""
    return {}


@pytest_asyncio.fixture
async def cluster(
    folder: Path,
    free_port: int,
    agent_options: dict[str, Any],
    manager_options: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> AsyncIterator[Any]:
    """A cluster with the process runtime, or with the options of ``indirect`` parametrization."""
    options = {**agent_options, **getattr(request, "param", {})}
    if options.get("runtime") == "docker":
        request.getfixturevalue("docker_client")
        options = {**options, "container_labels": request.getfixturevalue("test_run")}
    cluster = cluster_module.Cluster(folder, free_port, **options)
    cluster.manager |= manager_options
    for name, value in cluster.environ.items():
        monkeypatch.setenv(name, value)  # so that what a test sets itself is undone before
    try:
        cluster.start("manager")
        cluster.start("agent")
        await cluster.ready()
        if options.get("runtime") == "docker":
            await cluster.add_image(request.getfixturevalue("python_image"))
        await cluster.write_kernelspecs()
        yield cluster
        await cluster.revive()
        await cluster.end_sessions()
    finally:
        cluster.stop()
        cluster.clean_up()


@pytest.fixture(autouse=True)
def _no_delay_of_debugger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")


# A JupyterHub on it


@pytest.fixture(scope="session")
def proxy_folder(missing: Any) -> Path:
    return installed_proxy(missing)


@pytest.fixture(scope="session")
def hub_image(docker_client: Any) -> str:
    """With our package as it is now; what is built and has not changed is not built again."""
    from bai_jupyter.cli import images

    return images.build(["hub"])[0]


@pytest.fixture
def ports(free_port: int) -> dict[str, int]:
    """All different, also from the manager's."""
    names, found = ("port", "proxy_port", "hub_port", "route_port", "service_port"), {free_port}
    while len(found) <= len(names):
        found.add(loopback.free_port())
    return dict(zip(names, found - {free_port}, strict=True))


@pytest_asyncio.fixture
async def hub(
    folder: Path, cluster: Any, proxy_folder: Path, ports: dict[str, int], request: pytest.FixtureRequest
) -> AsyncIterator[JupyterHub]:
    """Not started yet. Its agents need ``AgentApp.doors``, by the fixture ``agent_options``."""
    place = folder / "hub"
    place.mkdir()
    image = "local" if cluster.runtime == "process" else request.getfixturevalue("hub_image")
    if image != "local":
        await cluster.add_image(image)
    one = JupyterHub(cluster, place, proxy_folder, ports, image)
    one.configure()
    await one.make_service()
    yield one
    one.stop()


@pytest_asyncio.fixture
async def visit(hub: JupyterHub) -> AsyncIterator[Any]:
    """``await visit("kim")``: a visitor who has logged in."""
    visitors = []

    async def visit(name: str) -> Visitor:
        visitors.append(Visitor(hub))
        assert await visitors[-1].log_in(name) == 302
        return visitors[-1]

    yield visit
    for visitor in visitors:
        await visitor.close()
