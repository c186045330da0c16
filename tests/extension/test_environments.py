"""Images that one made from sessions, for the tab *My Environments*: in front of a real manager."""

from collections.abc import Callable
from typing import Any

import pytest
from fakes_agent import IMAGE
from real_manager import RealManager, environ_of


@pytest.fixture
def made(cluster: RealManager, wait_until: Callable[..., Any]) -> dict[str, str]:
    """The name of an image that the first admin made, and the session it was made from, which runs."""
    session = cluster.start_session("work")
    image = cluster.ask("POST", f"/session/{session}/commit", {"name": "mine"})["image"]
    wait_until(lambda: image in {one["name"] for one in cluster.ask("GET", "/images")["images"]}, "the image")
    return {"name": image, "session": session}


@pytest.fixture
def account(cluster: RealManager, request: pytest.FixtureRequest) -> dict[str, str]:
    return environ_of(cluster.add_user("nia")) if getattr(request, "param", "") == "user" else cluster.environ


async def test_ones_own_with_what_they_were_made_from_and_deleted_unless_in_use(
    bai: Callable[..., Any], cluster: RealManager, made: dict[str, str], wait_until: Callable[..., Any]
) -> None:
    status, answer = await bai("GET", "environments")
    (mine,) = answer["environments"]
    assert (status, mine["name"], mine["base"]) == (200, made["name"], IMAGE.name)
    assert (mine["size_bytes"], sorted(mine)) == (IMAGE.size_bytes, ["base", "created_at", "name", "size_bytes"])

    body = {"name": "user", "image": made["name"], "enqueueOnly": False, "maxWaitSeconds": 20}
    user = cluster.ask("POST", "/session", body)["sessionId"]
    status, refused = await bai("DELETE", f"environments/{made['name']}")
    assert (status, "in use by user." in refused["message"]) == (400, True)
    for session in (user, made["session"]):  # what it was made from does not use it
        cluster.ask("DELETE", f"/session/{session}")
    wait_until(lambda: cluster.ask("GET", f"/session/{user}")["status"] == "TERMINATED", "its end")
    assert await bai("DELETE", f"environments/{made['name']}") == (204, None)
    assert await bai("GET", "environments") == (200, {"environments": []})


@pytest.mark.parametrize("account", ["user"], indirect=True)
async def test_those_of_others_are_not_there(bai: Callable[..., Any], made: dict[str, str]) -> None:
    assert await bai("GET", "environments") == (200, {"environments": []})
    theirs, missing = [await bai("DELETE", f"environments/{name}") for name in (made["name"], "nothing")]
    assert theirs == missing
    assert theirs[0] == 403
