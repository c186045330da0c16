"""A plugin for JupyterHub's own tests (``pytest -p end_to_end.hub_suite``): all their servers are sessions.

Their spawners, the slow, bad and instrumented ones too, are made of ``SimpleLocalProcessSpawner``. It is ours here,
before they see it.
"""

import sys
from typing import Any
from urllib.parse import urlsplit

import jupyterhub.spawner
import pytest
from traitlets import Dict, default

from bai_jupyter.spawner import BackendAISpawner

_PATIENCE_S = 120

# Which of the suite's tests of servers are about something else than any spawner.
NOT_OURS = {
    "start without the row of a server, which a Hub always makes first": [
        *("test_spawner", "test_stop_spawner_sigint_fails", "test_stop_spawner_stop_now", "test_spawner_poll"),
        *("test_popen_kwargs", "test_shell_cmd"),
    ],
    "options that local processes have": ["test_apply_user_options_dict"],
    "what there is without a form, and ours has one": ["test_predefined_options_from_form[default]"],
    "compare the spawner's state with a process id": ["test_default_server", "test_create_or_start_named_server"],
    "names with characters that the manager refuses for users": [
        *("test_spawner_routing[has~x]", "test_spawner_routing[has%x]", "test_spawner_routing[has%40x]"),
    ],
    "the status of a process that was interrupted; a session's get SIGTERM, and it ends with 143": [
        "test_single_user_spawner"
    ],
    "words that their own spawner has while it starts": ["test_progress", "test_progress_bad_slow"],
    "options that no form of ours has": ["test_spawn"],
    "pages that Jupyter Server and Notebook of today do not have; these fail with their own spawner too": [
        "test_nbclassic_control_panel",
        *(f"test_singleuser_auth[access_scopes{n}--True]" for n in (0, 2, 4, 6)),
        *(f"test_singleuser_auth[access_scopes{n}-True]" for n in ("3-named", "5-named", "7-named-server")),
    ],
    "folders of this host as home": ["test_disable_user_config", "test_notebook_dir"],
    "configuration in such a folder": ["test_forbid_unauthenticated_access"],
}


class SpawnerOfTheSuite(BackendAISpawner):
    """With so few resources that many fit beside each other, and with what the suite takes for granted."""

    home_dir = ""  # sessions have their own
    popen_kwargs = Dict()

    def user_env(self, env: dict[str, str]) -> dict[str, str]:
        return env

    def get_env(self) -> dict[str, str]:
        return self.user_env(super().get_env())

    @default("image")
    def _default_image(self) -> str:
        return "local"

    @default("door")
    def _default_door(self) -> str:
        return ""  # without isolation they reach the Hub, whose port is known only when it runs

    @default("cpu_limit")
    def _default_cpu_limit(self) -> float:
        return 0.1

    @default("mem_limit")
    def _default_mem_limit(self) -> int:
        return 256 * 1024**2

    async def start(self) -> Any:
        """``(ip, port)``, which spawners may answer too: SlowSpawner expects it."""
        url = urlsplit(await super().start())
        return url.hostname, url.port


assert "jupyterhub.tests.mocking" not in sys.modules
jupyterhub.spawner.SimpleLocalProcessSpawner = SpawnerOfTheSuite


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    names = {name for several in NOT_OURS.values() for name in several}
    left_out = [item for item in items if names & {item.name, item.name.partition("[")[0]}]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(autouse=True)
def patience(request: pytest.FixtureRequest) -> None:
    """The Hub answers when a server runs, however busy this machine is; unless a test wants it to have no patience."""
    if "app" in request.fixturenames:
        settings = request.getfixturevalue("app").tornado_settings
        settings.setdefault("slow_spawn_timeout", _PATIENCE_S)
        settings.setdefault("slow_stop_timeout", _PATIENCE_S)
