"""A session of several containers: what is done to it is done to all of them or none, whoever is killed meanwhile."""

import asyncio
import io

import pytest
from docker.errors import ContainerError
from end_to_end.test_attach import attached

from bai_jupyter.cli import images
from bai_jupyter.client import ManagerClient
from bai_jupyter.common.errors import BaiError

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.docker,
    pytest.mark.parametrize("cluster", [{"runtime": "docker", "hold_s": 0}], indirect=True),
]

USE = "echo $$ > user && cd late && exec sleep 1000"
PATH = "/home/work/.local/bin:/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
HOG = ["python", "-c", "x = bytearray(400 << 20)"]


class Session:
    """Of two containers; their names are the words to say which."""

    def __init__(self, cluster, client, docker_client, view):
        self._cluster, self._client, self.id = cluster, client, view["id"]
        self.containers = {one["host"]: docker_client.containers.get(f"bai-{one['id']}") for one in view["kernels"]}

    async def until(self, status):
        """Its view then."""
        view = {}

        async def is_there():
            view.update(await self._client.get_session(self.id))
            return view["status"] == status

        await self._cluster.until(is_there)
        return view

    async def run(self, host, *argv):
        done = await asyncio.to_thread(self.containers[host].exec_run, list(argv))
        return done.exit_code, done.output.decode()

    async def succeeds(self, host, *argv):
        return (await self.run(host, *argv))[0] == 0

    def folders(self):
        return [set(attached(one)) for one in self.containers.values()]

    async def until_folders_are(self, *names):
        async def are_these():
            return self.folders() == [set(names)] * 2

        await self._cluster.until(are_these)

    async def is_awake(self):
        for one in self.containers.values():
            one.reload()
        shown = await self._client.get_session(self.id)
        return not shown["suspended"] and {one.status for one in self.containers.values()} == {"running"}


async def start(cluster, client, docker_client, image):
    config = {"resources": {"cpu": "1", "mem": "256m"}}
    body = {"name": "my-cluster", "image": image, "config": config, "clusterSize": 2}
    script = {"bootstrap_script": "echo begun >> ~/begun"}
    created = await client.request("POST", "/session", {**body, **script, "maxWaitSeconds": 60}, timeout_s=90)
    return Session(cluster, client, docker_client, await client.get_session(created["sessionId"]))


@pytest.fixture(scope="session")
def image_with_ssh(docker_client, python_image, test_run):
    """Built anew where the image at hand is older than its recipe."""
    look = ["test", "-e", "/usr/local/bin/bai-cluster-sshd"]
    try:
        docker_client.containers.run(python_image, look, labels=test_run, remove=True)
    except ContainerError:
        return images.build(["python-minimal"])[0]
    return python_image


async def test_all_of_its_containers_or_none(image_with_ssh, cluster, docker_client, test_run):
    async with ManagerClient(cluster.config) as client:
        await client.create_folder("late", "local:data")
        await client.upload("late", "file", io.BytesIO(b"late"), 4)
        session = await start(cluster, client, docker_client, image_with_ssh)

        # Each logs in to the other, with a key that no log has. That is so for no other host.
        for host, other in (("main1", "sub1"), ("sub1", "main1")):
            assert await session.run(host, "ssh", other, "echo $BACKENDAI_CLUSTER_HOST $PATH") == (
                0,
                f"{other} {PATH}\n",
            )
        code, elsewhere = await session.run("main1", "ssh", "-G", "sub2")
        assert (code, "id_cluster" in elsewhere) == (0, False)
        _, key = await session.run("sub1", "cat", ".ssh/id_cluster")
        secret = key.splitlines()[3]
        kept = [path.read_text() for path in (cluster.folder / "agent").rglob("state.json")]
        assert len(kept) == 2
        assert not any(secret in text for text in (*kept, cluster.log("agent"), cluster.log("manager")))

        # A folder that one of them cannot have is taken back from the other.
        await session.run("sub1", "sh", "-c", "mkdir late && touch late/mine")
        with pytest.raises(BaiError, match="sub1:/home/work/late: "):
            await client.attach_folder(session.id, "late")
        assert session.folders() == [{"home"}] * 2
        assert {one["name"] for one in (await client.get_session(session.id))["mounts"]} == {"home"}
        await session.run("sub1", "rm", "-r", "late")
        await client.attach_folder(session.id, "late")
        for host in session.containers:
            assert await session.run(host, "cat", "late/file") == (0, "late")

        # One that uses it keeps it for both; by force it goes from both.
        for host, container in session.containers.items():
            await asyncio.to_thread(container.exec_run, ["sh", "-c", USE], detach=True)
            await cluster.until(lambda host=host: session.succeeds(host, "test", "-s", "user"))
            with pytest.raises(BaiError, match=rf"{host}:/home/work/late is in use: sleep \(\d+\)"):
                await client.detach_folder(session.id, "late")
            await session.until_folders_are("home", "late")
            if host == "main1":
                await session.run(host, "sh", "-c", "kill $(cat user)")
        await client.detach_folder(session.id, "late", force=True)
        await session.until_folders_are("home")

        # An agent that is killed between freezing one and the other.
        for container in session.containers.values():
            cluster.kill("agent")
            container.pause()
            await cluster.revive()
            await cluster.until(session.is_awake)

        # Restarted, with manager and agent killed on the way.
        await client.request("PATCH", f"/session/{session.id}")
        for name in ("agent", "manager"):
            cluster.kill(name)
        await cluster.revive()
        await session.until("RUNNING")
        for host in session.containers:
            assert await session.run(host, "cat", "begun") == (0, "begun\n" * 2)
        assert await session.run("main1", "ssh", "sub1", "hostname") == (0, "sub1\n")

        # Grown, and out of memory in one: that process ends, and nothing else.
        await client.resize(session.id, {"mem": "300m"})
        sizes = [docker_client.api.inspect_container(one.id)["HostConfig"] for one in session.containers.values()]
        assert [size["Memory"] for size in sizes] == [300 << 20] * 2
        code, _ = await session.run("sub1", *HOG)
        assert code == 137
        assert (await client.get_session(session.id))["reason"]["code"] == "running"

        # Ended from outside while no agent looks: all of it ends, and nothing of it is left.
        cluster.kill("agent")
        session.containers["main1"].kill()
        await cluster.revive()
        view = await session.until("TERMINATED")
        assert view["reason"]["text"].startswith("The container was ended from outside")
        ours = {"label": [f"{name}={value}" for name, value in test_run.items()]}
        assert docker_client.api.containers(all=True, filters=ours) == []
        assert [one.name for one in docker_client.networks.list(filters=ours) if session.id in one.name] == []
        assert [one["used"] for one in await client.list_agents()] == [{}]
