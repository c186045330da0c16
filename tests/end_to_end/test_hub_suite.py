"""JupyterHub's own tests (``jupyterhub.tests``, of the installed version), with servers that are sessions.

``hub_suite.py`` puts our spawner where theirs take the local one, so their slow, bad, form and instrumented spawners
are ours too. All of test_spawner, test_named_servers, test_user and test_singleuser run, and what test_api asks of
servers; but for those in ``hub_suite.NOT_OURS``, with the reasons.

Their admin is called admin, as ours is, who is no service's ward; so ours gets another name.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import jupyterhub.tests
import pytest
from end_to_end.hubs import JupyterHub

from bai_jupyter.client import ManagerClient

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(300)]

SUITE = Path(jupyterhub.tests.__file__).parent
INI = """[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = module
asyncio_default_test_loop_scope = module
"""
RENAME = """mutation {modify_user(email: "admin@localhost", props: {username: "first"}) {ok msg}}"""
A_FEW = "reuse_api_token or routing or connect_url or spawner_env or string_formatting or from_form"
OF_API = "spawn or progress or limit or race or activity or rename_server or patch_server"


async def run(cluster: Any, hub: JupyterHub, module: str, *options: str) -> None:
    """Tests of theirs, of which none may fail or be missing."""
    async with ManagerClient(cluster.config) as admin:
        assert (await admin.graphql(RENAME))["modify_user"]["ok"]
    (hub.folder / "pytest.ini").write_text(INI)
    command = [
        *(sys.executable, "-m", "pytest", "-c", str(hub.folder / "pytest.ini"), f"--rootdir={SUITE}"),
        *("-p", "end_to_end.hub_suite", "-p", "no:cacheprovider", f"--basetemp={hub.folder / 'their'}"),
        *("-q", "--tb=short", "--show-capture=no", "-W", "ignore", str(SUITE / module), *options),
    ]
    environ = {**hub.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONDONTWRITEBYTECODE": "1"}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=hub.folder, env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    assert process.returncode == os.EX_OK, said.decode()[-6000:]


async def test_a_few_of_their_tests(cluster: Any, hub: JupyterHub) -> None:
    await run(cluster, hub, "test_spawner.py", "-k", A_FEW)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("module", "options"),
    [
        ("test_spawner.py", []),
        ("test_named_servers.py", []),
        ("test_user.py", []),
        ("test_api.py", ["-k", OF_API]),
        ("test_singleuser.py", []),
    ],
)
async def test_their_tests(cluster: Any, hub: JupyterHub, module: str, options: list[str]) -> None:
    cluster.kill("manager")
    cluster.manager["allow_unsafe_runtime"] = True  # in some of them two users have servers
    cluster.start("manager")
    await cluster.ready()
    await run(cluster, hub, module, *options)
