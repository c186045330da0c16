"""Images made from running sessions. They are their owner's alone, and an admin can offer one to everybody."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy.engine import Connection

from bai_jupyter.common.environments import image_name
from bai_jupyter.common.errors import BadRequest, QuotaExceeded, Unavailable
from bai_jupyter.common.ids import AgentId, UserId
from bai_jupyter.common.messages import ImageFacts, from_json
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.statuses import SessionStatus
from bai_jupyter.manager.agents.link import AgentFault, AgentLink
from bai_jupyter.manager.agents.registry import Registry
from bai_jupyter.manager.auth.keypairs import Caller
from bai_jupyter.manager.background import BackgroundTasks, Progress
from bai_jupyter.manager.db import agents, catalog
from bai_jupyter.manager.db.records import SessionRecord
from bai_jupyter.manager.db.store import Store
from bai_jupyter.manager.sessions.service import SessionService

COMMIT_TIMEOUT_S = 1800.0
_NO_ENGINE = "process"
BASE_LABEL = "ai.backend.bai.base"
"""Of which image the session was."""


@dataclass(frozen=True)
class Commit:
    """An image that is being made, and the background task that makes it."""

    task_id: str
    image: str


class Commits:
    """``limit`` is how many such images a user may have. Those being made count."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        sessions: SessionService,
        tasks: BackgroundTasks,
        now: Callable[[], datetime],
        limit: int,
    ) -> None:
        self._store, self._registry, self._sessions, self._tasks = store, registry, sessions, tasks
        self._now, self._limit = now, limit
        self._begun: Counter[UserId] = Counter()

    async def start(self, caller: Caller, ref: str, name: str | None = None) -> Commit:
        """Begin to make an image of what a session's container has become; mounted folders are not part of it.

        ``name`` is what it is called within its owner's; by default as the session.
        """
        session = await self._sessions.get(caller, ref)
        if session.status is not SessionStatus.RUNNING or session.kernel is None:
            raise BadRequest(Reason.of("not-running", name=session.name, status=session.status.value))
        if session.kernel.runtime == _NO_ENGINE:
            raise BadRequest(Reason.of("not-committable", agent=session.kernel.agent_name))
        link = self._registry.link(session.kernel.agent_id)
        if link is None:
            raise Unavailable(f"The agent of session {session.name} is not connected just now. Try again.")
        user_id = session.user_id
        used = len(await self._store.read(catalog.images_of, user_id)) + self._begun[user_id]
        if used >= self._limit:
            raise QuotaExceeded(Reason.of("too-many-images", used=used, limit=self._limit))
        image = image_name(caller.user_name, session.user_id, name or session.name, self._now())
        self._begun[user_id] += 1

        async def work(progress: Progress) -> str:
            try:
                await progress(0, 1, f"Making image {image}.")
                return await self._make(link, session, image)
            finally:
                self._begun[user_id] -= 1

        return Commit(await self._tasks.start(caller.user_id, "commit", work), image)

    async def _make(self, link: AgentLink, session: SessionRecord, image: str) -> str:
        assert session.kernel is not None
        params = {"kernel_id": session.kernel.id, "name": image}
        try:
            facts = from_json(ImageFacts, await link.call("commit", params, COMMIT_TIMEOUT_S))
        except AgentFault as error:
            raise BadRequest(error.reason) from error
        facts = replace(facts, labels={**facts.labels, BASE_LABEL: session.image})
        await self._store.write(_keep, facts, link.agent_id, session.user_id, self._now())
        return f"Image {image} is ready."


def _keep(conn: Connection, image: ImageFacts, agent_id: AgentId, user_id: UserId, now: datetime) -> None:
    agents.put_image(conn, image, now, user_id)
    agents.add_agent_image(conn, agent_id, image)
