"""``bai doctor``: what works on this machine, and for the rest what to do."""

import argparse
import os
import platform
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from socket import create_connection
from urllib.parse import urlsplit

from bai_jupyter.cli.local import DEFAULT_UID, PYTHON
from bai_jupyter.cli.machine import Engine, ask_engine, ask_gpus
from bai_jupyter.cli.servers import DataFolder, free_port
from bai_jupyter.cli.terminal import CommandFailed, Exit, Terminal
from bai_jupyter.cli.up import MANAGER_PORT
from bai_jupyter.client import ClientConfig, ConfigError, load_config
from bai_jupyter.common.reasons import plural
from bai_jupyter.common.trust import refusal

LAB_PORT = 8888
NODE_NEEDED = (20, 19)
HTTPS_PORT = 443
CONNECT_TIMEOUT_S = 5.0
RENEW_DAYS = 14


@dataclass(frozen=True)
class Finding:
    """``kind`` is ``done``, ``note`` (works, but less) or ``failed`` (must be mended); ``advice`` says how."""

    kind: str
    what: str
    advice: str = ""


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    folder = DataFolder(Path(options.data).absolute())
    findings = list(examine(folder))
    problems = sum(finding.kind == "failed" for finding in findings)
    notes = sum(finding.kind == "note" for finding in findings)
    if terminal.as_json:
        terminal.document({"findings": [asdict(finding) for finding in findings], "problems": problems})
    else:
        for finding in findings:
            terminal.line(f"{terminal.sign(finding.kind)} {finding.what:<28} {finding.advice}".rstrip())
        terminal.line(f"{plural(problems, 'problem') if problems else 'No problem'}, {plural(notes, 'note')}.")
    return Exit.FAILED if problems else Exit.DONE


def examine(folder: DataFolder) -> Iterator[Finding]:
    engine = ask_engine()
    yield _python()
    yield _docker(engine)
    yield _image(engine)
    yield _gpu()
    yield from _ports(folder)
    yield _panel()
    yield from _credentials()
    if os.geteuid() == 0:
        yield _other_user()


def _python() -> Finding:
    # An older Python than the one required could not have installed this program.
    return Finding("done", f"Python {platform.python_version()}")


def _docker(engine: Engine) -> Finding:
    if not engine.answers:
        return Finding("note", "No Docker", f"{engine.trouble} Without it sessions are not isolated.")
    return Finding("done", f"Docker answers ({engine.version.partition('+')[0]}, cgroup {engine.cgroup})")


def _image(engine: Engine) -> Finding:
    if not engine.answers:
        return Finding("note", "No image", "Without Docker, kernels of this Python environment are used.")
    from bai_jupyter.cli import images

    names = images.local()
    if not names:
        return Finding("failed", "No image", "Nothing to start sessions from. Run: bai image build python")
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return Finding("done", f"Images: {', '.join(names[:2])}{more}")


def _gpu() -> Finding:
    gpus = ask_gpus()
    if not gpus.models:
        return Finding("note", "No GPU found", gpus.trouble)
    return Finding("done", f"{plural(len(gpus.models), 'GPU')}: {gpus.models[0]} (driver {gpus.driver})")


def _ports(folder: DataFolder) -> Iterator[Finding]:
    if folder.is_locked():
        yield Finding("done", "`bai up` runs here", folder.read_state().get("manager", ""))
        return
    for name, port in (("lab", LAB_PORT), ("manager", MANAGER_PORT)):
        try:
            found = free_port(port)
        except CommandFailed as error:
            yield Finding("failed", f"port {port} taken", str(error))
            continue
        if found == port:
            yield Finding("done", f"port {port} free")
        else:
            yield Finding("note", f"port {port} taken", f"`bai up` gives {name} the next free one, now {found}.")


def _panel() -> Finding:
    if (Path(str(files("bai_jupyter"))) / "extension" / "labextension" / "package.json").is_file():
        return Finding("done", "Lab panel built")
    node = _node_version()
    if node is None or node < NODE_NEEDED:
        found = f"node {'.'.join(map(str, node))} is here" if node else "node is not here"
        advice = f"{found}; install node {'.'.join(map(str, NODE_NEEDED))} or newer, then install bai_jupyter again."
    else:
        advice = "Install bai_jupyter again: pip install --force-reinstall --no-deps, or `pip install -e .`"
    return Finding("note", "Lab panel not built", f"Kernels work. {advice}")


def _node_version() -> tuple[int, ...] | None:
    if not (node := shutil.which("node")):
        return None
    try:
        told = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=10, check=True).stdout
        return tuple(int(part) for part in told.strip().lstrip("v").split("."))
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def _credentials() -> Iterator[Finding]:
    try:
        config = load_config(os.environ, Path.cwd())
    except ConfigError as error:
        yield Finding("failed", "Credentials", str(error))
        return
    if config is None:
        yield Finding("note", "Not logged in", "`bai up` makes credentials for a manager on this machine.")
        return
    yield Finding("done", f"Logged in to {config.endpoint}")
    if config.endpoint.startswith("https:") and config.socket is None:
        yield certificate_of(config)


def certificate_of(config: ClientConfig) -> Finding:
    """Of the manager at an ``https`` address: whether it is trusted, and for how long."""
    url = urlsplit(config.endpoint)
    try:
        context = config.trust.context()
    except OSError as error:
        return Finding("failed", "CA file", f"{config.trust.ca_file} cannot be used: {error}.")
    try:
        with (
            create_connection((url.hostname or "", url.port or HTTPS_PORT), CONNECT_TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=url.hostname) as tls,
        ):
            facts = tls.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        return Finding("failed", "Certificate", refusal(config.endpoint, error).text)
    except OSError as error:
        return Finding("note", "No manager", f"{config.endpoint} does not answer: {error}.")
    if "notAfter" not in facts:
        return Finding("done", "Certificate as known", "It is trusted by its fingerprint, at any age.")
    days = int(ssl.cert_time_to_seconds(str(facts["notAfter"])) - time.time()) // 86400
    is_old = days < RENEW_DAYS
    advice = "Renew it at the manager, and start the manager again." if is_old else ""
    return Finding("note" if is_old else "done", f"Certificate: {plural(days, 'day')} left", advice)


def _other_user() -> Finding:
    argv = [*PYTHON, "-m", "bai_jupyter.cli.as_user", str(DEFAULT_UID), str(DEFAULT_UID), "--"]
    try:
        tried = subprocess.run(
            [*argv, sys.executable, "-c", "import bai_jupyter"], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        return Finding("failed", f"User {DEFAULT_UID}", str(error))
    if tried.returncode:
        return Finding("failed", f"User {DEFAULT_UID}", tried.stderr.strip().splitlines()[-1])
    return Finding("done", f"Lab can run as user {DEFAULT_UID}", "root starts it, but no notebook runs as root")
