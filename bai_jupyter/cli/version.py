"""``bai version``: this program and the manager it talks to."""

import argparse
import asyncio
import os
import platform
from pathlib import Path

from bai_jupyter._version import __version__
from bai_jupyter.cli.terminal import Exit, Terminal
from bai_jupyter.client import ConfigError, ManagerClient, load_config
from bai_jupyter.common.errors import PublicError
from bai_jupyter.common.messages import PROTOCOL_VERSION


def show(_options: argparse.Namespace, terminal: Terminal) -> int:
    facts = {
        "bai_jupyter": __version__,
        "python": platform.python_version(),
        "protocol": str(PROTOCOL_VERSION),
        "manager": asyncio.run(_ask_manager()),
    }
    if terminal.as_json:
        terminal.document(facts)
    elif terminal.quiet:
        terminal.line(__version__)
    else:
        terminal.line(
            f"bai_jupyter {facts['bai_jupyter']}, Python {facts['python']}, agents' protocol {facts['protocol']}"
        )
        terminal.line(f"Manager: {facts['manager'] or 'not logged in to one'}")
    return Exit.DONE


async def _ask_manager() -> str | None:
    try:
        config = load_config(os.environ, Path.cwd())
        if config is None:
            return None
        async with ManagerClient(config) as client:
            answer = await client.request("GET", "/", timeout_s=5)
            return f"{answer.get('manager')} (API {answer.get('version')}) at {config.endpoint}"
    except (PublicError, ConfigError) as error:
        return str(error)
