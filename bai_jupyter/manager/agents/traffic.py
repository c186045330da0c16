"""When somebody last used a session through a stream that this manager carries, and which commands run over one.

In memory: the idle checks write down what has to last. Kernels' own streams are left out, because an open notebook
keeps one without using it; the agent tells when a cell runs.
"""

from collections import Counter
from collections.abc import Callable, Collection
from datetime import datetime

from bai_jupyter.common import stdio
from bai_jupyter.common.ids import KernelId

APP, TERMINAL, COMMAND = "app traffic", "input in the terminal", "a command"


class Traffic:
    """What went over the streams of each container."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._last: dict[KernelId, tuple[datetime, str]] = {}
        self._commands: Counter[KernelId] = Counter()

    def stream(self, kernel_id: KernelId | None, kind: str) -> "StreamUse":
        return StreamUse(self, kernel_id, kind)

    def stir(self, kernel_id: KernelId, what: str) -> None:
        self._last[kernel_id] = (self._now(), what)

    def count_command(self, kernel_id: KernelId, change: int) -> None:
        self._commands[kernel_id] += change
        self.stir(kernel_id, COMMAND)

    def last(self, kernel_id: KernelId) -> tuple[datetime, str] | None:
        """When and what that was; None if nothing was since the manager started."""
        return self._last.get(kernel_id)

    def runs_command(self, kernel_id: KernelId) -> bool:
        return self._commands[kernel_id] > 0

    def keep(self, kernel_ids: Collection[KernelId]) -> None:
        """Forget all others, but not what runs."""
        for gone in self._last.keys() - set(kernel_ids):
            del self._last[gone]
        self._commands = Counter({key: count for key, count in self._commands.items() if count})


class StreamUse:
    """What frames of one stream say of its container's use. Called for every frame, so it does next to nothing."""

    def __init__(self, traffic: Traffic, kernel_id: KernelId | None, kind: str) -> None:
        self._traffic, self._kernel_id, self._kind = traffic, kernel_id, kind
        if kernel_id is not None and kind == "command":
            traffic.count_command(kernel_id, 1)

    def went(self, frame: bytes) -> None:
        """To the container. A terminal's window that is only opened or drawn larger is no use of it."""
        if self._kernel_id is None:
            return
        if self._kind == "port":
            self._traffic.stir(self._kernel_id, APP)
        elif self._kind == "terminal" and frame and stdio.unpack(frame)[0] is stdio.Kind.INPUT:
            self._traffic.stir(self._kernel_id, TERMINAL)
        elif self._kind == "page" and frame:
            self._traffic.stir(self._kernel_id, TERMINAL)  # its browser sends nothing by itself

    def came(self) -> None:
        """From the container."""
        if self._kernel_id is not None and self._kind == "port":
            self._traffic.stir(self._kernel_id, APP)

    def ended(self) -> None:
        if self._kernel_id is not None and self._kind == "command":
            self._traffic.count_command(self._kernel_id, -1)
