"""``bai env``: save, list, rm. Environments that one made of running sessions; they are images for their owner alone.

An image is made by a background task of the manager, so it is made whether or not anybody waits.
"""

import argparse
import asyncio

from bai_jupyter.cli.login import with_manager
from bai_jupyter.cli.terminal import NOTHING, CommandFailed, Exit, Terminal, ago, exit_code_of, span
from bai_jupyter.client import Json, ManagerAway, ManagerClient
from bai_jupyter.common.errors import BaiError
from bai_jupyter.common.reasons import plural
from bai_jupyter.common.slots import format_size

_REDIAL_S = 1.0
_PACKAGES = {"/home/work/.local", "/home/work/.local/lib"}

# Save


def save(options: argparse.Namespace, terminal: Terminal) -> int:
    return with_manager(lambda client: _save(client, options, terminal))


async def _save(client: ManagerClient, options: argparse.Namespace, terminal: Terminal) -> int:
    session = await client.get_session(options.session)
    begun = await client.commit(session["id"], options.name)
    image = str(begun["image"])
    for line in _about(session):
        terminal.say(line)
    if options.no_wait:
        if terminal.as_json:
            terminal.document(begun)
        else:
            terminal.line(image)
        terminal.say("It is being made. When it is there, this shows it: bai env list")
        return Exit.DONE
    with terminal.progress(f"{session['name']} is being saved as {image}"):
        told = await _ended(client, begun["bgtask_id"], image, options.timeout, terminal)
    if told["status"] != "done":
        raise CommandFailed(f"{session['name']} was not saved. {told['message']}")
    (made,) = [one for one in await client.list_images() if one["name"] == image]
    if terminal.as_json:
        terminal.document(made)
    elif terminal.quiet:
        terminal.line(image)
    else:
        terminal.line(f"{session['name']} is saved as {image}, {format_size(made['size_bytes'])}.")
        terminal.say(f"To start one of it: bai session start {image}")
    return Exit.DONE


def _about(session: Json) -> list[str]:
    """What is kept and what is not. Packages in a mounted folder are in that, and stay there."""
    targets = [mount["target"] for mount in session["mounts"]]
    packages = "" if _PACKAGES & set(targets) else ", and packages that pip or R put into ~/.local"
    lost = "all else below /home/work, and mounted folders (%s)" if targets else "and all else below /home/work"
    return [
        f"Included: what was written outside /home/work{packages}.",
        f"Not included: running programs, variables, {lost.replace('%s', ', '.join(targets))}.",
    ]


async def _ended(client: ManagerClient, task: str, image: str, timeout_s: float, terminal: Terminal) -> Json:
    """How making it ended; goes on when the manager was away. Raises ``CommandFailed``, or ``ManagerAway``."""
    away: ManagerAway | None = None
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                try:
                    told = await client.task_end(task, timeout_s)
                    if told["status"] != "running":
                        return told
                    away = None
                except ManagerAway as error:
                    away = error
                await asyncio.sleep(_REDIAL_S)
    except TimeoutError:
        if away is not None:
            raise away from None
        raise CommandFailed(
            f"{image} is not there after {span(timeout_s)}. It is still being made; see: bai env list", Exit.TIMED_OUT
        ) from None
    except asyncio.CancelledError:
        terminal.say(f"\nStopped waiting; {image} goes on being made. See: bai env list")
        raise


# List, remove


def list_(_options: argparse.Namespace, terminal: Terminal) -> int:
    found = with_manager(_own)
    if terminal.as_json:
        terminal.document({"images": found})
    elif terminal.quiet:
        for image in found:
            terminal.line(image["name"])
    else:
        terminal.table(["NAME", "SIZE", "FROM", "MADE"], [_row(image) for image in found])
        none = "No environments of yours. Make one of what a session's container has become: bai env save SESSION"
        terminal.line(f"{plural(len(found), 'environment')}." if found else none)
    return Exit.DONE


async def _own(client: ManagerClient) -> list[Json]:
    """Newest first."""
    own = [image for image in await client.list_images() if image["is_own"]]
    return sorted(own, key=lambda image: str(image["created_at"]), reverse=True)


def _row(image: Json) -> list[str]:
    size = format_size(image["size_bytes"]) if image["size_bytes"] else NOTHING
    return [image["name"], size, image["base"] or NOTHING, ago(image["created_at"])]


def rm(options: argparse.Namespace, terminal: Terminal) -> int:
    names = ", ".join(options.names)
    if not terminal.ask(f"Delete {names} for good? No session can be started of it then."):
        raise CommandFailed("Nothing was deleted.")
    return with_manager(lambda client: _remove(client, options.names, terminal))


async def _remove(client: ManagerClient, names: list[str], terminal: Terminal) -> int:
    """Of one's own only, also for a superadmin, who may forget any image: ``bai image rm``."""
    own, worst, deleted = [image["name"] for image in await _own(client)], Exit.DONE, []
    for name in names:
        try:
            if name not in own:
                yours = ", ".join(own) or "none"
                raise CommandFailed(f"You have no environment {name}. Yours: {yours}.", Exit.NOT_FOUND)
            await client.remove_image(name)
            deleted.append(name)
        except BaiError as error:
            worst = exit_code_of(error)
            terminal.say(str(error))
    if terminal.as_json:
        terminal.document({"images": deleted})
    else:
        for name in deleted:
            terminal.line(name if terminal.quiet else f"{name}: deleted")
    return worst
