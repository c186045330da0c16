"""``bai kernel launch``: a kernel in a session for Jupyter programs that start kernels as processes (VS Code).

To them this is the kernel: it serves the ports of the connection file it is given, an interrupt signal interrupts the
kernel there, and when one ends so does the other.
"""

import argparse
import asyncio
import json
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

from bai_jupyter.cli.login import find_config
from bai_jupyter.cli.terminal import CommandFailed, Exit, Terminal
from bai_jupyter.common.errors import PublicError
from bai_jupyter.common.ids import new_jupyter_kernel_id
from bai_jupyter.notebook import HOME_ROOT, place_in_home
from bai_jupyter.provisioner.facade import Ports
from bai_jupyter.provisioner.options import resolve, sources_of
from bai_jupyter.provisioner.remote import RemoteKernel


def launch(options: argparse.Namespace, terminal: Terminal) -> int:
    connection = _read_connection_file(Path(options.file))
    return asyncio.run(_run(options, connection, terminal))


def _read_connection_file(path: Path) -> dict[str, Any]:
    try:
        connection: dict[str, Any] = json.loads(path.read_text())
        supported = (connection["transport"], connection["signature_scheme"]) == ("tcp", "hmac-sha256")
    except (OSError, ValueError, KeyError) as error:
        raise CommandFailed(f"{path} is not a Jupyter connection file: {error}") from error
    if not supported:
        raise CommandFailed(f"{path}: only transport tcp with signature scheme hmac-sha256 can be served.")
    return connection


async def _run(options: argparse.Namespace, connection: dict[str, Any], terminal: Terminal) -> int:
    ended = asyncio.Event()

    def changed() -> None:
        if remote.reason:
            terminal.say(str(remote.reason["text"]))
        if remote.exit_code is not None:
            ended.set()

    ports = Ports(**{field: connection[f"{field}_port"] for field in Ports.__dataclass_fields__})
    remote = RemoteKernel(find_config(), new_jupyter_kernel_id(), None, changed, ports)
    loop = asyncio.get_running_loop()
    orders: set[asyncio.Task[None]] = set()

    def interrupt() -> None:
        task = loop.create_task(_interrupt(remote))
        orders.add(task)
        task.add_done_callback(orders.discard)

    loop.add_signal_handler(signal.SIGINT, interrupt)
    for signum in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(signum, ended.set)
    config = {name: getattr(options, name) for name in ("image", "kernelspec", "preset", "resources")}
    wanted = resolve(sources_of({}, os.environ, config))
    place = place_in_home(str(Path.cwd()), os.environ.get(HOME_ROOT))
    starting = loop.create_task(remote.launch(wanted, connection["key"], None, place, {}))
    stopping = loop.create_task(ended.wait())
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            await stopping
    finally:
        for task in (starting, stopping, *orders):
            task.cancel()
        await asyncio.gather(starting, stopping, *orders, return_exceptions=True)
        await remote.end()
    return Exit.DONE if not remote.exit_code else Exit.FAILED


async def _interrupt(remote: RemoteKernel) -> None:
    with suppress(PublicError):  # it has just ended, or the manager is away: pressing again helps
        await remote.interrupt()
