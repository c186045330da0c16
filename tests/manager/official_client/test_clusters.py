"""A session of several containers with the official client, on an agent that is killed meanwhile."""

import asyncio
import json

import pytest

# Making the client's environment counts towards the first test.
pytestmark = [pytest.mark.asyncio, pytest.mark.docker, pytest.mark.timeout(600)]

DOCKER = pytest.param({"runtime": "docker"}, id="docker")

SERVE = """
mkdir -p www && echo "$BACKENDAI_CLUSTER_HOST of $BACKENDAI_CLUSTER_HOSTS, rank $BACKENDAI_CLUSTER_LOCAL_RANK" > www/me
touch "home/$BACKENDAI_CLUSTER_HOST"
setsid python -m http.server 8765 --bind "$BACKENDAI_CLUSTER_HOST" --directory www > /dev/null 2>&1 < /dev/null &
"""

ASK_ALL = """
import os, time, urllib.request
def ask(url):
    for _ in range(300):  # it may not listen yet
        try:
            return urllib.request.urlopen(url, timeout=5).read().decode()
        except OSError as error:
            time.sleep(0.1)
    return repr(error)
for host in ("main1", "sub1"):
    print(ask(f"http://{host}:8765/me").strip())
print(sorted(name for name in os.listdir("home") if name[0] in "ms"))
"""

KNOCK = """
import socket
try:
    print(socket.create_connection(("{address}", 8765), timeout=2))
except OSError as error:
    print("refused or lost")
"""


@pytest.mark.parametrize("cluster", [DOCKER], indirect=True)
async def test_two_containers_find_one_another_and_nobody_else_finds_them(
    client_of_cluster, cluster, docker_client, test_run, tmp_path, helpers
):
    (tmp_path / "serve.sh").write_text(SERVE)
    words = ["--name", "my-cluster", "--cluster-size", "2", "-r", "cpu=1", "-r", "mem=192m", "-v", "home"]
    words += ["--bootstrap-script", str(tmp_path / "serve.sh"), "--enqueue-only"]
    created = await client_of_cluster.cli("session", "create", *words, cluster.image)
    assert created.code == 0, created
    ours = {"label": [f"{name}={value}" for name, value in test_run.items()]}

    async def has_begun() -> bool:
        return bool(await asyncio.to_thread(docker_client.containers.list, all=True, filters=ours, sparse=True))

    await cluster.until(has_begun)
    for process in ("agent", "manager"):
        cluster.kill(process)
    for process in ("manager", "agent"):
        cluster.start(process)
    await cluster.ready()
    signed = helpers.client(**helpers.of_cluster(cluster))
    view = await signed.until_status("my-cluster", "RUNNING")

    found = await client_of_cluster.cli("--output", "json", "session", "info", view["id"])
    assert found.code == 0, found
    (shown,) = json.loads(found.out)["items"]
    facts = [(one["cluster_role"], one["status"], one["agent"]) for one in shown["containers"]]
    assert facts == [(role, "RUNNING", view["agent"]) for role in ("main", "sub")]
    assert await signed.run("my-cluster", ASK_ALL) == (
        "main1 of main1,sub1, rank 0\nsub1 of main1,sub1, rank 1\n['main1', 'sub1']\n"
    )

    containers = {one.labels["bai.kernel-id"]: one for one in docker_client.containers.list(filters=ours)}
    assert sorted(containers) == sorted(one["id"] for one in view["kernels"])
    sub = containers[view["kernels"][1]["id"]]
    ((network, place),) = sub.attrs["NetworkSettings"]["Networks"].items()
    of_all = network.removesuffix(f"-{view['id']}")
    knock = ["python", "-c", KNOCK.format(address=place["IPAddress"])]
    said = await asyncio.to_thread(
        docker_client.containers.run, cluster.image, knock, network=of_all, labels=test_run, remove=True
    )
    assert said == b"refused or lost\n"

    sub.kill()
    ended = await signed.until_status(view["id"], "TERMINATED")
    assert ended["reason"]["text"].startswith("sub1 ended: ")
    assert docker_client.containers.list(all=True, filters=ours) == []
    assert [one.name for one in docker_client.networks.list(filters=ours)] == [of_all]
    signed.close()
