"""What was held, for the tab *Usage*: in front of a real manager."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from real_manager import RealManager, environ_of


@pytest.fixture
def account(cluster: RealManager, request: pytest.FixtureRequest) -> dict[str, str]:
    """The first admin's, or that of somebody who is none."""
    return environ_of(cluster.add_user("nia") if getattr(request, "param", "") == "user" else cluster.config)


async def test_what_was_held_by_oneself_by_all_and_in_a_project(bai: Callable[..., Any], cluster: RealManager) -> None:
    cluster.start_session("counted")
    today = datetime.now(UTC)
    asked = f"usage?start={today:%Y%m%d}&end={today:%Y%m%d}"
    project = cluster.ask("POST", "/admin/gql", {"query": "{groups {id name}}"})["data"]["groups"][0]["id"]
    for scope in ("", "&scope=all", f"&scope={project}"):
        status, answer = await bai("GET", asked + scope)
        (day,) = answer["days"]
        assert (status, day["date"], day["sessions"] > 0) == (200, f"{today:%Y-%m-%d}", True)
        assert day["core_hours"] >= 0
        status, answer = await bai("GET", asked.replace("usage", "usage/sessions") + scope)
        assert (status, answer["total_count"] > 0) == (200, True)
        assert "counted" in [one["name"] for one in answer["sessions"]]
    assert (await bai("GET", f"{asked}&scope=nosuch"))[0] == 404
    assert (await bai("GET", "usage?start=20240101&end=20260101"))[0] == 400
    assert (await bai("GET", "usage"))[0] == 400


@pytest.mark.parametrize("account", ["user"], indirect=True)
async def test_of_others_only_admins_are_told(bai: Callable[..., Any]) -> None:
    asked = "usage?start=20261101&end=20261130"
    assert (await bai("GET", asked))[0] == 200
    status, answer = await bai("GET", f"{asked}&scope=all")
    assert (status, "admin" in answer["message"]) == (403, True)
