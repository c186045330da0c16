"""Read ``kernel.json`` files. They come out of images, so nothing in them is believed."""

import json
from pathlib import PurePosixPath
from typing import Any

from bai_jupyter.common.messages import KernelSpecFacts

MAX_BYTES = 256 * 1024
_SUBFOLDER = "share/jupyter/kernels"


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


def _are_words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
