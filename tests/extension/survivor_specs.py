"""Kernelspecs of images, simpler than the provisioner's own: one for each name found inside."""

import os
from pathlib import Path
from typing import Any

from bai_jupyter.provisioner import kernelspecs


def kernelspecs_of(images: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {
        f"bai-{image['name'].replace(':', '-')}-{spec['name']}": {
            "argv": [],
            "display_name": f"{spec['display_name']} ({image['name']})",
            "language": spec["language"],
            "metadata": _survives({"config": {"image": image["name"], "kernelspec": spec["name"]}}),
        }
        for image in images
        for spec in image["kernelspecs"]
    }


def kernelspec_for(images: list[dict[str, Any]], choice: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The provisioner's own, for survivors."""
    name, spec = kernelspecs.kernelspec_for(images, choice)
    spec["metadata"] |= _survives(spec["metadata"]["kernel_provisioner"])
    return name, spec


def _survives(provisioner: dict[str, Any]) -> dict[str, Any]:
    home = Path(os.environ["HOME"])
    files = {"gate": str(home / "gate"), "log_file": str(home / "survivors.log")}
    return {"kernel_provisioner": {"provisioner_name": "survivor", "config": {**provisioner["config"], **files}}}
