"""``bai``: the command line, and the composition root that may start any role.

This file owns the grammar: nouns, verbs, options. A command is a function ``run(options, terminal) -> int`` in the
module of its noun, imported only when it is asked for, so that ``bai session list`` needs no server packages.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

from bai_jupyter._version import __version__
from bai_jupyter.cli.terminal import CommandFailed, Exit, Terminal, parse_span
from bai_jupyter.common.errors import BaiError

_EXAMPLES = {
    "": "bai up\nbai session start python:3.11 --cpu 2 --mem 4g",
    "up": "bai up\nbai up --root ~/notebooks --port 8899",
    "down": "bai down\nbai down --data /srv/lab/.bai",
    "doctor": "bai doctor\nbai doctor --json",
    "session": "bai session list\nbai session start python:3.11 --name demo --cpu 2 --mem 4g --gpu 0.5",
    "agent": "bai agent list\nbai agent run --manager http://manager:8090 --token TOKEN",
    "manager": "bai manager run --port 8090\nbai manager run --data /srv/bai/manager",
    "image": "bai image build python r\nbai image list",
    "kernelspec": "bai kernelspec install --user\nbai kernelspec list",
    "kernel": "bai kernel launch -f connection.json --image bai/python:3.11",
    "version": "bai version\nbai version --json",
}


class _Parser(argparse.ArgumentParser):
    """Help begins with two examples; a mistake is one sentence and exit code 2."""

    def format_help(self) -> str:
        words = self.prog.split()[1:]
        examples = _EXAMPLES.get(" ".join(words)) or _EXAMPLES[words[0] if words else ""]
        shown = "\n".join(f"  {line}" for line in examples.splitlines())
        return f"Examples:\n{shown}\n\n{super().format_help()}"

    def error(self, message: str) -> NoReturn:
        self.exit(Exit.USAGE, f"{self.prog}: {message}\nSee: {self.prog} --help\n")


def build_parser() -> argparse.ArgumentParser:
    """The whole grammar. ``options.run`` of a parsed line is ``module:function`` below ``bai_jupyter.cli``."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="the result as JSON, with the names of the API")
    common.add_argument("-q", "--quiet", action="store_true", help="only names or ids, no messages")
    common.add_argument("--yes", action="store_true", help="answer every question with yes")
    common.add_argument("--wide", action="store_true", help="do not cut tables at the terminal's width")
    parser = _Parser(prog="bai", description="Sessions with GPUs for Jupyter.")
    nouns = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)

    def command(group: Any, name: str, run: str, help: str) -> argparse.ArgumentParser:  # noqa: A002
        added: argparse.ArgumentParser = group.add_parser(name, help=help, description=help, parents=[common])
        added.set_defaults(run=run)
        return added

    def noun(name: str, help: str) -> Any:  # noqa: A002
        added = nouns.add_parser(name, help=help, description=help)
        return added.add_subparsers(metavar="VERB", required=True, parser_class=_Parser)

    _add_up(command, nouns)
    _add_session(command, noun("session", "Start, list and end sessions"))
    _add_servers(command, noun("agent", "Offer this machine; see the agents"), noun("manager", "Run a manager"))
    _add_images(command, noun("image", "Build images and tell the manager of them"))
    specs = noun("kernelspec", "Kernelspecs for Jupyter programs without our server")
    install = command(specs, "install", "kernelspec:install", "Write a kernelspec for each image")
    where = install.add_mutually_exclusive_group()
    where.add_argument("--user", action="store_true", help="into your own Jupyter folder (the default)")
    where.add_argument("--sys-prefix", action="store_true", help="into this Python environment")
    where.add_argument("--prefix", help="into PREFIX/share/jupyter/kernels")
    command(specs, "list", "kernelspec:list_", "Kernelspecs of the manager's images, and where they are installed")
    kernel = noun("kernel", "Kernels for programs that start them as processes")
    launch = command(kernel, "launch", "kernel:launch", "Be a kernel: serve a connection file from a session")
    launch.add_argument("-f", dest="file", metavar="FILE", required=True, help="the connection file")
    launch.add_argument("--image", required=True, help="an image of `bai image list`")
    launch.add_argument("--kernelspec", default="python3", help="the kernelspec inside it (%(default)s)")
    launch.add_argument("--preset", help="a resource preset")
    command(nouns, "version", "version:show", "Versions of this program, its manager and its parts")
    return parser


def _add_up(command: Any, nouns: Any) -> None:
    up = command(nouns, "up", "up:run", "Manager, agent and JupyterLab on this machine")
    up.add_argument("--check", action="store_true", help="start all, run one notebook, stop all; exit code 0 or 1")
    up.add_argument(
        "--runtime",
        choices=("auto", "docker", "process"),
        default="auto",
        help="what isolates sessions; auto: docker if an engine answers, else process, which does not isolate",
    )
    up.add_argument("--port", type=int, default=8888, help="JupyterLab's port; taken: the next free one (%(default)s)")
    up.add_argument("--root", metavar="DIR", help="folder that JupyterLab shows, mounted in sessions (.bai/home)")
    up.add_argument("--no-build", action="store_true", help="do not build an image when there is none")
    down = command(nouns, "down", "down:run", "End the sessions and stop the servers of `bai up`")
    doctor = command(nouns, "doctor", "doctor:run", "What works on this machine, and what to do about the rest")
    for parser in (up, down, doctor):
        parser.add_argument("--data", metavar="DIR", default=".bai", help="where everything is kept (%(default)s)")


def _add_session(command: Any, session: Any) -> None:
    start = command(session, "start", "session:start", "Ask for a session and wait until it runs")
    start.add_argument("image", help="an image of `bai image list`")
    start.add_argument("--name", help="its name (made up if not given)")
    start.add_argument("--preset", help="a resource preset")
    start.add_argument("--cpu", help="cores")
    start.add_argument("--mem", help="memory, such as 4g")
    start.add_argument("--gpu", help="GPUs, also parts of one where agents share them")
    start.add_argument("--slot", action="append", default=[], metavar="NAME=AMOUNT", help="any other resource slot")
    start.add_argument("--shm", help="shared memory, such as 64m")
    start.add_argument("--mount", action="append", default=[], metavar="FOLDER[:PATH]", help="a vfolder to mount")
    start.add_argument("-e", "--env", action="append", default=[], metavar="NAME=VALUE", help="environment variable")
    start.add_argument("--group", help="resource group")
    start.add_argument("--new", action="store_true", help="refuse if a session of that name exists")
    start.add_argument("--no-wait", action="store_true", help="return as soon as it is in the queue")
    start.add_argument("--timeout", type=parse_span, default=600.0, metavar="TIME", help="wait at most this long (10m)")
    listing = command(session, "list", "session:list_", "Your sessions, newest first")
    listing.add_argument("--all", action="store_true", help="also those that have ended")
    listing.add_argument("--everyone", action="store_true", help="of all users (superadmins)")
    for name, help_text in (("info", "Everything about a session"), ("logs", "What its container printed")):
        command(session, name, f"session:{name}", help_text).add_argument("session", help="name or id")
    remove = command(session, "rm", "session:rm", "End sessions")
    remove.add_argument("sessions", nargs="+", metavar="session", help="name or id")
    remove.add_argument("--force", action="store_true", help="kill at once")
    remove.add_argument("--no-wait", action="store_true", help="return before they have ended")


def _add_servers(command: Any, agent: Any, manager: Any) -> None:
    run = command(agent, "run", "agent:run", "Offer this machine to a manager")
    run.add_argument("--manager", help="the manager's address (else the one you are logged in to)")
    run.add_argument("--token", help="join token, needed the first time (better: BAI_JOIN_TOKEN in the environment)")
    run.add_argument("--name", help="this agent's name (the host's)")
    run.add_argument("--runtime", choices=("auto", "docker", "process"), help="what isolates sessions")
    run.add_argument("--state", metavar="DIR", help="where the agent keeps what must survive it")
    run.add_argument("more", nargs="*", metavar="OPTION", help="after --: options of `python -m bai_agent`")
    command(agent, "list", "agent:list_", "Agents, what they have and what is in use")
    token = command(agent, "join-token", "agent:join_token", "Make a token with which an agent may join")
    token.add_argument("--group", default="default", help="resource group (%(default)s)")
    token.add_argument("--uses", type=int, default=1, help="how many agents may use it (%(default)s)")
    token.add_argument("--expires", type=parse_span, default=3600.0, metavar="TIME", help="how long it is good (1h)")
    serve = command(manager, "run", "manager:run", "Run a manager on this machine")
    serve.add_argument("--port", type=int, help="its port")
    serve.add_argument("--data", metavar="DIR", help="its data folder")
    serve.add_argument("more", nargs="*", metavar="OPTION", help="after --: options of `python -m bai_jupyter.manager`")


def _add_images(command: Any, image: Any) -> None:
    build = command(image, "build", "image:build", "Build images with the local Docker engine")
    build.add_argument("names", nargs="+", metavar="name", help="python-minimal, python, r, polyglot")
    build.add_argument("--tag", help="instead of the version found in the image")
    build.add_argument("--base", help="image to build on, instead of the automatic choice")
    add = command(image, "add", "image:add", "Tell the manager of images; an agent looks inside (superadmins)")
    add.add_argument("names", nargs="+", metavar="name")
    command(image, "list", "image:list_", "Images you can start sessions from")
    remove = command(image, "rm", "image:rm", "Forget images; containers and the engine keep them (superadmins)")
    remove.add_argument("names", nargs="+", metavar="name")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    options = build_parser().parse_args(argv)
    terminal = Terminal(as_json=options.json, quiet=options.quiet, yes=options.yes, wide=options.wide)
    module, _, function = options.run.partition(":")
    try:
        run = getattr(import_module(f"bai_jupyter.cli.{module}"), function)
        return int(run(options, terminal))
    except BaiError as error:
        return int(terminal.complain(error))
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:  # `bai session list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.DONE
    except ModuleNotFoundError as error:
        return int(terminal.complain(_missing(error)))


def _missing(error: ModuleNotFoundError) -> BaiError:
    if (error.name or "").startswith(("bai_jupyter", "bai_agent")):
        raise error
    return CommandFailed(
        f"This command needs {error.name}. Run: pip install 'bai_jupyter[all]' (version {__version__})"
    )
