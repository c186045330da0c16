"""The apps of a session: which ports its image says it serves, which its owner asked for, and any other. Pure.

An image says so with labels: ``ai.backend.service-ports`` lists them as Backend.AI does
(``jupyter:http:8888,tensorboard:http:6006,pair:tcp:[5000,5001]``), and ``bai.app.<name>`` holds the shell command that
starts one. Its words ``{port}``, ``{args}`` and ``{base_url}`` are replaced; an app that is told its base URL gets
whole paths from the reverse proxy, another one what follows that base.

``ttyd`` is an app of every session that its image has none of that name for: the agent serves its terminal as a page.
"""

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

from bai_jupyter.common.slots import read_number

PORTS_LABEL = "ai.backend.service-ports"
COMMAND_LABEL = "bai.app."
PREOPEN = "preopen"
SSHD = "sshd"  # the app by which SSH gets in, as Backend.AI calls it
DISCOVERED = "discovered"  # nobody spoke of it, and something listens there
LOWEST_PORT, HIGHEST_PORT = 1024, 65535  # of those that are declared

_ENTRY = re.compile(r"\s*([\w-]+):(\w+):(\d+|\[[\d,\s]+\])\s*", re.ASCII)
_PORT = re.compile(r"[1-9]\d{0,4}", re.ASCII)
_PROTOCOLS = frozenset({"http", "tcp", "pty", PREOPEN})


class AppView(TypedDict):
    name: str
    protocol: str
    ports: list[int]


@dataclass(frozen=True)
class App:
    """One app of a session. ``command`` starts it; without one it is started by other means, or already there."""

    name: str
    protocol: str
    ports: tuple[int, ...]
    command: str | None = None
    is_terminal: bool = False

    @property
    def knows_base_url(self) -> bool:
        return self.command is not None and "{base_url}" in self.command

    @property
    def checks_host(self) -> bool:
        """It is asked as by a program beside it: it may refuse other hosts' names, and pages of other origins."""
        return self.knows_base_url or self.is_terminal

    def base_url(self, session_id: str) -> str:
        """Where the reverse proxy has it."""
        return f"/apps/{session_id}/{self.name}/"

    def to_json(self) -> AppView:
        return {"name": self.name, "protocol": self.protocol, "ports": list(self.ports)}


TERMINAL = App("ttyd", "http", (7681,), is_terminal=True)
"""By Backend.AI's name and port; nothing listens there. In our own words it is ``terminal``."""


def apps_of(labels: Mapping[str, str], preopen: Sequence[int]) -> list[App]:
    """Those of the image first; a port that was asked for is an app named by its number."""
    found: dict[str, App] = {}
    for name, protocol, ports in _ENTRY.findall(labels.get(PORTS_LABEL, "")):
        numbers = tuple(read_number(port) or 0 for port in re.findall(r"\d+", ports))
        if protocol in _PROTOCOLS and all(LOWEST_PORT <= port <= HIGHEST_PORT for port in numbers):
            found[name] = App(name, protocol, numbers, labels.get(COMMAND_LABEL + name))
    found.setdefault(TERMINAL.name, TERMINAL)
    return with_ports(list(found.values()), preopen, PREOPEN)


def with_ports(apps: Sequence[App], ports: Iterable[int], protocol: str) -> list[App]:
    """Apps, and those of these ports that are none of theirs."""
    taken = {port for app in apps if not app.is_terminal for port in app.ports}
    return [*apps, *(App(str(port), protocol, (port,)) for port in ports if port not in taken)]


def app_at(name: str) -> App | None:
    """Any port is an app named by its number, whether anybody spoke of it or not."""
    is_port = _PORT.fullmatch(name) is not None and int(name) <= HIGHEST_PORT
    return App(name, DISCOVERED, (int(name),)) if is_port else None


def command_line(app: App, session_id: str, port: int, arguments: Mapping[str, object]) -> str:
    """The shell command that starts an app; what is given as arguments goes in quoted."""
    assert app.command is not None
    words = {"port": str(port), "base_url": app.base_url(session_id), "args": shlex.join(_words(arguments))}
    return re.sub(r"\{(port|base_url|args)\}", lambda match: words[match[1]], app.command)


def _words(arguments: Mapping[str, object]) -> list[str]:
    words: list[str] = []
    for name, value in arguments.items():
        values = value if isinstance(value, list) else [value]
        words += [name, *(str(one) for one in values if one is not None)]
    return words
