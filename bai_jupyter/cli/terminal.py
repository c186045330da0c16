"""How the command line speaks: results, messages, tables, questions, exit codes (``ux.md`` section 8).

stdout holds the result only; progress, messages and questions go to stderr. Owns the form, not the words: sentences
come from ``common.reasons`` and from the commands.
"""

import json
import re
import shutil
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from enum import IntEnum
from typing import Any, TextIO

from bai_jupyter.common.errors import (
    AlreadyExists,
    AuthFailed,
    BadRequest,
    BaiError,
    Forbidden,
    NotFound,
    QuotaExceeded,
    RateLimited,
)
from bai_jupyter.common.slots import ResourceSlots

NOTHING = "\N{EN DASH}"  # a table's cell without a value


class Exit(IntEnum):
    DONE = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    NOT_FOUND = 4
    AWAY = 5
    TIMED_OUT = 6
    NOT_LOGGED_IN = 7
    INTERRUPTED = 130


class CommandFailed(BaiError):
    """Ends a command with a sentence and an exit code."""

    code = "failed"

    def __init__(self, sentence: str, exit_code: Exit = Exit.FAILED) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


_WRONG_USAGE = frozenset({"bad-value", "shm-too-big", "invalid-api-params"})


def exit_code_of(error: BaiError) -> Exit:
    """The exit code for anything this project raises on purpose."""
    from bai_jupyter.client import ConfigError, ManagerAway

    if isinstance(error, CommandFailed):
        return error.exit_code
    code = error.code
    if isinstance(error, ManagerAway):
        return Exit.AWAY
    if isinstance(error, AuthFailed | ConfigError):
        return Exit.NOT_LOGGED_IN
    if isinstance(error, NotFound) or code.endswith("-unknown"):
        return Exit.NOT_FOUND
    if isinstance(error, AlreadyExists | Forbidden | QuotaExceeded | RateLimited):
        return Exit.REFUSED
    if isinstance(error, BadRequest):
        return Exit.USAGE if code in _WRONG_USAGE else Exit.REFUSED
    return Exit.FAILED


@dataclass
class Terminal:
    """One command's way to speak. ``as_json``, ``quiet``, ``yes`` are the options of the same names."""

    as_json: bool = False
    quiet: bool = False
    yes: bool = False
    wide: bool = False
    stdout: TextIO = field(default_factory=lambda: sys.stdout)
    stderr: TextIO = field(default_factory=lambda: sys.stderr)
    stdin: TextIO = field(default_factory=lambda: sys.stdin)

    # Results

    def line(self, text: str) -> None:
        """One line of the result."""
        print(text, file=self.stdout, flush=True)

    def document(self, value: Any) -> None:
        """The result with ``--json``: one document."""
        json.dump(value, self.stdout, indent=2, default=str)
        self.line("")

    def event(self, value: Mapping[str, Any]) -> None:
        """The result with ``--json`` of a command that goes on: one line per event."""
        self.line(json.dumps(value, default=str))

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Columns without borders, two spaces apart, cut at the terminal's width. Nothing for no rows."""
        if not rows:
            return
        widths = [max(len(row[column]) for row in [headers, *rows]) for column in range(len(headers))]
        limit = None
        if self.stdout.isatty() and not self.wide:
            limit = shutil.get_terminal_size().columns
        for row in [headers, *rows]:
            text = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            self.line(_cut(text, limit))

    # Messages

    def say(self, text: str) -> None:
        """A message beside the result; silent with ``--quiet``."""
        if not self.quiet:
            print(text, file=self.stderr, flush=True)

    def complain(self, error: BaiError) -> Exit:
        """Say why the command ends, and return its exit code."""
        exit_code = exit_code_of(error)
        if self.as_json:
            reason = getattr(error, "reason", None)
            told = reason.to_json() if reason else {"code": error.code, "params": {}, "text": str(error)}
            self.document({"reason": told, "exitCode": int(exit_code)})
        lead = "Refused: " if exit_code is Exit.REFUSED else ""
        print(f"{lead}{error}", file=self.stderr, flush=True)
        return exit_code

    def ask(self, question: str) -> bool:
        """A yes/no question. ``--yes`` answers it; without a terminal it is a refusal that names the flag."""
        if self.yes:
            return True
        if not self.stdin.isatty():
            raise CommandFailed(f"{question} Not asked, because there is no terminal: say --yes.", Exit.USAGE)
        print(f"{question} [y/N] ", end="", file=self.stderr, flush=True)
        return self.stdin.readline().strip().lower() in ("y", "yes")

    @contextmanager
    def progress(self, text: str) -> Iterator[Callable[[str], None]]:
        """Show what is being waited for: one live line on a terminal, in a pipe one line per change.

        Yields a function that replaces the text.
        """
        status = self._live_line(text)
        with status or nullcontext():
            last = ""

            def show(changed: str) -> None:
                nonlocal last
                if changed == last:
                    return
                last = changed
                if status is not None:
                    status.update(changed)
                else:
                    self.say(changed)

            show(text)
            yield show

    @contextmanager
    def live(self, text: str) -> Iterator[None]:
        """Show on a terminal only that something is under way; whoever calls prints a line when it is over."""
        with self._live_line(text) or nullcontext():
            yield

    def _live_line(self, text: str) -> Any:
        if self.quiet or not self.stderr.isatty():
            return None
        try:
            from rich.console import Console
        except ImportError:  # installed without the extra "cli"
            return None
        return Console(file=self.stderr).status(text)

    # Signs

    @property
    def _has_signs(self) -> bool:
        encoding = (getattr(self.stderr, "encoding", None) or "").lower().replace("-", "")
        return encoding == "utf8"

    def sign(self, kind: str) -> str:
        """``done``, ``note``, ``failed`` or ``busy`` as a sign, or as letters where the terminal lacks it."""
        signs = {"done": "✓", "note": "!", "failed": "✗", "busy": "…"}
        letters = {"done": "ok", "note": "!", "failed": "x", "busy": "..."}
        return (signs if self._has_signs else letters)[kind]


def _cut(text: str, limit: int | None) -> str:
    return text if limit is None or len(text) <= limit else text[: max(limit - 1, 0)] + "…"


# Figures for people


def span(seconds: float) -> str:
    """A duration with one unit: ``42 s``, ``5 min``, ``2 h``, ``3 d``."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(int(seconds), 0)} s"


def ago(moment: str | None, now: datetime | None = None) -> str:
    """An ISO moment as ``5 min ago``; a dash if there is none."""
    if not moment:
        return NOTHING
    then = datetime.fromisoformat(moment)
    then = then if then.tzinfo else then.replace(tzinfo=UTC)
    return f"{span(((now or datetime.now(UTC)) - then).total_seconds())} ago"


def resources(slots: Mapping[str, object] | None) -> str:
    """Slots as a table shows them: ``2 CPU 8 GiB 0.5 GPU``."""
    return ResourceSlots.parse(slots).describe().replace(",", "") if slots else NOTHING


def parse_moment(text: str, now: datetime | None = None) -> datetime:
    """``18:00`` (the next one), ``2026-12-24T18:00``, both in this place's time unless they say otherwise, or ``+2h``,
    as an aware moment. Raises ``ArgumentTypeError``, whose words argparse shows."""
    here = (now or datetime.now(UTC)).astimezone()
    try:
        if text.startswith("+"):
            return here + timedelta(seconds=parse_span(text[1:]))
        if _CLOCK.fullmatch(text):
            moment = datetime.combine(here.date(), time.fromisoformat(text.zfill(5)))
            moment += timedelta(days=moment <= here.replace(tzinfo=None))
        else:
            moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo else moment.astimezone()
    except (ValueError, OverflowError, ArgumentTypeError) as error:
        raise ArgumentTypeError(f"{text!r} is not a moment; write 18:00, 2026-12-24T18:00 or +2h") from error


_CLOCK = re.compile(r"\d?\d:\d\d")


def parse_span(text: str) -> float:
    """``90``, ``30s``, ``5m``, ``2h`` as seconds. Raises ``ArgumentTypeError``, whose words argparse shows."""
    factors = {"s": 1, "m": 60, "h": 3600}
    number, factor = (text[:-1], factors[text[-1]]) if text and text[-1] in factors else (text, 1)
    try:
        seconds = float(number) * factor
    except ValueError:
        seconds = -1
    if not 0 <= seconds < float("inf"):
        raise ArgumentTypeError(f"{text!r} is not a time; write 90, 30s, 5m or 2h")
    return seconds
