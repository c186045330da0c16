"""What must survive this Jupyter server: one small file for each kernel of ours, in a folder only we use.

The folder belongs to the root directory that the server serves. Two servers in one directory must not fight over the
same kernels, so each takes the first folder that nobody holds; the lock is the kernel's (``flock``) and ends with the
process, however it ends. The server's session table lies in the same folder.

Files hold the keys that sign kernel messages: folder 0700, files 0600. They are replaced whole, so that a crash leaves
either the old or the new one. Does not know what a kernel manager is.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from logging import Logger
from pathlib import Path
from typing import Any

_KERNEL_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


@dataclass(frozen=True)
class KernelRecord:
    """One kernel. ``provisioner_info`` and ``connection_info`` are empty until the provisioner gave them."""

    kernel_id: str
    kernel_name: str
    kernelspec: dict[str, Any]  # also when the image has left the catalogue since
    launch: dict[str, Any]  # keyword arguments of the start; env only where it differs from the server's own
    is_launched: bool = False
    provisioner_info: dict[str, Any] = field(default_factory=dict)
    connection_info: dict[str, Any] = field(default_factory=dict)
    protocol_version: str | None = None  # of the Jupyter messages, once the kernel has told
    notice: str | None = None  # what its page is told beside how it is doing


class KernelRecords:
    """The records of one server. All methods do short local file work; ``close`` lets another server have them."""

    def __init__(self, folder: Path, lock: int, log: Logger) -> None:
        self.folder = folder
        self._lock = lock
        self._log = log
        self._records = {record.kernel_id: record for record in self._read_all()}

    @classmethod
    def claim(cls, state_dir: Path, root_dir: str, log: Logger) -> "KernelRecords":
        """Take the first free folder for ``root_dir`` below ``state_dir``, with what an earlier server left in it."""
        name = hashlib.sha256(os.path.realpath(root_dir).encode()).hexdigest()[:16]
        for number in count():
            folder = state_dir / f"{name}-{number}"
            (folder / "kernels").mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)
            lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(lock)
                continue
            return cls(folder, lock, log)
        raise AssertionError("count() has no end")

    @property
    def session_table(self) -> Path:
        """Path of the SQLite file with the server's sessions (which notebook has which kernel)."""
        return self.folder / "sessions.sqlite"

    def bookmarks(self, kernel_id: str) -> Path:
        """Folder for how far each page has read this kernel; it goes with the record."""
        return self.folder / "bookmarks" / kernel_id

    def close(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __iter__(self) -> Iterator[KernelRecord]:
        return iter(list(self._records.values()))

    def __contains__(self, kernel_id: str) -> bool:
        return kernel_id in self._records

    def is_launched(self, kernel_id: str) -> bool:
        record = self._records.get(kernel_id)
        return record is not None and record.is_launched

    def add(self, record: KernelRecord) -> None:
        """Raises ``ValueError`` if the id could not be a file name: clients may choose it."""
        if not _KERNEL_ID.fullmatch(record.kernel_id):
            raise ValueError(f"{record.kernel_id!r} is not a kernel id: letters, digits, - and _ only")
        self._records[record.kernel_id] = record
        self._write(record)

    def update(self, kernel_id: str, **changes: Any) -> None:
        """Change fields of a record that is there; nothing is written if nothing changed, or if it is gone."""
        old = self._records.get(kernel_id)
        if old is None:
            return
        new = replace(old, **changes)
        if new != old:
            self._records[kernel_id] = new
            self._write(new)

    def remove(self, kernel_id: str) -> None:
        if self._records.pop(kernel_id, None) is not None:
            self._path(kernel_id).unlink(missing_ok=True)
            shutil.rmtree(self.bookmarks(kernel_id), ignore_errors=True)

    def _path(self, kernel_id: str) -> Path:
        return self.folder / "kernels" / f"{kernel_id}.json"

    def _write(self, record: KernelRecord) -> None:
        text = json.dumps(to_plain(asdict(record)), indent=1)
        path = self._path(record.kernel_id)
        draft = path.with_suffix(".new")
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)

    def _read_all(self) -> Iterator[KernelRecord]:
        for path in sorted((self.folder / "kernels").glob("*.json")):
            try:
                yield KernelRecord(**from_plain(json.loads(path.read_text())))
            except (OSError, ValueError, TypeError) as error:
                self._log.error("kernel record %s cannot be read and is left where it is: %s", path, error)


def to_plain(value: Any) -> Any:
    """JSON values, with bytes as ``{"$bytes": text}``: provisioners compare keys by type."""
    if isinstance(value, bytes):
        return {"$bytes": value.decode("latin-1")}
    if isinstance(value, Mapping):
        return {str(name): to_plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [to_plain(item) for item in value]
    return value


def from_plain(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"$bytes"}:
            return value["$bytes"].encode("latin-1")
        return {name: from_plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [from_plain(item) for item in value]
    return value


def pack_launch(launch: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """The start's keyword arguments as they are kept.

    Of ``env`` only what differs from the server's own environment: that one may hold secrets, and is there again after
    a restart. What is no JSON value is left out.
    """
    kept = {name: value for name, value in launch.items() if name not in ("env", "kernel_id") and _is_plain(value)}
    if isinstance(env := launch.get("env"), Mapping):
        kept["env"] = {name: value for name, value in env.items() if environ.get(name) != value}
    return kept


def unpack_launch(kept: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    launch = dict(kept)
    if "env" in launch:
        launch["env"] = {**environ, **launch["env"]}
    return launch


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(to_plain(value))
    except TypeError:
        return False
    return True
