"""A run: one piece of code, or one batch of commands, from the request to the last of its output. Pure.

Events go in as they happen (``hear``), results come out as a client asks for them (``take``). What was not asked for
yet is kept; what was taken is forgotten. Nothing here waits, and nothing here knows Jupyter or a container.

::

    query    (output | asks for input, is answered)*  ended
    batch    output*  step ended: clean    output*  step ended: build    output*  ended

A result that ends a step holds all the output before it and none behind it. After the last one each further question
gets the same end again, with no output: a poll too many changes nothing.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby
from typing import Any, TypedDict

MAX_TEXT = 512 * 1024
"""Characters of output in one result."""

KILLED = 130
"""The exit code of a run whose process ended under it."""


class RunStatus(StrEnum):
    CONTINUED = "continued"
    WAITING_INPUT = "waiting-input"
    CLEAN_FINISHED = "clean-finished"
    BUILD_FINISHED = "build-finished"
    FINISHED = "finished"


# Events


@dataclass(frozen=True)
class Text:
    """Printed; ``stream`` is ``stdout`` or ``stderr``."""

    stream: str
    text: str


@dataclass(frozen=True)
class Shown:
    """Something richer than text, as Backend.AI's console has it: ``html``, or ``media`` with type and data."""

    kind: str
    value: str | list[str]


@dataclass(frozen=True)
class Asks:
    """The code wants a line of input."""

    is_password: bool


@dataclass(frozen=True)
class Ends:
    """A step is over, or with ``FINISHED`` the run."""

    status: RunStatus
    exit_code: int


Event = Text | Shown | Asks | Ends


class ResultView(TypedDict):
    """``console`` is ``[kind, value]`` each."""

    runId: str
    status: RunStatus
    exitCode: int | None
    console: list[list[Any]]
    options: dict[str, Any] | None
    files: list[Any]


@dataclass(frozen=True)
class Result:
    """What a client gets at one time."""

    run_id: str
    status: RunStatus
    exit_code: int | None = None
    console: list[list[Any]] = field(default_factory=list)
    options: dict[str, Any] | None = None

    def to_json(self) -> ResultView:
        return {
            "runId": self.run_id,
            "status": self.status,
            "exitCode": self.exit_code,
            "console": self.console,
            "options": self.options,
            "files": [],
        }


class Run:
    """See the module docstring. ``size`` is how many characters wait to be taken, ``questions`` how often it asked."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.size = 0
        self.questions = 0
        self._waiting: deque[Text | Shown | Ends] = deque()
        self._steps_ended = 0  # of those that wait
        self._asks: Asks | None = None
        self._end: Ends | None = None

    @property
    def is_over(self) -> bool:
        """Nothing more will happen; there may be something left to take."""
        return self._end is not None

    @property
    def asks(self) -> bool:
        return self._asks is not None

    @property
    def is_full(self) -> bool:
        """More should not be heard before something was taken."""
        return self.size >= MAX_TEXT

    @property
    def is_ready(self) -> bool:
        """There is no use in waiting for more before taking."""
        return self.is_over or self.is_full or self.asks or self._steps_ended > 0

    def hear(self, event: Event) -> None:
        """Whatever comes behind the end is nobody's any more."""
        if self.is_over:
            return
        match event:
            case Text() | Shown():
                self._waiting.append(event)
                self.size += _size(event)
            case Asks():
                self._asks = event
                self.questions += 1
            case Ends(status):
                self._asks = None
                self._waiting.append(event)
                self._steps_ended += 1
                self._end = event if status is RunStatus.FINISHED else None

    def answered(self) -> None:
        """The line it asked for was given."""
        self._asks = None

    def take(self) -> Result:
        """The oldest output, ``MAX_TEXT`` characters or up to the end of a step, and how things stand behind it."""
        said = _console(self._take_output())
        if self._waiting:
            first = self._waiting[0]
            if not isinstance(first, Ends):
                return Result(self.run_id, RunStatus.CONTINUED, None, said)
            self._waiting.popleft()
            self._steps_ended -= 1
            return Result(self.run_id, first.status, first.exit_code, said)
        if self._end is not None:
            return Result(self.run_id, self._end.status, self._end.exit_code, said)
        if self._asks is not None:
            return Result(self.run_id, RunStatus.WAITING_INPUT, None, said, {"is_password": self._asks.is_password})
        return Result(self.run_id, RunStatus.CONTINUED, None, said)

    def drop_output(self) -> None:
        """Nobody will take what waits here; the ends of steps stay."""
        self._waiting = deque(event for event in self._waiting if isinstance(event, Ends))
        self.size = 0

    def _take_output(self) -> Iterator[Text | Shown]:
        room = MAX_TEXT
        while room > 0 and self._waiting and not isinstance(self._waiting[0], Ends):
            event = self._waiting.popleft()
            if isinstance(event, Text) and len(event.text) > room:
                self._waiting.appendleft(Text(event.stream, event.text[room:]))
                event = Text(event.stream, event.text[:room])
            assert not isinstance(event, Ends)
            self.size -= _size(event)
            room -= _size(event)
            yield event


def _console(events: Iterable[Text | Shown]) -> list[list[Any]]:
    """As it goes out: text of one stream in one piece as long as nothing else comes between."""
    console: list[list[Any]] = []
    for stream, group in groupby(events, lambda event: event.stream if isinstance(event, Text) else None):
        if stream is None:
            console += [[event.kind, event.value] for event in group if isinstance(event, Shown)]
        else:
            console.append([stream, "".join(event.text for event in group if isinstance(event, Text))])
    return console


def _size(event: Text | Shown) -> int:
    if isinstance(event, Text):
        return len(event.text)
    return len(event.value) if isinstance(event.value, str) else sum(map(len, event.value))
