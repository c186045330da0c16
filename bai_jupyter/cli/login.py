"""Which manager a command talks to and as whom, and one call or several on a fresh event loop."""

import asyncio
import getpass
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from bai_jupyter.cli.terminal import CommandFailed, Exit, Terminal
from bai_jupyter.client import ClientConfig, Json, ManagerClient, load_config

T = TypeVar("T")


def find_config() -> ClientConfig:
    """The credentials of this shell and folder. Raises ``CommandFailed`` (not logged in) if there are none."""
    config = load_config(os.environ, Path.cwd())
    if config is None:
        raise CommandFailed(
            "Not logged in: no credentials here, above, or in ~/.config/bai. "
            "Run `bai up` for a manager on this machine, `bai login --manager URL` for another one, or set "
            "BACKEND_ENDPOINT, BACKEND_ACCESS_KEY and "
            "BACKEND_SECRET_KEY.",
            Exit.NOT_LOGGED_IN,
        )
    return config


def with_manager(work: Callable[[ManagerClient], Awaitable[T]]) -> T:
    """Run ``work`` with a client of the manager this shell is logged in to."""

    async def run() -> T:
        async with ManagerClient(find_config()) as client:
            return await work(client)

    return asyncio.run(run())


def credentials_of(config: ClientConfig, keypair: Json) -> Json:
    """What is written into a file of credentials, for somebody who finds and trusts the manager as ``config`` does."""
    ca_file = str(Path(config.trust.ca_file).absolute()) if config.trust.ca_file else ""
    trust = {"fingerprint": config.trust.fingerprint, "ca_file": ca_file}
    return {"endpoint": config.endpoint, **keypair, **{name: value for name, value in trust.items() if value}}


def read_password(prompt: str, terminal: Terminal) -> str:
    """Asked for on a terminal, else the next line of stdin: what is on a command line, others can read."""
    return getpass.getpass(prompt) if terminal.stdin.isatty() else terminal.stdin.readline().rstrip("\n")
