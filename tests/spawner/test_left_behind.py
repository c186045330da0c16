"""Which servers the Hub is asked to start again."""

from typing import Any

from bai_jupyter.spawner.left_behind import Left, left_in
from bai_jupyter.spawner.queued import Queued

QUEUED = {"queued": Queued.of("session-1", {}, "token", b"secret").to_json()}


def server(state: Any, *, stopped: bool = True) -> dict[str, Any]:
    return {"state": state, "stopped": stopped}


def test_stopped_servers_with_a_session_that_was_waited_for() -> None:
    kim = {
        "name": "kim",
        "servers": {"": server(QUEUED), "lab": server(QUEUED), "idle": server({}), "new": server(None)},
    }
    lee = {"name": "lee", "servers": {"": server(QUEUED, stopped=False), "old": server({"session": "session-2"})}}
    assert list(left_in([kim, lee])) == [Left("kim", "", "session-1"), Left("kim", "lab", "session-1")]


def test_without_leave_to_see_servers_or_their_state_there_are_none() -> None:
    assert list(left_in([{"name": "kim"}, {"name": "lee", "servers": {"": {"stopped": True}}}])) == []
