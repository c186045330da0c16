"""Which agents could run a session at all, whatever is free on them. Pure."""

from collections.abc import Collection, Iterable
from typing import Protocol

from bai_jupyter.common.ids import AgentId, UserId
from bai_jupyter.common.messages import MountWant
from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.manager.db.records import AgentRecord


class Placeable(Protocol):
    """What must be known of a session, or of one that is only asked about."""

    @property
    def image(self) -> str: ...
    @property
    def architecture(self) -> str: ...
    @property
    def slots(self) -> ResourceSlots: ...
    @property
    def mounts(self) -> tuple[MountWant, ...]: ...


def has_image(agent: AgentRecord, image: str) -> bool:
    """A container engine can pull what it lacks; the process runtime has what it has."""
    return image in agent.images or agent.runtime != "process"


def has_volumes(agent: AgentRecord, mounts: Iterable[MountWant]) -> bool:
    return all(mount.volume in agent.volumes for mount in mounts)


def could_run(agent: AgentRecord, session: Placeable) -> bool:
    """True if the agent, were it empty, could run the session."""
    return (
        agent.architecture == session.architecture
        and has_image(agent, session.image)
        and has_volumes(agent, session.mounts)
        and session.slots.fits(agent.slots)
    )


def excluded(
    session: Placeable, owner: UserId, agents: Collection[AgentRecord], occupants: dict[AgentId, set[UserId]]
) -> frozenset[AgentId]:
    """Agents where the session must not go although there may be room.

    ``occupants`` holds the owners of what is on each agent that does not isolate users; such an agent serves one
    person at a time. Architecture and room are the scheduler's own questions.
    """
    return frozenset(
        agent.id
        for agent in agents
        if not has_image(agent, session.image)
        or not has_volumes(agent, session.mounts)
        or occupants.get(agent.id, set()) - {owner}
    )
