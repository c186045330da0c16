"""What superadmins tell everybody, in front of a real manager."""

from collections.abc import Callable
from typing import Any

import pytest
from real_manager import RealManager, environ_of


@pytest.fixture
def account(cluster: RealManager, request: pytest.FixtureRequest) -> dict[str, str]:
    """The first admin's, or that of somebody who is none."""
    return environ_of(cluster.add_user("nils") if getattr(request, "param", "") == "user" else cluster.config)


async def test_it_is_made_and_taken_away(bai: Callable[..., Any]) -> None:
    assert await bai("GET", "announcement") == (200, {"message": ""})
    assert await bai("PUT", "announcement", {"message": " Maintenance on Monday.\n"}) == (204, None)
    assert await bai("GET", "announcement") == (200, {"message": "Maintenance on Monday."})
    assert await bai("PUT", "announcement", {"message": " "}) == (204, None)
    assert await bai("GET", "announcement") == (200, {"message": ""})
    assert (await bai("PUT", "announcement", {"message": 1}))[0] == 400


@pytest.mark.parametrize("account", ["user"], indirect=True)
async def test_all_read_it_and_superadmins_alone_make_it(bai: Callable[..., Any], cluster: RealManager) -> None:
    cluster.ask("POST", "/manager/announcement", {"enabled": True, "message": "Hello."})
    assert await bai("GET", "announcement") == (200, {"message": "Hello."})
    assert (await bai("PUT", "announcement", {"message": "Mine."}))[0] == 403
    cluster.ask("POST", "/manager/announcement", {"enabled": False})
