"""Kernelspecs of images, simpler than the provisioner's own: one for each name found inside."""

from typing import Any


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
