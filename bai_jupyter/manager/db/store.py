"""The only place that opens transactions.

A unit of work is a plain function whose first argument is a connection; the modules beside this one hold them
(``accounts``, ``agents``, ``catalog``, ``sessions``, ``admission``). ``Store`` runs each in one transaction, off the
event loop. It knows nothing of what they do, and ``engines`` knows what differs between databases.
"""

import asyncio
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.engine import Connection, Engine

from bai_jupyter.common.errors import BadRequest, BaiError, Unavailable
from bai_jupyter.manager.db.engines import open_engines

_MAX_RECALLED = 1000

P = ParamSpec("P")
T = TypeVar("T")


class StoreClosed(BaiError):
    """The manager is stopping; what was asked of the store was not done."""


class Store:
    """Units of work on one database: one thread writes, others read.

    Guarantees:

    - a unit is one transaction: it commits when the function returns and is undone when it raises;
    - writes run one after another and nobody else writes, so what a unit reads stays true until it commits;
    - reads see one moment, at least as new as the last write whose ``write`` has returned;
    - a cancelled caller does not undo a unit that has begun.

    All of them raise ``Unavailable`` when the database does not answer, and ``BadRequest`` for a value that it cannot
    hold.
    """

    def __init__(self, url: str) -> None:
        self._engines = open_engines(url)
        self._is_closed = False
        self._writes = 0
        self._recalled: dict[Hashable, Any] = {}
        self._recalled_after = 0
        self._reader = ThreadPoolExecutor(self._engines.readers, thread_name_prefix="store-read")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="store-write")

    async def open(self) -> None:
        """Bring the tables to the newest version. Call once, before anything else."""
        await self.write(migrate)

    async def read(self, unit: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._run(self._reader, _transact, self._engines.read, partial(_apply, unit, args, kwargs))

    async def recall(self, unit: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As ``read``, from memory if that was read since the last write: nobody else writes, so it is still true.

        Arguments must be hashable, and what the unit returns must not be changed.
        """
        if self._recalled_after != self._writes or len(self._recalled) >= _MAX_RECALLED:
            self._recalled, self._recalled_after = {}, self._writes
        recalled, key = self._recalled, (unit, args, tuple(kwargs.items()))
        if key not in recalled:
            recalled[key] = await self.read(
                unit, *args, **kwargs
            )  # of no use to anybody if there was a write meanwhile
        return recalled[key]

    async def write(self, unit: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._run(self._writer, self._transact_write, partial(_apply, unit, args, kwargs))

    async def foresee(self, unit: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What ``write`` would give. Whatever the unit writes, it alone sees, and nothing of it stays."""
        work = partial(_apply, unit, args, kwargs)
        return await self._run(self._writer, partial(_transact, keeps=False), self._engines.write, work)

    async def close(self) -> None:
        """Finish what has begun, then close the database. Nothing may be asked of the store afterwards."""
        self._is_closed = True
        await asyncio.gather(
            asyncio.to_thread(self._reader.shutdown, wait=True), asyncio.to_thread(self._writer.shutdown, wait=True)
        )
        self._engines.read.dispose()
        self._engines.write.dispose()

    def _transact_write(self, unit: Callable[[Connection], T]) -> T:
        try:
            return _transact(self._engines.write, unit)
        finally:
            self._writes += 1  # in the one writing thread, and before anybody hears that it is done

    async def _run(self, executor: ThreadPoolExecutor, work: Callable[..., T], *args: Any) -> T:
        if self._is_closed:
            raise StoreClosed("the store is closed")
        return await asyncio.get_running_loop().run_in_executor(executor, work, *args)


def _apply(unit, args, kwargs, conn):  # type: ignore[no-untyped-def]
    return unit(conn, *args, **kwargs)


def _transact(engine: Engine, unit: Callable[[Connection], T], *, keeps: bool = True) -> T:
    try:
        with engine.connect() as conn, conn.begin() as transaction:
            result = unit(conn)
            if not keeps:
                transaction.rollback()
            return result
    except (sa.exc.DataError, UnicodeEncodeError, OverflowError) as error:  # of what was passed on from a request
        unkept = "a text with a NUL character or with half of a character, or too large a number"
        raise BadRequest(f"No such value can be kept: {unkept}.") from error
    except sa.exc.OperationalError as error:
        if engine.dialect.name == "sqlite":
            raise
        raise Unavailable("The database does not answer. Trying again helps, once it does.") from error


def migrate(conn: Connection, revision: str = "head") -> None:
    """Unit: run the migrations that this database has not seen, all in this transaction."""
    with as_file(files("bai_jupyter.manager.db") / "migrations") as scripts:
        config = Config()
        config.set_main_option("script_location", str(Path(scripts)).replace("%", "%%"))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = conn
        command.upgrade(config, revision)
