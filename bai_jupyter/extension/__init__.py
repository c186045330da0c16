"""Backend.AI in a Jupyter server: kernelspecs, kernels that outlive the server, and the API of the Lab panel.

``app`` puts the parts into place when a manager is configured; without one the server stays exactly as it was.
"""

from typing import Any

LABEXTENSION_NAME = "@bai-jupyter/labextension"


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    from bai_jupyter.extension.app import BaiExtension

    return [{"module": "bai_jupyter.extension", "app": BaiExtension}]


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    return [{"src": "labextension", "dest": LABEXTENSION_NAME}]
