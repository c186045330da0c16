"""What went wrong since this manager started: the last errors that it logged, kept in memory."""

import logging
from collections import deque
from typing import TypedDict

KEPT = 1000
_FORMATTER = logging.Formatter()


class ErrorView(TypedDict):
    created_at: float
    severity: str
    source: str
    user: None
    request_url: None
    request_status: None
    message: str
    traceback: str


class RecentErrors(logging.Handler):
    """Keeps the newest errors of our loggers in memory. Logs never hold secrets, so neither does this."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._entries: deque[ErrorView] = deque(maxlen=KEPT)

    def emit(self, record: logging.LogRecord) -> None:
        """As Backend.AI shapes an entry."""
        self._entries.appendleft(
            {
                "created_at": record.created,
                "severity": record.levelname.lower(),
                "source": record.name,
                "user": None,
                "request_url": None,
                "request_status": None,
                "message": record.getMessage(),
                "traceback": _FORMATTER.formatException(record.exc_info) if record.exc_info else "",
            }
        )

    def page(self, size: int, number: int) -> tuple[list[ErrorView], int]:
        """Entries of page ``number``, counted from 1, newest first; and how many there are in all."""
        entries = list(self._entries)
        return entries[size * (number - 1) : size * number], len(entries)
