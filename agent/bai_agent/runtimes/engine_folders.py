"""Folders of containers on a Docker engine: put there and taken away while they run, or by the engine if need be.

What the engine mounts for us it follows by name, so it is checked before anything runs.
"""

import errno
import json
import logging
import os
import select
import signal
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from docker.errors import DockerException

from bai_agent.folders import open_below
from bai_agent.runtimes import cgroups, mounts, pids
from bai_agent.runtimes.base import Mount, RuntimeFault
from bai_agent.runtimes.engine import Engine

log = logging.getLogger(__name__)

T = TypeVar("T")

LABEL = "bai.mounts"
"""Of a container: ``{target: [device, inode]}`` of the folders that the engine is to mount."""

_HOLDER_ROUNDS, _HOLDER_PATIENCE_S = 20, 0.5


class EngineFolders:
    """``main_pid(ref)``: a container's main process on this host, if it runs. The rest is as in ``Runtime``."""

    def __init__(self, engine: Engine, main_pid: Callable[[str], Awaitable[int | None]]) -> None:
        self._engine, self._main_pid = engine, main_pid
        self._fixed: dict[str, frozenset[str]] = {}  # by ref

    def forget(self, ref: str) -> None:
        """The container is removed."""
        self._fixed.pop(ref, None)

    def check(self, ref: str) -> None:
        """Docker followed our paths by name. Check that it mounted what was checked, before anything runs inside."""
        container = self._engine.api.inspect_container(ref)
        pid = container["State"]["Pid"]
        for target, expected in _checked_mounts(container).items():
            try:
                folder = open_below(Path(f"/proc/{pid}/root"), target.lstrip("/"))
            except PermissionError:
                return  # an agent that is not root cannot look
            except OSError:
                if pids.is_ending(pid):
                    return  # it has ended, so nothing of ours will run in it
                raise
            try:
                facts = os.fstat(folder)
            finally:
                os.close(folder)
            if [facts.st_dev, facts.st_ino] != expected:
                self._engine.api.remove_container(ref, force=True, v=True)
                raise DockerException(f"{target} was exchanged for another folder while the container started")

    def bound(self, wanted: tuple[Mount, ...]) -> tuple[Mount, ...]:
        return wanted if mounts.why_not() else ()

    async def mounted(self, ref: str) -> dict[str, bool]:
        if mounts.why_not():
            container = await self._engine.call("engine-down", lambda: self._engine.api.inspect_container(ref))
            return {mount["Target"]: mount.get("ReadOnly", False) for mount in _movable(container)}
        pid = await self._main_pid(ref)
        if pid is None:
            return {}
        fixed = await self._engine.call("engine-down", lambda: self._fixed_mounts(ref))
        seen = await self._engine.call("engine-down", lambda: mounts.in_home(pid))
        return {one.target: one.read_only for one in seen if one.target not in fixed}

    def _fixed_mounts(self, ref: str) -> frozenset[str]:
        """What devices have in the home folder."""
        if ref not in self._fixed:
            container = self._engine.api.inspect_container(ref)
            movable = {mount["Target"] for mount in _movable(container)}
            everything = {mount["Target"] for mount in container["HostConfig"].get("Mounts") or []}
            self._fixed[ref] = frozenset(everything - movable)
        return self._fixed[ref]

    async def sees(self, ref: str, mount: Mount) -> bool:
        if mounts.why_not():
            container = await self._engine.call("engine-down", lambda: self._engine.api.inspect_container(ref))
            return any(
                (one["Target"], one.get("ReadOnly", False)) == (mount.target, mount.read_only)
                and _checked_mounts(container)[mount.target] == [mount.device, mount.inode]
                for one in _movable(container)
            )
        pid = await self._main_pid(ref)
        return pid is not None and await self._engine.call("engine-down", lambda: mounts.sees(pid, mount))

    async def change(
        self, ref: str, gone: Collection[str], new: Sequence[Mount], *, must_be_empty: bool
    ) -> dict[str, str]:
        pid = await self._pid_for_mounts(ref)

        def work() -> dict[str, int]:
            with cgroups.namespace(pid, ref, "mnt") as namespace:
                if gone:
                    _take_away(pid, ref, namespace, gone)
                return mounts.change(namespace, [], new, must_be_empty=must_be_empty) if new else {}

        failed = await self._change(work)
        return {one.target: mounts.why(failed[one.target]) for one in new if one.target in failed}

    async def release(self, ref: str, target: str) -> list[str]:
        pid = await self._pid_for_mounts(ref)

        def release() -> list[str]:
            numbers = {one.number for one in mounts.in_home(pid) if one.target == target}
            with cgroups.namespace(pid, ref, "mnt") as namespace:
                if target in _busy(mounts.change(namespace, [target], [])):
                    held = mounts.holders(cgroups.members(ref), numbers)
                    if held:
                        return [f"{name} ({pids.inside(pid)})" for pid, name in held.items()]
                    mounts.change(namespace, [target], [], lazily=True)  # others lie in it
            _check_gone(pid, numbers)
            return []

        return await self._change(release)

    async def _change(self, work: Callable[[], T]) -> T:
        try:
            return await self._engine.call("other", work)
        except mounts.MountFailed as failed:
            raise RuntimeFault(self._engine.reason("mounts-failed", str(failed))) from failed

    async def _pid_for_mounts(self, ref: str) -> int:
        why_not = mounts.why_not()
        if why_not:
            raise RuntimeFault(self._engine.reason("mounts-fixed", why_not))
        pid = await self._main_pid(ref)
        if pid is None:
            raise RuntimeFault(self._engine.reason("other", "the container has ended"))
        return pid


def _check_gone(pid: int, numbers: Collection[int]) -> None:
    """Raises ``MountFailed`` for mounts that a container still has: its user may have moved what they lie in."""
    left = [one.target for one in mounts.in_home(pid) if one.number in numbers]
    if left:
        raise mounts.MountFailed(f"{', '.join(left)} is still there")


def _take_away(pid: int, container: str, namespace: int, targets: Collection[str]) -> None:
    """Unmount, and kill what keeps that from being done: what is open cannot be closed in any other way.

    A mount goes when nothing uses it any more, so whoever goes on after a kill of the agent still sees what is to be
    ended. Only where nobody is found, or somebody comes back too often, it goes lazily.
    """
    numbers = {one.number for one in mounts.in_home(pid) if one.target in targets}
    for _ in range(_HOLDER_ROUNDS):
        targets = _busy(mounts.change(namespace, targets, []))
        if not targets or not _end_holders(container, numbers):
            break
    if targets:
        mounts.change(namespace, targets, [], lazily=True)
        _end_holders(container, numbers)
    _check_gone(pid, numbers)


def _busy(failed: Mapping[str, int]) -> list[str]:
    return [target for target, number in failed.items() if number == errno.EBUSY]


def _end_holders(container: str, numbers: Collection[int]) -> bool:
    """Kill what uses these mounts. False if nothing does."""
    held = mounts.holders(cgroups.members(container), numbers)
    for pid, name in held.items():
        started = pids.start_time(pid)
        pidfd = None if started is None else pids.open_pidfd(pid, started)
        if pidfd is None:
            continue
        try:
            if cgroups.is_in(pid, container):
                log.info("%.12s: %s (%s) used a folder that was taken away, and is ended", container, name, pid)
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                select.select([pidfd], [], [], _HOLDER_PATIENCE_S)
        finally:
            os.close(pidfd)
    return bool(held)


def _movable(container: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of what the engine mounts, users' folders."""
    checked = _checked_mounts(container)
    return [mount for mount in container["HostConfig"].get("Mounts") or [] if mount["Target"] in checked]


def _checked_mounts(container: Mapping[str, Any]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = json.loads(container["Config"]["Labels"].get(LABEL, "{}"))
    return found
