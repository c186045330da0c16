"""Why a session waits, as the stages of a pass find it: no words yet, and no figures that may still change."""

from typing import NamedTuple

from bai_jupyter.manager.scheduler.quanta import Amounts
from bai_jupyter.manager.scheduler.selectors import NoRoom, View
from bai_jupyter.manager.scheduler.validators import Hold

HOPELESS = frozenset({"too-big", "slot-unknown", "image-arch", "over-quota"})
"""Codes of sessions that do not start unless agents, policy or the request change: waiting alone does not help."""


class NoAgent(NamedTuple):
    """No agent takes sessions: there is none, or none is schedulable."""


class WrongArchitecture(NamedTuple):
    image: str
    architecture: str


class AllExcluded(NamedTuple):
    """Every agent built for it is one that must not get it."""

    view: View


class NoVolume(NamedTuple):
    """No agent has the volume that a folder of its lies on."""

    folder: str
    volume: str


class UnknownSlot(NamedTuple):
    name: str


class TooBig(NamedTuple):
    """Not even an empty agent would do: what becomes of ``NoRoom`` when somebody asks."""

    view: View
    need: Amounts


Cause = Hold | NoAgent | WrongArchitecture | AllExcluded | NoVolume | UnknownSlot | TooBig | NoRoom
