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
            "metadata": {"kernel_provisioner": {"provisioner_name": "survivor", "config": {}}},
        }
        for image in images
        for spec in image["kernelspecs"]
    }


def kernelspec_for(images: list[dict[str, Any]], choice: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The provisioner's own, for survivors."""
    name, spec = kernelspecs.kernelspec_for(images, choice)
    home = Path(os.environ["HOME"])
    provisioner = spec["metadata"]["kernel_provisioner"]
    provisioner["provisioner_name"] = "survivor"
    provisioner["config"] |= {"gate": str(home / "gate"), "log_file": str(home / "survivors.log")}
    return name, spec
