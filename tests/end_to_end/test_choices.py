"""A kernelspec with a preset, as ``bai kernelspec install`` writes it, in clients that know nothing of choices."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from bai_jupyter.client import ManagerClient

pytestmark = pytest.mark.asyncio

WAIT_S = 60
MEDIUM = {"cpu": "2", "mem": str(8 * 1024**3)}  # the policy's default is less


async def install(cluster: Any) -> str:
    """The name of the written kernelspec."""
    async with ManagerClient(cluster.config) as client:
        image = (await client.list_images())[0]["name"]
    options = ["--image", image, "--preset", "medium", "--prefix", str(cluster.folder / "prefix"), "--quiet"]
    command = [str(Path(sys.executable).with_name("bai")), "kernelspec", "install", *options]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, env={**os.environ, **cluster.environ}
    )
    out, _ = await asyncio.wait_for(process.communicate(), WAIT_S)
    assert process.returncode == 0
    return out.decode().strip()


@pytest.fixture
def _prefix_is_searched(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_PATH", str(cluster.folder / "prefix" / "share" / "jupyter"))


async def slots_of_the_session(cluster: Any) -> dict[str, str]:
    async with ManagerClient(cluster.config) as client:
        (session,) = await client.list_sessions()
    return dict(session["slots"])


@pytest.mark.usefixtures("_prefix_is_searched")
@pytest.mark.parametrize("says", ["the notebook", "the caller"])
async def test_nbclient_and_papermill_get_the_preset(cluster, says):
    name = await install(cluster)
    assert name.endswith("-medium")
    metadata = {"kernelspec": {"name": name, "display_name": name}} if says == "the notebook" else {}
    notebook = new_notebook(cells=[new_code_cell("print(6 * 7)")], metadata=metadata)
    options = {} if says == "the notebook" else {"kernel_name": name}  # papermill does the latter
    client = NotebookClient(notebook, timeout=WAIT_S, startup_timeout=WAIT_S, **options)
    async with client.async_setup_kernel(cwd=str(cluster.home)):
        await client.async_execute_cell(notebook.cells[0], 0)
        assert await slots_of_the_session(cluster) == MEDIUM
    assert notebook.cells[0].outputs[0].text == "42\n"


@pytest.mark.usefixtures("_prefix_is_searched")
async def test_a_console_gets_the_preset_and_a_notebook_the_folder_that_it_lies_in(cluster):
    manager = AsyncKernelManager(kernel_name=await install(cluster))
    async with ManagerClient(cluster.config) as client:
        folder = await client.create_folder("data")
        await client.make_directory("data", "deep")
    in_folder = {"mount": folder["id"], "folder": "data", "path": "deep"}
    await manager.start_kernel(cwd=str(cluster.home), bai_cwd=in_folder)
    try:
        assert await slots_of_the_session(cluster) == MEDIUM
        async with ManagerClient(cluster.config) as client:
            (session,) = await client.list_sessions()
        assert "data" in [mount["name"] for mount in session["mounts"]]
        assert [one["cwd"] for one in session["jupyterKernels"]] == ["/home/work/data/deep"]
    finally:
        await manager.shutdown_kernel(now=True)
        manager.context.destroy(linger=0)


@pytest.mark.usefixtures("_prefix_is_searched")
async def test_a_notebook_whose_wish_cannot_be_read_starts_nothing(cluster):
    manager = AsyncKernelManager(kernel_name=await install(cluster))
    with pytest.raises(Exception, match=r"bai.preset: 3 is not a text."):
        await manager.start_kernel(bai_metadata={"preset": 3})
    manager.context.destroy(linger=0)
    async with ManagerClient(cluster.config) as client:
        assert await client.list_sessions() == []
