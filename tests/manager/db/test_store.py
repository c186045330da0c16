"""Transactions, migrations, and counters that are exact, on a real SQLite file."""

import asyncio
import sqlite3
from datetime import UTC, datetime

import pytest
import pytest_asyncio
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import given
from hypothesis import strategies as st

from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.manager.db import admission
from bai_jupyter.manager.db import tables as t
from bai_jupyter.manager.db.store import Store, StoreClosed

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest_asyncio.fixture
async def store(tmp_path):
    one = Store(f"sqlite:///{tmp_path / 'manager.db'}")
    await one.open()
    yield one
    await one.close()


def add_domain(conn, name):
    conn.execute(t.domains.insert().values(name=name, is_active=True))


def names(conn):
    return sorted(conn.execute(sa.select(t.domains.c.name)).scalars())


@pytest.mark.asyncio
async def test_migrations_make_the_tables_that_the_code_describes(store):
    def differences(conn):
        return compare_metadata(MigrationContext.configure(conn), t.metadata)

    assert await store.read(differences) == []


@pytest.mark.asyncio
async def test_opening_twice_changes_nothing(store, tmp_path):
    await store.write(add_domain, "a")
    again = Store(f"sqlite:///{tmp_path / 'manager.db'}")
    await again.open()
    assert await again.read(names) == ["a"]
    await again.close()


@pytest.mark.asyncio
async def test_a_unit_that_raises_leaves_nothing(store):
    def half(conn):
        add_domain(conn, "a")
        raise KeyError("stop")

    with pytest.raises(KeyError):
        await store.write(half)
    assert await store.read(names) == []


@pytest.mark.asyncio
async def test_reads_see_what_was_written_and_cannot_write(store):
    await store.write(add_domain, "a")
    assert await store.read(names) == ["a"]
    with pytest.raises(sa.exc.OperationalError, match="readonly"):
        await store.read(add_domain, "b")


@pytest.mark.asyncio
async def test_a_cancelled_caller_does_not_undo_a_unit(store):
    started = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(conn):
        loop.call_soon_threadsafe(started.set)
        add_domain(conn, "a")

    caller = asyncio.create_task(store.write(slow))
    await started.wait()
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    await store.write(add_domain, "b")
    assert await store.read(names) == ["a", "b"]


@pytest.mark.asyncio
async def test_closed_store_says_so(tmp_path):
    store = Store(f"sqlite:///{tmp_path / 'other.db'}")
    await store.open()
    await store.close()
    with pytest.raises(StoreClosed):
        await store.read(names)


@pytest.mark.asyncio
async def test_moments_come_back_aware(store):
    def write_and_read(conn):
        conn.execute(t.audit.insert().values(at=NOW, action="a", target="t", result=200, request_id="r"))
        return conn.execute(sa.select(t.audit.c.at)).scalar_one()

    assert await store.write(write_and_read) == NOW


def test_other_databases_are_refused_by_name():
    with pytest.raises(ValueError, match="postgresql"):
        Store("postgresql://host/db")


@pytest.mark.asyncio
async def test_wal_is_on(store, tmp_path):
    connection = sqlite3.connect(tmp_path / "manager.db")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


@given(st.dictionaries(st.sampled_from(["cpu", "mem", "cuda.shares"]), st.integers(1, 10**12)))
def test_quanta_are_exact_both_ways(raw):
    slots = ResourceSlots(raw)
    assert admission.from_quanta(admission.to_quanta(slots)) == slots


def test_what_is_no_whole_quantum_is_refused():
    with pytest.raises(ValueError, match="cpu"):
        admission.to_quanta(ResourceSlots.parse({"cpu": "0.0001"}))


@pytest.mark.asyncio
async def test_recount_corrects_a_wrong_counter(store):
    await store.write(lambda conn: conn.execute(t.counters.insert().values(scope="agent:x", slot="cpu", used=5)))
    assert await store.write(admission.recount) == ["cpu of agent:x was 5, is 0"]
    assert await store.write(admission.recount) == []
