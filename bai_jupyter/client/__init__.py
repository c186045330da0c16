"""Async client of the manager API: the only way in for provisioner, spawner, extension, widgets and command line.

Owns: where credentials are found (``credentials``), how a call is made (``connection``), errors back into the tree of
``common.errors`` (``faults``), and one method per call of ``docs/api.md``, by what it is about. Does not own: what to
do when the manager is away (no call is repeated here, except by ``wait_for``, ``upload`` and ``download``, which say
so), and what a stream's records mean (``common.records``).
"""

from bai_jupyter.client.answers import Json
from bai_jupyter.client.apps import Apps, link_of
from bai_jupyter.client.connection import API_VERSION
from bai_jupyter.client.credentials import (
    ClientConfig,
    ConfigError,
    credentials_path,
    load_config,
    read_credentials,
)
from bai_jupyter.client.faults import ManagerAway, ManagerNotTrusted, SessionEnded
from bai_jupyter.client.folders import Folders
from bai_jupyter.client.jupyter_kernels import JupyterKernels
from bai_jupyter.client.paths import app_path
from bai_jupyter.client.people import People
from bai_jupyter.client.resources import Resources
from bai_jupyter.client.session_request import SessionRequest
from bai_jupyter.client.sessions import Sessions
from bai_jupyter.client.transfers import TRANSFER_BYTES, Transfers

__all__ = [
    "API_VERSION",
    "TRANSFER_BYTES",
    "ClientConfig",
    "ConfigError",
    "Json",
    "ManagerAway",
    "ManagerClient",
    "ManagerNotTrusted",
    "SessionEnded",
    "SessionRequest",
    "app_path",
    "credentials_path",
    "link_of",
    "load_config",
    "read_credentials",
]


class ManagerClient(Sessions, Apps, JupyterKernels, Folders, Transfers, Resources, People):
    """Signed calls to one manager, for use on one event loop.

    Every call has a time-out and is made once. Raises ``PublicError`` subclasses as the manager meant them, and
    ``ManagerAway`` if it cannot be reached or does not answer in time. ``close`` ends what is open.
    """
