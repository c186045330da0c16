"""Messages between manager and agent, and their JSON form.

The agent dials the manager and keeps one control WebSocket open. Every message is one JSON object with a ``type``.
Nothing here is a command to be obeyed once: ``Wanted`` states what should be there, reports state what is there, and
both may be repeated at any time. Only ``Call`` and ``Reply`` (interrupt, logs, streams) are requests in the usual
sense.

::

    agent                        manager
      Hello            ──►                     who I am, what I have, what I found running
                       ◄──       Welcome       your id, and your credential if you joined with a token
                       ◄──       Wanted        complete=true: the whole truth for this agent
      KernelReport     ──►                     at every change of a kernel or of a Jupyter kernel in it
      Heartbeat        ──►                     every ``heartbeat_s``
                       ◄──       Call          please do this once
      Reply            ──►                     done, or why not
                       ◄──       Wanted        complete=false: these kernels changed
                       ◄──       Forget        the end of these kernels is recorded; drop what you keep of them
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from bai_jupyter.common.errors import ProtocolError
from bai_jupyter.common.ids import AgentId, JupyterKernelId, KernelId, SessionId
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.common.statuses import JupyterKernelStatus, KernelStatus, Target

PROTOCOL_VERSION = 1

T = TypeVar("T")

ENVIRON_LABEL = "bai.environ."
"""Before the name of a variable of an image that is told among its labels."""

_DOOR = re.compile(r"[a-z][a-z0-9-]{0,31}")


# What an agent has


UNCOMPILED = "bai_uncompiled"
"""In a kernelspec's metadata, true: its packages are not byte-compiled, so that each start takes longer."""


@dataclass(frozen=True)
class KernelSpecFacts:
    """A Jupyter kernelspec found inside an image. ``argv`` holds ``{connection_file}`` unexpanded."""

    name: str
    display_name: str
    language: str
    argv: list[str]
    env: dict[str, str] = field(default_factory=dict)
    interrupt_mode: str = "signal"
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ImageFacts:
    """What looking inside an image told. ``digest`` is the engine's image id; ``labels`` as in the image, and what its
    environment says of CUDA (``ENVIRON_LABEL``)."""

    name: str
    digest: str
    architecture: str
    size_bytes: int
    labels: dict[str, str]
    kernelspecs: list[KernelSpecFacts]
    builtin: bool = False  # usable without an admin adding it: the process runtime's own environment


PCI_PATH = "pci_path"
"""The attribute of a device that says what is above it on the PCI bus: ``pci0000:40/0000:40:01.0/0000:41:00.0``."""


@dataclass(frozen=True)
class DeviceFacts:
    """One device an agent offers. ``slots`` is what it adds to the agent's total."""

    device_id: str
    kind: str  # the plugin's key: cpu, mem, cuda, mock
    model: str
    slots: ResourceSlots
    mem_bytes: int | None = None
    numa_node: int | None = None
    health: str = "ok"
    attributes: dict[str, str] = field(default_factory=dict)


# What the manager wants


@dataclass(frozen=True)
class MountWant:
    """A folder to mount: ``subpath`` below the root of ``volume`` (``local:home``), seen at ``target``."""

    name: str
    volume: str
    subpath: str
    target: str
    read_only: bool


@dataclass(frozen=True)
class JupyterKernelWant:
    """A Jupyter kernel process. A larger ``generation`` than the one found means: stop that one, start this."""

    jupyter_kernel_id: JupyterKernelId
    generation: int
    kernelspec: str
    cwd: str  # absolute, inside the container
    env: dict[str, str]
    key: str  # signs the Jupyter messages; a secret
    target: Target = Target.RUNNING
    save_to: str | None = None  # the folder for its variables, inside the container
    wake_from: str | None = None  # the folder of those that it starts with


@dataclass(frozen=True)
class FileWant:
    """A file to put into the home of a container that is yet to start. ``mode`` is octal: ``600``."""

    path: str  # relative
    mode: str
    content: str = field(repr=False)


@dataclass(frozen=True)
class KernelWant:
    """A container. Everything needed to start it, and nothing that names a host, path or engine id."""

    kernel_id: KernelId
    session_id: SessionId
    session_name: str
    target: Target
    image: str
    image_digest: str
    slots: ResourceSlots
    shm_bytes: int
    environ: dict[str, str]
    mounts: list[MountWant]
    jupyter_kernels: list[JupyterKernelWant] = field(default_factory=list)
    bootstrap: str | None = field(default=None, repr=False)  # a shell script to run before anything else
    command: str | None = field(default=None, repr=False)  # of a batch session, which ends with it
    restarts: int = 0  # more than the container has had means: stop all in it and start it again
    resizes: int = 0  # more than were dealt with means: ``slots`` has changed; make the container so
    mount_changes: int = 0  # how often ``mounts`` were changed since the session was asked for
    access_token: str | None = field(default=None, repr=False)  # the session's own way to the manager; a secret
    doors: list[str] = field(default_factory=list)  # sockets that an admin of the agent lets lead somewhere
    files: list[FileWant] = field(default_factory=list)  # this and the next only until the container runs
    owner_bootstrap: str | None = field(default=None, repr=False)  # a script to run before ``bootstrap``
    cluster_host: str | None = None  # its name among its session's kernels, which share a network; None: it has none


def is_door_name(name: str) -> bool:
    return _DOOR.fullmatch(name) is not None


# What the agent found


@dataclass(frozen=True)
class JupyterKernelReport:
    jupyter_kernel_id: JupyterKernelId
    generation: int
    status: JupyterKernelStatus
    exit_code: int | None = None
    reason: Reason | None = None


# Messages: manager to agent


@dataclass(frozen=True)
class Welcome:
    agent_id: AgentId
    credential: str | None  # only after joining with a token; the agent keeps it, file mode 0600
    heartbeat_s: float


@dataclass(frozen=True)
class Refused:
    """The manager does not take this agent; it closes after this."""

    reason: Reason


@dataclass(frozen=True)
class Wanted:
    kernels: list[KernelWant]
    complete: bool


@dataclass(frozen=True)
class Forget:
    kernel_ids: list[KernelId]


@dataclass(frozen=True)
class Call:
    """A request to do something once.

    ========================  ===========================================================  ======================
    method                    params                                                       result
    ========================  ===========================================================  ======================
    ``interrupt``             kernel_id, jupyter_kernel_id                                 ``{}``
    ``logs``                  kernel_id, tail (lines)                                      ``{"logs": str}``
    ``suspend``               kernel_id, reason (None: somebody's word)                    ``{}``; freeze its processes
    ``resume``                kernel_id                                                    ``{}``
    ``release_mount``         kernel_id, target, force (end what uses it)                  ``{}``
    ``save``                  kernel_id, seconds (for each)                                ``{"kernels": [saved]}``
    ``figures``               kernel_id                                                    as in ``Heartbeat``
    ``open_ports``            kernel_id                                                    ``{"ports": [int]}``
    ``open_stream``           kernel_id, stream_id, ticket, endpoint (see below)           ``{}`` once dialled
    ``inspect_image``         name                                                         ImageFacts as JSON
    ``commit``                kernel_id, name                                              ImageFacts as JSON
    ``remove_image``          name                                                         ``{}``
    ``volume_usage``          volume                                                       free_bytes, total_bytes,
                                                                                           hard_quota
    ``make_folder``           folder, beside (the owner's home folder, or None),           subpath (see below)
                              quota_bytes (may be left out), scope
    ``limit_folder``          folder, quota_bytes                                          ``{}``
    ``limit_scopes``          volume, scopes (key, limit_bytes, folders: quota_bytes       ``{}``
                              by subpath, of all with hard limits)
    ``give_folder``           folder, beside (as for ``make_folder``, of the new owner),   ``{}``
                              was (the same of the one before, or left out),
                              quota_bytes, scope (as for ``make_folder``)
    ``delete_folder``         folder                                                       ``{}``
    ``clone_folder``          source and target (folders; target as for ``make_folder``,   subpath (see below)
                              with name, scope)
    ``folder_usage``          folder                                                       used_bytes, num_files
    ``list_files``            folder, path, offset, limit, match                           items (facts), total
    ``file_facts``            folder, path                                                 facts of one file
    ``make_directory``        folder, path, parents, exist_ok                              ``{}``
    ``rename_file``           folder, path, new_name                                       ``{}``
    ``move_file``             folder, source, target (paths)                               ``{}``
    ``delete_files``          folder, paths, recursive                                     ``{}``
    ``upload_offset``         folder, upload_id                                            ``{"offset": int | None}``
    ``drop_upload``           folder, upload_id                                            ``{}``
    ========================  ===========================================================  ======================

    Saved are the variables of a Jupyter kernel: jupyter_kernel_id, refused (a reason, or None), variables (how many),
    bytes, left_out and doubtful (``{"name", "type", "why"}`` each, the first hundred).

    A folder is ``volume`` and ``subpath``, as in ``MountWant``. Facts of a file: name, type (``FILE``, ``DIRECTORY``,
    ``SYMLINK``, ``OTHER``), size, mode (``-rw-r--r--``), mtime_ns, ctime_ns.

    A new folder may come to lie at another ``subpath`` than was asked for: there its file system keeps the limit
    (``has_hard_quota``). A scope is None, or all folders of one owner on the volume: key (tells it from others), name
    (for people), limit_bytes, others (subpaths of the other folders).

    For a stream the agent dials ``/agent/streams/{stream_id}`` with the one-use ticket and carries bytes between that
    and the ``endpoint``; those of a container come with kernel_id:

    ============  ======================================  ============================================================
    kind          further fields                          what goes over the stream
    ============  ======================================  ============================================================
    ``jupyter``   jupyter_kernel_id, generation           the relay's records (``common.records``)
    ``port``      port (TCP, inside the container)        its bytes; an empty frame: no more comes this way
    ``command``   argv, env, cwd; rows, columns if it     frames of ``common.stdio``; it ends with its stream
                  shall have a terminal
    ``terminal``  rows, columns                           the same; the container's one terminal goes on without it
    ``page``                                              bytes of an HTTP connection to a web page of that terminal
    ``upload``    folder, name (of the folder),           data to the agent until an empty frame; then one frame back,
                  upload_id, path, size, offset,          ``{"offset": int}`` or ``{"error": reason}``
                  quota_bytes, scope
    ``download``  folder, path, start, length, version    from the agent one frame ``{}`` or ``{"error": reason}``, the
                  ([mtime_ns, size])                      data, and an empty frame, without which it is not complete
    ``archive``   folder, path, called                    the same
    ============  ======================================  ============================================================
    """

    call_id: str
    method: str
    params: dict[str, Any]


HARD_QUOTA_PLACES = ".vfolders/%/files"
"""SQL's pattern for ``has_hard_quota``."""


def has_hard_quota(subpath: str) -> bool:
    """Whether a folder lies where its file system keeps its limit: in a subvolume of its own, ``.vfolders/<id>``."""
    return subpath.startswith(".vfolders/") and subpath.endswith("/files")


def folder_at(subpath: str) -> str | None:
    """The id of the folder that lies there; none for a home, which may lie anywhere."""
    return subpath.split("/")[1] if subpath.startswith(".vfolders/") else None


# Messages: agent to manager


@dataclass(frozen=True)
class KernelReport:
    """The state of one container. ``revision`` grows with each change, so that an old report is told from a new one."""

    kernel_id: KernelId
    session_id: SessionId
    status: KernelStatus
    revision: int
    runtime_ref: str | None = None  # opaque to the manager
    devices: dict[str, dict[str, str]] = field(default_factory=dict)  # {slot: {device id: amount}}
    exit_code: int | None = None
    reason: Reason | None = None
    jupyter_kernels: list[JupyterKernelReport] = field(default_factory=list)
    restarts: int = 0  # how many of the restarts that were wanted this container has had
    resizes: int = 0  # how many of the changes of its slots were dealt with
    slots: ResourceSlots | None = None  # what it has, once there was such a change
    refused: Reason | None = None  # why the last of them was not done
    mount_changes: int = 0  # how many changes of its mounts were dealt with
    refused_mounts: dict[str, Reason] = field(default_factory=dict)  # by target, those that it cannot have
    suspended: bool = False  # its processes are frozen
    suspended_for: Reason | None = None  # why, if not by somebody's word
    log: str | None = field(default=None, repr=False)  # the last that was printed, once the container is gone


@dataclass(frozen=True)
class Hello:
    protocol: int
    version: str
    name: str
    credential: str | None
    join_token: str | None
    runtime: str  # docker, process
    isolated: bool
    architecture: str
    slots: ResourceSlots
    devices: list[DeviceFacts]
    images: list[ImageFacts]
    kernels: list[KernelReport]
    volumes: list[str]


@dataclass(frozen=True)
class ImagesFound:
    images: list[ImageFacts]


@dataclass(frozen=True)
class Heartbeat:
    """``stats``: ``{kernel_id: {"cpu_used_s": …, "mem_used_bytes": …, "mem_limit_bytes": …, "executing": 0 or 1,
    "executed_ago_s": …}}``, and of its whole accelerators ``rocm_util_pct``, ``rocm_mem_used_bytes``,
    ``rocm_mem_total_bytes``, ``rocm_power_w``: the names that ``devices`` has, after what their kind is called.
    ``devices``: ``{device_id: {"util_pct": …, …}}``. ``engine_trouble``: why the container engine did not answer when
    it was last asked, in a sentence; empty if it did."""

    stats: dict[str, dict[str, float]]
    devices: dict[str, dict[str, float]] = field(default_factory=dict)
    engine_trouble: str = ""


@dataclass(frozen=True)
class Reply:
    call_id: str
    result: dict[str, Any] | None
    error: Reason | None


Message = Welcome | Refused | Wanted | Forget | Call | Hello | KernelReport | ImagesFound | Heartbeat | Reply

_TYPES: dict[str, type[Message]] = {cls.__name__: cls for cls in get_args(Message)}


# JSON


def encode(message: Message) -> str:
    """One message as JSON text."""
    return json.dumps({"type": type(message).__name__, **to_json(message)}, separators=(",", ":"))


def decode(text: str | bytes) -> Message:
    """Read one message. Fields this version does not know are ignored.

    Raises ``ProtocolError`` for anything that is not one of the messages above.
    """
    try:
        raw = json.loads(text)
        cls = _TYPES[raw.pop("type")]
        return from_json(cls, raw)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ProtocolError(f"not a message of protocol {PROTOCOL_VERSION}: {error!r}") from error


def to_json(value: Any) -> Any:
    """Dataclasses, slots, reasons and enums as plain JSON values."""
    if isinstance(value, ResourceSlots | Reason):
        return value.to_json()
    if is_dataclass(value):
        return {item.name: to_json(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {name: to_json(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    return value


def from_json(cls: type[T], raw: Any) -> T:
    """The reverse of ``to_json`` for the types of this module."""
    return _read(cls, raw)


def _read(kind: Any, raw: Any) -> Any:
    kind = getattr(kind, "__supertype__", kind)  # NewType
    origin = get_origin(kind)
    if kind is Any:
        return raw
    if origin in (Union, UnionType):
        inner = [item for item in get_args(kind) if item is not NoneType]
        return None if raw is None else _read(inner[0], raw)
    if origin in (list, dict):
        _expect(origin, raw)
    if origin is list:
        return [_read(get_args(kind)[0], item) for item in raw]
    if origin is dict:
        return {str(name): _read(get_args(kind)[1], item) for name, item in raw.items()}
    if kind is ResourceSlots:
        return ResourceSlots.parse(raw)
    if kind is Reason:
        return Reason.from_json(raw)
    if is_dataclass(kind):
        hints = _hints(kind)  # type: ignore[arg-type]
        return kind(**{name: _read(hint, raw[name]) for name, hint in hints.items() if name in raw})  # type: ignore[operator]
    return _read_plain(kind, raw)


def _read_plain(kind: Any, raw: Any) -> Any:
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(raw)
    if kind is float and isinstance(raw, int) and not isinstance(raw, bool):
        return float(raw)
    _expect(kind, raw)
    return raw


def _expect(kind: type, raw: Any) -> None:
    if not isinstance(raw, kind):
        raise TypeError(f"expected {kind.__name__}, got {raw!r}")


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)
