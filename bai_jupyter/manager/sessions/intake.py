"""What agents say, written down: the manager's side of ``agents.link.Intake``. It decides nothing about sessions."""

import logging
from collections.abc import Callable, Collection
from datetime import datetime

from sqlalchemy.engine import Connection

from bai_jupyter.common.ids import AgentId, SessionId
from bai_jupyter.common.messages import (
    PROTOCOL_VERSION,
    Forget,
    Heartbeat,
    Hello,
    ImagesFound,
    KernelReport,
    Message,
    Refused,
    Reply,
    Wanted,
    Welcome,
)
from bai_jupyter.common.reasons import Reason
from bai_jupyter.manager.agents.link import AgentLink
from bai_jupyter.manager.agents.registry import Registry
from bai_jupyter.manager.auth.session_tokens import SessionTokens
from bai_jupyter.manager.auth.vault import Vault, hash_token, new_token
from bai_jupyter.manager.db import agents, placements, sessions, user_config
from bai_jupyter.manager.db.placements import Observed
from bai_jupyter.manager.db.records import SessionRecord
from bai_jupyter.manager.db.store import Store
from bai_jupyter.manager.db.user_config import OwnerConfig
from bai_jupyter.manager.sessions.events import Hub
from bai_jupyter.manager.sessions.wants import kernel_wants

log = logging.getLogger(__name__)


class Intake:
    """Registers agents, writes their reports, and tells each what it should have.

    ``nudge_group`` is called when slots came free, or an agent to place on came.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        hub: Hub,
        vault: Vault,
        tokens: SessionTokens,
        nudge_group: Callable[[str | None], None],
        now: Callable[[], datetime],
    ) -> None:
        self._store, self._registry, self._hub, self._vault = store, registry, hub, vault
        self._tokens = tokens
        self._nudge_group, self._now = nudge_group, now

    async def welcome(self, hello: Hello, connect: Callable[[AgentId, str], AgentLink]) -> AgentLink | Refused:
        """Take an agent in: who it is, what it has, what it found; then say what it should have."""
        if hello.protocol != PROTOCOL_VERSION:
            return Refused(_version_skew(hello))
        agent_id, credential = await self._identify(hello)
        if agent_id is None:
            return Refused(Reason.of("agent-denied"))
        link = connect(agent_id, hello.name)
        previous = self._registry.attach(link)
        if previous is not None:
            log.warning("agent %s: a new link replaces the old one", hello.name)
            previous.close()
        await link.send(Welcome(agent_id, credential, self._registry.heartbeat_s))
        await self._settle(link, hello)
        link.is_ready = True
        await self.send_wanted(link, None)
        log.info("agent %s: linked, %d kernels, %d images", hello.name, len(hello.kernels), len(hello.images))
        self._nudge_group(None)
        return link

    async def hear(self, link: AgentLink, message: Message) -> None:
        if not self._registry.is_current(link):
            return  # it was replaced; what it still says is older than what the new one says
        match message:
            case Reply():
                link.resolve(message)
            case Heartbeat(stats, devices, engine_trouble):
                self._registry.hear(link.agent_id, stats, devices, engine_trouble)
            case KernelReport():
                self._registry.hear(link.agent_id)
                observed = await self._observe(link, message)
                await self._follow_up(link, [(message, observed)])
            case ImagesFound(images):
                self._registry.hear(link.agent_id)
                await self._store.write(agents.set_images, link.agent_id, images, self._now())
                self._nudge_group(None)
            case _:
                log.warning("agent %s: unexpected %s", link.name, type(message).__name__)

    def lost(self, link: AgentLink) -> None:
        if self._registry.is_current(link):
            log.warning("agent %s: link lost", link.name)
        self._registry.detach(link)

    async def send_wanted(self, link: AgentLink, session_ids: Collection[SessionId] | None) -> None:
        """Tell an agent what it should have: all, or only what concerns these sessions."""
        async with link.wants_lock:
            records, configs = await self._store.read(_load_wanted, link.agent_id, session_ids)
            if records or session_ids is None:
                wants = [
                    want
                    for record in records
                    for want in kernel_wants(record, self._vault, self._tokens, configs.get(record.id, OwnerConfig()))
                ]
                await link.send(Wanted(wants, complete=session_ids is None))

    async def renew_tokens(self) -> None:
        """Give each session that was granted access a fresh token, long before the one it has is over."""
        for agent_id, session_ids in (await self._store.read(sessions.with_manager_access)).items():
            link = self._registry.link(agent_id)
            if link is not None:
                await self.send_wanted(link, session_ids)

    async def _identify(self, hello: Hello) -> tuple[AgentId | None, str | None]:
        """The agent's id, and its credential if it has only now joined."""
        if hello.credential:
            agent_id = await self._store.write(agents.come_back, hello, hash_token(hello.credential), self._now())
            if agent_id is not None:
                return agent_id, None
        if not hello.join_token:
            return None, None
        credential = new_token()
        return (
            await self._store.write(
                agents.join, hello, hash_token(hello.join_token), hash_token(credential), self._now()
            ),
            credential,
        )

    async def _settle(self, link: AgentLink, hello: Hello) -> None:
        """Bring the records in line with what the agent found; what it found is the newest there is."""
        found = [report.kernel_id for report in hello.kernels]
        gone = await self._store.read(placements.gone_kernels, link.agent_id, found)
        settled = [(report, await self._observe(link, report, newest=True)) for report in (*hello.kernels, *gone)]
        await self._follow_up(link, settled)

    async def _observe(self, link: AgentLink, report: KernelReport, *, newest: bool = False) -> Observed:
        stats = self._registry.stats(link.agent_id, report.kernel_id)
        return await self._store.write(
            placements.observe, link.agent_id, report, self._now(), stats and dict(stats), newest=newest
        )

    async def _follow_up(self, link: AgentLink, settled: list[tuple[KernelReport, Observed]]) -> None:
        for report, observed in settled:
            if observed.summary:
                text = report.reason.text if report.reason else "no reason given"
                log.info("session %s: %s (%s: %s)", report.session_id, observed.summary, link.name, text)
            if observed.session_id is not None and observed.user_id is not None:
                self._hub.publish(observed.session_id, observed.user_id)
            for group in observed.groups:
                self._nudge_group(group)
        done = [report.kernel_id for report, observed in settled if observed.forget]
        if done:
            await link.send(Forget(done))
        if unlike := {observed.others_differ for _, observed in settled if observed.others_differ is not None}:
            await self.send_wanted(link, unlike)


def _load_wanted(
    conn: Connection, agent_id: AgentId, session_ids: Collection[SessionId] | None
) -> tuple[list[SessionRecord], dict[SessionId, OwnerConfig]]:
    records = placements.wanted(conn, agent_id, session_ids)
    return records, user_config.of_starting(conn, records)


def _version_skew(hello: Hello) -> Reason:
    older = "the agent" if hello.protocol < PROTOCOL_VERSION else "the manager"
    return Reason.of(
        "version-skew", part=f"Agent {hello.name}", theirs=hello.protocol, ours=PROTOCOL_VERSION, older=older
    )
