"""Kernelspecs of the manager's images, beside the local ones.

Answers come from memory, since Jupyter asks on every page load; ``replace`` is called whenever the manager was asked
(``app``), and the last list is kept in a file so that a server that starts while the manager is away still knows it.
How an image becomes kernelspecs is the provisioner's business: its function is named by string, because the parts of
the Jupyter side do not import one another.
"""

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager, NoSuchKernel
from jupyter_core.paths import jupyter_data_dir
from traitlets import Unicode, default
from traitlets.utils.importstring import import_item

_RESOURCES = Path(__file__).with_name("kernelspec")

KernelSpecs = dict[str, dict[str, Any]]


class BaiKernelSpecManager(KernelSpecManager):
    """Local kernelspecs, and those of the images of one manager. A local one wins where both have a name."""

    kernelspecs_of = Unicode(
        "bai_jupyter.provisioner.kernelspecs.kernelspecs_of",
        config=True,
        help="Dotted name of the function that makes {name: kernelspec} of the manager's list of images.",
    )
    kernelspec_for = Unicode(
        "bai_jupyter.provisioner.kernelspecs.kernelspec_for",
        config=True,
        help="Dotted name of the function that makes (name, kernelspec) of the list of images and a choice.",
    )
    cache_file = Unicode(config=True, help="Where the last list of images is kept.")

    @default("cache_file")
    def _cache_in_data_dir(self) -> str:
        return str(Path(jupyter_data_dir()) / "bai_jupyter" / "images.json")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._endpoint = ""
        self._images: Sequence[dict[str, Any]] = ()
        self._ours: dict[str, KernelSpec] = {}

    def use_manager(self, endpoint: str) -> None:
        """Images come from this manager; begins with what it last said, if that is known."""
        self._endpoint = endpoint
        try:
            kept = json.loads(Path(self.cache_file).read_text())
            if kept["endpoint"] == endpoint:
                self._take(kept["images"])
        except FileNotFoundError:
            return
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            self.log.warning("the kept list of images in %s is not used: %r", self.cache_file, error)

    def replace(self, images: Sequence[dict[str, Any]]) -> bool:
        """Take the manager's list of images. True if it differs from the last one."""
        if images == self._images:
            return False
        self._take(images)
        self._keep()
        return True

    @property
    def our_names(self) -> list[str]:
        return sorted(self._ours)

    def find_kernel_specs(self) -> dict[str, str]:
        ours = {name: str(_RESOURCES) for name in self._ours if self._is_allowed(name)}
        return ours | super().find_kernel_specs()

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        spec = self._ours.get(kernel_name)
        if spec is None or self._find_spec_directory(kernel_name.lower()) is not None:
            return super().get_kernel_spec(kernel_name)
        return spec

    def runs(self, kernel_name: str) -> dict[str, str]:
        """Image and Jupyter kernel of a kernelspec of ours; nothing for any other, and for one that is not there."""
        try:
            spec = self.get_kernel_spec(kernel_name)
        except NoSuchKernel:
            return {}
        config = (spec.metadata.get("kernel_provisioner") or {}).get("config") or {}
        return {key: config[key] for key in ("image", "kernelspec") if "image" in config and key in config}

    def install_for(self, choice: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Write the kernelspec for a choice into the user's Jupyter folder, where clients without our server look.

        Returns its name and content. Raises ``NotFound`` for an image that the manager does not list.
        """
        make: Callable[[Any, Any], tuple[str, dict[str, Any]]] = import_item(self.kernelspec_for)
        name, spec = make(self._images, choice)
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "kernel.json").write_text(json.dumps(spec, indent=1, ensure_ascii=False) + "\n")
            self.install_kernel_spec(folder, name, user=True)
        return name, spec

    def _is_allowed(self, name: str) -> bool:
        return not self.allowed_kernelspecs or name in self.allowed_kernelspecs

    def _take(self, images: Sequence[dict[str, Any]]) -> None:
        make: Callable[[Sequence[dict[str, Any]]], KernelSpecs] = import_item(self.kernelspecs_of)
        self._ours = {name: make_spec(spec) for name, spec in make(images).items()}
        self._images = images

    def _keep(self) -> None:
        path = Path(self.cache_file)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft = path.with_suffix(f".{os.getpid()}")
            draft.write_text(json.dumps({"endpoint": self._endpoint, "images": self._images}))
            draft.replace(path)
        except OSError as error:
            self.log.warning("the list of images could not be kept in %s: %s", path, error)


def make_spec(raw: dict[str, Any]) -> KernelSpec:
    """A ``KernelSpec`` of its JSON form; keys that jupyter_client does not know are left out."""
    known = KernelSpec.class_trait_names()
    given = {name: value for name, value in raw.items() if name in known}
    return KernelSpec(**{"resource_dir": str(_RESOURCES), **given})
