"""`bai env`: a container's files in a session of the environment made of it, and a Ctrl-C that ends nothing."""

import asyncio
import base64
import io
import signal
import sys
import zipfile

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


def wheel(version: str) -> str:
    """A package with a data file and a console script, as text."""
    info = f"bai_demo-{version}.dist-info"
    files = {
        "bai_demo/__init__.py": "from pathlib import Path\n\ndef main():\n"
        "    print(Path(__file__).with_name('data.txt').read_text())\n",
        "bai_demo/data.txt": f"data of {version}",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: bai-demo\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\nbai-demo = bai_demo:main\n",
    }
    record = "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD"))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for name, text in {**files, f"{info}/RECORD": record}.items():
            made.writestr(name, text)
    return base64.b64encode(out.getvalue()).decode()


def installing(version: str) -> str:
    name = f"bai_demo-{version}-py3-none-any.whl"
    return f"cd /tmp && echo {wheel(version)} | base64 -d > {name} && pip install -q --no-index ./{name}"


@pytest.mark.docker
@pytest.mark.parametrize("cluster", [{"runtime": "docker"}], indirect=True)
async def test_what_pip_installed_is_in_the_next_and_the_one_after(cluster, docker_client, python_image):
    made: list[str] = []

    async def started(image: str, name: str) -> None:
        begun = await ended("session", "start", image, "--name", name, *SMALL)
        assert begun[0] == Exit.DONE, begun

    async def says(name: str, script: str) -> str:
        code, out, err = await ended("session", "exec", name, "--", "sh", "-c", script)
        assert code == Exit.DONE, (out, err)
        return out

    async def saved(name: str) -> str:
        code, out, err = await ended("env", "save", name, "-q")
        assert (code, err) == (Exit.DONE, "")
        made.append(out.strip())
        return made[-1]

    try:
        await started(python_image, "first")
        await says("first", installing("1.0") + " && echo mine > ~/secret.txt && ln -s /etc ~/.local/lib/etc")
        await says("first", "python -m ipykernel install --user --name mine --display-name 'My Python'")
        image = await saved("first")

        await started(image, "second")
        async with ManagerClient(cluster.config) as client:
            (facts,) = [one for one in await client.list_images() if one["name"] == image]
            assert [one["name"] for one in facts["kernelspecs"]] == ["python3", "mine"]
            kernel = await client.create_jupyter_kernel("second", "mine", "key")

            async def kernel_runs() -> bool:
                return (await client.get_jupyter_kernel("second", kernel["id"]))["status"] == "running"

            await cluster.until(kernel_runs)
        seen = "bai-demo; python -c 'import bai_demo; bai_demo.main()'; pip list 2>/dev/null | grep -o ^bai.demo"
        assert (await says("second", seen)).split() == ["data", "of", "1.0", "data", "of", "1.0", "bai-demo"]
        assert "secret" not in await says("second", "tar -tf /opt/bai/packages.tar; ls -a ~")
        await says("second", installing("2.0"))
        again = await saved("second")

        await ended("session", "rm", "first", "second", "--yes")
        await started(again, "third")
        assert await says("third", "bai-demo") == "data of 2.0\n"
        await says("third", "rm -r ~/.local/bin/bai-demo ~/.local/lib/python*/site-packages/bai_demo*")
        async with ManagerClient(cluster.config) as client:
            await client.restart("third")
            await client.wait_for("third")
        assert await says("third", "ls ~/.local/bin; echo nothing") == "nothing\n"
    finally:
        await cluster.end_sessions()
        for name in reversed(made):
            for one in docker_client.images.list(name):
                docker_client.images.remove(one.id, force=True)


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
        for begin in (b"Included:", b"Not included:"):
            assert (await asyncio.wait_for(process.stderr.readline(), 60)).startswith(begin)
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
