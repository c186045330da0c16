"""Transactions, migrations, and counters that are exact, on a real SQLite file."""

import asyncio
import sqlite3
import threading
from datetime import UTC, datetime
from importlib.resources import as_file, files

import pytest
import pytest_asyncio
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from hypothesis import given
from hypothesis import strategies as st

from bai_jupyter.common.errors import BadRequest, Unavailable
from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.manager.db import accounts, admission, engines, groups, people
from bai_jupyter.manager.db import tables as t
from bai_jupyter.manager.db.store import Store, StoreClosed, migrate

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest_asyncio.fixture
async def store(url):
    one = Store(url)
    await one.open()
    yield one
    await one.close()


def add_domain(conn, name):
    people.add_domain(conn, name, {}, NOW)


def names(conn):
    return sorted(conn.execute(sa.select(t.domains.c.name)).scalars())


@pytest.mark.asyncio
async def test_migrations_make_the_tables_that_the_code_describes(store):
    def differences(conn):
        return compare_metadata(MigrationContext.configure(conn), t.metadata)

    assert await store.read(differences) == []


BEFORE_0003 = """
INSERT INTO resource_policies (name, total_slots, default_slots) VALUES ('default', '{}', '{}');
INSERT INTO domains (name, is_active) VALUES ('default', true);
INSERT INTO projects (id, name, domain, is_active) VALUES ('p1', 'default', 'default', true);
INSERT INTO resource_groups (name, selection, sequencer, is_active) VALUES ('default', 'dispersed', 'fifo', true);
INSERT INTO users (id, name, role, domain, project_id, is_active, created_at) VALUES
    ('u1', 'admin', 'superadmin', 'default', 'p1', true, '2026-01-01 00:00:00'),
    ('u2', 'gone', 'user', 'default', 'p1', false, '2026-01-01 00:00:00');
INSERT INTO keypairs (access_key, secret_encrypted, user_id, is_active, resource_policy, created_at) VALUES
    ('A1', 'x', 'u1', true, 'default', '2026-01-01 00:00:00'),
    ('A2', 'x', 'u2', true, 'default', '2026-01-01 00:00:00');
"""


@pytest.mark.asyncio
async def test_people_of_an_older_database_keep_their_places(url):
    store = Store(url)
    await store.write(migrate, "0002")

    def fill(conn):
        for statement in BEFORE_0003.strip().split(";")[:-1]:
            conn.exec_driver_sql(statement)

    await store.write(fill)
    await store.open()
    admin = await store.read(accounts.find_keypair, "A1")
    assert (admin.is_active, admin.role, admin.email, admin.rate_limit) == (True, "superadmin", "admin@localhost", None)
    gone = await store.read(accounts.find_keypair, "A2")
    assert (gone.is_active, gone.role) == (False, "user")
    assert await store.read(people.usable_projects, "u1") == {"default": "p1"}
    usable = await store.read(groups.usable, ["domain:default"])
    assert [(group.name, group.allowed_session_types) for group in usable] == [
        ("default", ("interactive", "batch", "inference"))
    ]
    assert usable[0].created_at.year >= 2026
    await store.close()


@pytest.mark.asyncio
async def test_opening_again_changes_nothing(url):
    store = Store(url)
    await store.open()
    await store.write(add_domain, "a")
    await store.close()
    again = Store(url)
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
async def test_what_is_foreseen_is_seen_by_its_unit_alone(store):
    def try_out(conn, name):
        add_domain(conn, name)
        return names(conn)

    await store.write(add_domain, "first")
    assert await store.recall(names) == ["first"]
    assert await store.foresee(try_out, "second") == ["first", "second"]
    assert await store.read(names) == await store.recall(names) == ["first"]
    await store.write(add_domain, "second")
    assert await store.read(names) == ["first", "second"]


@pytest.mark.asyncio
async def test_reads_see_what_was_written_and_cannot_write(store):
    await store.write(add_domain, "a")
    assert await store.read(names) == ["a"]
    with pytest.raises(sa.exc.DBAPIError, match=r"readonly|read-only"):
        await store.read(add_domain, "b")


@pytest.mark.asyncio
async def test_what_postgresql_cannot_hold_is_the_callers_fault(postgresql_url):
    store = Store(postgresql_url)
    await store.open()
    for work in (store.write, store.read):
        with pytest.raises(BadRequest, match="NUL character"):
            await work(lambda conn: conn.execute(sa.select(t.domains).where(t.domains.c.name == "a\0")).all())
    await store.close()


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
    with pytest.raises(ValueError, match="'mysql' is not supported; use one of postgresql, sqlite"):
        Store("mysql://host/db")


@pytest.mark.asyncio
async def test_wal_is_on(tmp_path):
    store = Store(f"sqlite:///{tmp_path / 'manager.db'}")
    await store.open()
    await store.close()
    connection = sqlite3.connect(tmp_path / "manager.db")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


@pytest.mark.asyncio
async def test_one_manager_for_each_database(postgresql, monkeypatch):
    monkeypatch.setattr(engines, "_LEADER_TIMEOUT_S", 0.1)
    url = postgresql.new_database()
    first, second = Store(url), Store(url)
    await first.open()
    with pytest.raises(engines.AlreadyLed, match="another manager runs on database"):
        await second.open()
    await first.close()
    await second.open()
    await second.close()


@pytest.mark.asyncio
async def test_a_server_that_is_away_is_said_and_found_again(own_postgresql):
    store = Store(own_postgresql.new_database())
    await store.open()
    await store.write(add_domain, "a")
    own_postgresql.stop()
    try:
        for work in (store.read(names), store.write(add_domain, "b")):
            with pytest.raises(Unavailable, match="The database does not answer"):
                await work
    finally:
        own_postgresql.start()
    await store.write(add_domain, "b")
    assert await store.read(names) == ["a", "b"]
    await store.close()


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


@pytest.mark.asyncio
async def test_what_ran_before_an_upgrade_holds_its_agent_after_it(tmp_path):
    """Revision 0006 counts what a kernel holds of its agent apart from what it holds of its owner; 0015 says which
    belong together."""
    url = f"sqlite:///{tmp_path / 'manager.db'}"
    with as_file(files("bai_jupyter.manager.db") / "migrations") as scripts:
        engine = sa.create_engine(url)
        with engine.begin() as conn:
            config = Config()
            config.set_main_option("script_location", str(scripts))
            config.set_main_option("path_separator", "os")
            config.attributes["connection"] = conn
            command.upgrade(config, "0002")
            fill_with_a_running_session(conn)
        engine.dispose()
    store = Store(url)
    await store.open()
    kernels = sa.select(t.kernels.c.id, t.kernels.c.holds_agent, t.kernels.c.main_id)
    held = await store.read(lambda conn: conn.execute(kernels).all())
    assert sorted(held) == [("ended", False, "ended"), ("runs", True, "runs")]
    assert await store.write(admission.recount) == []
    await store.close()


def fill_with_a_running_session(conn):
    slots = {"cpu": "1"}
    scopes = ["agent:x", "domain:x", "keypair:x", "project:x", "user:x"]
    old = sa.MetaData()
    old.reflect(conn)
    for name in ("domains", "projects", "users", "keypairs", "resource_groups", "agents"):
        put(conn, old.tables[name])
    put(conn, old.tables["sessions"], id="s", slots=slots, kernel_id="runs", status="RUNNING")
    for kernel_id, holds in (("runs", True), ("ended", False)):
        put(conn, old.tables["kernels"], id=kernel_id, session_id="s", holds_slots=holds)
    for scope in scopes:
        for slot in ("cpu", admission.SESSIONS):
            put(conn, old.tables["counters"], scope=scope, slot=slot, used=1000 if slot == "cpu" else 1)


def put(conn, table, **given):
    """A row with what is given, and with something in every other column that needs something."""
    kinds = [(sa.Boolean, True), (sa.Integer, 0), (sa.DateTime, NOW), (sa.JSON, {}), (sa.String, "x")]
    needed = {column.name: column.type for column in table.columns if not column.nullable}
    values = {name: next(value for kind, value in kinds if isinstance(one, kind)) for name, one in needed.items()}
    conn.execute(table.insert().values(**{**values, **given}))


@pytest.mark.asyncio
async def test_what_is_recalled_is_read_once_and_as_new_as_the_last_write(store):
    reads = []

    def look(conn, prefix):
        reads.append(prefix)
        return tuple(name for name in names(conn) if name.startswith(prefix))

    assert await store.recall(look, "a") == await store.recall(look, "a") == ()
    assert reads == ["a"]
    for name in ("a1", "a2"):
        await store.write(add_domain, name)
        assert name in await store.recall(look, "a")
    assert await store.recall(look, "b") == ()
    assert reads == ["a", "a", "a", "b"]


@pytest.mark.asyncio
async def test_what_was_read_while_somebody_wrote_is_not_recalled(store):
    reading, written = threading.Event(), threading.Event()

    def look(conn):
        found = names(conn)
        reading.set()
        assert written.wait(30)
        return found

    first = asyncio.create_task(store.recall(look))
    assert await asyncio.to_thread(reading.wait, 30)
    await store.write(add_domain, "new")
    written.set()
    assert "new" not in await first
    assert "new" in await store.recall(look)
