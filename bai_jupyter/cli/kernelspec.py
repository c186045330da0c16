"""``bai kernelspec``: kernelspecs on disk, for Jupyter programs that do not run our server extension."""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from bai_jupyter.cli.login import with_manager
from bai_jupyter.cli.session import slots_of
from bai_jupyter.cli.terminal import NOTHING, CommandFailed, Exit, Terminal
from bai_jupyter.client import ManagerClient
from bai_jupyter.common.reasons import plural
from bai_jupyter.provisioner.kernelspecs import kernelspec_for, kernelspecs_of


def install(options: argparse.Namespace, terminal: Terminal) -> int:
    specs = with_manager(lambda client: _wanted(client, options))
    prefix = sys.prefix if options.sys_prefix else options.prefix
    written = {name: _write(name, spec, prefix) for name, spec in specs.items()}
    if terminal.as_json:
        terminal.document({"kernelspecs": written})
        return Exit.DONE
    for name, path in written.items():
        terminal.line(name if terminal.quiet else f"{name}  {path}")
    terminal.say(f"{plural(len(written), 'kernelspec')} written." if written else _NO_IMAGES)
    return Exit.DONE


async def _wanted(client: ManagerClient, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    images = await client.list_images()
    slots = await slots_of(client, options)
    if options.image:
        choice = {"image": options.image, "preset": options.preset, "resources": slots}
        return dict([kernelspec_for(images, choice)])
    if options.preset or slots:
        raise CommandFailed("Resources are for one image: give --image too.", Exit.USAGE)
    return kernelspecs_of(images)


_NO_IMAGES = "The manager has no image with a Jupyter kernel. Build one: bai image build python"


def _write(name: str, spec: dict[str, Any], prefix: str | None) -> str:
    from jupyter_client.kernelspec import KernelSpecManager

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "kernel.json").write_text(json.dumps(spec, indent=1, ensure_ascii=False) + "\n")
        return str(KernelSpecManager().install_kernel_spec(folder, name, user=prefix is None, prefix=prefix))


def list_(_options: argparse.Namespace, terminal: Terminal) -> int:
    from jupyter_client.kernelspec import KernelSpecManager

    specs = kernelspecs_of(with_manager(lambda client: client.list_images()))
    installed = KernelSpecManager().find_kernel_specs()
    if terminal.as_json:
        listed = {name: {"spec": spec, "installed": installed.get(name)} for name, spec in specs.items()}
        terminal.document({"kernelspecs": listed})
    elif terminal.quiet:
        for name in specs:
            terminal.line(name)
    else:
        rows = [[name, spec["display_name"], installed.get(name, NOTHING)] for name, spec in specs.items()]
        terminal.table(["NAME", "DISPLAY NAME", "INSTALLED IN"], rows)
        terminal.line(f"{plural(len(specs), 'kernelspec')}." if specs else _NO_IMAGES)
    return Exit.DONE
