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
from bai_jupyter.cli.terminal import CommandFailed, Exit, Terminal, parse_moment, parse_span
from bai_jupyter.common.errors import BaiError
from bai_jupyter.common.slots import parse_size, read_number

_EXAMPLES = {
    "": "bai up\nbai session start python:3.11 --cpu 2 --mem 4g",
    "up": "bai up\nbai up --root ~/notebooks --port 8899",
    "down": "bai down\nbai down --data /srv/lab/.bai",
    "doctor": "bai doctor\nbai doctor --json",
    "login": "bai login --manager https://lab.example.org:8090 --email kim@example.org\nbai login < password",
    "logout": "bai logout",
    "session": "bai session list\nbai session start python:3.11 --name demo --cpu 2 --mem 4g --gpu 0.5",
    "run": "bai run train.py --gpu 1 -- --epochs 3\nbai run --image bai/python:3.11 -- nvidia-smi",
    "session exec": "bai session exec demo -- nvidia-smi\nbai session exec -t demo -- python",
    "session attach": "bai session attach demo\nbai session attach demo data --read-only",
    "session detach": "bai session detach demo data\nbai session detach demo data --force",
    "dotfile": "bai dotfile put ~/.vimrc\nbai dotfile put rc .config/tool/rc --mode 600",
    "bootstrap": "bai bootstrap set setup.sh\nbai bootstrap show",
    "ssh-key": "bai ssh-key new > id_ed25519\nbai ssh-key set ~/.ssh/id_ed25519",
    "app": "bai app open demo tensorboard\nbai app forward demo sshd --port 2222",
    "queue": "bai queue\nbai queue --json",
    "usage": "bai usage\nbai usage --json",
    "agent": "bai agent list\nbai agent join TOKEN",
    "agent join": "bai agent join TOKEN\nbai agent join TOKEN --name gpu-1 --state /var/lib/bai",
    "manager": "bai manager run --port 8090\nbai manager run --ip 0.0.0.0 --data /srv/bai/manager",
    "image": "bai image build python r\nbai image list",
    "env": "bai env save demo --name torch-extra\nbai env list",
    "user": "bai user list\nbai user add alice@example.org --name alice --project vision --password",
    "project": "bai project add vision --cpu 64 --gpu 8\nbai project join vision alice@example.org",
    "policy": "bai policy add student --cpu 8 --gpu 1 --sessions 2\nbai policy bind student user:alice@example.org",
    "preset": "bai preset list\nbai preset add large --cpu 8 --mem 32g --shm 1g",
    "group": "bai group add gpu --order lifo\nbai group grant gpu project:vision",
    "vfolder": "bai vfolder create data --quota 100g\nbai vfolder put train.csv data:raw/",
    "kernelspec": "bai kernelspec install --user\nbai kernelspec install --image bai/python:3.11 --preset gpu",
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
        added.set_defaults(run=run, parser=added)
        return added

    def noun(name: str, help: str) -> Any:  # noqa: A002
        added = nouns.add_parser(name, help=help, description=help)
        return added.add_subparsers(metavar="VERB", required=True, parser_class=_Parser)

    _add_up(command, nouns)
    _add_account(command, nouns)
    _add_session(command, noun("session", "Start, list and end sessions"))
    _add_run(command, nouns)
    _add_apps(command, noun("app", "What a session serves"))
    command(nouns, "queue", "queue:show", "Your sessions that wait: place, reason, estimate")
    command(nouns, "usage", "usage:show", "What you use, your limits, and what is free")
    _add_servers(command, noun("agent", "Offer this machine; see the agents"), noun("manager", "Run a manager"))
    _add_config(command, noun)
    _add_vfolders(command, noun("vfolder", "Folders: make, fill, share"))
    _add_images(command, noun("image", "Build images and tell the manager of them"))
    _add_environments(command, noun("env", "Environments that you make of running sessions"))
    _add_people(command, noun("user", "Who may come in (admins)"), noun("project", "Teams and their limits (admins)"))
    _add_policies(command, noun("policy", "Limits to put on people (superadmins)"))
    _add_presets(command, noun("preset", "Resources by name (superadmins)"))
    _add_groups(command, noun("group", "Sets of agents, and who may use them (superadmins)"))
    specs = noun("kernelspec", "Kernelspecs for Jupyter programs without our server")
    install = command(specs, "install", "kernelspec:install", "Write a kernelspec for each image, or one")
    install.add_argument("--image", help="only for this image of `bai image list`, with the resources given here")
    _add_resources(install)
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
    launch.add_argument("--resources", metavar="NAME=AMOUNT,…", help="resource slots, over those of the preset")
    command(nouns, "version", "version:show", "Versions of this program, its manager and its parts")
    return parser


def _size(text: str) -> str:
    """An amount of memory, as it was written."""
    try:
        parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def _count(text: str) -> int:
    number = read_number(text)
    if number is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 0 or more")
    return number


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = -1.0
    if not 0 <= hours < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of hours, 0 or more, such as 10 or 2.5")
    return hours


def _add_detached(detach: argparse.ArgumentParser) -> None:
    detach.add_argument("folder", help="name, id or path")
    detach.add_argument("--force", action="store_true", help="also if it is in use: what uses it is ended")


def _add_up(command: Any, nouns: Any) -> None:
    up = command(nouns, "up", "up:run", "Manager, agent and JupyterLab on this machine")
    up.add_argument("--check", action="store_true", help="start all, run one notebook, stop all; exit code 0 or 1")
    up.add_argument(
        "--runtime",
        choices=("auto", "docker", "process"),
        default="auto",
        help="what isolates sessions; auto: docker if an engine answers, else process, which does not isolate",
    )
    up.add_argument("--port", type=int, help="JupyterLab's port, or the Hub's; taken: the next free one (8888; 8000)")
    up.add_argument(
        "--hub", metavar="CONFIG", help="JupyterHub with this configuration in JupyterLab's place, and who can log in"
    )
    up.add_argument("--root", metavar="DIR", help="folder that JupyterLab shows, mounted in sessions (.bai/home)")
    up.add_argument(
        "--ahead",
        type=_size,
        metavar="MEMORY",
        help="for containers started ahead, so that sessions need not wait; 0: none (a 32nd of the machine's, 512m at "
        "most)",
    )
    up.add_argument("--no-build", action="store_true", help="do not build an image when there is none")
    down = command(nouns, "down", "down:run", "End the sessions and stop the servers of `bai up`")
    doctor = command(nouns, "doctor", "doctor:run", "What works on this machine, and what to do about the rest")
    for parser in (up, down, doctor):
        parser.add_argument("--data", metavar="DIR", default=".bai", help="where everything is kept (%(default)s)")


def _add_account(command: Any, nouns: Any) -> None:
    login = command(nouns, "login", "account:log_in", "Let commands from now on act as you, by e-mail and password")
    login.add_argument("--manager", metavar="URL", help="the manager's address (that of the credentials found here)")
    login.add_argument("--email", help="yours (asked for)")
    login.add_argument("--domain", default="default", help="the domain that you are in (%(default)s)")
    login.add_argument("--fingerprint", metavar="SHA256", help="trust the manager's certificate by this")
    login.add_argument("--ca", metavar="FILE", help="trust the CAs in this file (those of the system)")
    command(nouns, "logout", "account:log_out", "Forget the keys that `bai login` has kept")


def _add_session(command: Any, session: Any) -> None:
    start = command(session, "start", "session:start", "Ask for a session and wait until it runs")
    start.add_argument("image", help="an image of `bai image list`")
    _add_wanted(start)
    start.add_argument(
        "--cluster-size", type=int, default=1, metavar="N", help="containers, each with these resources (%(default)s)"
    )
    start.add_argument(
        "--manager-access", choices=("self", "user"), help="what it may do at the manager: see itself, or all you may"
    )
    start.add_argument(
        "--batch", metavar="COMMAND", help="a batch session: it runs COMMAND in a shell, and ends with it"
    )
    start.add_argument("--new", action="store_true", help="refuse if a session of that name exists")
    start.add_argument("--no-wait", action="store_true", help="return as soon as it is in the queue")
    listing = command(session, "list", "session:list_", "Your sessions, newest first")
    listing.add_argument("--all", action="store_true", help="also those that have ended")
    listing.add_argument("--everyone", action="store_true", help="of all users (superadmins)")
    info = command(session, "info", "session:info", "Everything about a session")
    logs = command(session, "logs", "session:logs", "What its container printed")
    for parser in (info, logs):
        parser.add_argument("session", help="name or id")
    logs.add_argument("--container", metavar="HOST", help="of several, such as sub1 (main1)")
    resize = command(session, "resize", "session:resize", "Give a running session more or less CPU and memory")
    resize.add_argument("session", help="name or id")
    resize.add_argument("--cpu", help="cores, such as 2")
    resize.add_argument("--mem", help="memory, such as 4g")
    extend = command(session, "extend", "session:extend", "Keep a session that would be stopped for being idle")
    extend.add_argument("session", help="name or id")
    for name, help_text in (
        ("suspend", "Freeze a session in which nothing runs; using it wakes it"),
        ("resume", "Let a suspended session go on"),
    ):
        command(session, name, f"session:{name}", help_text).add_argument("session", help="name or id")
    save = command(session, "save", "session:save", "Save the variables of its kernels of Python and R")
    save.add_argument("session", help="name or id")
    save.add_argument(
        "--within", type=parse_span, default=60.0, metavar="TIME", help="at most this long for each kernel (1m)"
    )
    wake = command(
        session, "wake", "session:wake", "Restart its kernels of Python and R with the variables that were saved"
    )
    wake.add_argument("session", help="name or id")
    wake.add_argument("--from", dest="source", metavar="SESSION", help="of this session, which may have ended")
    wake.add_argument("--kernel", metavar="ID", help="which saved kernel, if there are several")
    wake.add_argument("--into", metavar="ID", help="into which kernel, if several run")
    remove = command(session, "rm", "session:rm", "End sessions")
    remove.add_argument("sessions", nargs="+", metavar="session", help="name or id")
    remove.add_argument("--force", action="store_true", help="kill at once")
    remove.add_argument("--no-wait", action="store_true", help="return before they have ended")
    _add_inside(command, session)


def _add_run(command: Any, nouns: Any) -> None:
    job = command(nouns, "run", "run:run", "A job: run a script or a command in a session of its own, and see its log")
    job.add_argument("file", nargs="?", help="a script here, at most 64 KiB; its arguments come after --")
    job.add_argument("--image", help="an image of `bai image list` (the only one there is)")
    _add_wanted(job)
    job.add_argument(
        "--follow",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="show its log until it has ended, and end with its exit code; Ctrl-C leaves it running",
    )
    job.set_defaults(command=[], new=True, manager_access=None, cluster_size=1)
    job.set_defaults(hint=" Put what is to run after --, such as: bai run -- ls -l")


def _add_wanted(parser: argparse.ArgumentParser) -> None:
    """What any session may be asked for with."""
    parser.add_argument("--name", help="its name (made up if not given)")
    _add_resources(parser)
    parser.add_argument("--shm", help="shared memory, such as 64m")
    parser.add_argument("--mount", action="append", default=[], metavar="FOLDER[:PATH]", help="a vfolder to mount")
    parser.add_argument("-e", "--env", action="append", default=[], metavar="NAME=VALUE", help="environment variable")
    parser.add_argument("--group", help="resource group")
    parser.add_argument("--project", help="the project whose limits count (your domain's default one)")
    parser.add_argument(
        "--depends", action="append", default=[], metavar="SESSION", help="starts once this one has succeeded"
    )
    parser.add_argument("--starts-at", metavar="TIME", help="not before: 2026-12-24T18:00+09:00, or 30m from now")
    parser.add_argument("--tag", help="a word of yours, to tell sessions apart")
    parser.add_argument(
        "--timeout", type=parse_span, default=600.0, metavar="TIME", help="wait at most this long (10m)"
    )


def _add_inside(command: Any, session: Any) -> None:
    run = command(session, "exec", "inside:exec_", "Run a command in a session; its exit code is the result")
    run.add_argument("session", help="name or id")
    run.add_argument("command", nargs="*", metavar="COMMAND", help="after --: the command and its arguments")
    run.add_argument("-t", "--tty", action="store_true", help="give it a terminal: for shells, editors, top")
    run.add_argument("-n", "--no-stdin", dest="stdin", action="store_false", help="it gets no input")
    run.add_argument("-e", "--env", action="append", default=[], metavar="NAME=VALUE", help="environment variable")
    run.add_argument("--cwd", metavar="DIR", help="the folder it starts in (/home/work)")
    run.set_defaults(hint=" Put what is to run after --, such as: bai session exec demo -- ls -l")
    attach = command(session, "attach", "inside:attach", "The session's terminal; or, with FOLDER, one folder more")
    attach.add_argument("session", help="name or id")
    attach.add_argument("place", nargs="?", metavar="FOLDER[:PATH]", help="as in `bai vfolder attach`")
    attach.add_argument("--read-only", action="store_true", help="nothing in the session may write in the folder")
    detach = command(session, "detach", "vfolder:detach", "Take a folder away from it, as `bai vfolder detach`")
    detach.add_argument("session", help="name or id")
    _add_detached(detach)


def _add_apps(command: Any, app: Any) -> None:
    command(app, "list", "app:list_", "Apps of a session").add_argument("session", help="name or id")
    link = command(app, "open", "app:open_", "Start an app if need be, and open it in a browser")
    link.add_argument("session", help="name or id")
    link.add_argument("app", help="its name, or the number of a port that was asked for")
    port = command(app, "forward", "app:forward", "A port of this machine that leads to an app, until Ctrl-C")
    port.add_argument("session", help="name or id")
    port.add_argument("app", help="its name, or the number of a port that was asked for")
    port.add_argument("--port", type=int, default=0, help="which (any that is free)")
    link.add_argument("--no-browser", dest="browser", action="store_false", help="only print the link")


def _add_config(command: Any, noun: Any) -> None:
    dotfile = noun("dotfile", "Files to put into each of your new sessions")
    listing = command(dotfile, "list", "config:dotfile_list", "Your dotfiles")
    show = command(dotfile, "show", "config:dotfile_show", "What is in a dotfile")
    put = command(dotfile, "put", "config:dotfile_put", "Keep a file for new sessions")
    put.add_argument("file", help="a file here, or - for stdin")
    put.add_argument("--mode", default="644", help="three octal digits (%(default)s)")
    remove = command(dotfile, "rm", "config:dotfile_rm", "Keep a file no longer")
    put.add_argument("path", nargs="?", help="where sessions have it, below /home/work (its own name)")
    for parser in (show, remove):
        parser.add_argument("path", help="as `bai dotfile list` shows it")
    for parser in (listing, show, put, remove):
        parser.add_argument("--project", help="those of a project, which admins change")
        parser.add_argument("--domain", help="those of a domain; with --project: the domain it is in")
    bootstrap = noun("bootstrap", "A script to run first in each of your new sessions")
    command(bootstrap, "show", "config:bootstrap_show", "Your script")
    put = command(bootstrap, "set", "config:bootstrap_set", "Set it")
    put.add_argument("file", help="a shell script, or - for stdin")
    command(bootstrap, "clear", "config:bootstrap_clear", "Have none")
    keypair = noun("ssh-key", "The SSH keypair that your sessions have")
    command(keypair, "show", "config:ssh_key_show", "The public key")
    command(keypair, "new", "config:ssh_key_new", "Make a new one; prints the private key")
    own = command(keypair, "set", "config:ssh_key_set", "Take one that you have")
    own.add_argument("private", help="file with the private key, without a passphrase")
    own.add_argument("--public", help="file with the public key (the same name with .pub)")


def _add_resources(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--preset", help="a resource preset")
    _add_limits(parser)


def _add_limits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cpu", help="cores")
    parser.add_argument("--mem", help="memory, such as 4g")
    parser.add_argument("--gpu", help="GPUs, also parts of one where agents share them")
    parser.add_argument("--slot", action="append", default=[], metavar="NAME=AMOUNT", help="any other resource slot")


def _add_servers(command: Any, agent: Any, manager: Any) -> None:
    run = command(agent, "run", "agent:run", "Offer this machine to a manager")
    run.add_argument("--token", help="join token, needed the first time (better: BAI_JOIN_TOKEN in the environment)")
    join = command(agent, "join", "agent:run", "Offer this machine to a manager for the first time")
    join.add_argument("token", help="what `bai agent join-token` printed; later `bai agent run` is enough")
    for verb in (run, join):
        verb.add_argument("--manager", metavar="URL", help="the manager's address (what the token says, or was kept)")
        verb.add_argument("--name", help="this agent's name (the host's)")
        verb.add_argument("--runtime", choices=("auto", "docker", "process"), help="what isolates sessions")
        verb.add_argument("--state", metavar="DIR", help="where the agent keeps what must survive it")
        verb.add_argument("more", nargs="*", metavar="OPTION", help="after --: options of `python -m bai_agent`")
    command(agent, "list", "agent:list_", "Agents, what they have and what is in use")
    for verb, what, is_schedulable in (("drain", "Place nothing new on agents", False), ("resume", "Do again", True)):
        schedule = command(agent, verb, "agent:schedule", f"{what} (superadmins)")
        schedule.set_defaults(is_schedulable=is_schedulable, by=None)
        schedule.add_argument("names", nargs="+", metavar="name", help="name or id")
        if not is_schedulable:
            schedule.add_argument(
                "--by",
                type=parse_moment,
                metavar="TIME",
                help="warn the sessions there, and end what is left then: 18:00, 2026-12-24T18:00, or +2h (never)",
            )
    token = command(agent, "join-token", "agent:join_token", "Make a token with which an agent may join")
    token.add_argument("--group", default="default", help="resource group (%(default)s)")
    token.add_argument("--uses", type=int, default=1, help="how many agents may use it (%(default)s)")
    token.add_argument("--expires", type=parse_span, default=3600.0, metavar="TIME", help="how long it is good (1h)")
    serve = command(manager, "run", "manager:run", "Run a manager on this machine")
    serve.add_argument("--ip", help="the address to listen at (127.0.0.1); 0.0.0.0 for other hosts, with TLS")
    serve.add_argument("--port", type=int, help="its port")
    serve.add_argument("--certfile", metavar="FILE", help="a certificate (else beyond this machine it makes its own)")
    serve.add_argument("--keyfile", metavar="FILE", help="the key of --certfile, if that is another file")
    serve.add_argument("--plain-http", action="store_true", help="no TLS beyond this machine: a proxy has it")
    serve.add_argument("--data", metavar="DIR", help="its data folder")
    serve.add_argument("more", nargs="*", metavar="OPTION", help="after --: options of `python -m bai_jupyter.manager`")


def _add_vfolders(command: Any, vfolder: Any) -> None:
    command(vfolder, "list", "vfolder:list_", "Your folders, and those shared with you")
    create = command(vfolder, "create", "vfolder:create", "Make a folder")
    create.add_argument("name")
    create.add_argument("--host", help="the volume it lies on")
    create.add_argument("--quota", metavar="SIZE", help="how much it may hold, such as 100g")
    create.add_argument("--project", help="make it a folder of this project (admins)")
    delete = command(vfolder, "delete", "vfolder:delete", "Move folders to the trash")
    delete.add_argument("--for-good", action="store_true", help="also out of the trash: nothing is left")
    for verb in (delete, command(vfolder, "restore", "vfolder:restore", "Take folders out of the trash")):
        verb.add_argument("folders", nargs="+", metavar="folder", help="name or id")
    rename = command(vfolder, "rename", "vfolder:rename", "Give a folder another name")
    clone = command(vfolder, "clone", "vfolder:clone", "Make a copy of a folder")
    for verb in (rename, clone):
        verb.add_argument("folder", help="name or id")
        verb.add_argument("name", help="the new one")
    clone.add_argument("--host", help="the volume the copy lies on (the same)")
    attach = command(vfolder, "attach", "vfolder:attach", "Give a running session one more folder")
    attach.add_argument("place", metavar="FOLDER[:PATH]", help="PATH is where it is seen, below /home/work")
    attach.add_argument("session", help="name or id")
    attach.add_argument("--read-only", action="store_true", help="nothing in the session may write there")
    detach = command(vfolder, "detach", "vfolder:detach", "Take a folder away from a running session")
    _add_detached(detach)
    detach.add_argument("session", help="name or id")
    listing = command(vfolder, "ls", "vfolder:ls", "What is in a folder")
    listing.add_argument("place", metavar="FOLDER[:PATH]")
    listing.add_argument("--offset", type=int, default=0, help="leave out so many entries (%(default)s)")
    listing.add_argument("--limit", type=int, default=1000, help="show at most so many (%(default)s)")
    command(vfolder, "mkdir", "vfolder:mkdir", "Make directories in a folder").add_argument(
        "places", nargs="+", metavar="FOLDER:PATH"
    )
    move = command(vfolder, "mv", "vfolder:mv", "Move a file or directory within a folder")
    move.add_argument("place", metavar="FOLDER:PATH")
    move.add_argument("target", metavar="PATH", help="a new name, or the directory that it goes into")
    command(vfolder, "rm", "vfolder:rm", "Delete files and directories of a folder, for good").add_argument(
        "places", nargs="+", metavar="FOLDER:PATH"
    )
    put = command(vfolder, "put", "vfolder:put", "Upload files and folders")
    put.add_argument("sources", nargs="+", metavar="file", help="files, or folders with all that is in them")
    put.add_argument("place", metavar="FOLDER[:PATH]", help="where to put them")
    get = command(vfolder, "get", "vfolder:get", "Download a file")
    get.add_argument("place", metavar="FOLDER:PATH")
    get.add_argument("target", nargs="?", default=".", help="file or folder here (%(default)s)")
    share = command(vfolder, "share", "vfolder:share", "Invite people to a folder")
    share.add_argument("folder")
    share.add_argument("people", nargs="+", metavar="person", help="e-mail addresses")
    share.add_argument("--can", choices=("read", "write"), default="read", help="what they may do (%(default)s)")
    unshare = command(vfolder, "unshare", "vfolder:unshare", "Take a folder away from people it was shared with")
    unshare.add_argument("folder")
    unshare.add_argument("people", nargs="+", metavar="person", help="e-mail addresses")
    command(vfolder, "leave", "vfolder:leave", "Give up folders that others share with you").add_argument(
        "folders", nargs="+", metavar="folder", help="name or id"
    )
    accept = command(vfolder, "accept", "vfolder:accept", "Accept invitations; without names, show them")
    accept.add_argument("folders", nargs="*", metavar="folder", help="as the invitation calls it")


def _add_images(command: Any, image: Any) -> None:
    build = command(image, "build", "image:build", "Build images with the local Docker engine")
    build.add_argument(
        "names", nargs="+", metavar="name", help="python-minimal, python, hub, r, polyglot-minimal, polyglot"
    )
    build.add_argument("--tag", help="instead of the version found in the image")
    build.add_argument("--base", help="image to build on, instead of the automatic choice")
    add = command(image, "add", "image:add", "Tell the manager of images; an agent looks inside (superadmins)")
    add.add_argument("names", nargs="+", metavar="name")
    command(image, "list", "image:list_", "Images you can start sessions from")
    remove = command(image, "rm", "image:rm", "Forget images; containers and the engine keep them (superadmins)")
    remove.add_argument("names", nargs="+", metavar="name")


def _add_environments(command: Any, env: Any) -> None:
    save = command(env, "save", "env:save", "Save what a running session's container has become, for you alone")
    save.add_argument("session", help="name or id")
    save.add_argument("--name", help="what it is called within yours (as the session)")
    save.add_argument("--no-wait", action="store_true", help="return as soon as it is begun")
    save.add_argument("--timeout", type=parse_span, default=1800.0, metavar="TIME", help="wait at most this long (30m)")
    command(env, "list", "env:list_", "Yours, newest first")
    remove = command(env, "rm", "env:rm", "Delete environments of yours that no session uses")
    remove.add_argument("names", nargs="+", metavar="name", help="as `bai env list` shows it")


def _add_people(command: Any, user: Any, project: Any) -> None:
    command(user, "list", "people:list_", "Users that you can see").set_defaults(kind="user")
    add = command(user, "add", "people:user_add", "Make a user with a keypair and a home folder")
    change = command(user, "set", "people:user_set", "Change a user")
    for parser in (add, change):
        parser.add_argument("email")
        parser.add_argument("--name", help="short name (the e-mail)")
        parser.add_argument("--full-name")
        parser.add_argument("--role", choices=("user", "admin", "superadmin", "service"))
        parser.add_argument("--domain", help="domain (yours)")
        parser.add_argument(
            "--project", action="append", help="a project to be in, instead of the domain's default one"
        )
        parser.add_argument("--password", action="store_true", help="ask for a password, or read it from stdin")
    add.add_argument(
        "--credentials", metavar="FILE", help="write the keys into a new file, as BAI_CREDENTIALS takes them"
    )
    change.add_argument("--status", choices=("active", "inactive"))
    change.add_argument("--policy", help="resource policy of all their keypairs together")
    remove = command(user, "rm", "people:user_rm", "Shut a user out")
    remove.add_argument("email")
    remove.add_argument("--purge", action="store_true", help="remove all records of them")
    give = command(
        user, "give", "people:user_give", "Let a service, such as a JupyterHub, act for a user (superadmins)"
    )
    give.add_argument("name", help="the user's short name")
    give.add_argument("--service", required=True, metavar="ACCESS_KEY", help="the service's access key")
    give.add_argument("--take", action="store_true", help="no longer")
    command(project, "list", "people:list_", "Projects that you can see").set_defaults(kind="project")
    make = command(project, "add", "people:project_add", "Make a project, with limits of its own if you say so")
    alter = command(project, "set", "people:project_set", "Change a project")
    for parser in (make, alter):
        _add_limits(parser)
        parser.add_argument("--description")
    _add_active(alter)
    alter.add_argument("--policy", help="resource policy of the whole project")
    drop = command(project, "rm", "people:project_rm", "Make a project inactive")
    drop.add_argument("--purge", action="store_true", help="remove it for good")
    parsers = [make, alter, drop]
    for verb, mode in (("join", "add"), ("leave", "remove")):
        members = command(project, verb, "people:project_members", f"Let users {verb} a project")
        members.set_defaults(mode=mode)
        parsers.append(members)
    for parser in parsers:
        parser.add_argument("name")
        parser.add_argument("--domain", help="domain (yours)")
    for members in parsers[3:]:
        members.add_argument("emails", nargs="+", metavar="email")


def _add_policies(command: Any, policy: Any) -> None:
    command(policy, "list", "people:list_", "Resource policies").set_defaults(kind="policy")
    for parser in _add_puts(command, policy, "people:policy_put", "a resource policy"):
        _add_limits(parser)
        parser.add_argument("--sessions", type=_count, help="sessions at once")
        parser.add_argument("--gpu-hours", type=_hours, metavar="HOURS", help="of accelerators, in a week; 0: no limit")
        parser.add_argument("--lifetime", type=parse_span, metavar="TIME", help="of a session; 0: no limit")
        parser.add_argument("--idle", type=parse_span, metavar="TIME", help="of a session; 0: no limit")
        parser.add_argument(
            "--suspend", type=parse_span, metavar="TIME", help="suspend idle sessions after this; 0: they are not"
        )
        parser.add_argument(
            "--low-use",
            action="append",
            metavar="METRIC=PERCENT",
            help="stop sessions in which nothing runs and use stays below this, such as cuda_util=5; none: do not",
        )
        parser.add_argument("--low-use-for", type=parse_span, metavar="TIME", help="for so long (1h)")
        parser.add_argument("--folders", type=_count, metavar="N", help="how many of their own; 0: no limit")
        parser.add_argument(
            "--folder-size", type=_size, metavar="SIZE", help="of each folder, such as 100g; 0: no limit"
        )
        parser.add_argument(
            "--all-folders",
            type=_size,
            metavar="SIZE",
            help="of all folders of a user or project on one volume together; 0: no limit",
        )
        parser.add_argument("--others", choices=("none", "any"), help="how much of slots that are not named")
    command(policy, "rm", "people:policy_rm", "Remove a policy that binds nobody").add_argument("name")
    bind = command(policy, "bind", "people:policy_bind", "Put a policy on users, keypairs, projects or domains")
    bind.add_argument("name")
    bind.add_argument("scopes", nargs="+", metavar="scope", help="user:EMAIL, keypair:KEY, project:NAME, domain:NAME")
    allow = command(
        policy, "allow", "people:policy_allow", "Let a service, such as a JupyterHub, give its users a policy"
    )
    allow.add_argument("name")
    allow.add_argument("--service", required=True, metavar="ACCESS_KEY", help="the service's access key")
    allow.add_argument("--take", action="store_true", help="no longer; who has it keeps it")


def _add_presets(command: Any, preset: Any) -> None:
    command(preset, "list", "people:list_", "Presets").set_defaults(kind="preset")
    for parser in _add_puts(command, preset, "people:preset_put", "a preset"):
        _add_limits(parser)
        parser.add_argument("--shm", help="shared memory, such as 64m")
    command(preset, "rm", "people:preset_rm", "Remove a preset").add_argument("name")


def _add_groups(command: Any, group: Any) -> None:
    command(group, "list", "people:list_", "Resource groups that you may use").set_defaults(kind="group")
    for parser in _add_puts(command, group, "people:group_put", "a resource group"):
        parser.add_argument("--description")
        parser.add_argument("--order", choices=("fifo", "lifo"), help="who goes first")
        parser.add_argument(
            "--select", choices=("dispersed", "concentrated"), help="the emptiest agent, or the fullest"
        )
        parser.add_argument("--type", action="append", help="a type of session that it takes: interactive, batch …")
        parser.add_argument("--pending-timeout", type=parse_span, metavar="TIME", help="cancel what waits longer")
        _add_active(parser)
    command(group, "rm", "people:group_rm", "Remove a group without agents").add_argument("name")
    for verb, field in (("grant", "associate"), ("revoke", "disassociate")):
        grant = command(group, verb, "people:group_grant", f"{verb.capitalize()} the use of a group")
        grant.set_defaults(verb=field)
        grant.add_argument("name")
        grant.add_argument("scopes", nargs="+", metavar="scope", help="domain:NAME, project:NAME, keypair:KEY")


def _add_puts(command: Any, noun: Any, run: str, what: str) -> list[argparse.ArgumentParser]:
    parsers = []
    for verb, text, is_new in (("add", "Make", True), ("set", "Change", False)):
        parsers.append(command(noun, verb, run, f"{text} {what}"))
        parsers[-1].add_argument("name")
        parsers[-1].set_defaults(is_new=is_new)
    return parsers


def _add_active(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--active", action=argparse.BooleanOptionalAction, default=None, help="whether it can be used")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    options = _parse(sys.argv[1:] if argv is None else list(argv))
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


def _parse(words: list[str]) -> argparse.Namespace:
    """What comes after the first ``--`` goes to ``options.command`` as it is: argparse would drop a second one."""
    parser = build_parser()
    options, unknown = parser.parse_known_args(words)
    if hasattr(options, "command") and "--" in words:
        cut = words.index("--")
        options, unknown = parser.parse_known_args(words[:cut])
        options.command += words[cut + 1 :]
    if unknown:
        options.parser.error(f"unrecognized arguments: {' '.join(unknown)}.{getattr(options, 'hint', '')}")
    return options


def _missing(error: ModuleNotFoundError) -> BaiError:
    if (error.name or "").startswith(("bai_jupyter", "bai_agent")):
        raise error
    return CommandFailed(
        f"This command needs {error.name}. Run: pip install 'bai_jupyter[all]' (version {__version__})"
    )
