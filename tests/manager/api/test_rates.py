"""A keypair's requests are counted over a rolling window."""

from datetime import UTC, datetime

import pytest

from bai_jupyter.common.errors import RateLimited
from bai_jupyter.manager.auth.rates import WINDOW_S, Rate, Rates
from bai_jupyter.manager.db import people

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_window_rolls():
    now = 1000.0
    rates = Rates(lambda: now)
    assert [rates.count("a", 3) for _ in range(2)] == [Rate(3, 2), Rate(3, 1)]
    now += WINDOW_S / 2
    assert rates.count("a", 3) == Rate(3, 0)
    assert rates.count("b", 3) == Rate(3, 2)
    with pytest.raises(RateLimited) as refused:
        rates.count("a", 3)
    assert refused.value.reason.params == {"used": "3", "limit": "3", "seconds": str(WINDOW_S // 2)}
    now += WINDOW_S / 2
    assert rates.count("a", 3) == Rate(3, 1)
    assert rates.count("a", None) == Rate(None, None)


def test_refused_requests_do_not_count():
    now = 0.0
    rates = Rates(lambda: now)
    rates.count("a", 1)
    for _ in range(5):
        with pytest.raises(RateLimited):
            rates.count("a", 1)
    assert rates.used("a") == 1


@pytest.mark.asyncio
async def test_headers_and_refusal(manager, make_user):
    alice, bob = await make_user("alice"), await make_user("bob")
    assert "X-RateLimit-Limit" not in (await alice.call("GET", "/auth")).headers
    await manager.store.write(people.change_keypair, alice.access_key, {"rate_limit": 2}, NOW)
    manager.services.auth.forget()
    left = []
    for _ in range(2):
        answer = await alice.call("GET", "/auth")
        left.append(answer.headers["X-RateLimit-Remaining"])
        assert (answer.headers["X-RateLimit-Limit"], answer.headers["X-RateLimit-Window"]) == ("2", "900")
    assert left == ["1", "0"]
    refused = await alice.call("GET", "/sessions")
    assert (refused.status, refused.json["type"].rsplit("/", 1)[1]) == (429, "rate-limit-exceeded")
    assert refused.headers["X-RateLimit-Remaining"] == "0"
    assert "limit of this keypair is 2" in refused.json["msg"]
    assert (await bob.call("GET", "/auth")).status == 200
    assert await manager.store.read(lambda conn: people.require_keypair(conn, alice.access_key).used_at) is not None
