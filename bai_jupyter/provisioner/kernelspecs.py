"""Kernelspecs made from the manager's images: one for each Jupyter kernel that an image contains.

Used by the extension's kernel spec manager and by ``bai kernelspec install``. Does not own where they are written.

A kernelspec is named ``bai-<image>-<kernelspec>``: the image's name in small letters, without a leading ``bai/``, with
``-`` for each run of characters other than ``[a-z0-9._-]``. Where two images would get one name, each gets six digits
of its own name's hash in addition, so that a name never changes its meaning with the order of the images.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

PROVISIONER = "backendai-provisioner"

_NOT_ALLOWED = re.compile(r"[^a-z0-9._-]+")


def kernelspecs_of(images: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """``{name: kernelspec}`` for the images of ``GET /images``; an image without kernelspecs gives none.

    The kernelspec is the content of a ``kernel.json``::

        {"argv": ["bai", "kernel", "launch", …], "display_name": "Python 3 · bai/python:3.11", "language": "python",
         "interrupt_mode": "signal", "env": {},
         "metadata": {"kernel_provisioner": {"provisioner_name": "backendai-provisioner",
                                             "config": {"image": "python:3.11", "kernelspec": "python3"}},
                      "bai": {"image": "python:3.11", "preset": None}, "debugger": True}}

    ``argv`` is for programs that know nothing of provisioners and start kernels as processes (VS Code); to all others
    the provisioner's configuration counts.
    """
    pairs = [(image, inner) for image in images for inner in image.get("kernelspecs") or []]
    taken = Counter(_plain_name(image["name"], inner["name"]) for image, inner in pairs)
    specs = {}
    for image, inner in pairs:
        name = _plain_name(image["name"], inner["name"])
        if taken[name] > 1:
            name += "-" + hashlib.sha256(f"{image['name']}\n{inner['name']}".encode()).hexdigest()[:6]
        specs[name] = _kernelspec(image["name"], inner)
    return specs


def _kernelspec(image: str, inner: Mapping[str, Any]) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "kernel_provisioner": {
            "provisioner_name": PROVISIONER,
            "config": {"image": image, "kernelspec": inner["name"]},
        },
        "bai": {"image": image, "preset": None},
    }
    inner_metadata = inner.get("metadata") or {}
    if "debugger" in inner_metadata:
        metadata["debugger"] = inner_metadata["debugger"]
    return {
        "argv": ["bai", "kernel", "launch", "-f", "{connection_file}", "--image", image, "--kernelspec", inner["name"]],
        "display_name": f"{_short(inner.get('display_name') or inner['name'])} · {image}",
        "language": inner.get("language") or "",
        "interrupt_mode": inner.get("interrupt_mode") or "signal",
        "env": {},
        "metadata": metadata,
    }


def _short(display_name: str) -> str:
    """Without the name of the implementation, which every Python says: ``Python 3 (ipykernel)``."""
    return display_name.removesuffix(" (ipykernel)")


def _plain_name(image: str, kernelspec: str) -> str:
    return f"bai-{_slug(image.lower().removeprefix('bai/'))}-{_slug(kernelspec.lower())}"


def _slug(text: str) -> str:
    return _NOT_ALLOWED.sub("-", text).strip("-")
