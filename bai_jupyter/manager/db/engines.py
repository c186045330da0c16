"""How each kind of database is opened so that ``Store`` can promise what it promises."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine

BUSY_TIMEOUT_S = 30
POSTGRESQL_READERS = 4
_LEADER_TIMEOUT_S = 10.0
_LEADER_LOCK = 0x6261695F6A757079  # any number that nobody else takes; this one reads "bai_jupy"
# A manager whose host has died is noticed within half a minute, and another one may take its place.
_KEEPALIVE = "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"


class AlreadyLed(OSError):
    """Another manager runs on this database."""


@dataclass(frozen=True)
class Engines:
    """``write`` has one connection, which writes; ``read`` has ``readers``, of which each sees one moment."""

    read: Engine
    write: Engine
    readers: int


def open_engines(url: str) -> Engines:
    """Connects to nothing yet. Raises ``ValueError`` for a database that is not supported, or has no driver here."""
    parsed = sa.make_url(url)
    opener = _OPENERS.get(parsed.get_backend_name())
    if opener is None:
        known = ", ".join(sorted(_OPENERS))
        raise ValueError(f"db_url: {parsed.get_backend_name()!r} is not supported; use one of {known}")
    return opener(parsed)


def _sqlite(url: URL) -> Engines:
    """A file in WAL mode, where one reader sees a moment while another writes."""
    return Engines(
        read=_sqlite_engine(url, "BEGIN", read_only=True),
        write=_sqlite_engine(url, "BEGIN IMMEDIATE", read_only=False),
        readers=1,
    )


def _sqlite_engine(url: URL, begin: str, *, read_only: bool) -> Engine:
    engine = sa.create_engine(
        url,
        poolclass=sa.pool.QueuePool,
        pool_size=1,
        max_overflow=0,
        connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_S},
    )

    @sa.event.listens_for(engine, "connect")
    def _set_up(dbapi_connection, _record):  # type: ignore[no-untyped-def]
        dbapi_connection.isolation_level = None  # we say BEGIN ourselves; sqlite3 would say it too late
        dbapi_connection.execute("PRAGMA journal_mode=WAL")
        # WAL with NORMAL loses nothing when the process is killed; only a power cut may cost the last commits.
        dbapi_connection.execute("PRAGMA synchronous=NORMAL")
        dbapi_connection.execute("PRAGMA foreign_keys=ON")
        if read_only:
            dbapi_connection.execute("PRAGMA query_only=ON")

    @sa.event.listens_for(engine, "begin")
    def _begin(conn: Connection) -> None:
        conn.exec_driver_sql(begin)

    return engine


def _postgresql(url: URL) -> Engines:
    """One connection writes and holds the lock of the one manager; when it is lost, the next one takes the lock."""
    try:
        import psycopg
    except ImportError as error:
        raise ValueError(
            f"db_url: PostgreSQL needs psycopg ({error}); pip install 'bai_jupyter[postgresql]'"
        ) from error
    url = url.set(drivername="postgresql+psycopg")
    read = _postgresql_engine(url, POSTGRESQL_READERS, isolation_level="REPEATABLE READ", postgresql_readonly=True)
    write = _postgresql_engine(url, 1)

    @sa.event.listens_for(write, "connect")
    def _lead(dbapi_connection, _record):  # type: ignore[no-untyped-def]
        try:
            with dbapi_connection.transaction():
                dbapi_connection.execute(f"SET LOCAL lock_timeout = '{_LEADER_TIMEOUT_S * 1000:.0f}ms'")
                dbapi_connection.execute("SELECT pg_advisory_lock(%s)", [_LEADER_LOCK])
        except psycopg.errors.LockNotAvailable:
            raise AlreadyLed(f"another manager runs on database {url.database!r}; stop that one first") from None

    return Engines(read, write, POSTGRESQL_READERS)


def _postgresql_engine(url: URL, connections: int, **execution_options: Any) -> Engine:
    return sa.create_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        pool_pre_ping=True,  # the server may have been restarted meanwhile
        connect_args={"connect_timeout": BUSY_TIMEOUT_S, "options": _KEEPALIVE},
        execution_options=execution_options,
    )


_OPENERS: dict[str, Callable[[URL], Engines]] = {"sqlite": _sqlite, "postgresql": _postgresql}
