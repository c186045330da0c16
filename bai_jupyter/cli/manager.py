"""``bai manager run``."""

import argparse
import os
import sys
from typing import NoReturn

from bai_jupyter.cli.terminal import Terminal


def run(options: argparse.Namespace, _terminal: Terminal) -> NoReturn:
    """Become the manager: same process, so signals and exit code are its own."""
    flags = {
        "ip": options.ip,
        "port": options.port,
        "data_dir": options.data,
        "certfile": options.certfile,
        "keyfile": options.keyfile,
        "allow_plain_http": options.plain_http or None,
    }
    given = [f"--ManagerApp.{name}={value}" for name, value in flags.items() if value is not None]
    os.execv(sys.executable, [sys.executable, "-P", "-m", "bai_jupyter.manager", *given, *options.more])  # noqa: S606
