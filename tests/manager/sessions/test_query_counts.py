"""How often code was run in a session: counted at once, written now and then, and kept."""

import pytest

from bai_jupyter.manager.db import sessions
from bai_jupyter.manager.sessions import query_counts
from bai_jupyter.manager.sessions.query_counts import QueryCounts

pytestmark = pytest.mark.asyncio


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(query_counts, "FLUSH_S", 0.05)


async def test_counted_written_and_kept(manager, agent, admin, gql, helpers):
    session_id = (await admin.create("work"))["sessionId"]
    await admin.create("other")

    async def record():
        return (await manager.store.read(sessions.load_many, [session_id]))[0]

    async def is_written(total):
        return (await record()).queries == total

    async def shown():
        asked = f'{{compute_session(id: "{session_id}") {{num_queries}}}}'
        by_graphql = (await gql(admin, asked))["compute_session"]["num_queries"]
        assert by_graphql == (await admin.session("work"))["numQueriesExecuted"]
        return by_graphql

    old = await record()
    for total in (1, 2, 3):
        manager.queries.add(old)
        assert await shown() == total
    await helpers.wait_until(lambda: is_written(3))
    manager.queries.end(old.id)
    await manager.queries.flush()
    assert await shown() == 3

    another = QueryCounts(manager.store)  # as of the next manager
    another.add(await record())
    await another.stop()
    await another.flush()
    assert await shown() == 4
    assert (await admin.session("other"))["numQueriesExecuted"] == 0


async def test_what_cannot_be_written_is_written_later(manager, agent, admin, monkeypatch):
    await admin.create("work")
    session_id = (await admin.session("work"))["id"]
    (record,) = await manager.store.read(sessions.load_many, [session_id])
    counts = QueryCounts(manager.store)

    def full(*_):
        raise OSError("disk full")

    with monkeypatch.context() as broken:
        broken.setattr(sessions, "set_queries", full)
        counts.add(record)
        counts.end(record.id)
        with pytest.raises(OSError, match="disk full"):
            await counts.flush()
        assert counts.of(record) == 1
    await counts.flush()
    (record,) = await manager.store.read(sessions.load_many, [session_id])
    assert (record.queries, counts.of(record)) == (1, 1)
