"""Kernelspecs of the agent's own Python environment, for the runtime without images."""

import sys
from dataclasses import replace
from pathlib import Path

from bai_agent.runtimes.kernelspecs import spec_from_json
from bai_jupyter.common.messages import KernelSpecFacts


def local_kernelspecs(python: str) -> list[KernelSpecFacts]:
    """What Jupyter finds in this environment, or what lies in its own share folder where Jupyter is not installed."""
    specs = [spec_from_json(name, folder, raw) for name, folder, raw in _spec_files()]
    return [_with_python(spec, python) for spec in specs if spec is not None and _is_local(spec)]


def _spec_files() -> list[tuple[str, str, bytes]]:
    try:
        from jupyter_client.kernelspec import KernelSpecManager

        folders = {name: Path(folder) for name, folder in KernelSpecManager().find_kernel_specs().items()}
    except ImportError:
        base = Path(sys.prefix) / "share/jupyter/kernels"
        folders = {path.name: path for path in base.glob("*") if (path / "kernel.json").exists()}
    return [
        (name, str(folder), (folder / "kernel.json").read_bytes())
        for name, folder in sorted(folders.items())
        if (folder / "kernel.json").is_file()
    ]


def _is_local(spec: KernelSpecFacts) -> bool:
    provisioner = spec.metadata.get("kernel_provisioner", {})
    return bool(provisioner.get("provisioner_name", "local-provisioner") == "local-provisioner")


def _with_python(spec: KernelSpecFacts, python: str) -> KernelSpecFacts:
    """As Jupyter does: a plain ``python`` means the environment's interpreter."""
    major, minor = sys.version_info[:2]
    plain = {"python", f"python{major}", f"python{major}.{minor}", sys.executable}
    return replace(spec, argv=[python, *spec.argv[1:]]) if spec.argv[0] in plain else spec
