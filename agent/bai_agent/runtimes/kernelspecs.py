"""Read ``kernel.json`` files. They come out of images, so nothing in them is believed."""

import json
from collections.abc import Collection
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from bai_agent.runtimes.base import INSIDE_HOME
from bai_agent.runtimes.standby import MODULE
from bai_jupyter.common.messages import UNCOMPILED, KernelSpecFacts

MAX_BYTES = 256 * 1024
_SUBFOLDER = "share/jupyter/kernels"
_PYTHONS = range(8, 16)  # minor versions
_IN_MEMORY = "--HistoryManager.hist_file=:memory:"
_IPYTHON = f"{INSIDE_HOME}/.ipython"


def folders_to_search(environ: dict[str, str]) -> list[str]:
    """Where an image may keep kernelspecs, given its environment: beside each ``bin`` folder of its PATH."""
    prefixes = [str(PurePosixPath(part).parent) for part in environ.get("PATH", "").split(":") if part.endswith("/bin")]
    prefixes += [environ[name] for name in ("VIRTUAL_ENV", "CONDA_DIR") if environ.get(name)]
    prefixes += ["/opt/venv", "/opt/conda", "/usr/local", "/usr"]
    return [f"{prefix.rstrip('/')}/{_SUBFOLDER}" for prefix in dict.fromkeys(prefixes)]


def spec_from_json(name: str, folder: str, raw: bytes) -> KernelSpecFacts | None:
    """One kernelspec, or ``None`` for what no Jupyter could start. ``folder`` becomes its resource folder."""
    try:
        spec: Any = json.loads(raw) if len(raw) <= MAX_BYTES else None
    except ValueError:
        return None
    if not isinstance(spec, dict) or not _are_words(spec.get("argv")) or not spec["argv"]:
        return None
    env, metadata = spec.get("env", {}), spec.get("metadata", {})
    metadata = dict(metadata) if isinstance(metadata, dict) else {}
    if any("{resource_dir}" in word for word in spec["argv"]):
        metadata["resource_dir"] = folder
    return KernelSpecFacts(
        name=name.lower(),
        display_name=str(spec.get("display_name") or name),
        language=str(spec.get("language") or ""),
        argv=list(spec["argv"]),
        env={str(key): str(value) for key, value in env.items()} if isinstance(env, dict) else {},
        interrupt_mode="message" if spec.get("interrupt_mode") == "message" else "signal",
        metadata=metadata,
    )


def places_of_ipykernel(spec: KernelSpecFacts) -> list[tuple[str, str]]:
    """Where an image may have the ipykernel that a kernelspec starts: folder, and suffix of what is compiled there."""
    python = PurePosixPath(spec.argv[0])
    if MODULE not in spec.argv or not python.is_absolute():
        return []
    lib = python.parent.parent / "lib"
    return [(f"{lib}/python3.{n}/site-packages/ipykernel", f".cpython-3{n}.pyc") for n in _PYTHONS]


def uncompiled(spec: KernelSpecFacts) -> KernelSpecFacts:
    """One whose ipykernel is not compiled, which makes each start of it a second longer."""
    return replace(spec, metadata={**spec.metadata, UNCOMPILED: True})


def tuned(spec: KernelSpecFacts, mounted: Collection[str]) -> KernelSpecFacts:
    """What a container starts for it, given where folders are mounted.

    IPython's history is kept in memory: as a database on the disk it makes a start longer, and with the container it
    would be gone. Not for who has a folder mounted for it, nor where a kernelspec says something of it itself.
    """
    has_own = any("HistoryManager" in word for word in spec.argv)
    if MODULE not in spec.argv or has_own or any(f"{one}/".startswith(f"{_IPYTHON}/") for one in mounted):
        return spec
    return replace(spec, argv=[*spec.argv, _IN_MEMORY])


def _are_words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
