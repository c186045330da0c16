"""Images on a Docker engine: which there are, what is in them, pulling them, and making one of a container.

To look into one nothing of it is run: a container is created from it, read, and removed.
"""

import asyncio
import contextlib
import functools
import io
import json
import re
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any

from docker.errors import DockerException, ImageNotFound, NotFound

from bai_agent.runtimes import packages
from bai_agent.runtimes.base import INSIDE_HOME, Progress, RuntimeFault
from bai_agent.runtimes.engine import Engine, new_client
from bai_agent.runtimes.kernelspecs import folders_to_search, places_of_ipykernel, spec_from_json, uncompiled
from bai_agent.runtimes.pull import PullProgress
from bai_jupyter.common.messages import ENVIRON_LABEL, ImageFacts, KernelSpecFacts, from_json, to_json
from bai_jupyter.common.reasons import Reason

INSPECTS = "bai.inspects"  # label of containers that only exist to look into an image
_COMMIT_TIMEOUT_S = 1800
_MAX_ARCHIVE_BYTES = 32 * 1024 * 1024
_CUDA_VARIABLES = ("NVIDIA_REQUIRE_CUDA", "CUDA_VERSION")
_NGC_BUILD = "com.nvidia.build.id"  # on its images of frameworks, not on plain ones of CUDA
_NGC_LABELS = {
    "ai.backend.runtime-type": "python",
    "ai.backend.resource.preferred.shmem": "1g",  # its programs say at their start that 64 MiB are too few
    "ai.backend.service-ports": "jupyter:http:8888",
    "bai.app.jupyter": "jupyter lab --no-browser --ip=127.0.0.1 --port={port} --ServerApp.base_url={base_url} "
    "--ServerApp.token= {args}",
}
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


class EngineImages:
    """``labels`` are put on all that is made. ``cache`` is a file that remembers what images hold."""

    def __init__(self, engine: Engine, agent_id: str, labels: Mapping[str, str], cache: Path) -> None:
        self._engine = engine
        self._labels = {INSPECTS: agent_id, **labels}
        self._state_dir = cache.parent
        self._specs = _SpecCache(cache)

    async def present(self) -> list[ImageFacts]:
        names = await self._engine.call("engine-down", self._image_names)
        facts = []
        for name in names:
            with contextlib.suppress(RuntimeFault):  # removed meanwhile, or nothing we can look into
                facts.append(await self._facts(name))
        return facts

    async def inspect(self, name: str) -> ImageFacts:
        await self.ensure(name, "", lambda *_: None)
        return await self._facts(name)

    async def ensure(self, name: str, digest: str, progress: Progress) -> None:
        if await self._engine.call("engine-down", lambda: self._has_image(digest or name)):
            return
        loop = asyncio.get_running_loop()

        def tell(*figures: Any) -> None:
            loop.call_soon_threadsafe(progress, *figures)

        await self._engine.call("pull-failed", lambda: self._pull(name, tell), image=name)
        if digest and not await self._engine.call("engine-down", lambda: self._has_image(digest)):
            cause = "the registry has another image under this name now; ask an admin to add it again"
            raise RuntimeFault(Reason.of("pull-failed", agent=self._engine.agent, image=name, cause=cause))

    def _image_names(self) -> list[str]:
        return sorted(
            {tag for image in self._engine.api.images() for tag in image["RepoTags"] or [] if "<none>" not in tag}
        )

    def _has_image(self, name: str) -> bool:
        try:
            self._engine.api.inspect_image(name)
        except ImageNotFound:
            return False
        return True

    def _pull(self, name: str, tell: Callable[[int, int, int], None]) -> None:
        progress = PullProgress()
        tag = None if re.search(r"@|:[^/]+$", name) else "latest"
        for line in self._engine.api.pull(name, tag=tag, stream=True, decode=True):
            if "error" in line:
                raise DockerException(line["error"])
            if figures := progress.take(line):
                tell(*figures)

    async def _facts(self, name: str) -> ImageFacts:
        return await self._engine.call("create-failed", lambda: self._look_inside(name))

    def _look_inside(self, name: str) -> ImageFacts:
        image = self._engine.api.inspect_image(name)
        config = image.get("Config") or {}
        specs = self._specs.get(image["Id"])
        if specs is None:
            parts = packages.parts_of(labels_of(config))
            specs = self._read_kernelspecs(image["Id"], _environ_of(config), has_packages=bool(parts))
            self._specs.put(image["Id"], specs)
        return ImageFacts(
            name=name,
            digest=image["Id"],
            architecture=_MACHINES.get(image["Architecture"], image["Architecture"]),
            size_bytes=image["Size"],
            labels=labels_of(config),
            kernelspecs=specs,
        )

    def _read_kernelspecs(self, digest: str, environ: dict[str, str], *, has_packages: bool) -> list[KernelSpecFacts]:
        """From a container that is created, never started, and removed: nothing of the image runs.

        Behind its own those that its user had installed; where both have a name, it is its own.
        """
        created = self._engine.api.create_container(digest, ["/"], labels=self._labels, network_disabled=True)
        try:
            found: dict[str, KernelSpecFacts] = {}
            for folder in folders_to_search(environ):
                for spec in self._specs_in(created["Id"], folder):
                    found.setdefault(spec.name, uncompiled(spec) if self._lacks_pyc(created["Id"], spec) else spec)
            own = [found[name] for name in sorted(found)]
            installed = self._installed_specs(created["Id"]) if has_packages else []
            return own + [spec for spec in installed if spec.name not in found]
        finally:
            self._engine.api.remove_container(created["Id"], force=True, v=True)

    def _installed_specs(self, container: str) -> list[KernelSpecFacts]:
        try:
            stream, _ = self._engine.api.get_archive(container, packages.ARCHIVE)
        except NotFound:
            return []
        return packages.kernelspecs(stream)

    def _specs_in(self, container: str, folder: str) -> Iterator[KernelSpecFacts]:
        try:
            stream, _ = self._engine.api.get_archive(container, folder)
        except NotFound:
            return
        archive = bytearray()
        for piece in stream:
            archive += piece
            if len(archive) > _MAX_ARCHIVE_BYTES:
                raise DockerException(f"{folder} is larger than {_MAX_ARCHIVE_BYTES} bytes")
        with tarfile.open(fileobj=io.BytesIO(bytes(archive))) as tar:
            for member in tar:
                path = PurePosixPath(member.name)
                if not (member.isfile() and path.name == "kernel.json" and len(path.parts) == 3):
                    continue
                file = tar.extractfile(member)
                name = path.parent.name
                spec = spec_from_json(name, f"{folder}/{name}", file.read()) if file else None
                if spec is not None:
                    yield spec

    def _lacks_pyc(self, container: str, spec: KernelSpecFacts) -> bool:
        """What is not found at all lacks nothing, as far as is known."""
        for folder, suffix in places_of_ipykernel(spec):
            if self._exists(container, f"{folder}/kernelapp.py"):
                return not self._exists(container, f"{folder}/__pycache__/kernelapp{suffix}")
        return False

    def _exists(self, container: str, path: str) -> bool:
        try:
            stream, _ = self._engine.api.get_archive(container, path)
        except NotFound:
            return False
        for _ in stream:  # a small file; its connection is free again at the end
            pass
        return True

    async def commit(self, ref: str, name: str) -> ImageFacts:
        await self._engine.call("commit-failed", lambda: self._commit(ref, name))
        return await self._facts(name)

    def _commit(self, ref: str, name: str) -> None:
        container = self._engine.api.inspect_container(ref)
        image = self._engine.api.inspect_image(container["Image"])
        config = image.get("Config") or {}
        changes = _as_in_image(container["Config"], config)
        packed = packages.pack(_home_of(container), self._state_dir)
        with contextlib.closing(new_client(_COMMIT_TIMEOUT_S)) as client:
            if packed is None:
                none = [_label(packages.LABEL, "")] if packages.LABEL in (config.get("Labels") or {}) else []
                _make_image(client, ref, name, [*changes, *none])
                return
            marked = [_label(INSPECTS, self._labels[INSPECTS])]
            with packed[0] as archive:
                base = client.commit(ref, changes=[*changes, *marked])["Id"]
                try:
                    self._add_packages(client, base, name, config, archive, packed[1])
                except BaseException:
                    with contextlib.suppress(DockerException):
                        client.remove_image(base)
                    raise

    def _add_packages(
        self, client: Any, base: str, name: str, config: Mapping[str, Any], archive: IO[bytes], parts: list[str]
    ) -> None:
        """By way of a container that never runs and has nothing mounted: in the user's own, links could lead astray."""
        helper = client.create_container(base, labels=self._labels, network_disabled=True)["Id"]
        try:
            client.put_archive(helper, "/", archive)
            changes = _as_in_image(client.inspect_container(helper)["Config"], config)
            _make_image(client, helper, name, [*changes, _label(packages.LABEL, " ".join(parts))])
        finally:
            client.remove_container(helper, force=True, v=True)

    def remove_leftovers(self) -> None:
        """Of an agent that was killed: containers to look into an image, and images that were to become another."""
        ours = {"label": f"{INSPECTS}={self._labels[INSPECTS]}"}
        for container in self._engine.api.containers(all=True, filters=ours):
            self._engine.api.remove_container(container["Id"], force=True, v=True)
        for image in self._engine.api.images(filters={**ours, "dangling": True}):
            self._engine.api.remove_image(image["Id"])

    async def remove(self, name: str) -> None:
        def remove() -> None:
            with contextlib.suppress(ImageNotFound):
                self._engine.api.remove_image(name)

        await self._engine.call("other", remove)


class _SpecCache:
    """``{image digest: kernelspecs}`` in a file: an image never changes, so each is looked into once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    @functools.cached_property
    def _known(self) -> dict[str, list[Any]]:
        try:
            known = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def get(self, digest: str) -> list[KernelSpecFacts] | None:
        with self._lock:
            raw = self._known.get(digest)
        return None if raw is None else [from_json(KernelSpecFacts, item) for item in raw]

    def put(self, digest: str, specs: list[KernelSpecFacts]) -> None:
        with self._lock:
            self._known[digest] = to_json(specs)
            scratch = self._path.with_suffix(".tmp")
            scratch.write_text(json.dumps(self._known))
            scratch.replace(self._path)


def _environ_of(config: Mapping[str, Any]) -> dict[str, str]:
    return dict(item.split("=", 1) for item in config.get("Env") or [] if "=" in item)


def labels_of(config: Mapping[str, Any]) -> dict[str, str]:
    """What is known of an image: its labels, what it says of the CUDA it needs, and what those of NVIDIA's catalogue
    (NGC), which have none of Backend.AI's labels, need beside that."""
    own = config.get("Labels") or {}
    return {**(_NGC_LABELS if _NGC_BUILD in own else {}), **own, **_told_by_environ(config)}


def _told_by_environ(config: Mapping[str, Any]) -> dict[str, str]:
    """What an image says of the CUDA that it needs."""
    environ = _environ_of(config)
    return {f"{ENVIRON_LABEL}{name}": environ[name] for name in _CUDA_VARIABLES if name in environ}


def _as_in_image(container: Mapping[str, Any], image: Mapping[str, Any]) -> list[str]:
    """Instructions that give an image made of our container the settings of the image that it was made of.

    Variables and labels cannot be taken away, so those that we had set become empty: some of them are secrets.
    """
    before, labels = _environ_of(image), image.get("Labels") or {}
    given = {name: before.get(name, "") for name, value in _environ_of(container).items() if before.get(name) != value}
    ours = {name: "" for name in container.get("Labels") or {} if name not in labels}
    starts = {"ENTRYPOINT": image.get("Entrypoint"), "CMD": image.get("Cmd")}
    return [
        *(f"ENV {name}={_quoted(value)}" for name, value in given.items()),
        *(_label(name, value) for name, value in ours.items()),
        *(f"{word} {json.dumps(words)}" for word, words in starts.items() if words),  # an engine takes no empty ones
        f"WORKDIR {image.get('WorkingDir') or '/'}",
        f"USER {image.get('User') or '0'}",
    ]


def _make_image(client: Any, ref: str, name: str, changes: list[str]) -> None:
    repository, _, tag = name.rpartition(":")
    client.commit(ref, repository, tag, changes=changes)


def _home_of(container: Mapping[str, Any]) -> Path:
    """On this host."""
    (home,) = [mount["Source"] for mount in container["Mounts"] if mount["Destination"] == INSIDE_HOME]
    return Path(home)


def _label(name: str, value: str) -> str:
    return f"LABEL {_quoted(name)}={_quoted(value)}"


def _quoted(text: str) -> str:
    return '"' + re.sub(r'(["\\$])', r"\\\1", text) + '"'
