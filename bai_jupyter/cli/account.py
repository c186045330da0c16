"""``bai login`` and ``bai logout``: an e-mail address and a password become the keys that later commands sign with.

The keys are kept in ``~/.config/bai/credentials.json``, for oneself alone; the password is kept nowhere.
"""

import argparse
import asyncio
import json
import os
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from bai_jupyter.cli.login import credentials_of, read_password
from bai_jupyter.cli.servers import write_private
from bai_jupyter.cli.terminal import CommandFailed, Exit, Terminal
from bai_jupyter.client import ClientConfig, ConfigError, ManagerClient, credentials_path, load_config
from bai_jupyter.common.errors import AuthFailed
from bai_jupyter.common.trust import Trust

_EXPIRED = "password-expired"


def log_in(options: argparse.Namespace, terminal: Terminal) -> int:
    manager = _manager(options)
    if can_be_overheard(manager.endpoint):
        terminal.say(
            f"{manager.endpoint} is not encrypted: whoever listens on the way reads the password and the keys."
        )
    email = options.email or _asked("E-mail: ", terminal)
    config = asyncio.run(_log_in(manager, email, options.domain, terminal))
    path = credentials_path(os.environ)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    keys = {"access_key": config.access_key, "secret_key": config.secret_key, "user": email}
    write_private(path, json.dumps(credentials_of(config, keys), indent=2) + "\n")
    if terminal.as_json:
        terminal.document({"endpoint": config.endpoint, "user": email, "file": str(path)})
    else:
        terminal.line(email if terminal.quiet else f"Logged in to {config.endpoint} as {email}.")
    _warn_if_hidden(path, config, terminal)
    return Exit.DONE


def log_out(options: argparse.Namespace, terminal: Terminal) -> int:  # noqa: ARG001
    path = credentials_path(os.environ)
    if not path.exists():
        raise CommandFailed(f"Nobody is logged in: there is no {path}.", Exit.NOT_LOGGED_IN)
    path.unlink()
    if terminal.as_json:
        terminal.document({"file": str(path)})
    terminal.say("Logged out: the keys are forgotten here. What runs goes on.")
    if _known() is not None:
        terminal.say("Commands here still find other credentials: the environment's, or those of a .bai folder.")
    return Exit.DONE


async def _log_in(manager: ClientConfig, email: str, domain: str, terminal: Terminal) -> ClientConfig:
    """Who must change the password first is asked for the next one."""
    password = read_password("Password: ", terminal)
    async with ManagerClient(manager) as client:
        try:
            return await client.log_in(email, password, domain)
        except AuthFailed as error:
            if error.code != _EXPIRED:
                raise
            terminal.say(str(error))
        new = read_password("New password: ", terminal)
        if terminal.stdin.isatty() and read_password("The same again: ", terminal) != new:
            raise CommandFailed("These were two different passwords. Nothing was changed.", Exit.USAGE)
        await client.replace_password(email, password, new, domain)
        return await client.log_in(email, new, domain)


def _manager(options: argparse.Namespace) -> ClientConfig:
    """The one that is named, or that commands here talk to already; trusted as before unless something else is said."""
    known = _known()
    endpoint = options.manager or (known and known.endpoint)
    if not endpoint:
        raise CommandFailed("Which manager? Give its address: bai login --manager https://…", Exit.USAGE)
    trust = Trust()
    if options.fingerprint or options.ca:
        try:
            trust = Trust(options.fingerprint or "", options.ca or "")
        except ValueError as error:
            raise CommandFailed(f"--fingerprint: {error}.", Exit.USAGE) from error
    elif known and known.endpoint == endpoint.rstrip("/"):
        trust = known.trust
    return ClientConfig.of_nobody(endpoint, trust)


def can_be_overheard(endpoint: str) -> bool:
    """Neither encrypted nor on this machine."""
    url = urlsplit(endpoint)
    return url.scheme == "http" and url.hostname not in ("localhost", "127.0.0.1", "::1")


def _known() -> ClientConfig | None:
    with suppress(ConfigError):
        return load_config(os.environ, Path.cwd())
    return None


def _asked(question: str, terminal: Terminal) -> str:
    if not terminal.stdin.isatty():
        raise CommandFailed("Whose account? There is no terminal to ask at: say --email.", Exit.USAGE)
    print(question, end="", file=terminal.stderr, flush=True)
    return terminal.stdin.readline().strip()


def _warn_if_hidden(path: Path, config: ClientConfig, terminal: Terminal) -> None:
    """Other credentials may go before those that were just written."""
    found = _known()
    if found is None or found.access_key != config.access_key:
        terminal.say(
            f"Commands here use other credentials all the same: the environment's, or those of a .bai folder go "
            f"before {path}."
        )
