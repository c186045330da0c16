"""Units of work on Jupyter kernels: the processes that should be inside a session."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bai_jupyter.common.ids import JupyterKernelId, SessionId
from bai_jupyter.common.messages import JupyterKernelReport
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.statuses import FINAL, JupyterKernelStatus, SessionStatus, Target
from bai_jupyter.manager.db import tables as t
from bai_jupyter.manager.db.records import JupyterKernelRecord, read_reason, write_reason

_DEAD, _STARTING = JupyterKernelStatus.DEAD, JupyterKernelStatus.STARTING
_ENDING = (*FINAL, SessionStatus.TERMINATING)


@dataclass(frozen=True)
class NewJupyterKernel:
    id: JupyterKernelId
    session_id: SessionId
    kernelspec: str
    interrupt_mode: str
    secret_encrypted: str = field(repr=False)
    cwd: str
    notice: Reason | None
    wake_from: str | None = None


def create(conn: Connection, new: NewJupyterKernel, now: datetime) -> JupyterKernelRecord | None:
    """Ask for a Jupyter kernel. The same id again is the same kernel, started anew if it was shut down.

    None if the session is ending, or the id belongs to another session.
    """
    if _session_status(conn, new.session_id) in _ENDING:
        return None
    present = find(conn, new.id)
    if present is None:
        values = {**vars(new), "notice": write_reason(new.notice)}
        conn.execute(
            t.jupyter_kernels.insert().values(
                generation=1, status=_STARTING, target=Target.RUNNING, created_at=now, **values
            )
        )
    elif present.session_id != new.session_id:
        return None
    elif present.target is Target.TERMINATED:
        _start_anew(
            conn,
            present,
            kernelspec=new.kernelspec,
            interrupt_mode=new.interrupt_mode,
            secret_encrypted=new.secret_encrypted,
            cwd=new.cwd,
            notice=write_reason(new.notice),
            wake_from=new.wake_from,
        )
    return find(conn, new.id)


def restart(
    conn: Connection, jupyter_kernel_id: JupyterKernelId, wake_from: str | None = None
) -> JupyterKernelRecord | None:
    """One generation more, which begins with the variables in that folder. None if its session is ending."""
    present = find(conn, jupyter_kernel_id)
    if present is None or _session_status(conn, present.session_id) in _ENDING:
        return None
    _start_anew(conn, present, wake_from=wake_from)
    return find(conn, jupyter_kernel_id)


def restart_all(conn: Connection, session_id: SessionId) -> None:
    """One generation more of each that is to run."""
    table = t.jupyter_kernels
    wanted = sa.select(table).where(table.c.session_id == session_id, table.c.target == Target.RUNNING)
    for row in conn.execute(wanted).all():
        _start_anew(conn, read_jupyter_kernel(row))


def ask_end(conn: Connection, jupyter_kernel_id: JupyterKernelId, reason: Reason) -> None:
    """It should be gone; where no container is, it is gone at once."""
    present = find(conn, jupyter_kernel_id)
    if present is None:
        return
    values: dict[str, object] = {"target": Target.TERMINATED}
    if present.status is not _DEAD and _session_status(conn, present.session_id) is SessionStatus.PENDING:
        values |= {"status": _DEAD, "reason": write_reason(reason)}
    conn.execute(_where(jupyter_kernel_id).values(**values))


def note_saved(conn: Connection, session_id: SessionId, saved: Mapping[JupyterKernelId, Mapping[str, object]]) -> None:
    """What was saved of the variables of a session's Jupyter kernels."""
    for jupyter_kernel_id, one in saved.items():
        conn.execute(_where(jupyter_kernel_id).where(t.jupyter_kernels.c.session_id == session_id).values(saved=one))


def find(conn: Connection, jupyter_kernel_id: str) -> JupyterKernelRecord | None:
    row = conn.execute(sa.select(t.jupyter_kernels).where(t.jupyter_kernels.c.id == jupyter_kernel_id)).first()
    return None if row is None else read_jupyter_kernel(row)


def observe(conn: Connection, session_id: SessionId, report: JupyterKernelReport) -> bool:
    """Write what an agent says of one process. False if it is no news: another generation, or as known."""
    row = find(conn, report.jupyter_kernel_id)
    if row is None or row.session_id != session_id or row.generation != report.generation:
        return False
    if (row.status, row.exit_code, row.reason) == (report.status, report.exit_code, report.reason):
        return False
    conn.execute(
        _where(row.id).values(status=report.status, exit_code=report.exit_code, reason=write_reason(report.reason))
    )
    return True


def read_jupyter_kernel(row: sa.Row) -> JupyterKernelRecord:  # type: ignore[type-arg]
    return JupyterKernelRecord(
        id=JupyterKernelId(row.id),
        session_id=SessionId(row.session_id),
        generation=row.generation,
        kernelspec=row.kernelspec,
        interrupt_mode=row.interrupt_mode,
        secret_encrypted=row.secret_encrypted,
        cwd=row.cwd,
        notice=read_reason(row.notice),
        status=JupyterKernelStatus(row.status),
        target=Target(row.target),
        exit_code=row.exit_code,
        reason=read_reason(row.reason),
        saved=row.saved,
        wake_from=row.wake_from,
    )


def _start_anew(conn: Connection, present: JupyterKernelRecord, **values: object) -> None:
    conn.execute(
        _where(present.id).values(
            generation=present.generation + 1,
            status=_STARTING,
            target=Target.RUNNING,
            exit_code=None,
            reason=None,
            **{"wake_from": None, **values},
        )
    )


def _where(jupyter_kernel_id: str) -> sa.Update:
    return t.jupyter_kernels.update().where(t.jupyter_kernels.c.id == jupyter_kernel_id)


def _session_status(conn: Connection, session_id: str) -> SessionStatus:
    return SessionStatus(conn.execute(sa.select(t.sessions.c.status).where(t.sessions.c.id == session_id)).scalar_one())
