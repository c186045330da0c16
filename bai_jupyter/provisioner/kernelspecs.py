"""Kernelspecs made from the manager's images: for each Jupyter kernel that an image contains, and for a choice.

Used by the extension's kernel spec manager and by ``bai kernelspec install``. Does not own where they are written.

A kernelspec is named ``bai-<image>-<kernelspec>``: the image's name in small letters, without a leading ``bai/``, with
``-`` for each run of characters other than ``[a-z0-9._-]``. Where two images would get one name, each gets six digits
of its own name's hash in addition, so that a name never changes its meaning with the order of the images.

With a preset or amounts of its own it is named for those: ``bai-<image>-<preset>``, ``bai-<image>-cpu-2-mem-4g``. The
Jupyter kernel's name stands before them where the image has several, the hash behind them where that name could mean
something else.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from bai_jupyter.common.environments import title_of
from bai_jupyter.common.errors import NotFound
from bai_jupyter.common.reasons import Reason

PROVISIONER = "backendai-provisioner"

_NOT_ALLOWED = re.compile(r"[^a-z0-9._-]+")


def kernelspecs_of(images: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """``{name: kernelspec}`` for the images of ``GET /images``; an image without kernelspecs gives none.

    The kernelspec is the content of a ``kernel.json``::

        {"argv": ["bai", "kernel", "launch", …], "display_name": "Python 3 · bai/python 3.11", "language": "python",
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
            name += _hash(image["name"], inner["name"])
        specs[name] = _kernelspec(image["name"], inner)
    return specs


def kernelspec_for(images: Sequence[Mapping[str, Any]], choice: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Name and content of the kernelspec for a choice: its image, Jupyter kernel (or the first), preset and amounts.

    The rest of a choice is a notebook's own and is not in it, since others share the kernelspec. Raises ``NotFound``
    for an image, or a Jupyter kernel in it, that is not there.
    """
    image, inner = _find(images, choice["image"], choice.get("kernelspec"))
    preset, resources = choice.get("preset"), choice.get("resources") or {}
    specs = kernelspecs_of(images)
    if not preset and not resources:
        return next(
            (name, spec) for name, spec in specs.items() if _config(spec) == _config(_kernelspec(image["name"], inner))
        )
    words = [inner["name"]] if len(image["kernelspecs"]) > 1 else []
    words += [preset] if preset else []
    words += [f"{slot}-{amount}" for slot, amount in sorted(resources.items())]
    name = "-".join(["bai", _image_slug(image["name"]), *(_slug(word.lower()) for word in words)])
    is_shared = [_image_slug(other["name"]) for other in images].count(_image_slug(image["name"])) > 1
    if is_shared or name in specs or any(word != _slug(word.lower()) for word in words):
        name += _hash(image["name"], *words)
    return name, _kernelspec(image["name"], inner, preset, resources)


def _find(
    images: Sequence[Mapping[str, Any]], name: str, kernelspec: str | None
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    usable = {image["name"]: image for image in images if image.get("kernelspecs")}
    if name not in usable:
        raise NotFound(Reason.of("image-unknown", image=name, names=", ".join(usable) or "none"))
    inners = usable[name]["kernelspecs"]
    for inner in inners:
        if kernelspec in (None, inner["name"]):
            return usable[name], inner
    names = ", ".join(inner["name"] for inner in inners)
    raise NotFound(Reason.of("no-kernelspec", image=name, kernelspec=kernelspec, names=names))


def _config(spec: Mapping[str, Any]) -> Any:
    return spec["metadata"]["kernel_provisioner"]["config"]


def _kernelspec(
    image: str, inner: Mapping[str, Any], preset: str | None = None, resources: Mapping[str, str] | None = None
) -> dict[str, Any]:
    config: dict[str, Any] = {"image": image, "kernelspec": inner["name"]}
    options: list[str] = []
    amounts = [f"{slot}={amount}" for slot, amount in sorted((resources or {}).items())]
    if preset:
        config["preset"] = preset
        options += ["--preset", preset]
    if resources:
        config["resources"] = dict(resources)
        options += ["--resources", ",".join(amounts)]
    metadata: dict[str, Any] = {
        "kernel_provisioner": {"provisioner_name": PROVISIONER, "config": config},
        "bai": {"image": image, "preset": preset},
    }
    inner_metadata = inner.get("metadata") or {}
    if "debugger" in inner_metadata:
        metadata["debugger"] = inner_metadata["debugger"]
    return {
        "argv": [
            *("bai", "kernel", "launch", "-f", "{connection_file}"),
            *("--image", image, "--kernelspec", inner["name"], *options),
        ],
        "display_name": " · ".join(
            [
                _short(inner.get("display_name") or inner["name"]),
                title_of(image),
                *([preset] if preset else []),
                *amounts,
            ]
        ),
        "language": inner.get("language") or "",
        "interrupt_mode": inner.get("interrupt_mode") or "signal",
        "env": {},
        "metadata": metadata,
    }


def _short(display_name: str) -> str:
    """Without the name of the implementation, which every Python says: ``Python 3 (ipykernel)``."""
    return display_name.removesuffix(" (ipykernel)")


def _plain_name(image: str, kernelspec: str) -> str:
    return f"bai-{_image_slug(image)}-{_slug(kernelspec.lower())}"


def _image_slug(image: str) -> str:
    return _slug(image.lower().removeprefix("bai/"))


def _slug(text: str) -> str:
    return _NOT_ALLOWED.sub("-", text).strip("-")


def _hash(*words: str) -> str:
    return "-" + hashlib.sha256("\n".join(words).encode()).hexdigest()[:6]
