"""The scheduler: ``schedule(snapshot, policy) -> Plan``, and ``verdict`` for one request that was not sent yet.

A pass goes through the files in this order: ``snapshot`` (what is looked at) → ``validators`` (may it run now) →
``sequencers`` (in what order) → ``selectors`` (on which agent) → ``plan`` (the pass itself) → ``explain`` (why the
rest waits; ``causes`` found on the way, ``estimates`` of when). ``quanta`` makes slots whole numbers.

Pure throughout: it imports only ``bai_jupyter.common``, awaits nothing, and knows neither clock nor database. It does
not start anything; the store commits a plan and checks free slots and quotas again.
"""

from bai_jupyter.manager.scheduler.causes import HOPELESS
from bai_jupyter.manager.scheduler.estimates import estimate_words
from bai_jupyter.manager.scheduler.plan import schedule, verdict
from bai_jupyter.manager.scheduler.sequencers import SEQUENCERS
from bai_jupyter.manager.scheduler.snapshot import (
    AgentView,
    Budget,
    Devices,
    Ending,
    GroupPolicy,
    Limit,
    PendingSession,
    Placement,
    Plan,
    Quota,
    Snapshot,
    Usage,
    Waiting,
)

__all__ = [
    "HOPELESS",
    "SEQUENCERS",
    "AgentView",
    "Budget",
    "Devices",
    "Ending",
    "GroupPolicy",
    "Limit",
    "PendingSession",
    "Placement",
    "Plan",
    "Quota",
    "Snapshot",
    "Usage",
    "Waiting",
    "estimate_words",
    "schedule",
    "verdict",
]
