"""``bai image``: build, add, list, rm. How an image is built is ``cli.images``'s business."""

import argparse
import asyncio
import os
from pathlib import Path

from bai_jupyter.cli.login import with_manager
from bai_jupyter.cli.terminal import NOTHING, CommandFailed, Exit, Terminal, exit_code_of
from bai_jupyter.client import Json, ManagerAway, ManagerClient, load_config
from bai_jupyter.common.errors import BaiError, PublicError
from bai_jupyter.common.messages import UNCOMPILED
from bai_jupyter.common.reasons import plural
from bai_jupyter.common.slots import format_size

_SLOW = (
    "its Python packages are not byte-compiled, so each start takes a second longer. "
    "In the Dockerfile, after what installs them: RUN python -m compileall -q SITE-PACKAGES"
)


def build(options: argparse.Namespace, terminal: Terminal) -> int:
    """Build images, and tell the manager of them if this shell is logged in to one that answers."""
    from bai_jupyter.cli import images

    with terminal.progress(f"Building {', '.join(options.names)}") as show:
        built = images.build(options.names, lambda what, _: show(what), options.tag, options.base)
    if terminal.as_json:
        terminal.document({"images": built})
    else:
        for name in built:
            terminal.line(name)
    asyncio.run(_register(built, terminal))
    return Exit.DONE


async def _register(names: list[str], terminal: Terminal) -> None:
    config = load_config(os.environ, Path.cwd())
    if config is None:
        return
    async with ManagerClient(config) as client:
        for name in names:
            try:
                await client.add_image(name)
                terminal.say(f"{name} can be started now.")
            except ManagerAway:
                terminal.say(f"{config.endpoint} does not answer; later: bai image add {' '.join(names)}")
                return
            except PublicError as error:
                terminal.say(f"{name} is built, but the manager did not take it: {error}")


def add(options: argparse.Namespace, terminal: Terminal) -> int:
    async def add_all(client: ManagerClient) -> list[Json]:
        return [await client.add_image(name) for name in options.names]

    with terminal.progress(f"Looking inside {', '.join(options.names)}"):
        added = with_manager(add_all)
    if terminal.as_json:
        terminal.document({"images": added})
    else:
        for image in added:
            terminal.line(image["name"] if terminal.quiet else f"{image['name']}: {_kernels(image)}")
            slow = [spec["name"] for spec in image.get("kernelspecs") or [] if UNCOMPILED in spec.get("metadata", {})]
            if slow:
                terminal.say(f"{', '.join(slow)}: {_SLOW}")
    return Exit.DONE


def list_(_options: argparse.Namespace, terminal: Terminal) -> int:
    found = with_manager(lambda client: client.list_images())
    if terminal.as_json:
        terminal.document({"images": found})
    elif terminal.quiet:
        for image in found:
            terminal.line(image["name"])
    else:
        terminal.table(["NAME", "SIZE", "ARCH", "KERNELS", "AGENTS"], [_row(image) for image in found])
        terminal.line(f"{plural(len(found), 'image')}." if found else "No images. Build one: bai image build python")
    return Exit.DONE


def _row(image: Json) -> list[str]:
    size = format_size(image["size_bytes"]) if image.get("size_bytes") else NOTHING
    agents = ", ".join(image.get("agents") or []) or NOTHING
    return [image["name"], size, image.get("architecture") or NOTHING, _kernels(image), agents]


def _kernels(image: Json) -> str:
    return ", ".join(spec["name"] for spec in image.get("kernelspecs") or []) or "no Jupyter kernel"


def rm(options: argparse.Namespace, terminal: Terminal) -> int:
    names = ", ".join(options.names)
    if not terminal.ask(f"Forget {names}? No new session can use it; running ones go on."):
        raise CommandFailed("Nothing was changed.")
    return with_manager(lambda client: _remove(client, options.names, terminal))


async def _remove(client: ManagerClient, names: list[str], terminal: Terminal) -> int:
    worst = Exit.DONE
    for name in names:
        try:
            await client.remove_image(name)
            if not terminal.as_json:
                terminal.line(name if terminal.quiet else f"{name}: forgotten")
        except BaiError as error:
            worst = exit_code_of(error)
            terminal.say(str(error))
    return worst
