"""What would happen to something that is asked for, told without doing it."""

from typing import Literal, TypedDict

from bai_jupyter.common.errors import PublicError
from bai_jupyter.common.reasons import Reason, ReasonView
from bai_jupyter.common.slots import ResourceSlots


class Verdict(TypedDict):
    """``slots`` are those that each container would have; None where there would be none."""

    verdict: Literal["now", "wait", "refused"]
    reason: ReasonView | None
    estimate_s: float | None
    slots: dict[str, str] | None


def now(slots: ResourceSlots) -> Verdict:
    return {"verdict": "now", "reason": None, "estimate_s": None, "slots": slots.to_json()}


def wait(reason: Reason, estimate_s: float | None, slots: ResourceSlots) -> Verdict:
    return {"verdict": "wait", "reason": reason.to_json(), "estimate_s": estimate_s, "slots": slots.to_json()}


def refused(error: PublicError) -> Verdict:
    return {"verdict": "refused", "reason": error.why.to_json(), "estimate_s": None, "slots": None}
