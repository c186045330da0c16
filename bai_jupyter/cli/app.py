"""``bai app``: which apps a session has, and a link that opens one in a browser."""

import argparse
import os
import sys
import webbrowser

from bai_jupyter.cli.login import with_manager
from bai_jupyter.cli.terminal import CommandFailed, Exit, Terminal, plural
from bai_jupyter.client import Json, ManagerClient

_WEB = frozenset({"http", "preopen"})  # what a browser can open; of a port that was asked for nobody knows


def list_(options: argparse.Namespace, terminal: Terminal) -> int:
    apps = with_manager(lambda client: client.list_apps(options.session))
    if terminal.as_json:
        terminal.document({"apps": apps})
    elif terminal.quiet:
        for app in apps:
            terminal.line(app["name"])
    else:
        terminal.table(["NAME", "PROTOCOL", "PORTS"], [_row(app) for app in apps])
        none = f"{options.session} has no apps: its image names none, and no port was asked for when it was started."
        terminal.line(f"{plural(len(apps), 'app')}." if apps else none)
    return Exit.DONE


def _row(app: Json) -> list[str]:
    return [app["name"], app["protocol"], ", ".join(map(str, app["ports"]))]


def open_(options: argparse.Namespace, terminal: Terminal) -> int:
    """The link is the result; where there is a desktop it is opened too."""
    with terminal.live(f"{options.app}: asked for"):
        link = with_manager(lambda client: _link(client, options.session, options.app))
    if terminal.as_json:
        terminal.document({"link": link})
    else:
        terminal.line(link)
    if options.browser and terminal.stdout.isatty() and _has_desktop() and webbrowser.open(link):
        terminal.say("Opened in your browser.")
    else:
        terminal.say("Open it within a minute. Until then it lets in whoever has it; keep it to yourself.")
    return Exit.DONE


async def _link(client: ManagerClient, session: str, name: str) -> str:
    app = next((app for app in await client.list_apps(session) if app["name"] == name), None)
    if app is not None and app["protocol"] not in _WEB:
        raise CommandFailed(
            f"{name} of {session} speaks {app['protocol']}, which a browser does not. With the official client it gets "
            f"a local port: backend.ai app {session} {name}"
        )
    return await client.start_app(session, name)  # which says what there is, if there is no such app


def _has_desktop() -> bool:
    """A text browser would take the terminal over."""
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
