"""The only place that opens transactions.

A unit of work is a plain function whose first argument is a connection; the modules beside this one hold them
(``accounts``, ``agents``, ``catalog``, ``sessions``, ``admission``). ``Store`` runs each in one transaction, off the
event loop. It knows nothing of what they do, so another database needs another ``Store`` and no other change.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.resources import as_file, files
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.engine import Connection, Engine

from bai_jupyter.common.errors import BaiError

P = ParamSpec("P")
T = TypeVar("T")

BUSY_TIMEOUT_S = 30


class StoreClosed(BaiError):
    """The manager is stopping; what was asked of the store was not done."""


class Store:
    """Units of work on one SQLite file (WAL): one reader thread and one writer thread.

    Guarantees:

    - a unit is one transaction: it commits when the function returns and is undone when it raises;
    - writes run one after another, each from ``BEGIN IMMEDIATE`` on, so what a unit reads stays true until it commits;
    - reads see one moment, at least as new as the last write whose ``write`` has returned;
    - a cancelled caller does not undo a unit that has begun.
    """

    def __init__(self, url: str) -> None:
        if sa.make_url(url).get_backend_name() != "sqlite":
            raise ValueError(f"db_url: {url.split(':')[0]!r} is not supported yet, only sqlite:///FILE")
        self._read_engine = _engine(url, "BEGIN", read_only=True)
        self._write_engine = _engine(url, "BEGIN IMMEDIATE", read_only=False)
        self._is_closed = False
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="store-read")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="store-write")

    async def open(self) -> None:
        """Bring the tables to the newest version. Call once, before anything else."""
        await self.write(migrate)

    async def read(self, unit: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._run(self._reader, self._read_engine, partial(_apply, unit, args, kwargs))

    async def write(self, unit: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._run(self._writer, self._write_engine, partial(_apply, unit, args, kwargs))

    async def close(self) -> None:
        """Finish what has begun, then close the file. Nothing may be asked of the store afterwards."""
        self._is_closed = True
        await asyncio.gather(
            asyncio.to_thread(self._reader.shutdown, wait=True), asyncio.to_thread(self._writer.shutdown, wait=True)
        )
        self._read_engine.dispose()
        self._write_engine.dispose()

    async def _run(self, executor: ThreadPoolExecutor, engine: Engine, unit: Callable[[Connection], T]) -> T:
        if self._is_closed:
            raise StoreClosed("the store is closed")
        return await asyncio.get_running_loop().run_in_executor(executor, _transact, engine, unit)


def _apply(unit, args, kwargs, conn):  # type: ignore[no-untyped-def]
    return unit(conn, *args, **kwargs)


def _transact(engine: Engine, unit: Callable[[Connection], T]) -> T:
    with engine.begin() as conn:
        return unit(conn)


def _engine(url: str, begin: str, *, read_only: bool) -> Engine:
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


def migrate(conn: Connection) -> None:
    """Unit: run the migrations that this database has not seen, all in this transaction."""
    with as_file(files("bai_jupyter.manager.db") / "migrations") as scripts:
        config = Config()
        config.set_main_option("script_location", str(Path(scripts)).replace("%", "%%"))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = conn
        command.upgrade(config, "head")
