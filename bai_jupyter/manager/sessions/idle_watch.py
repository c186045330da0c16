"""The loop around ``idle``: look at every running session that something limits, warn its owner, suspend it, stop it.

Restartable at any point. What was seen is written down before anything follows from it; use (per cent since the last
look) begins anew with the process, which can only make a session live longer.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import fmean
from typing import Any

from bai_jupyter.common.errors import BadRequest, BaiError
from bai_jupyter.common.ids import KernelId, SessionId
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.manager.agents.registry import Registry
from bai_jupyter.manager.agents.traffic import COMMAND, Traffic
from bai_jupyter.manager.db import idle as db
from bai_jupyter.manager.db import sessions
from bai_jupyter.manager.db.idle import Watched
from bai_jupyter.manager.db.store import Store
from bai_jupyter.manager.sessions import idle
from bai_jupyter.manager.sessions.events import Hub
from bai_jupyter.manager.sessions.idle import Check, Decision, History, Seen

log = logging.getLogger(__name__)

CALL_TIMEOUT_S = 10.0
SAVED_SOON_S = 2.0  # so long others wait for a session's variables to be saved; then it is looked at again
EXECUTION = "a cell, or a job in a terminal"

Figures = Mapping[str, float]


@dataclass(frozen=True)
class Standing:
    """How a session stands, as of the last look."""

    decision: Decision
    seen: Seen

    @property
    def warning(self) -> Reason | None:
        return idle.warning(self.decision.pressing) if self.decision.pressing else None


class IdleWatch:
    """``standing`` is for whoever shows sessions. ``nudge`` is called for sessions that are to end."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        traffic: Traffic,
        hub: Hub,
        nudge: Callable[[SessionId], None],
        now: Callable[[], datetime],
        *,
        every_s: float,
        extension: timedelta,
        max_extensions: int,
        save: Callable[[SessionId], Coroutine[object, object, bool]] | None = None,
    ) -> None:
        self._store, self._registry, self._traffic, self._hub = store, registry, traffic, hub
        self._nudge, self._now, self._every_s = nudge, now, every_s
        self._extension, self._max_extensions = extension, max_extensions
        self._save = save
        self._saves: dict[SessionId, asyncio.Task[bool]] = {}  # of sessions that are due; whether anything was saved
        self._cpu: dict[KernelId, tuple[datetime, float]] = {}  # seconds used, as of the last look
        self._task: asyncio.Task[None] | None = None
        self.standing: dict[SessionId, Standing] = {}

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for saving in self._saves.values():
            saving.cancel()
        await asyncio.gather(*self._saves.values(), return_exceptions=True)

    def view(self, session_id: SessionId) -> dict[str, Any]:
        """``idle_checks`` of a session; empty if nothing limits it, or it was not looked at yet."""
        standing = self.standing.get(session_id)
        if standing is None:
            return {}
        shown = idle.view(standing.decision, standing.seen, self._now())
        left = max(0, self._max_extensions - standing.decision.history.extensions)
        for name in shown.keys() - {*idle.FIXED, idle.SUSPENSION}:
            shown[name]["extra"]["extensions_left"] = left
        return shown

    async def extend(self, session_id: SessionId) -> None:
        """Keep an idle session for a while. Raises ``BadRequest`` if it cannot be."""
        found = await self._store.read(db.list_watched, self._now(), session_id)
        history = found[0].history or self._first(found[0]) if found else None
        if not found or history is None:
            raise BadRequest(Reason.of("nothing-to-extend"))
        extended = idle.extend(history, found[0].limits, self._now(), self._extension, self._max_extensions)
        if isinstance(extended, Reason):
            raise BadRequest(extended)
        await self._store.write(db.write, {session_id: extended})
        seen = self.standing[session_id].seen if session_id in self.standing else Seen()
        self.standing[session_id] = Standing(idle.decide(extended, found[0].limits, self._now()), seen)
        self._hub.publish(session_id, found[0].user_id)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            try:
                await self.look()
            except asyncio.CancelledError:
                raise
            except Exception:
                log.exception("looking for idle sessions failed; it is tried again in %g s", self._every_s)

    async def look(self) -> None:
        """Look at all once."""
        watched = await self._store.read(db.list_watched, self._now())
        self._forget_others(watched)
        decided = {one.id: (one, self._decide(one)) for one in watched if self._registry.is_reachable(one.agent_id)}
        changed = {
            key: standing.decision.history
            for key, (one, standing) in decided.items()
            if standing is not None and standing.decision.history != one.history
        }
        if changed:
            await self._store.write(db.write, changed)
        for one, standing in decided.values():
            if standing is not None:
                await self._follow(one, standing)

    def _forget_others(self, watched: list[Watched]) -> None:
        ids = {one.id for one in watched}
        for gone in self.standing.keys() - ids:
            del self.standing[gone]
        for kernel in self._cpu.keys() - {kernel for one in watched for kernel in one.kernel_ids}:
            del self._cpu[kernel]
        for gone in [key for key, saving in self._saves.items() if key not in ids and saving.done()]:
            del self._saves[gone]
        self._traffic.keep(self._registry.kernel_ids())

    def _first(self, one: Watched) -> History:
        """Of a session that was not looked at before: as if it were used just now, whatever it did until then."""
        return History(one.started_at, self._now())

    def _decide(self, one: Watched) -> Standing | None:
        """None while its agent has told nothing of it."""
        figures = self._registry.stats(one.agent_id, one.kernel_id)
        if figures is None:
            return None
        seen = self._seen(one, figures, self._use(one))
        return self._judge(one, one.history or self._first(one), seen, figures)

    def _judge(self, one: Watched, history: History, seen: Seen, figures: Figures) -> Standing:
        # An agent that does not tell what runs leaves nothing to go by but the time, and what it holds.
        limits = one.limits if "executing" in figures else one.limits.fixed
        now = self._now()
        return Standing(idle.decide(idle.note(history, seen, limits, now), limits, now), seen)

    def _seen(self, one: Watched, figures: Figures, use: Mapping[str, float] | None) -> Seen:
        """``figures`` are of its main container. What people do goes there, and may start work in the others."""
        now = self._now()
        moments = [found] if (found := self._traffic.last(one.kernel_id)) else []
        others = [self._registry.stats(one.agent_id, key) or {} for key in one.kernel_ids if key != one.kernel_id]
        everywhere = [figures, *others]
        ran = [told["executed_ago_s"] for told in everywhere if "executed_ago_s" in told]
        moments.extend((now - timedelta(seconds=ago_s), EXECUTION) for ago_s in ran)
        active_at, what = max(moments) if moments else (None, "")
        running = EXECUTION if any(told.get("executing") for told in everywhere) else None
        if running is None and self._traffic.runs_command(one.kernel_id):
            running = COMMAND
        containers = len(one.kernel_ids)
        cores = (use or {}).get("cpu_util", 0.0) / 100 * float(one.slots["cpu"]) * containers
        return Seen(running, active_at, what, use, set(one.slots), cores, one.is_suspended, containers)

    def _use(self, one: Watched) -> dict[str, float] | None:
        """Per cent by metric since the last look, of all its containers on average; None if there was none."""
        told = {key: self._registry.stats(one.agent_id, key) for key in one.kernel_ids}
        uses = [self._use_of(key, one.slots, figures) for key, figures in told.items() if figures is not None]
        known = [use for use in uses if use is not None]
        if len(known) < len(one.kernel_ids):
            return None
        return {metric: fmean(use[metric] for use in known if metric in use) for metric in set().union(*known)}

    def _use_of(self, kernel: KernelId, slots: ResourceSlots, figures: Figures) -> dict[str, float] | None:
        now = self._now()
        before = self._cpu.get(kernel)
        cpu_s = figures.get("cpu_used_s", 0.0)
        self._cpu[kernel] = (now, cpu_s)
        if before is None:
            return None
        use = idle.use_of_devices(figures)
        passed_s = (now - before[0]).total_seconds()
        if passed_s > 0 and slots["cpu"] and "cpu_used_s" in figures:
            use["cpu_util"] = 100 * (cpu_s - before[1]) / passed_s / float(slots["cpu"])
        if slots["mem"] and "mem_used_bytes" in figures:
            use["mem"] = 100 * figures["mem_used_bytes"] / float(slots["mem"])
        return use

    async def _follow(self, one: Watched, standing: Standing) -> None:
        decision, before = standing.decision, self.standing.get(one.id)
        self.standing[one.id] = standing
        if decision.stop is None and one.id in self._saves and self._saves[one.id].done():
            del self._saves[one.id]  # it was used meanwhile: what it holds then is saved anew
        if decision.stop is not None:
            await self._stop(one)
        elif decision.is_news and decision.pressing is not None:
            reason = idle.warning(decision.pressing)
            log.info("session %s: %s", one.id, reason.text)
            await self._store.write(sessions.warn, one.id, reason, self._now())
            self._hub.publish(one.id, one.user_id)
        elif before is not None and before.warning is not None and standing.warning is None:
            self._hub.publish(one.id, one.user_id)  # it is used again: nothing is coming any more
        if decision.suspend is not None:
            await self._suspend(one, decision.suspend)

    async def _suspend(self, one: Watched, check: Check) -> None:
        """Freeze it. Where its agent refuses that, because something runs after all, say, it counts anew."""
        link = self._registry.link(one.agent_id)
        if link is None:
            return  # it is looked at again
        reason, quiet_since = idle.suspension_reason(check), None
        try:
            await link.call("suspend", {"kernel_id": one.kernel_id, "reason": reason.to_json()}, CALL_TIMEOUT_S)
            log.info("session %s: %s", one.id, reason.text)
        except BaiError as error:
            log.info("session %s was to be suspended, and is not: %s", one.id, error)
            quiet_since = self._now()
        # At once, so that a waking is not missed that comes before the next look.
        await self._store.write(db.set_quiet, one.id, quiet_since)

    async def _stop(self, one: Watched) -> None:
        """End it, unless its agent says another thing right now than a moment ago, or it was kept meanwhile."""
        if not await self._has_saved(one.id):
            return  # it is looked at again
        fresh = await self._ask(one)
        found = await self._store.read(db.list_watched, self._now(), one.id)
        if fresh is None or not found or found[0].history is None:
            return  # it is looked at again
        again = self._judge(found[0], found[0].history, self._seen(one, fresh, None), fresh)
        check = again.decision.stop
        if check is None:
            self.standing[one.id] = again
            await self._store.write(db.write, {one.id: again.decision.history})
            return
        reason = idle.end_reason(check, again.decision.history, one.id if self._is_saved(one.id) else None)
        log.info("session %s: %s", one.id, reason.text)
        await self._store.write(sessions.ask_end, one.id, reason, reason, self._now())
        self._hub.publish(one.id, one.user_id)
        self._nudge(one.id)

    async def _has_saved(self, session_id: SessionId) -> bool:
        """Begin to save a session's variables before it is stopped; True once that was done or tried."""
        if self._save is None:
            return True
        if session_id not in self._saves:
            self._saves[session_id] = asyncio.create_task(self._save(session_id))
        saving = self._saves[session_id]
        await asyncio.wait({saving}, timeout=SAVED_SOON_S)
        if not saving.done():
            return False
        if not saving.cancelled() and (error := saving.exception()) is not None:
            log.error("session %s is stopped without its variables", session_id, exc_info=error)
        return True

    def _is_saved(self, session_id: SessionId) -> bool:
        saving = self._saves.get(session_id)
        if saving is None or not saving.done() or saving.cancelled():
            return False
        return saving.exception() is None and saving.result()

    async def _ask(self, one: Watched) -> Figures | None:
        link = self._registry.link(one.agent_id)
        if link is None:
            return None
        try:
            return await link.call("figures", {"kernel_id": one.kernel_id}, CALL_TIMEOUT_S)
        except BaiError as error:
            log.warning("session %s is due, and %s does not say what it does now: %s", one.id, link.name, error)
            return None
