from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.statuses import SessionStatus
from bai_jupyter.spawner.progress import progress_of


def view(status: SessionStatus, reason: Reason, **more):
    return {"status": status.value, "reason": reason.to_json(), "queue": None, "progress": None, **more}


def test_a_session_that_waits_says_its_place_once():
    queue = {"position": 2, "of": 5, "estimate_s": None}
    waits = Reason.of("no-room", asked="1 CPU", group="default", free="0", total="2", estimate="")
    assert progress_of(view(SessionStatus.PENDING, waits, queue=queue))["message"] == (
        f"Place 2 of 5 in the queue. {waits.text}"
    )
    queued = Reason.of("queued", place="2nd", group="default")
    assert progress_of(view(SessionStatus.PENDING, queued, queue=queue))["message"] == queued.text


def test_it_only_goes_forward():
    pulling = Reason.of("pulling", image="a", agent="lab-1", pct="40", done="1", total="2")
    creating = Reason.of("creating", agent="lab-1")
    steps = [
        view(SessionStatus.PENDING, creating),
        view(SessionStatus.SCHEDULED, creating),
        view(SessionStatus.PREPARING, creating),
        view(SessionStatus.PULLING, pulling, progress=0.0),
        view(SessionStatus.PULLING, pulling, progress=40.0),
        view(SessionStatus.PULLING, pulling, progress=100.0),
        view(SessionStatus.CREATING, creating),
        view(SessionStatus.RUNNING, creating),
    ]
    percent = [progress_of(step)["progress"] for step in steps]
    assert percent == sorted(percent)
    assert percent[-1] < 100  # the Hub says when it is ready
