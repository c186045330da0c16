"""Built images, for real: a kernel in each answers when its container runs as a uid nobody knows."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client import BlockingKernelClient
from jupyter_client.connect import write_connection_file

from bai_jupyter.cli import images

pytestmark = pytest.mark.docker

# The sockets must be ours to connect to: root may use anybody's, others only their own.
UID = 12345 if os.geteuid() == 0 else os.geteuid()

READY_S = 60

LANGUAGES = [
    ("python", "python3", "import numpy, pandas, matplotlib, sklearn; print(numpy.arange(7).sum() * 2)"),
    ("r", "ir", "library(ggplot2); cat(6 * 7)"),
    ("polyglot", "bash", "echo $((6 * 7))"),
    ("polyglot", "javascript", "console.log(6 * 7)"),
    ("polyglot", "typescript", "const six: number = 6; console.log(six * 7)"),
    ("polyglot", "lua", "print(6 * 7)"),
    ("polyglot", "octave", "disp(6 * 7)"),
    ("polyglot", "python3", "print(6 * 7)"),
]


@pytest.fixture
def run(docker_client: Any, test_run: dict[str, str]) -> Iterator[Callable[..., Any]]:
    """``run(image, argv, **options)``: a started container as ``UID``, removed afterwards."""
    started = []

    def run(image: str, argv: list[str], **options: Any) -> Any:
        user = f"{UID}:{UID}"
        container = docker_client.containers.create(image, argv, user=user, labels=test_run, init=True, **options)
        started.append(container)
        container.start()
        return container

    yield run
    for container in started:
        container.remove(force=True)


@pytest.fixture
def say(run: Callable[..., Any]) -> Callable[..., str]:
    """``say(image, argv)``: what a command in the image printed; fails the test if it did not end well."""

    def say(image: str, argv: list[str]) -> str:
        container = run(image, argv, network_mode="none")
        code = container.wait(timeout=READY_S)["StatusCode"]
        output: str = container.logs().decode()
        assert code == 0, output
        return output.strip()

    return say


def kernelspec_of(say: Callable[..., str], image: str, kernelspec: str) -> dict[str, Any]:
    folders = " ".join(f"{root}/share/jupyter/kernels" for root in ("/opt/venv", "/usr/local", "/usr"))
    script = f"for folder in {folders}; do cat $folder/{kernelspec}/kernel.json 2>/dev/null; done; true"
    text = say(image, ["sh", "-c", script])
    spec: dict[str, Any] = json.JSONDecoder().raw_decode(text)[0]
    return spec


def printed_by(client: BlockingKernelClient, code: str) -> str:
    output = []

    def keep(message: dict[str, Any]) -> None:
        if message["msg_type"] == "stream":
            output.append(message["content"]["text"])

    reply = client.execute_interactive(code, timeout=READY_S, output_hook=keep)
    assert reply["content"]["status"] == "ok", reply["content"]
    return "".join(output).strip()


def answer(run: Callable[..., Any], spec: dict[str, Any], image: str, folder: Path, code: str) -> str:
    """Start the kernel on sockets in ``folder``, run ``code``, and return what it printed."""
    folder.chmod(0o777)
    _, info = write_connection_file(str(folder / "c.json"), transport="ipc", ip="/run/bai/s", key=b"abc")
    (folder / "c.json").chmod(0o644)
    container = run(
        image,
        [part.replace("{connection_file}", "/run/bai/c.json") for part in spec["argv"]],
        environment=spec.get("env", {}),
        volumes={str(folder): {"bind": "/run/bai", "mode": "rw"}},
        network_mode="none",
    )
    client = BlockingKernelClient()
    client.load_connection_info(info | {"ip": str(folder / "s"), "key": "abc"})
    client.start_channels(hb=False)  # on a busy machine a heartbeat is late long before a kernel is dead
    try:
        client.wait_for_ready(timeout=READY_S)
        return printed_by(client, code)
    except RuntimeError:
        pytest.fail(f"no kernel: {container.logs().decode()[-2000:]}\nin run/: {os.listdir(folder)}")
    finally:
        client.stop_channels()


def test_a_python_kernel_answers(run, say, python_image, tmp_path):
    spec = kernelspec_of(say, python_image, "python3")
    assert (
        answer(run, spec, python_image, tmp_path, "import os; print(os.getuid(), os.environ['HOME'])")
        == f"{UID} /home/work"
    )


def test_a_user_can_write_in_the_home_folder_and_install_packages(say, python_image):
    script = """
import pathlib, site
pathlib.Path.home().joinpath("x").touch()
print(site.ENABLE_USER_SITE, site.getusersitepackages())
"""
    assert say(python_image, ["python", "-c", script]).startswith("True /home/work/.local/lib/python3.")


def test_packages_are_compiled(say, python_image):
    script = "import ipykernel.kernelapp as m, os; print(os.path.exists(m.__cached__))"
    assert say(python_image, ["python", "-c", script]) == "True"


def test_nothing_of_the_building_host_is_left(say, python_image):
    script = (
        "test ! -e /tmp/host-ca.crt && ! env | grep -iE '^(pip_cert|ssl_cert|requests_ca|https?_proxy)' && echo clean"
    )
    assert say(python_image, ["sh", "-c", script]) == "clean"


def test_labels_say_what_backendai_expects(docker_client, python_image):
    labels = docker_client.images.get(python_image).labels
    expected = {"ai.backend.kernelspec": "1", "ai.backend.role": "COMPUTE", "ai.backend.runtime-type": "python"}
    assert expected.items() <= labels.items()
    assert {"ai.backend.resource.min.cpu", "ai.backend.resource.min.mem", "ai.backend.base-distro"} <= labels.keys()


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("name", "kernelspec", "code"), LANGUAGES)
def test_every_language_answers(run, say, tmp_path, name, kernelspec, code):
    found = images.local(f"bai/{name}:")
    image = found[-1] if found else images.build([name])[0]
    assert answer(run, kernelspec_of(say, image, kernelspec), image, tmp_path, code) == "42"
