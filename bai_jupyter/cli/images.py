"""Builds the kernel images of ``images/`` with the local Docker engine: ``bai image build python r``.

Owns the choice of the base image and the names of what is built. Registering an image with a manager is the manager
API's business; what an image contains is its Dockerfile's.

The base is, in this order: the one asked for; a registry's, if a registry answers; one built here earlier; a Debian
made on the spot by debootstrap (which needs root, and a package mirror instead of a registry).
"""

import os
import re
import shutil
import ssl
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import certifi
import docker
from docker.errors import DockerException, ImageNotFound
from requests.exceptions import RequestException

from bai_jupyter.cli import own_wheel
from bai_jupyter.common.environments import OF_USERS
from bai_jupyter.common.errors import BaiError

REGISTRY_BASE = "python:3.12-slim"
LOCAL_BASES = ("bai/debian:bookworm", "bai/base:bookworm")
REGISTRY_TIMEOUT_S = 5
SILENCE_TIMEOUT_S = 900  # the longest a build step may say nothing
RUN_TIMEOUT_S = 60
LAST_LINES = 15
STEP_WIDTH = 120

_PYTHON_VERSION = ("/opt/venv/bin/python", "-c", "import sys; print('%d.%d' % sys.version_info[:2])")
_HUB_VERSION = ("/opt/venv/bin/python", "-c", "import jupyterhub; print(jupyterhub.__version__)")
_R_VERSION = ("Rscript", "-e", "cat(R.version$major, sub('[.].*', '', R.version$minor), sep = '.')")

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")

Progress = Callable[[str, float | None], None]
"""``progress(what, fraction)``: one line for people, and how far this image is (0 to 1, or None when unknown)."""


@dataclass(frozen=True)
class Recipe:
    """One image that can be built. ``version`` is its tag, or the command that prints it inside the image.

    ``has_our_package``: the wheel of ``own_wheel`` lies beside its Dockerfile.
    """

    folder: str
    target: str
    version: str | tuple[str, ...]
    has_our_package: bool = False


RECIPES: Mapping[str, Recipe] = {
    "python-minimal": Recipe("python", "minimal", _PYTHON_VERSION),
    "python": Recipe("python", "python", _PYTHON_VERSION),
    "hub": Recipe("hub", "hub", _HUB_VERSION, has_our_package=True),
    "r": Recipe("r", "r", _R_VERSION),
    "polyglot-minimal": Recipe("polyglot", "minimal", "1"),
    "polyglot": Recipe("polyglot", "polyglot", "1"),
}


class ImageBuildFailed(BaiError):
    """An image could not be built. The message names the step and ends with its last lines."""

    code = "image-build-failed"


def build(
    names: Iterable[str], progress: Progress | None = None, tag: str | None = None, base: str | None = None
) -> list[str]:
    """Build images and return their full names, such as ``bai/python:3.11``, in the order asked for.

    ``names`` are keys of ``RECIPES``; ``base`` replaces the automatic choice; ``tag`` replaces the version found in the
    image. Blocks for minutes: not for an event loop.
    Raises ``ImageBuildFailed``, for an unknown name before anything is built.
    """
    wanted = list(names)
    if unknown := [name for name in wanted if name not in RECIPES]:
        raise ImageBuildFailed(f"No recipe for {', '.join(unknown)}. There are: {', '.join(RECIPES)}.")
    say = progress or _silent
    client = _connect()
    try:
        prepared = _prepare_base(client, base, say)
        return [_build_one(client, name, prepared, tag, say) for name in wanted]
    except (DockerException, RequestException) as error:
        raise ImageBuildFailed(f"The Docker engine refused or went away: {error}") from error
    finally:
        client.close()


def local(prefix: str = "") -> list[str]:
    """Names of the kernel images in the local engine that begin with ``prefix``, sorted; empty if no engine answers.

    What users made of their sessions is theirs, and no image for everybody.
    """
    try:
        client = _connect()
    except ImageBuildFailed:
        return []
    try:
        found = client.images.list(filters={"label": "ai.backend.kernelspec=1"})
        names = (name for image in found for name in image.tags)
        return sorted(name for name in names if name.startswith(prefix) and not name.startswith(OF_USERS))
    finally:
        client.close()


def recipes_folder() -> Path:
    """Where the Dockerfiles are: inside the installed package, or beside it in a checkout."""
    packaged = Path(str(files("bai_jupyter"))) / "images"
    return packaged if packaged.is_dir() else packaged.parent.parent / "images"


def _silent(_what: str, _fraction: float | None) -> None:
    pass


def _connect() -> docker.DockerClient:
    try:
        client = docker.from_env(timeout=SILENCE_TIMEOUT_S)
    except DockerException as error:
        raise ImageBuildFailed(f"No Docker engine answers ({error}). Start Docker, or set DOCKER_HOST.") from error
    client.ping()
    return client


# The base


def _choose_base(client: docker.DockerClient, say: Progress) -> str:
    say(f"Asking the registry for {REGISTRY_BASE}", None)
    if _registry_has(REGISTRY_BASE):
        return REGISTRY_BASE
    for name in LOCAL_BASES:
        if _exists(client, name):
            say(f"No registry answers; using {name}", None)
            return name
    _bootstrap(client, say)
    return LOCAL_BASES[0]


def _registry_has(name: str) -> bool:
    """Ask the engine to ask the registry, so that its mirrors and proxies count."""
    try:
        with closing(docker.from_env(timeout=REGISTRY_TIMEOUT_S)) as client:
            client.api.inspect_distribution(name)
    except (DockerException, RequestException):
        return False
    return True


def _exists(client: docker.DockerClient, name: str) -> bool:
    try:
        client.images.get(name)
    except ImageNotFound:
        return False
    return True


# What a container never needs, and what debootstrap copied from this host. Folders stay: packages' scripts use them.
_LEFT_OUT = (
    "./etc/hostname",
    "./etc/resolv.conf",
    "./proc/*",
    "./sys/*",
    "./var/lib/apt/lists/*",
    "./var/cache/apt/*",
    "./var/log/*",
    "./usr/share/locale/*",
    "./usr/share/doc/*",
    "./usr/share/info/*",
    "./usr/share/man/*/*",
)


def _bootstrap(client: docker.DockerClient, say: Progress) -> None:
    """Make a small Debian from a package mirror and import it."""
    if os.geteuid() != 0 or not shutil.which("debootstrap"):
        raise ImageBuildFailed(
            f"No registry answers and none of {', '.join(LOCAL_BASES)} is here. Making a base needs root and the "
            "program debootstrap (apt-get install debootstrap). Or name an image you have: --base IMAGE."
        )
    name, distribution = LOCAL_BASES[0].split(":")
    with tempfile.TemporaryDirectory(prefix="bai-base-") as root:
        argv = ["debootstrap", "--variant=minbase", "--include=python3,python3-venv,ca-certificates"]
        _debootstrap([*argv, distribution, root], say)
        say(f"Importing {LOCAL_BASES[0]}", None)
        _import(client, Path(root), name, distribution)


def _debootstrap(argv: list[str], say: Progress) -> None:
    last: deque[str] = deque(maxlen=LAST_LINES)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout or ():
            last.append(line.rstrip())
            say(f"Debian: {line.strip().removeprefix('I: ')}", None)
    if process.returncode:
        raise ImageBuildFailed(_failure("debootstrap", f"exit code {process.returncode}", last))


def _import(client: docker.DockerClient, root: Path, name: str, tag: str) -> None:
    argv = ["tar", "-C", str(root), *(f"--exclude={pattern}" for pattern in _LEFT_OUT), "-c", "."]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        client.api.import_image(process.stdout, repository=name, tag=tag, stream_src=True)
    if process.returncode:
        raise ImageBuildFailed(f"tar of the new Debian failed with exit code {process.returncode}.")


def _prepare_base(client: docker.DockerClient, named: str | None, say: Progress) -> str:
    """Build ``images/base`` on the chosen image and return its id.

    What was chosen here is tagged with the distribution's code name, to be found again without a registry.
    """
    chosen = named or _choose_base(client, say)
    image_id = _run_build(client, "base", {"folder": "base", "target": None}, {"BASE": chosen}, say)
    if not named:
        codename = _run_inside(client, image_id, ("sh", "-c", '. /etc/os-release; echo "${VERSION_CODENAME:-$ID}"'))
        client.images.get(image_id).tag("bai/base", codename)
    return image_id


# One image


def _build_one(client: docker.DockerClient, name: str, base: str, tag: str | None, say: Progress) -> str:
    recipe = RECIPES[name]
    options = {"folder": recipe.folder, "target": recipe.target, "has_our_package": recipe.has_our_package}
    image_id = _run_build(client, name, options, {"BASE": base}, say)
    version = tag or recipe.version
    if not isinstance(version, str):
        version = _run_inside(client, image_id, version)
    client.images.get(image_id).tag(f"bai/{name}", version)
    say(f"{name}: bai/{name}:{version} is ready", 1.0)
    return f"bai/{name}:{version}"


def _run_build(
    client: docker.DockerClient, name: str, options: dict[str, Any], arguments: dict[str, str], say: Progress
) -> str:
    """Build one target of one folder and return the image id."""
    with tempfile.TemporaryDirectory(prefix="bai-image-") as folder:
        context = Path(folder) / "context"
        shutil.copytree(recipes_folder() / options["folder"], context)
        shutil.copyfile(_ca_bundle(), context / "host-ca.crt")
        if options.get("has_our_package"):
            own_wheel.write(context)
        events = client.api.build(
            path=str(context),
            target=options["target"],
            buildargs=arguments | _proxies(),
            rm=True,
            forcerm=True,
            decode=True,
        )
        return _follow(name, events, say)


def _follow(name: str, events: Iterator[dict[str, Any]], say: Progress) -> str:
    """Read the builder's events to their end (which frees the connection): image id, or the failed step."""
    step, fraction, image_id, error = "the first step", 0.0, "", ""
    last: deque[str] = deque(maxlen=LAST_LINES)
    for event in events:
        error = error or event.get("error", "")
        image_id = event.get("aux", {}).get("ID", image_id)
        text = event.get("stream", "").strip()
        if text.startswith("Step "):
            step, fraction = text, _fraction(text)
            last.clear()
            say(f"{name}: {text}", fraction)
        elif text:
            last.extend(text.splitlines())
            say(f"{name}: {text.splitlines()[-1]}", fraction)
    if error:
        cause = error.strip().rpartition("' ")[2]  # the builder repeats the whole command first
        raise ImageBuildFailed(_failure(f"{name}: {step}", cause, last))
    if not image_id:
        raise ImageBuildFailed(_failure(f"{name}: {step}", "the builder ended without an image", last))
    return image_id


def _fraction(step: str) -> float:
    """``Step 3/8 : RUN …`` begins when two of eight are done."""
    try:
        done, total = step.split()[1].split("/")
        return (int(done) - 1) / int(total)
    except (IndexError, ValueError, ZeroDivisionError):
        return 0.0


def _failure(step: str, cause: str, last: Iterable[str]) -> str:
    short = step if len(step) <= STEP_WIDTH else step[: STEP_WIDTH - 1] + "…"
    return "\n".join([f"Building stopped at {short}", cause, *(f"    {_COLOUR.sub('', line)}" for line in last)])


def _run_inside(client: docker.DockerClient, image_id: str, argv: tuple[str, ...]) -> str:
    """Run a short command in the new image as a uid it does not know, without network; return its output."""
    container = client.containers.create(image_id, list(argv), user="12345:12345", network_mode="none")
    try:
        container.start()
        code = container.wait(timeout=RUN_TIMEOUT_S)["StatusCode"]
        output = container.logs().decode(errors="replace").strip()
    finally:
        container.remove(force=True)
    if code:
        raise ImageBuildFailed(_failure(f"trying {' '.join(argv[:1])} in the new image", f"exit code {code}", [output]))
    return output


def _ca_bundle() -> str:
    """The host's CA bundle: a site's own proxy or mirror may have its own authority."""
    named = [os.environ.get(name, "") for name in ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")]
    for path in [*named, ssl.get_default_verify_paths().cafile or "", "/etc/ssl/certs/ca-certificates.crt"]:
        if path and Path(path).is_file():
            return path
    return certifi.where()


def _proxies() -> dict[str, str]:
    """The host's proxy settings; Docker knows these arguments and keeps them out of the image's history."""
    names = ("http_proxy", "https_proxy", "no_proxy")
    return {name: value for low in names for name in (low, low.upper()) if (value := os.environ.get(name))}
