"""`bai env`: a container's files in a session of the environment made of it, and a Ctrl-C that ends nothing."""

import asyncio
import signal
import sys

import pytest

from bai_jupyter.cli.terminal import Exit
from bai_jupyter.client import ManagerClient

pytestmark = pytest.mark.asyncio

SMALL = ("--cpu", "1", "--mem", "256m")


async def begun(*words: str) -> asyncio.subprocess.Process:
    """A cluster's credentials are in the environment."""
    pipes = dict.fromkeys(("stdout", "stderr"), asyncio.subprocess.PIPE)
    command = (sys.executable, "-c", "import sys; from bai_jupyter.cli import main; sys.exit(main())")
    return await asyncio.create_subprocess_exec(*command, *words, stdin=asyncio.subprocess.DEVNULL, **pipes)


async def ended(*words: str) -> tuple[int | None, str, str]:
    process = await begun(*words)
    out, err = await asyncio.wait_for(process.communicate(), 120)
    return process.returncode, out.decode(), err.decode()


@pytest.mark.docker
@pytest.mark.parametrize("cluster", [{"runtime": "docker"}], indirect=True)
async def test_what_was_put_into_a_container_is_in_the_next(cluster, docker_client, python_image):
    made: list[str] = []
    try:
        assert (await ended("session", "start", python_image, "--name", "demo", *SMALL))[0] == Exit.DONE
        written = await ended("session", "exec", "demo", "--", "sh", "-c", "echo kept > /tmp/kept; echo gone > gone")
        assert written[0] == Exit.DONE, written
        code, out, err = await ended("env", "save", "demo", "-q", "--name", "with-kept")
        assert (code, err) == (Exit.DONE, ""), err
        made.append(out.strip())
        assert (await ended("session", "start", made[0], "--name", "next", *SMALL))[0] == Exit.DONE
        seen = await ended("session", "exec", "next", "--", "sh", "-c", "cat /tmp/kept; ls gone")
        assert (seen[0], seen[1]) == (2, "kept\n"), seen
        code, _, err = await ended("env", "rm", made[0], "--yes")
        assert (code, "is in use by next" in err) == (Exit.REFUSED, True), err

        process = await begun("env", "save", "demo", "--name", "other")
        assert process.stderr is not None
        assert (await asyncio.wait_for(process.stderr.readline(), 60)).startswith(b"Not included:")
        assert b"is being saved as" in await asyncio.wait_for(process.stderr.readline(), 60)
        process.send_signal(signal.SIGINT)
        _, told = await asyncio.wait_for(process.communicate(), 60)
        assert (process.returncode, b"goes on being made" in told) == (Exit.INTERRUPTED, True), told
        async with ManagerClient(cluster.config) as client:

            async def is_there() -> bool:
                names = [one["name"] for one in await client.list_images() if one["is_own"]]
                made.extend(set(names) - set(made))
                return len(made) == 2

            await cluster.until(is_there)
        await ended("session", "rm", "next", "--yes")
        code, out, err = await ended("env", "rm", *made, "--yes")
        assert (code, out.splitlines()) == (Exit.DONE, [f"{name}: deleted" for name in made]), err
        assert not [name for name in made if docker_client.images.list(name)]
    finally:
        async with ManagerClient(cluster.config) as client:
            made.extend(one["name"] for one in await client.list_images() if one["is_own"])
        await cluster.end_sessions()
        for name in made:
            for image in docker_client.images.list(name):
                docker_client.images.remove(image.id, force=True)


async def test_without_containers_nothing_can_be_saved(cluster):
    code, _, err = await ended("run", *SMALL, "--no-follow", "--name", "my-job", "--", "sleep 600")
    assert code == Exit.DONE, err
    async with ManagerClient(cluster.config) as client:
        await client.wait_for("my-job")
    code, out, err = await ended("env", "save", "my-job")
    sentence = "Refused: local runs sessions without containers; no image can be made of one.\n"
    assert (code, out, err) == (Exit.REFUSED, "", sentence)
