"""``bai down``: end the sessions of this folder's manager, then stop the servers."""

import argparse
import asyncio
import os
import signal
import subprocess
import time
from pathlib import Path

from bai_jupyter.cli import local
from bai_jupyter.cli.servers import DataFolder, free_port, left_behind, stop_process
from bai_jupyter.cli.session import END_TIMEOUT_S, end
from bai_jupyter.cli.terminal import CommandFailed, Exit, Terminal
from bai_jupyter.cli.up import MANAGER_PORT, SERVERS
from bai_jupyter.client import ManagerClient

STOP_TIMEOUT_S = 60.0
CLEAN_UP_TIMEOUT_S = 60.0


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    folder = DataFolder(Path(options.data).absolute())
    if not folder.state_file.exists():
        terminal.say(f"Nothing runs in {folder.path}.")
        return Exit.DONE
    if folder.is_locked():
        ended = asyncio.run(_end_all_of_running(folder))
        stopped = _stop_up(folder)
    else:
        stopped = _stop_left_behind(folder)
        with folder.lock() as is_ours:
            if not is_ours:
                raise CommandFailed("A `bai up` began just now. Try again.")
            ended = asyncio.run(_end_all_of_stopped(folder, terminal))
    _clean_up(folder, terminal)
    _report(ended, stopped, terminal)
    return Exit.DONE


def _report(ended: list[str], stopped: list[str], terminal: Terminal) -> None:
    if terminal.as_json:
        terminal.document({"ended": ended, "stopped": stopped})
        return
    terminal.line(f"Ended {', '.join(ended)}." if ended else "No sessions to end.")
    terminal.line(f"Stopped {', '.join(stopped)}." if stopped else "No servers ran.")


async def _end_all_of_running(folder: DataFolder) -> list[str]:
    async with ManagerClient(local.config_of(folder)) as client:
        return await _end_all(client)


async def _end_all_of_stopped(folder: DataFolder, terminal: Terminal) -> list[str]:
    """Sessions outlive their servers; ending them takes the manager, and the agent if there are any."""
    cluster = local.existing(folder, free_port(MANAGER_PORT))
    terminal.say("The servers do not run; starting the manager to see what is left.")
    try:
        await cluster.start_manager()
        async with cluster.client() as client:
            if not await client.list_sessions(everyone=True):
                return []
            await cluster.start_agent()
            return await _end_all(client)
    finally:
        await cluster.stop()


async def _end_all(client: ManagerClient) -> list[str]:
    views = await client.list_sessions(everyone=True)
    ended = await asyncio.gather(*(end(client, view["id"], False, END_TIMEOUT_S) for view in views))
    return [view["name"] for view in ended]


def _clean_up(folder: DataFolder, terminal: Terminal) -> None:
    """Take away what the agent made in the engine and the firewall; the next `bai up` makes it anew."""
    if folder.read_state().get("runtime") != "docker":
        return
    options = [f"--AgentApp.state_dir={folder.path / 'agent'}", "--AgentApp.runtime=docker", "--cleanup"]
    try:
        done = subprocess.run(
            [*local.PYTHON, "-m", "bai_agent", *options],
            capture_output=True,
            text=True,
            timeout=CLEAN_UP_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        terminal.say("Docker does not answer; the agent's network was not removed.")
        return
    if done.returncode:
        terminal.say("The agent's network was not removed:\n" + done.stderr.strip()[-1000:])


def _stop_up(folder: DataFolder) -> list[str]:
    """Tell the running ``bai up`` to stop, and wait until it has."""
    running = [name for name, _ in left_behind(folder, SERVERS)]
    pid = int(folder.read_state()["pid"])
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while folder.is_locked():
        if time.monotonic() > deadline:
            raise CommandFailed(f"`bai up` (process {pid}) does not stop.")
        time.sleep(0.05)
    return running


def _stop_left_behind(folder: DataFolder) -> list[str]:
    stopped = []
    for name, pid in left_behind(folder, SERVERS):
        stop_process(pid)
        folder.pid_file(name).unlink(missing_ok=True)
        stopped.append(name)
    return stopped
