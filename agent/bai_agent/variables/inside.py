"""Saves the variables of the Python kernel that it runs in, and restores them. Python 3.8 or later.

The agent carries it into the session as the package ``bai_variables``, with a copy of cloudpickle beside it, so that an
image needs nothing and an own cloudpickle is left alone. It never prints, and leaves no name behind.

One pickler writes one variable after the other, so what variables share they share again. What cannot be pickled is
taken back to where it began: the file is cut off there, and the pickler forgets what it has seen since. Functions
keep the kernel's own namespace as their globals. Outputs (``Out[3]``) come behind all variables: what time and disk
have no room for is theirs. A save is a folder::

    manifest.json     names, types, places, imports, cells, and what was left out and why: whole, or the one before
    <hex>.pickle      what the manifest names

Restoring runs what the pickle says: it is for the owner's own session only.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import pickle
import pickletools
import platform
import re
import shutil
import socket
import struct
import sys
import threading
import time
import types
import uuid
from typing import Any, Iterator  # noqa: UP035 - as old as the oldest Python

from bai_variables import cloudpickle

PROTOCOL = 5  # buffers are written as they lie in memory
PIECE_BYTES = 16 * 1024 * 1024
KEPT_S = 30 * 24 * 3600.0
"""After so long without a new one, saves of other kernels are removed."""

MANIFEST = "manifest.json"
FORMAT = 1
_LONGEST = 200  # characters of what is said of one variable
_READ_BYTES = 1024 * 1024
_SHORT_BYTES = 32
_TAKE = pickle.BINPERSID + pickle.MEMOIZE + pickle.POP
_GETS = ("BINGET", "LONG_BINGET")
_OWN = re.compile(r"__.*__|_{1,3}|_i{1,3}|_i?\d+|_[oids]h|In|Out|_exit_code|get_ipython|exit|quit|open")
_OUTPUT = re.compile(r"Out\[(\d+)\]")
_WHOLE = (str, bytes, int, float, complex, type(None), type(Ellipsis))
_LOCKS = (type(threading.Lock()), type(threading.RLock()))
_NEVER = (
    (io.IOBase, "an open file"),
    (socket.socket, "a socket"),
    (threading.Thread, "a thread"),
    (_LOCKS, "a lock"),
    ((types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType), "a generator or coroutine under way"),
)
_IN_MEMORY = (io.BytesIO, io.StringIO)

_namespace: dict[str, Any] = {}  # of the functions that are restored
_streams: list[Any] = []  # output and errors, as they were before anything here was done


class TimeUp(BaseException):
    """What an object does to be pickled may catch any ``Exception``, but not this."""


# Save


def save(report: str, ask: str, seconds: float) -> None:
    """Save to the folder that the environment names; say in the file ``report`` how that went. ``ask`` is told back."""
    said: dict[str, Any] = {"ask": ask, "error": None}
    try:
        with _silence():
            said.update(_save(sys.modules["__main__"].__dict__, os.environ["BAI_SAVE_TO"], seconds))
    except BaseException as error:  # noqa: BLE001 - also an interrupt: whatever it is, it is for the one who asked
        said["error"] = _why(error)
    _write_whole(report, json.dumps(said).encode())


def _save(namespace: dict[str, Any], folder: str, seconds: float) -> dict[str, Any]:
    _make_folders(folder)
    name = uuid.uuid4().hex + ".pickle"
    path = os.path.join(folder, name)
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        manifest = _pickle_all(namespace, Sink(descriptor, time.monotonic() + seconds))
        os.fsync(descriptor)
        _write_whole(os.path.join(folder, MANIFEST), json.dumps({**manifest, "data": name}).encode())
    except BaseException:
        if _data_of(folder) != name:  # an interrupt may come when all is done
            os.unlink(path)
        raise
    finally:
        os.close(descriptor)
    _sync(folder)
    _clean(folder, name)
    return {
        "variables": len(manifest["variables"]) + len(manifest["imports"]),
        "bytes": manifest["bytes"],
        "left_out": manifest["left_out"],
        "doubtful": manifest["doubtful"],
    }


def _pickle_all(namespace: dict[str, Any], sink: Sink) -> dict[str, Any]:
    pickler = Pickler(sink, namespace)
    imports, saved, left_out, doubtful = {}, [], [], []
    is_late = False
    for name, value in [*_own_variables(namespace), *_outputs(namespace)]:
        if isinstance(value, types.ModuleType) and not _OUTPUT.fullmatch(name):
            if getattr(value, "__spec__", None) is None:
                left_out.append(_said(name, value, "a module made by hand"))
            else:
                imports[name] = value.__name__
            continue
        why = "there was no time left for it" if is_late else _never(value)
        if why is None:
            offset = sink.size
            try:
                memo = pickler.save(value)
            except TimeUp:
                is_late, why = True, "there was no time left for it"
                sink.cut(offset)
            except Exception as error:
                if isinstance(error, SinkFailed) and not _OUTPUT.fullmatch(name):
                    raise
                why = _why(error)
                pickler.forget_last()
                sink.cut(offset)
            else:
                saved.append({"name": name, "type": _type(value), "offset": offset, "memo": memo})
                doubtful += [_said(name, value, doubt) for doubt in sorted(pickler.doubts)]
        if why is not None:
            left_out.append(_said(name, value, why))
    return {
        "format": FORMAT,
        "python": platform.python_version(),
        "saved_at": time.time(),
        "cwd": os.getcwd(),
        "path": [entry for entry in sys.path if isinstance(entry, str)],
        "imports": imports,
        "cells": _cells(),
        "variables": saved,
        "bytes": sink.size,
        "left_out": left_out,
        "doubtful": doubtful,
    }


def _own_variables(namespace: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The user's, not those of IPython: as ``%who`` tells them, and those with a leading underscore."""
    hidden = getattr(_shell(), "user_ns_hidden", {})
    for name, value in list(namespace.items()):
        is_hidden = name in hidden and hidden[name] is value
        if isinstance(name, str) and not _OWN.fullmatch(name) and not is_hidden:
            yield name, value


def _outputs(namespace: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """As the user names them."""
    for number, value in list((namespace if _shell() else {}).get("_oh", {}).items()):
        yield f"Out[{number}]", value


def _cells() -> dict[str, Any] | None:
    """What was run, as IPython counts it; None outside of it."""
    shell = _shell()
    history = getattr(shell, "history_manager", None)
    if history is None:
        return None
    return {
        "next": shell.execution_count,
        "parsed": [str(one) for one in history.input_hist_parsed],
        "raw": [str(one) for one in history.input_hist_raw],
    }


def _never(value: Any) -> str | None:
    """Why it cannot be saved, of what is known never to be."""
    if isinstance(value, _IN_MEMORY) or any(value is one for one in _streams):
        return None
    return next((why for kind, why in _NEVER if isinstance(value, kind)), None)


class SinkFailed(OSError):
    """The save itself cannot be written."""


class Sink:
    """The file that is written, piece by piece. Raises ``TimeUp`` when the time is up, ``SinkFailed`` for a full disk.

    ``size``: what it holds. ``last``: the last piece that was short.
    """

    def __init__(self, descriptor: int, deadline: float) -> None:
        self._descriptor, self._deadline = descriptor, deadline
        self.size, self.last = 0, b""

    def write(self, data: Any) -> int:
        view = memoryview(pickle.PickleBuffer(data).raw())
        if len(view) <= _SHORT_BYTES:
            self.last = bytes(view)
        for start in range(0, len(view), PIECE_BYTES):
            piece = view[start : start + PIECE_BYTES]
            while piece:
                if time.monotonic() > self._deadline:
                    raise TimeUp
                try:
                    written = os.write(self._descriptor, piece)
                except OSError as error:
                    raise SinkFailed(error.errno, error.strerror) from error
                self.size += written
                piece = piece[written:]
        return len(view)

    def cut(self, size: int) -> None:
        os.ftruncate(self._descriptor, size)
        os.lseek(self._descriptor, size, os.SEEK_SET)
        self.size = size


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Each variable is written behind a mark of its own, whose number in the memo says what was seen before it.

    ``doubts``: what is doubtful of the last one.
    """

    def __init__(self, sink: Sink, namespace: dict[str, Any]) -> None:
        super().__init__(sink, protocol=PROTOCOL)
        self._sink, self._variables = sink, namespace
        self._mark: list[None] = []
        self.doubts: set[str] = set()

    def save(self, value: Any) -> int:
        """How many objects were known before it. Raises whatever the object does."""
        self._mark, self.doubts = [], set()
        self.dump(self._mark)
        self.dump(self._mark)  # known by now, so what is written is its number
        number: Any = next(arg for code, arg, _ in pickletools.genops(self._sink.last) if code.name in _GETS)
        self.dump(value)
        return int(number)

    def forget_last(self) -> None:
        """As if the last variable had not been begun."""
        memo: dict[int, Any] = self.memo.copy()  # type: ignore[has-type]
        first = memo[id(self._mark)][0]
        self.memo = {key: entry for key, entry in memo.items() if entry[0] < first}

    def reducer_override(self, obj: Any) -> Any:
        for index, one in enumerate(_streams):
            if obj is one:
                return stream, (index,)
        why = _never(obj)
        if why is not None:
            raise pickle.PicklingError("it holds " + why)
        if _is_on_device(obj):
            self.doubts.add("what it held on a GPU was copied to host memory")
        return super().reducer_override(obj)

    def _dynamic_function_reduce(self, func: Any) -> Any:
        make, args, (state, slots), *rest = super()._dynamic_function_reduce(func)
        if func.__globals__ is self._variables:  # each name is saved as a variable, or left out, by itself
            make, args, slots = make_function, (args[0], args[-1]), {**slots, "__globals__": {}}
        return (make, args, (state, slots), *rest)


def _is_on_device(obj: Any) -> bool:
    library = type(obj).__module__.partition(".")[0]
    if library == "cupy":
        return True
    return library in ("torch", "jax", "jaxlib") and str(getattr(obj, "device", "cpu")).lower()[:3] not in (
        "cpu",
        "tfr",
    )


# Wake


def wake(report: str) -> None:
    """Restore what is in the folder that the environment names; say in the file ``report`` how that went."""
    os.environ.pop("PYTHONSTARTUP", None)  # it was for this process only
    said: dict[str, Any] = {"error": None}
    try:
        with _silence():
            said.update(_wake(sys.modules["__main__"].__dict__, os.environ["BAI_WAKE_FROM"]))
    except BaseException as error:  # noqa: BLE001 - whatever it is, the kernel starts
        said["error"] = _why(error)
    with contextlib.suppress(OSError):
        _write_whole(report, json.dumps(said).encode())


def _wake(namespace: dict[str, Any], folder: str) -> dict[str, Any]:
    global _namespace
    with open(os.path.join(folder, MANIFEST), encoding="utf-8") as file:
        manifest = json.load(file)
    if "python" not in manifest:
        raise ValueError("it was not saved by a kernel of Python")
    if manifest["python"].split(".")[:2] != platform.python_version().split(".")[:2]:
        raise ValueError(f"it was saved by Python {manifest['python']}, and this is {platform.python_version()}")
    _namespace = namespace
    builtins, before = namespace.get("__builtins__"), set(namespace)
    _set_cells(namespace, manifest.get("cells"))
    missing = _set_place(manifest) + _import_all(namespace, manifest["imports"])
    missing += _load_all(namespace, os.path.join(folder, manifest["data"]), manifest["variables"])
    if builtins is not None:
        namespace["__builtins__"] = builtins
    _show(set(namespace) - before)
    asked = len(manifest["variables"]) + len(manifest["imports"])
    return {
        "variables": asked - sum(said["name"] in manifest["imports"] or said["type"] != "" for said in missing),
        "missing": missing,
        "left_out": manifest["left_out"],
        "doubtful": manifest["doubtful"],
    }


def _set_place(manifest: dict[str, Any]) -> list[dict[str, str]]:
    sys.path += [entry for entry in manifest["path"] if entry not in sys.path and os.path.isdir(entry)]
    try:
        os.chdir(manifest["cwd"])
    except OSError as error:
        return [{"name": manifest["cwd"], "type": "", "why": _why(error)}]
    return []


def _import_all(namespace: dict[str, Any], imports: dict[str, str]) -> list[dict[str, str]]:
    missing = []
    for name, module in imports.items():
        try:
            namespace[name] = importlib.import_module(module)
        except BaseException as error:  # noqa: BLE001 - modules raise what they like, and may want to exit
            missing.append({"name": name, "type": "module", "why": _why(error)})
    return missing


def _load_all(namespace: dict[str, Any], path: str, variables: list[dict[str, Any]]) -> list[dict[str, str]]:
    missing: list[dict[str, str]] = []
    with open(path, "rb", buffering=_READ_BYTES) as file:
        unpickler = Unpickler(Source(file))
        for one, following in zip(variables, [*variables[1:], None]):  # noqa: B905 - not before Python 3.10
            why, value = unpickler.restore()
            if why is None:
                _set(namespace, one["name"], value)
            else:
                missing.append({"name": one["name"], "type": one["type"], "why": why})
            value = None
            if why is not None and following is not None:
                file.seek(following["offset"])
                unpickler = unpickler.without(one["memo"], following["memo"])
    return missing


def _set(namespace: dict[str, Any], name: str, value: Any) -> None:
    output = _OUTPUT.fullmatch(name)
    if output is None:
        namespace[name] = value
    elif _shell() is not None:
        namespace["_oh"][int(output[1])] = namespace["_" + output[1]] = value


def _set_cells(namespace: dict[str, Any], cells: dict[str, Any] | None) -> None:
    """The next cell has the number behind the last that was run."""
    shell = _shell()
    history = getattr(shell, "history_manager", None)
    if cells is None or history is None:
        return
    history.input_hist_parsed[:], history.input_hist_raw[:] = cells["parsed"], cells["raw"]
    namespace.update({f"_i{number}": text for number, text in enumerate(cells["raw"]) if number})
    shell.execution_count = cells["next"]


class Source:
    """What an unpickler reads from; nothing is read ahead of it."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def read(self, size: int) -> bytes:
        return self.file.read(size)

    def readinto(self, buffer: Any) -> int:
        return self.file.readinto(buffer)

    def readline(self) -> bytes:
        return self.file.readline()


class Unpickler(pickle.Unpickler):
    """Reads one variable after the other."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._source = source
        self._absent: list[str] = []
        self._lost = _Lost()
        self._known: list[Any] = []

    def restore(self) -> tuple[str | None, Any]:
        """Why not, and the value."""
        self._absent = []
        references = sys.getrefcount(self._lost)
        try:
            self.load()
            self.load()  # the mark, twice
            value = self.load()
        except BaseException as error:  # noqa: BLE001 - what is restored raises what it likes
            return _why(error), None
        if self._absent:
            return "there is no " + ", no ".join(self._absent), None
        if sys.getrefcount(self._lost) != references:
            return "it shares something with a variable that could not be restored", None
        return None, value

    def without(self, first: int, end: int) -> Unpickler:
        """One that goes on behind a variable that could not be restored, which had the numbers ``first`` to ``end``.

        Whole things that others may share are kept; in the place of the rest stands what tells that it was used.
        """
        seen: dict[int, Any] = self.memo.copy()
        after = Unpickler(self._source)
        lost = after._lost
        known = [lost if seen[number] is self._lost else seen[number] for number in range(first)]
        known += [seen[number] if _is_whole(seen.get(number, lost)) else lost for number in range(first, end)]
        after.learn(known)
        return after

    def learn(self, known: list[Any]) -> None:
        """Put these into the memo, which cannot be set: a pickle does it, that says of each to take it and know it."""
        file, self._known = self._source.file, known
        each = (pickle.BININT + struct.pack("<i", number) + _TAKE for number in range(len(known)))
        self._source.file = io.BytesIO(b"".join([*each, pickle.NONE, pickle.STOP]))
        self.load()
        self._source.file, self._known = file, []

    def persistent_load(self, number: Any) -> Any:
        return self._known[number]

    def find_class(self, module: str, name: str) -> Any:
        """A stand-in for what is absent, so that the rest is read on to where the next begins."""
        try:
            return super().find_class(module, name)
        except Exception as error:  # noqa: BLE001 - modules raise what they like
            self._absent.append(f"{module}.{name} here ({_why(error)})")
            return _Absent


class _Lost:
    """Stands for an object of a variable that could not be restored."""


class _Absent:
    """Stands for a class or function that is not here; takes whatever is done to it."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Any:
        return object.__new__(cls)

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        pass

    def __setstate__(self, _state: Any) -> None:
        pass

    def __call__(self, *_args: Any, **_kwargs: Any) -> _Absent:
        return self

    def __setitem__(self, _key: Any, _value: Any) -> None:
        pass

    def append(self, _item: Any) -> None:
        pass

    def extend(self, _items: Any) -> None:
        pass


def _is_whole(found: Any) -> bool:
    """A plain value, or something that a module has under its own name."""
    if isinstance(found, _WHOLE):
        return True
    here: Any = sys.modules.get(str(getattr(found, "__module__", None)))
    if here is None or here is sys.modules["__main__"] or found is _Absent:
        return False
    for part in str(getattr(found, "__qualname__", "")).split("."):
        here = getattr(here, part, None)
    return here is found


def make_function(code: types.CodeType, closure: Any) -> types.FunctionType:
    """A function of the kernel that this runs in."""
    return types.FunctionType(code, _namespace, None, None, closure)


def stream(index: int) -> Any:
    """What the kernel that this runs in prints to."""
    return _streams[index]


def _show(names: set[str]) -> None:
    """IPython hides what it finds after its start; these are the user's own."""
    shell = _shell()
    if shell is None:
        return

    def unhide(*_args: Any) -> None:
        shell.events.unregister("pre_execute", unhide)
        for name in names:
            shell.user_ns_hidden.pop(name, None)

    shell.events.register("pre_execute", unhide)


# Both


def _shell() -> Any:
    found = sys.modules.get("IPython")
    return None if found is None else found.get_ipython()


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    _streams[:] = [sys.stdout, sys.stderr]
    with contextlib.ExitStack() as stack:
        nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
        stack.enter_context(contextlib.redirect_stdout(nowhere))
        stack.enter_context(contextlib.redirect_stderr(nowhere))
        yield


def _said(name: str, value: Any, why: str) -> dict[str, str]:
    return {"name": name, "type": _type(value), "why": why}


def _type(value: Any) -> str:
    kind = type(value)
    name = str(getattr(kind, "__qualname__", kind))
    return name if kind.__module__ == "builtins" else f"{kind.__module__}.{name}"


def _why(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "it was interrupted"
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:_LONGEST]


def _make_folders(folder: str) -> None:
    """Each closed to others. It lies three levels below one that is there."""
    for path in (_up(folder, 3), _up(folder, 2), _up(folder, 1), folder):
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)


def _up(folder: str, levels: int) -> str:
    for _ in range(levels):
        folder = os.path.dirname(folder)
    return folder


def _write_whole(path: str, content: bytes) -> None:
    """All or nothing."""
    draft = f"{path}.{uuid.uuid4().hex}"
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft)
        raise


def _data_of(folder: str) -> str | None:
    """The file that the manifest in a folder names."""
    try:
        with open(os.path.join(folder, MANIFEST), encoding="utf-8") as file:
            return str(json.load(file)["data"])
    except FileNotFoundError:
        return None


def _sync(folder: str) -> None:
    """What was renamed there is so after a crash of the host, too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _clean(folder: str, data: str) -> None:
    """Remove what a manifest names no more, and saves of other kernels that are old. Failing does no harm."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            if entry.name not in (data, MANIFEST):
                os.unlink(entry.path)
        for kernel in _kernels_below(_up(folder, 2)):
            manifest = os.path.join(kernel, MANIFEST)
            if kernel != folder and time.time() - os.stat(manifest).st_mtime > KEPT_S:
                shutil.rmtree(kernel, ignore_errors=True)
                with contextlib.suppress(OSError):
                    os.rmdir(os.path.dirname(kernel))


def _kernels_below(root: str) -> list[str]:
    found = [os.path.join(root, session) for session in os.listdir(root)]
    paths = [os.path.join(session, kernel) for session in found for kernel in os.listdir(session)]
    return [path for path in paths if os.path.exists(os.path.join(path, MANIFEST))]
