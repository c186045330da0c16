"""In what order sessions get their turn. Larger priority first, always; ties end with the id, so order is total."""

from collections.abc import Callable, Iterable, Mapping

from bai_jupyter.manager.scheduler.snapshot import PendingSession

Sequencer = Callable[[Iterable[PendingSession]], list[PendingSession]]


def fifo(pending: Iterable[PendingSession]) -> list[PendingSession]:
    """Oldest first."""
    return sorted(pending, key=lambda session: (-session.priority, session.created_at, session.id))


def lifo(pending: Iterable[PendingSession]) -> list[PendingSession]:
    """Newest first."""
    newest_first = sorted(pending, key=lambda session: (session.created_at, session.id), reverse=True)
    return sorted(newest_first, key=lambda session: -session.priority)


SEQUENCERS: Mapping[str, Sequencer] = {"fifo": fifo, "lifo": lifo}
