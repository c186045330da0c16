"""Which manager a command talks to, and one call or several on a fresh event loop."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from bai_jupyter.cli.terminal import CommandFailed, Exit
from bai_jupyter.client import ClientConfig, ManagerClient, load_config

T = TypeVar("T")


def find_config() -> ClientConfig:
    """The credentials of this shell and folder. Raises ``CommandFailed`` (not logged in) if there are none."""
    config = load_config(os.environ, Path.cwd())
    if config is None:
        raise CommandFailed(
            "Not logged in: no credentials here, above, or in ~/.config/bai. "
            "Run `bai up` for a manager on this machine, or set BACKEND_ENDPOINT, BACKEND_ACCESS_KEY and "
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
