"""The loops: look at a session or a group again, decide with the pure parts, carry it out. Restartable at any point.

Everything that happens elsewhere only adds a key; a sweep adds all of them now and then, so a lost nudge costs time
and nothing else.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any

from bai_jupyter.common.errors import BaiError
from bai_jupyter.common.ids import AgentId, SessionId
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.statuses import AgentStatus
from bai_jupyter.manager.agents.registry import Registry
from bai_jupyter.manager.db import admission, agents, groups, placements, sessions
from bai_jupyter.manager.db.records import SessionRecord
from bai_jupyter.manager.db.store import Store
from bai_jupyter.manager.scheduler import Placement, Plan, Waiting, schedule
from bai_jupyter.manager.sessions.events import Hub
from bai_jupyter.manager.sessions.intake import Intake
from bai_jupyter.manager.sessions.scheduling import Conditions, group_policy, hopeless, next_start, take_snapshot
from bai_jupyter.manager.sessions.workqueue import WorkQueue

log = logging.getLogger(__name__)

Key = tuple[str, str]  # ("session", id) or ("group", name)

WORKERS = 4
FLUSH_S = 1.0
LOGS_KEPT = timedelta(days=7)
"""How long an ended session's last output can be read."""


class Reconciler:
    """Owns the queue of keys, the workers, and why each waiting session waits (in memory: the next pass tells anew)."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        hub: Hub,
        conditions: Conditions,
        now: Callable[[], datetime],
        sweep_s: float,
        renew_s: float,
    ) -> None:
        self._store, self._registry, self._hub, self._now = store, registry, hub, now
        self._conditions, self._sweep_s, self._renew_s = conditions, sweep_s, renew_s
        self._queue: WorkQueue[Key] = WorkQueue()
        self._tasks: list[asyncio.Task[None]] = []
        self._unreachable: set[AgentId] = set()
        self._groups: list[str] = []
        self.waiting: dict[SessionId, Waiting] = {}
        self.looked_at: dict[str, datetime] = {}  # when the queue of a resource group was gone through last

    # Nudges

    def nudge_session(self, session_id: SessionId) -> None:
        self._queue.add(("session", session_id))

    def nudge_group(self, name: str | None) -> None:
        """Schedule a group again, or all."""
        for group in self._groups if name is None else [name]:
            self._queue.add(("group", group))

    async def nudge_dependents(self, session_id: SessionId) -> None:
        """A session has ended: schedule the groups where something waited for it."""
        for group in await self._store.read(sessions.groups_of_dependents, session_id):
            self.nudge_group(group)

    # Start and stop

    async def start(self, intake: Intake) -> None:
        self._intake = intake
        await self._sweep()
        loops = [self._work() for _ in range(WORKERS)]
        loops += [self._every(self._sweep_s, self._sweep), self._every(FLUSH_S, self._watch_agents)]
        loops.append(self._every(self._renew_s, intake.renew_tokens))
        self._tasks = [asyncio.create_task(loop) for loop in loops]

    async def stop(self) -> None:
        self._queue.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # Loops

    async def _work(self) -> None:
        while True:
            key = await self._queue.take()
            try:
                await self._look_at(key)
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it was, the loop goes on and tries again
                self._report_failure(key, error)
                self._queue.retry(key)
            else:
                self._queue.done(key)

    async def _every(self, pause_s: float, look: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            await asyncio.sleep(pause_s)
            try:
                await look()
            except asyncio.CancelledError:
                raise
            except Exception:
                log.exception("%s failed; it is tried again in %g s", look.__name__, pause_s)

    def _report_failure(self, key: Key, error: Exception) -> None:
        if self._queue.failures(key) == 0:
            expected = isinstance(error, BaiError)
            log.warning("%s %s: %s; trying again", *key, error, exc_info=None if expected else error)

    async def _look_at(self, key: Key) -> None:
        kind, name = key
        if kind == "group":
            await self._schedule(name)
        else:
            await self._reconcile(SessionId(name))

    # A session

    async def _reconcile(self, session_id: SessionId) -> None:
        found = await self._store.read(sessions.load_many, [session_id])
        if not found:
            return
        session = found[0]
        agent_id = session.kernel.agent_id if session.kernel else None
        link = self._registry.link(agent_id) if agent_id is not None else None
        if session.is_final:
            self.waiting.pop(session_id, None)
        else:
            await self._settle(session, reachable=link is not None)
        if link is not None:
            await self._intake.send_wanted(link, [session_id])

    async def _settle(self, session: SessionRecord, *, reachable: bool) -> None:
        settled = await self._store.write(sessions.settle, session.id, self._now(), reachable=reachable)
        if settled is None:
            return
        log.info("session %s: %s -> %s (%s)", session.id, session.status, settled.status, settled.event)
        self._hub.publish(session.id, session.user_id)
        if settled.is_final:
            await self.nudge_dependents(session.id)

    # A group

    async def _schedule(self, group: str) -> None:
        state = await self._store.read(placements.load_group, group, now=self._now())
        if state is None:
            return
        for session_id in hopeless(state):
            self.nudge_session(session_id)
        if state.frozen is not None:
            self._tell_frozen(state, state.frozen)
        elif state.pending:
            now = self._now()
            if (starts_at := next_start(state, now)) is not None:
                self._queue.add_after(("group", group), (starts_at - now).total_seconds())
            snapshot = take_snapshot(state, self._conditions, now)
            plan = await asyncio.to_thread(schedule, snapshot, group_policy(state.group))
            await self._commit(plan)
            self.looked_at[group] = now
            self._tell_waiting(state, plan)

    async def _commit(self, plan: Plan) -> None:
        if plan.head is not None and plan.passes:
            await self._store.write(placements.add_passes, plan.head, plan.passes)
        for placement in plan.placements:
            await self._place(placement)

    async def _place(self, placement: Placement) -> None:
        session_id = placement.session_id
        owner = await self._store.write(
            placements.place,
            session_id,
            placement.agent_id,
            self._now(),
            allow_shared=self._conditions.allow_unsafe_runtime,
        )
        if owner is None:
            return  # something changed since the snapshot; the sweep, or what changed it, brings the next pass
        log.info("session %s: PENDING -> SCHEDULED (on %s)", session_id, placement.agent_id)
        self.waiting.pop(session_id, None)
        self._hub.publish(session_id, owner)
        self.nudge_session(session_id)

    def _tell_frozen(self, state: placements.GroupState, frozen: Reason) -> None:
        for index, session in enumerate(state.pending):
            waiting = Waiting(frozen, index + 1, len(state.pending), None)
            if self.waiting.get(session.id) != waiting:
                self.waiting[session.id] = waiting
                self._hub.publish(session.id, session.user_id)

    def _tell_waiting(self, state: placements.GroupState, plan: Plan) -> None:
        for session in state.pending:
            waiting = plan.waiting.get(session.id)
            if waiting is not None and self.waiting.get(session.id) != waiting:
                self.waiting[session.id] = waiting
                self._hub.publish(session.id, session.user_id)

    # Now and then

    async def _sweep(self) -> None:
        """Look at everything again, drop old logs, and correct counters should they ever be wrong."""
        self._groups = [group.name for group in await self._store.read(groups.list_groups)]
        live = await self._store.read(sessions.live_keys)
        for session_id in self.waiting.keys() - {session_id for session_id, _ in live}:
            del self.waiting[session_id]
        for session_id, _ in live:
            self.nudge_session(session_id)
        self.nudge_group(None)
        await self._store.write(sessions.drop_logs, self._now() - LOGS_KEPT)
        for wrong in await self._store.write(admission.recount):
            log.error("counter corrected: %s", wrong)

    async def _watch_agents(self) -> None:
        """Write when agents were heard, and tell of those that fell silent or came back."""
        heard = self._registry.take_unflushed()
        if heard:
            await self._store.write(agents.flush_heard, heard)
        known = await self._store.read(agents.list_agents)
        silent = {agent.id for agent in known if not self._registry.is_reachable(agent.id)}
        lost, back = silent - self._unreachable, self._unreachable - silent
        self._unreachable = set(silent)
        if lost:
            await self._store.write(agents.set_statuses, lost, AgentStatus.LOST)
        if back:
            await self._store.write(agents.set_statuses, back, AgentStatus.ALIVE)
        for session_id, user_id in await self._store.read(sessions.on_agents, lost | back):
            self._hub.publish(session_id, user_id)
