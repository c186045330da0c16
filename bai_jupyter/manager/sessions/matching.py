"""Which agents could run a session at all, whatever is free on them. Pure."""

import re
from collections.abc import Collection, Iterable, Mapping
from operator import eq, ge, gt, le, lt, ne
from typing import Protocol

from bai_jupyter.common.ids import AgentId, UserId
from bai_jupyter.common.messages import ENVIRON_LABEL, MountWant
from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.manager.db.records import AgentRecord

_REQUIRE, _VERSION = f"{ENVIRON_LABEL}NVIDIA_REQUIRE_CUDA", f"{ENVIRON_LABEL}CUDA_VERSION"
_CONSTRAINT = re.compile(r"(cuda|driver)(>=|<=|!=|=|<|>)(\d+(?:\.\d+)*)")
_COMPARE = {">=": ge, "<=": le, "!=": ne, "=": eq, "<": lt, ">": gt}


class Placeable(Protocol):
    """What must be known of a session, or of one that is only asked about."""

    @property
    def image(self) -> str: ...
    @property
    def architecture(self) -> str: ...
    @property
    def slots(self) -> ResourceSlots: ...
    @property
    def cluster_size(self) -> int: ...
    @property
    def mounts(self) -> tuple[MountWant, ...]: ...


def has_image(agent: AgentRecord, image: str) -> bool:
    """A container engine can pull what it lacks; the process runtime has what it has."""
    return image in agent.images or agent.runtime != "process"


def has_networks(agent: AgentRecord, cluster_size: int) -> bool:
    """Containers find one another by name in a network of their own; without containers there is none."""
    return cluster_size == 1 or agent.runtime != "process"


def has_volumes(agent: AgentRecord, mounts: Iterable[MountWant]) -> bool:
    return all(mount.volume in agent.volumes for mount in mounts)


def has_cuda(agent: AgentRecord, slots: ResourceSlots, labels: Mapping[str, str]) -> bool:
    """False if the image needs a newer CUDA than the agent's driver has. ``labels`` are the image's.

    What NVIDIA's images say in ``NVIDIA_REQUIRE_CUDA`` decides: alternatives with blanks between them, conditions with
    commas. Conditions on anything but versions are taken as met. An image that only names its ``CUDA_VERSION`` runs on
    every driver of that major version. Sessions without a GPU, and drivers that do not tell, are not asked.
    """
    found = [device.attributes for device in agent.devices if "cuda_version" in device.attributes]
    if not found or not any(slot.startswith("cuda.") for slot in slots):
        return True
    has = {
        "cuda": min(_version(one["cuda_version"]) for one in found),
        "driver": min(_version(one.get("driver_version", "0")) for one in found),
    }
    alternatives = labels.get(_REQUIRE, "").split()
    if alternatives:
        return any(_is_met(one, has) for one in alternatives)
    return _version(labels.get(_VERSION, "0"))[0] <= has["cuda"][0]


def cuda_needed(labels: Mapping[str, str]) -> str:
    """What an image says it needs, for people: ``12.4``."""
    constraints = _CONSTRAINT.findall(labels.get(_REQUIRE, ""))
    return next((value for key, _, value in constraints if key == "cuda"), labels.get(_VERSION, "unknown"))


def cuda_offered(agents: Iterable[AgentRecord]) -> str:
    """The newest CUDA that a driver of these agents has, for people."""
    found = {device.attributes.get("cuda_version", "") for agent in agents for device in agent.devices} - {""}
    return max(found, key=_version, default="none")


def _is_met(alternative: str, has: Mapping[str, tuple[int, ...]]) -> bool:
    constraints = (_CONSTRAINT.fullmatch(one) for one in alternative.split(","))
    return all(_compare(has[one[1]], one[2], _version(one[3])) for one in constraints if one)


def _compare(has: tuple[int, ...], sign: str, wanted: tuple[int, ...]) -> bool:
    """``driver<551`` means the major version: only as many figures count as were written."""
    return bool(_COMPARE[sign](has[: len(wanted)], wanted))


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)) or (0,)


def could_run(agent: AgentRecord, session: Placeable, labels: Mapping[str, str]) -> bool:
    """True if the agent, were it empty, could run the session. ``labels`` are its image's."""
    return (
        agent.architecture == session.architecture
        and has_image(agent, session.image)
        and has_volumes(agent, session.mounts)
        and has_cuda(agent, session.slots, labels)
        and has_networks(agent, session.cluster_size)
        and (session.slots * session.cluster_size).fits(agent.slots)
    )


def excluded(
    session: Placeable,
    owner: UserId,
    agents: Collection[AgentRecord],
    occupants: dict[AgentId, set[UserId]],
    labels: Mapping[str, str],
) -> frozenset[AgentId]:
    """Agents where the session must not go although there may be room.

    ``occupants`` holds the owners of what is on each agent that does not isolate users; such an agent serves one
    person at a time; ``labels`` are of the session's image. Architecture and room are the scheduler's own questions.
    """
    return frozenset(
        agent.id
        for agent in agents
        if not has_image(agent, session.image)
        or not has_volumes(agent, session.mounts)
        or not has_cuda(agent, session.slots, labels)
        or not has_networks(agent, session.cluster_size)
        or occupants.get(agent.id, set()) - {owner}
    )
