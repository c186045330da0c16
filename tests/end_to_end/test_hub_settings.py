"""What JupyterHub's documentation says of a spawner's settings, tried with a real Hub: hooks, limits, groups."""

import json
from pathlib import Path
from typing import Any

import pytest
from end_to_end.hubs import JupyterHub, let_agents_take, sessions

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(300)]

GIB, MIB = 1024**3, 1024**2
CONFIG = """
c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0}
c.JupyterHub.load_groups = {"large": {"users": ["kim"]}, "others": {"users": ["lee"]}}
c.BackendAISpawner.cpu_limit = c.BackendAISpawner.mem_limit = None
c.Spawner.env_keep = ["KEPT_OF_HUB"]
c.Spawner.environment = {
    "SAID": "plainly",
    "ASKED": lambda spawner: f"of {spawner.user.name}",
    "MEM_LIMIT": "1",  # goes before the Hub's own
}
# Last in the order of the keys, so it counts; a group that she is not in does not.
async def overrides(spawner):
    return {
        "2": {"groups": ["large"], "spawner_override": {
            "mem_limit": lambda spawner: "640M", "environment": {"OF_GROUP": "large"}}},
        "1": {"groups": ["large"], "spawner_override": {"mem_limit": "320M"}},
        "3": {"groups": ["others"], "spawner_override": {"mem_limit": "64M"}},
    } if spawner.name in ("group", "") else {}
c.Spawner.group_overrides = overrides

OF_SERVER = %(servers)r
def apply(spawner, options):
    note = options.pop("note", "none")
    type(spawner).choose(spawner, options)
    spawner.environment["NOTE"] = f"{note}, {spawner.preset}"
c.Spawner.apply_user_options = apply

async def pre_spawn(spawner):
    for name, value in OF_SERVER.get(spawner.name, {}).items():
        setattr(spawner, name, value)
    spawner.environment["OF_HOOK"] = spawner.environment["NOTE"] + ", " + str(spawner.mem_limit)
c.Spawner.pre_spawn_hook = pre_spawn

async def post_stop(spawner):
    with open("stopped", "a") as file:
        print(spawner.name, file=file)
c.Spawner.post_stop_hook = post_stop
"""
SERVERS: dict[str, dict[str, Any]] = {
    "limit": {"cpu_limit": 1.5, "mem_limit": "300M"},
    "above": {"cpu_limit": 1, "cpu_guarantee": 2, "mem_limit": "300M", "mem_guarantee": "500M"},
    "least": {"cpu_guarantee": 0.5, "mem_guarantee": "3G"},
    "group": {},
}
ASKED: list[tuple[str, dict[str, Any], dict[str, float]]] = [
    ("limit", {"preset": "small"}, {"cpu": 1.5, "mem": 300 * MIB}),
    ("above", {}, {"cpu": 2, "mem": 500 * MIB}),
    ("least", {"preset": "small"}, {"cpu": 1, "mem": 3 * GIB}),
    ("group", {"preset": "small"}, {"cpu": 1, "mem": 640 * MIB}),
]
SHOW = "import json, os; print(json.dumps(dict(os.environ)))"
NAMES = ("SAID", "ASKED", "KEPT_OF_HUB", "OF_GROUP", "NOTE", "OF_HOOK", "MEM_LIMIT")


@pytest.fixture
def agent_options(ports: dict[str, int]) -> dict[str, Any]:
    return {"doors": {"hub": f"127.0.0.1:{ports['hub_port']}"}}


async def test_settings_of_a_spawner(hub: JupyterHub, cluster: Any, visit: Any) -> None:
    hub.configure(CONFIG % {"servers": SERVERS}, KEPT_OF_HUB="kept")
    await hub.start()
    kim = await visit("kim")
    await let_agents_take(cluster, new_sessions=False)
    for server, options, _ in ASKED:
        assert (await kim.call("POST", f"/users/kim/servers/{server}", options))[0] == 202, server

    async def are_asked_for() -> bool:
        return len(await sessions(cluster)) == len(ASKED)

    await cluster.until(are_asked_for)
    asked = {one["name"].removeprefix("jupyterhub-"): one["slots"] for one in await sessions(cluster)}
    for server, _, expected in ASKED:
        assert {slot: float(asked[server][slot]) for slot in expected} == expected, server
    for server, _, _ in ASKED:
        assert (await kim.call("DELETE", f"/users/kim/servers/{server}", {}))[0] in (202, 204)

    async def none_is_left() -> bool:
        return not await sessions(cluster)

    await cluster.until(none_is_left)
    await let_agents_take(cluster, new_sessions=True)
    assert (await kim.call("POST", "/users/kim/server", {"preset": "small", "note": "mine"}))[0] == 202
    await cluster.until(lambda: kim.is_ready("kim"))
    assert (await kim.get("/user/kim/lab"))[0] == 200
    kernel = (await kim.ask("POST", "/user/kim/", "api/kernels", {"name": "python3"}))["id"]
    environ = json.loads(await kim.run("/user/kim/", kernel, SHOW))
    assert {name: environ[name] for name in NAMES} == {
        "SAID": "plainly",
        "ASKED": "of kim",
        "KEPT_OF_HUB": "kept",
        "OF_GROUP": "large",
        "NOTE": "mine, small",
        "OF_HOOK": f"mine, small, {640 * MIB}",
        "MEM_LIMIT": "1",
    }
    assert (await kim.call("DELETE", "/users/kim/server", {}))[0] in (202, 204)
    stopped: Path = hub.folder / "stopped"

    async def was_told() -> bool:
        return "" in stopped.read_text().split("\n")[:-1]

    await cluster.until(was_told)
    assert sorted(stopped.read_text().split("\n")[:-1]) == ["", "above", "group", "least", "limit"]
