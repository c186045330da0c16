"""``bai agent``: run, join, list, drain, resume, join-token."""

import argparse
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import NoReturn

from bai_jupyter.cli.login import find_config, with_manager
from bai_jupyter.cli.terminal import NOTHING, CommandFailed, Exit, Terminal, ago
from bai_jupyter.client import Json
from bai_jupyter.common.join_tokens import BadJoinToken, JoinToken
from bai_jupyter.common.reasons import plural
from bai_jupyter.common.slots import ResourceSlots, describe_amount, format_size

DEFAULT_STATE = ".bai/agent"  # AgentApp's


def run(options: argparse.Namespace, _terminal: Terminal) -> NoReturn:
    """``run`` and ``join``. Become the agent: same process, so signals and exit code are its own."""
    token = _parse(options.token or os.environ.get("BAI_JOIN_TOKEN", ""))
    flags = {
        **_manager(options, token),
        "name": options.name,
        "runtime": options.runtime,
        "state_dir": options.state,
    }
    given = [f"--AgentApp.{name}={value}" for name, value in flags.items() if value]
    if options.token:  # by environment: other users can read a process's arguments
        os.environ["BAI_JOIN_TOKEN"] = options.token
    os.execv(sys.executable, [sys.executable, "-P", "-m", "bai_agent", *given, *options.more])  # noqa: S606


def _manager(options: argparse.Namespace, token: JoinToken) -> dict[str, str]:
    """Nothing where the agent knows: from its token, or from the manager that took it the last time."""
    if options.manager:
        return {"manager_url": options.manager}
    if token.url or (Path(options.state or DEFAULT_STATE) / "manager").exists():
        return {}
    config = find_config()
    return {
        "manager_url": config.endpoint,
        "manager_fingerprint": config.trust.fingerprint,
        "manager_ca": config.trust.ca_file,
    }


def _parse(token: str) -> JoinToken:
    try:
        return JoinToken.parse(token)
    except BadJoinToken as error:
        raise CommandFailed(str(error), Exit.USAGE) from error


def list_(_options: argparse.Namespace, terminal: Terminal) -> int:
    agents = with_manager(lambda client: client.list_agents())
    if terminal.as_json:
        terminal.document({"agents": agents})
    elif terminal.quiet:
        for agent in agents:
            terminal.line(agent["name"])
    else:
        terminal.table(
            ["NAME", "STATUS", "GROUP", "CPU", "MEMORY", "GPU", "RUNTIME", "HEARD"], [_row(a) for a in agents]
        )
        for line in (line for agent in agents for line in _unusable(agent)):
            terminal.line(line)
        ready = sum(agent["status"] == "ALIVE" for agent in agents)
        terminal.line(f"{plural(len(agents), 'agent')}, {ready} ready." if agents else _NONE)
    return Exit.DONE


_NONE = "No agents. On each host: bai agent join TOKEN (see `bai agent join-token`)."
_WORDS = {"ALIVE": "Ready", "LOST": "Unreachable", "TERMINATED": "Left"}


def _row(agent: Json) -> list[str]:
    slots, used = ResourceSlots.parse(agent["slots"]), ResourceSlots.parse(agent.get("used") or {})
    memory = f"{format_size(used['mem'])}/{format_size(slots['mem'])}"
    gpus = [name for name in slots if name.startswith(("cuda.", "mock."))]
    gpu = " ".join(f"{used[name]:f}/{slots[name]:f}" for name in gpus) or NOTHING
    held = {device.get("attributes", {}).get("enforcement") for device in agent.get("devices", [])} - {None}
    gpu += f" (held by {', '.join(sorted(held))})" if held else ""
    runtime = agent["runtime"] + ("" if agent.get("isolated", True) else " (not isolated)")
    status = str(_WORDS.get(agent["status"], agent["status"]))
    status += "" if agent.get("schedulable", True) else _draining(agent)
    group = agent.get("resource_group") or NOTHING
    cpu = f"{used['cpu']:f}/{slots['cpu']:f}" + (", shared" if used["cpu"] > slots["cpu"] else "")
    return [
        agent["name"],
        status,
        group,
        cpu,
        memory,
        _with_others(gpu, used, slots),
        runtime,
        ago(agent.get("heard_at")),
    ]


def _draining(agent: Json) -> str:
    """``, draining: 3 sessions left, by 18:00``."""
    left = f": {plural(agent['sessions'], 'session')} left" if agent.get("sessions") else ""
    by = f", by {_clock(datetime.fromisoformat(agent['drain_by']))}" if agent.get("drain_by") else ""
    return f", draining{left}{by}"


def _clock(moment: datetime) -> str:
    """Here: ``18:00``, or with its date where that is another than today's."""
    here = moment.astimezone()
    return here.strftime("%H:%M" if here.date() == datetime.now().astimezone().date() else "%Y-%m-%d %H:%M")


def _with_others(gpu: str, used: ResourceSlots, slots: ResourceSlots) -> str:
    """What there is of GPUs, and of other accelerators by their names: ``1/8, 0/2 RNGD``."""
    names = [name for name in slots if name not in ("cpu", "mem") and not name.startswith(("cuda.", "mock."))]
    others = [f"{used[name]:f}/{describe_amount(name, slots[name])}" for name in names]
    return ", ".join([gpu, *others] if gpu != NOTHING else others) or NOTHING


def _unusable(agent: Json) -> list[str]:
    """A sentence for an engine that does not answer, and for each device that is there and is not handed out."""
    trouble = [agent["engine_trouble"]] if agent.get("engine_trouble") else []
    amiss = [device for device in agent.get("devices") or [] if device.get("health", "ok") != "ok"]
    return trouble + [
        f"{agent['name']} does not hand out {device['device_id']} ({device['model']}): {device['health'].rstrip('.')}."
        for device in amiss
    ]


def schedule(options: argparse.Namespace, terminal: Terminal) -> int:
    """``drain`` and ``resume``."""
    by: datetime | None = options.by
    moment = by.isoformat() if by else None
    with_manager(lambda client: client.set_schedulable(options.names, options.is_schedulable, moment))
    rest = f"what runs there is ended at {_clock(by)}" if by else "what runs goes on"
    done = "takes new sessions" if options.is_schedulable else f"takes no new sessions; {rest}"
    if terminal.as_json:
        terminal.document({"agents": options.names, "schedulable": options.is_schedulable, "drain_by": moment})
    else:
        for name in options.names:
            terminal.line(name if terminal.quiet else f"{name}: {done}")
    return Exit.DONE


def join_token(options: argparse.Namespace, terminal: Terminal) -> int:
    token = with_manager(lambda client: client.create_join_token(options.group, options.uses, int(options.expires)))
    if terminal.as_json:
        terminal.document({"token": token})
        return Exit.DONE
    terminal.line(token)
    made = JoinToken.parse(token)
    known = f", whose certificate it knows ({made.fingerprint[:12]}…)" if made.fingerprint else ""
    terminal.say(f"On the host that shall join: bai agent join {token}")
    terminal.say(f"It leads to {made.url}{known}. If agents reach the manager elsewhere: … --manager URL")
    return Exit.DONE
