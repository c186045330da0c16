"""What must survive an agent: who it is, and for each kernel what was wanted and what was last told.

One small file per fact, each written beside and renamed, so a kill at any moment leaves the old one or the new one.
"""

import contextlib
import fcntl
import json
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path

from bai_agent import folders
from bai_agent.manager_place import ManagerPlace
from bai_agent.runtimes.base import Process
from bai_jupyter.common.errors import BaiError
from bai_jupyter.common.ids import AgentId, KernelId, new_agent_id
from bai_jupyter.common.messages import KernelReport, KernelSpecFacts, KernelWant, MountWant, from_json, to_json

log = logging.getLogger(__name__)


class AlreadyRunning(BaiError):
    """Another agent uses this state folder."""


@dataclass(frozen=True)
class KernelState:
    """``report`` is what was last told (its revision is on disk before it is sent); ``kernelspecs`` are the image's,
    and ``packages`` what it brings along for the home (``runtimes.packages.parts_of``); ``boot_id`` names the run of
    this host in which its container was started. Since the container's last start: ``programs`` are those that were
    started (see ``programs``), ``bootstrapped`` says that it needs no bootstrap any more, and ``command_code`` is that
    of a batch session's command once it has ended. ``asleep`` is, while it is
    suspended, a digest of what was wanted when that began. ``held_since`` is when it came to its memory limit, if it
    waits there (seconds since the epoch). ``mounted`` are the folders that it was given. ``energy_before`` is what its
    devices' energy counters showed when it was first seen with them (J)."""

    want: KernelWant
    report: KernelReport
    kernelspecs: list[KernelSpecFacts] = field(default_factory=list)
    packages: list[str] = field(default_factory=list)
    boot_id: str = ""
    programs: dict[str, Process] = field(default_factory=dict)
    bootstrapped: bool = False
    command_code: int | None = None
    asleep: str | None = None
    held_since: float | None = None
    mounted: list[MountWant] = field(default_factory=list)
    energy_before: dict[str, float] = field(default_factory=dict)


class StateFolder:
    """The agent's folder. ``lock`` first; one agent per folder."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock: int | None = None

    def lock(self) -> None:
        """Make the folder and take it. Raises ``AlreadyRunning``. The lock goes with the process, however it ends."""
        # The user of a kernel passes through to its own folders, and sees no names.
        (self.path / "kernels").mkdir(parents=True, exist_ok=True)
        for folder in (self.path, self.path / "kernels"):
            folder.chmod(0o711)
        descriptor = os.open(self.path / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise AlreadyRunning(
                f"Another agent is running on {self.path}. Stop it, or give --AgentApp.state_dir."
            ) from None
        self._lock = descriptor

    def unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # Who we are

    def own_id(self) -> AgentId:
        """The id on our containers and network: ours alone, made once, known before any manager answers."""
        known = self._read_text("agent-id")
        if known is None:
            known = new_agent_id()
            self._write_text("agent-id", known)
        return AgentId(known)

    def credential(self) -> str | None:
        return self._read_text("credential")

    def keep_credential(self, credential: str) -> None:
        self._write_text("credential", credential)

    def manager(self) -> ManagerPlace | None:
        """The one that took this agent last. One that cannot be read is told in the log."""
        try:
            text = self._read_text("manager")
            return None if text is None else from_json(ManagerPlace, json.loads(text))
        except (ValueError, KeyError, TypeError) as error:
            log.error("%s cannot be read: %r", self.path / "manager", error)
            return None

    def keep_manager(self, place: ManagerPlace) -> None:
        self._write_text("manager", json.dumps(to_json(place)))

    def chosen_runtime(self) -> str | None:
        return self._read_text("runtime")

    def keep_runtime(self, name: str) -> None:
        self._write_text("runtime", name)

    # Kernels

    def kernel_folder(self, kernel_id: KernelId) -> Path:
        return self.path / "kernels" / kernel_id

    def load(self) -> dict[KernelId, KernelState]:
        """Every kernel with a readable state. One that cannot be read is told in the log and left where it is."""
        states = {}
        for path in sorted((self.path / "kernels").glob("*/state.json")):
            try:
                states[KernelId(path.parent.name)] = from_json(KernelState, json.loads(path.read_text()))
            except (OSError, ValueError, KeyError, TypeError) as error:
                log.error("%s cannot be read: %r; its container is found by its labels", path, error)
        return states

    def save(self, state: KernelState) -> None:
        folder = self.kernel_folder(state.want.kernel_id)
        folder.mkdir(mode=0o711, exist_ok=True)
        write_whole(folder / "state.json", json.dumps(to_json(state)))

    def drop(self, kernel_id: KernelId) -> None:
        """Delete all that is kept of a kernel."""
        folders.remove(self.kernel_folder(kernel_id))

    def _read_text(self, name: str) -> str | None:
        try:
            return (self.path / name).read_text().strip() or None
        except FileNotFoundError:
            return None

    def _write_text(self, name: str, text: str) -> None:
        if self._read_text(name) != text:  # most starts change nothing, and need no room on a full disk then
            write_whole(self.path / name, text, durable=True)


def write_whole(path: Path, text: str, *, durable: bool = False) -> None:
    """All or nothing; readable by us alone. ``durable``: also over a power cut, which no container outlives."""
    scratch = path.with_name(path.name + ".tmp")
    with contextlib.suppress(FileNotFoundError):
        scratch.unlink()  # its mode may be another
    with os.fdopen(os.open(scratch, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    scratch.replace(path)
