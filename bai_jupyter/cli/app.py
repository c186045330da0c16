"""``bai app``: which apps a session has, a link that opens one in a browser, and a local port that leads to one."""

import argparse
import asyncio
import os
import sys
import webbrowser
from contextlib import suppress

from tornado.websocket import WebSocketClientConnection, WebSocketClosedError

from bai_jupyter.cli.login import with_manager
from bai_jupyter.cli.terminal import CommandFailed, Exit, Terminal
from bai_jupyter.client import Json, ManagerClient
from bai_jupyter.common.errors import PublicError
from bai_jupyter.common.reasons import plural

PIECE_BYTES = 64 * 1024

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
    name = "ttyd (terminal)" if app["name"] == "ttyd" else app["name"]  # it is found by either
    return [name, app["protocol"], ", ".join(map(str, app["ports"]))]


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
            f"{name} of {session} speaks {app['protocol']}, which a browser does not. Give it a local port: "
            f"bai app forward {session} {name}"
        )
    return await client.start_app(session, name)  # which says what there is, if there is no such app


def forward(options: argparse.Namespace, terminal: Terminal) -> int:
    """Until Ctrl-C."""
    return with_manager(lambda client: _forward(client, options, terminal))


async def _forward(client: ManagerClient, options: argparse.Namespace, terminal: Terminal) -> int:
    (await client.open_app(options.session, options.app)).close()  # what is wrong is said now, not in a browser

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _join(await client.open_app(options.session, options.app), reader, writer)
        except PublicError as error:
            terminal.say(str(error))
        finally:
            writer.close()

    try:
        server = await asyncio.start_server(serve, "127.0.0.1", options.port, limit=PIECE_BYTES)
    except OSError as error:
        raise CommandFailed(f"Port {options.port} cannot be had: {error.strerror}. Give another, or none.") from error
    async with server:
        port = server.sockets[0].getsockname()[1]
        terminal.line(f"127.0.0.1:{port}")
        terminal.say(f"It leads to {options.app} of {options.session}, for everybody on this machine. Ctrl-C ends it.")
        await server.serve_forever()
    return Exit.DONE


async def _join(far: WebSocketClientConnection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry bytes both ways until one side has no more. Each is read no faster than the other takes."""
    ways = {asyncio.create_task(_send(far, reader)), asyncio.create_task(_receive(far, writer))}
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        far.close()


async def _send(far: WebSocketClientConnection, reader: asyncio.StreamReader) -> None:
    with suppress(WebSocketClosedError, OSError):
        while piece := await reader.read(PIECE_BYTES):
            await far.write_message(piece, binary=True)
        await far.write_message(b"", binary=True)  # that was all
    await asyncio.Event().wait()  # whoever has said all may still listen


async def _receive(far: WebSocketClientConnection, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while (message := await far.read_message()) is not None:
            writer.write(message if isinstance(message, bytes) else message.encode())
            await writer.drain()


def _has_desktop() -> bool:
    """A text browser would take the terminal over."""
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
