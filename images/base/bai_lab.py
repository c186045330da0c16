"""JupyterLab as an app of a session: ``bai_lab.py PORT BASE_URL [option …]``, in images that have JupyterLab.

It listens at the loopback address only. The way there is the manager's, which has asked who comes: so this asks nobody
for a token. It answers to no host name but localhost, so that no page of elsewhere gets in through a port that its user
has forwarded.
"""

import sys
from pathlib import Path
from typing import Any

from tornado.web import RedirectHandler

NAME = Path(__file__).stem


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": NAME}]


def _load_jupyter_server_extension(server: Any) -> None:
    """Who comes by a forwarded port begins at ``/``, where Jupyter below a base URL has nothing."""
    server.web_app.add_handlers(".*", [("/", RedirectHandler, {"url": server.base_url, "permanent": False})])


def main(port: str, base_url: str, *options: str) -> None:
    from jupyterlab.labapp import LabApp

    LabApp.launch_instance(
        [
            *("--no-browser", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"),
            *(f"--ServerApp.base_url={base_url}", f"--ServerApp.root_dir={Path.home()}"),
            *("--ServerApp.token=", "--ServerApp.password="),
            f"--ServerApp.jpserver_extensions={NAME}=True",
            *options,
        ]
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
