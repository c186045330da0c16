"""``bai dotfile``, ``bootstrap``, ``ssh-key``: what one has in each new session.

Dotfiles can also be a project's or a domain's; then admins change them.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from bai_jupyter.cli.login import with_manager
from bai_jupyter.cli.terminal import CommandFailed, Exit, Terminal
from bai_jupyter.client import Json, ManagerClient
from bai_jupyter.common.reasons import plural

_FROM_NOW = "New sessions have it; those that there are keep what they have."


# Dotfiles


def dotfile_list(options: argparse.Namespace, terminal: Terminal) -> int:
    path, whose = _whose(options)
    found: list[Json] = with_manager(lambda client: client.request("GET", path, query=whose))
    if terminal.as_json:
        terminal.document({"dotfiles": found})
    elif terminal.quiet:
        for one in found:
            terminal.line(one["path"])
    else:
        rows = [[one["path"], one["permission"], f"{len(one['data'].encode())} bytes"] for one in found]
        terminal.table(["PATH", "MODE", "SIZE"], rows)
        terminal.line(
            f"{plural(len(found), 'dotfile')}." if found else "No dotfiles. Put one: bai dotfile put FILE PATH"
        )
    return Exit.DONE


def dotfile_show(options: argparse.Namespace, terminal: Terminal) -> int:
    path, whose = _whose(options)
    query = {**whose, "path": options.path}
    found: Json = with_manager(lambda client: client.request("GET", path, query=query))
    if terminal.as_json:
        terminal.document(found)
    else:
        terminal.stdout.write(found["data"])
    return Exit.DONE


def dotfile_put(options: argparse.Namespace, terminal: Terminal) -> int:
    """One that is there already is exchanged."""
    endpoint, whose = _whose(options)
    path = options.path or Path(options.file).name
    body = {**whose, "path": path, "permission": options.mode, "data": _read(options.file)}

    async def put(client: ManagerClient) -> None:
        present = {one["path"] for one in await client.request("GET", endpoint, query=whose)}
        await client.request("PATCH" if path.removeprefix("/home/work/") in present else "POST", endpoint, body)

    with_manager(put)
    return _done(terminal, path, "kept", path=path)


def dotfile_rm(options: argparse.Namespace, terminal: Terminal) -> int:
    endpoint, whose = _whose(options)
    query = {**whose, "path": options.path}
    with_manager(lambda client: client.request("DELETE", endpoint, query=query))
    return _done(terminal, options.path, "removed", path=options.path)


def _whose(options: argparse.Namespace) -> tuple[str, Mapping[str, str]]:
    """The call, and what it must say to mean that project or domain."""
    if options.project:
        domain = {"domain": options.domain} if options.domain else {}
        return "/group-config/dotfiles", {"group": options.project, **domain}
    if options.domain:
        return "/domain-config/dotfiles", {"domain": options.domain}
    return "/user-config/dotfiles", {}


# Bootstrap script


def bootstrap_show(_options: argparse.Namespace, terminal: Terminal) -> int:
    script: str = with_manager(lambda client: client.request("GET", "/user-config/bootstrap-script"))
    if terminal.as_json:
        terminal.document({"script": script})
    elif script:
        terminal.stdout.write(script)
    else:
        terminal.say("You have no bootstrap script. Set one: bai bootstrap set FILE")
    return Exit.DONE


def bootstrap_set(options: argparse.Namespace, terminal: Terminal) -> int:
    script = _read(options.file)
    if not script.strip():
        raise CommandFailed(f"{options.file} is empty. To have no script: bai bootstrap clear", Exit.USAGE)
    return _set_bootstrap(script, terminal, "It runs first in each of your new sessions; one in which it fails ends.")


def bootstrap_clear(_options: argparse.Namespace, terminal: Terminal) -> int:
    return _set_bootstrap("", terminal, "New sessions run none.")


def _set_bootstrap(script: str, terminal: Terminal, told: str) -> int:
    with_manager(lambda client: client.request("POST", "/user-config/bootstrap-script", {"script": script}))
    if terminal.as_json:
        terminal.document({"script": script})
    terminal.say(told)
    return Exit.DONE


# SSH keypair


def ssh_key_show(_options: argparse.Namespace, terminal: Terminal) -> int:
    found: Json = with_manager(lambda client: client.request("GET", "/auth/ssh-keypair"))
    if terminal.as_json:
        terminal.document(found)
    elif found["ssh_public_key"]:
        terminal.line(found["ssh_public_key"].strip())
    else:
        terminal.say("You have no SSH keypair. Make one: bai ssh-key new")
    return Exit.DONE


def ssh_key_new(_options: argparse.Namespace, terminal: Terminal) -> int:
    if not terminal.ask("Make a new SSH keypair? Sessions from now on have that, and not the one before."):
        raise CommandFailed("Nothing was made.")
    made: Json = with_manager(lambda client: client.request("PATCH", "/auth/ssh-keypair"))
    if terminal.as_json:
        terminal.document(made)
    else:
        terminal.stdout.write(made["ssh_private_key"])
        terminal.say(f"{made['ssh_public_key'].strip()}\nThe private key is shown only now; sessions have it in .ssh.")
    return Exit.DONE


def ssh_key_set(options: argparse.Namespace, terminal: Terminal) -> int:
    public = options.public or f"{options.private}.pub"
    body = {"pubkey": _read(public), "privkey": _read(options.private)}
    with_manager(lambda client: client.request("POST", "/auth/ssh-keypair", body))
    return _done(terminal, public, "kept", ssh_public_key=body["pubkey"])


# For all


def _read(name: str) -> str:
    """A file's text, or what comes on stdin for ``-``."""
    try:
        return sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except OSError as error:
        raise CommandFailed(f"{name} cannot be read: {error.strerror}.", Exit.USAGE) from error
    except UnicodeDecodeError as error:
        raise CommandFailed(f"{name} is not a text in UTF-8, and nothing else can be kept.", Exit.USAGE) from error


def _done(terminal: Terminal, name: str, done: str, **facts: str) -> int:
    if terminal.as_json:
        terminal.document(facts)
    else:
        terminal.line(name if terminal.quiet else f"{name}: {done}. {_FROM_NOW}")
    return Exit.DONE
