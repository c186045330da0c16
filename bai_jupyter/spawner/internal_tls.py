"""What a server needs inside with its Hub's ``internal_ssl``: certificate, and a way to the Hub for TLS. Pure.

Both come with the session's bootstrap script, which manager and agent keep like a secret: certificate and key are in no
environment, no list of processes and no log, but in files for the session's user alone, and end with the session.
"""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

FOLDER = "/home/work/.jupyterhub-tls"  # of this container alone
DOOR_VARIABLE = "BAI_HUB_DOOR"  # the door's socket, as it is called where the server runs
# JupyterHub's names of the files, and its variables, which say where they are for the server.
_VARIABLES = {
    "keyfile": "JUPYTERHUB_SSL_KEYFILE",
    "certfile": "JUPYTERHUB_SSL_CERTFILE",
    "cafile": "JUPYTERHUB_SSL_CLIENT_CA",
}
_OUR_FOLDER = '"${JUPYTERHUB_SSL_KEYFILE%/*}"'
_PROGRAM = f"{_OUR_FOLDER}/door.py"
_DOOR = Path(__file__).with_name("door.py").read_text()


def places() -> dict[str, str]:
    """Where the server finds its files."""
    return {name: f"{FOLDER}/{name}.pem" for name in _VARIABLES}


def bootstrap_of(certs: Mapping[str, str]) -> str:
    """``certs`` are the contents of the files, as PEM. ``printf`` is the shell's own: no process has them as words."""
    files = {f'"${_VARIABLES[name]}"': text for name, text in certs.items()}
    writes = [f"printf %s {shlex.quote(text)} >{file}" for file, text in {**files, _PROGRAM: _DOOR}.items()]
    return "\n".join(["set -e", "umask 077", f"mkdir -p {_OUR_FOLDER}", *writes, ""])


def command_by_door(command: Sequence[str], port: int) -> str:
    """The server's command; the door is at this port of the container's loopback address from its start on."""
    return f'exec python3 -I {_PROGRAM} "${DOOR_VARIABLE}" {port} {shlex.join(command)}'
