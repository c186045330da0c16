"""A request for a session: reading it, and checking it against what there is. Pure; refusals leave nothing behind."""

import difflib
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from bai_jupyter.common.errors import BadRequest, Forbidden, NotFound, QuotaExceeded
from bai_jupyter.common.ids import AgentId, UserId
from bai_jupyter.common.messages import MountWant
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import ResourceSlots, format_size, parse_size
from bai_jupyter.manager.db.admission import PolicyLimit, from_quanta, to_quanta
from bai_jupyter.manager.db.records import AgentRecord, GroupRecord, ImageRecord, PresetRecord, VFolderRecord
from bai_jupyter.manager.sessions.matching import has_image, has_volumes

HOME = "/home/work"
DEFAULT_SHM_BYTES = 64 * 1024**2
_NAME = re.compile(r"(?=.{4,64}\Z)\w[\w.-]*\w", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MIN_LABEL = "ai.backend.resource.min."


@dataclass(frozen=True)
class SessionRequest:
    """The body of ``POST /session``, read. ``slots`` and ``shm_bytes`` are what was given, zeros included."""

    name: str
    image: str
    group: str
    enqueue_only: bool
    max_wait_s: float
    reuse: bool
    slots: Mapping[str, Decimal]
    preset: str | None
    shm_bytes: int | None
    mounts: tuple[str, ...]
    mount_map: Mapping[str, str]
    environ: Mapping[str, str]


@dataclass(frozen=True)
class Offer:
    """What there is for one caller in one group. ``used`` is ``{scope: {slot: thousandths}}``."""

    groups: Sequence[GroupRecord]
    agents: Sequence[AgentRecord]
    images: Sequence[ImageRecord]
    presets: Sequence[PresetRecord]
    limits: Sequence[PolicyLimit]
    used: Mapping[str, Mapping[str, int]]
    vfolders: Sequence[VFolderRecord]
    occupants: dict[AgentId, set[UserId]]


@dataclass(frozen=True)
class Resolved:
    """A request that can be queued."""

    image: str
    image_digest: str
    architecture: str
    group: str
    slots: ResourceSlots
    shm_bytes: int
    mounts: tuple[MountWant, ...]


def read_request(body: Mapping[str, Any]) -> SessionRequest:
    """Raises ``BadRequest`` naming the field, what was given and what is expected."""
    config = _get(body, "config", Mapping, {})
    kind = _first(body, "type", "sessionType", "session_type") or "interactive"
    if kind != "interactive":
        raise bad_value("type", kind, "interactive")
    wait = _first(body, "maxWaitSeconds", "max_wait_seconds") or 0
    reuse = _first(body, "reuseIfExists", "reuse")
    options = _get(config, "resource_opts", Mapping, {})
    return SessionRequest(
        name=read_name(_first(body, "name", "session_name", "clientSessionToken")),
        image=_text("image", _first(body, "image", "lang")),
        group=_text("config.scalingGroup", _first(config, "scalingGroup", "scaling_group") or "default"),
        enqueue_only=bool(_first(body, "enqueueOnly", "enqueue_only")),
        max_wait_s=float(wait) if isinstance(wait, int | float) else _refuse("maxWaitSeconds", wait, "a number"),
        reuse=reuse is None or bool(reuse),
        slots=_slots(_get(config, "resources", Mapping, {})),
        preset=_optional_text("config.preset", config.get("preset")),
        shm_bytes=_size("config.resource_opts.shmem", options.get("shmem")),
        mounts=tuple(_text("config.mounts", one) for one in _get(config, "mounts", list, [])),
        mount_map=_texts("config.mount_map", _first(config, "mount_map", "mountMap")),
        environ=_environ(_texts("config.environ", config.get("environ"))),
    )


def read_name(value: object) -> str:
    """A session name: 4 to 64 letters, digits, dots, dashes and underscores, no dot or dash at the ends."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise bad_value("name", value, "4 to 64 letters, digits, dots, dashes or underscores")
    return value


def resolve(request: SessionRequest, offer: Offer, owner: UserId, *, allow_unsafe_runtime: bool) -> Resolved:
    """Check a request against the offer. Raises the ``PublicError`` that says what is wrong and what would do."""
    _check_group(request, offer)
    image = _find_image(request, offer)
    preset = _find_preset(request, offer)
    slots = _choose_slots(request, preset, offer)
    shm_bytes = _choose_shm(request, preset, image, slots)
    mounts = _choose_mounts(request, offer.vfolders)
    _check_image_minimum(image, slots)
    _check_limits(slots, offer)
    _check_agents(request.group, image, slots, mounts, offer)
    if not allow_unsafe_runtime:
        _check_isolation(image, offer, owner)
    return Resolved(image.name, image.digest, image.architecture, request.group, slots, shm_bytes, mounts)


def bad_value(field: str, given: object, expected: str) -> BadRequest:
    return BadRequest(Reason.of("bad-value", field=field, given=repr(given), expected=expected))


# Checks, in the order in which a person would want to hear of them


def _check_group(request: SessionRequest, offer: Offer) -> None:
    names = [group.name for group in offer.groups if group.is_active]
    if request.group not in names:
        raise NotFound(Reason.of("group-unknown", group=request.group, groups=", ".join(names) or "none"))


def _find_image(request: SessionRequest, offer: Offer) -> ImageRecord:
    for image in offer.images:
        if image.name == request.image:
            return image
    names = [image.name for image in offer.images]
    nearest = difflib.get_close_matches(request.image, names, n=3, cutoff=0.3) or names[:3]
    raise NotFound(Reason.of("image-unknown", image=request.image, names=", ".join(nearest) or "none yet"))


def _find_preset(request: SessionRequest, offer: Offer) -> PresetRecord | None:
    if request.preset is None:
        return None
    for preset in offer.presets:
        if preset.name == request.preset:
            return preset
    names = ", ".join(preset.name for preset in offer.presets) or "none"
    raise NotFound(Reason.of("preset-unknown", preset=request.preset, names=names))


def _choose_slots(request: SessionRequest, preset: PresetRecord | None, offer: Offer) -> ResourceSlots:
    """What was given, over the preset, or over the policy's default where none is named."""
    defaults = [limit.default_slots for limit in reversed(offer.limits) if limit.default_slots]
    base = preset.slots if preset else (defaults[0] if defaults else ResourceSlots())
    slots = ResourceSlots({**base, **request.slots})
    for name in ("cpu", "mem"):
        if slots[name] <= 0:
            raise bad_value(f"config.resources.{name}", "0", "more than 0")
    try:
        to_quanta(slots)
    except ValueError as error:
        raise bad_value("config.resources", str(error), "a sensible amount") from error
    return slots


def _choose_shm(request: SessionRequest, preset: PresetRecord | None, image: ImageRecord, slots: ResourceSlots) -> int:
    if request.shm_bytes is not None:
        shm_bytes = request.shm_bytes
    elif preset is not None and preset.shm_bytes is not None:
        shm_bytes = preset.shm_bytes
    else:
        preferred = image.labels.get("ai.backend.resource.preferred.shmem")
        shm_bytes = parse_size(preferred) if preferred else min(DEFAULT_SHM_BYTES, int(slots["mem"]) // 2)
    if shm_bytes >= slots["mem"]:
        raise BadRequest(Reason.of("shm-too-big", shm=format_size(shm_bytes), mem=format_size(slots["mem"])))
    return shm_bytes


def _choose_mounts(request: SessionRequest, vfolders: Sequence[VFolderRecord]) -> tuple[MountWant, ...]:
    """The folders asked for, and the owner's home and dot-folders, each at its place below ``/home/work``."""
    by_name = {vfolder.name: vfolder for vfolder in vfolders}
    always = [name for name in by_name if name == "home" or name.startswith(".")]
    mounts: dict[str, MountWant] = {}
    for name in dict.fromkeys((*always, *request.mounts, *request.mount_map)):
        if name not in by_name:
            raise NotFound(Reason.of("folder-denied", folder=name))
        target = f"{HOME}/{name}" if name in always else _target(request.mount_map.get(name, f"{HOME}/{name}"))
        clash = [other for other in mounts if _is_inside(target, other) or _is_inside(other, target)]
        if clash:
            raise BadRequest(Reason.of("mount-clash", path=target))
        vfolder = by_name[name]
        mounts[target] = MountWant(name, vfolder.volume, vfolder.subpath, target, vfolder.permission == "ro")
    return tuple(mounts.values())


def _target(path: str) -> str:
    clean = posixpath.normpath(posixpath.join(HOME, path))
    if not clean.startswith(f"{HOME}/") or ".." in path.split("/") or "\0" in path:
        raise bad_value("config.mount_map", path, f"a path below {HOME}")
    return clean


def _is_inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


def _check_image_minimum(image: ImageRecord, slots: ResourceSlots) -> None:
    raw = {label.removeprefix(_MIN_LABEL): v for label, v in image.labels.items() if label.startswith(_MIN_LABEL)}
    try:
        minimum = ResourceSlots.parse(raw)
    except ValueError:
        return  # a label that cannot be read binds nobody
    if not minimum.fits(slots):
        raise BadRequest(Reason.of("below-image-min", image=image.name, min=minimum.describe(), asked=slots.describe()))


def _check_limits(slots: ResourceSlots, offer: Offer) -> None:
    """Refuse what can never start; what only has to wait for other sessions is the scheduler's matter."""
    for limit in offer.limits:
        used = from_quanta(offer.used.get(limit.scope, {}))
        for slot in limit.slots:
            if slots[slot] > limit.slots[slot]:
                raise QuotaExceeded(_over_quota(limit, slot, used[slot], slots[slot]))
        if limit.max_sessions is not None and limit.max_sessions < 1:
            raise QuotaExceeded(
                Reason.of("over-sessions", level=limit.level, name=limit.policy, limit=limit.max_sessions, used=0)
            )


def _over_quota(limit: PolicyLimit, slot: str, used: Decimal, asked: Decimal) -> Reason:
    allowed = limit.slots[slot]

    def show(amount: Decimal) -> str:
        return format_size(amount) if slot == "mem" else format(amount.normalize(), "f")

    return Reason.of(
        "over-quota",
        level=limit.level,
        name=limit.policy,
        limit=show(allowed),
        slot=slot,
        used=show(used),
        asked=show(asked),
        excess=show(asked - allowed),
    )


def _check_agents(
    group: str, image: ImageRecord, slots: ResourceSlots, mounts: Sequence[MountWant], offer: Offer
) -> None:
    """Refuse what no agent of the group could run even if it were empty. A group without agents lets it wait."""
    if not offer.agents:
        return
    offered = sorted({slot for agent in offer.agents for slot in agent.slots})
    for slot in slots:
        if slot not in offered:
            raise BadRequest(Reason.of("slot-unknown", slot=slot, group=group, slots=", ".join(offered) or "nothing"))
    same = [agent for agent in offer.agents if agent.architecture == image.architecture]
    if not same:
        archs = ", ".join(sorted({agent.architecture for agent in offer.agents}))
        raise BadRequest(Reason.of("image-arch", image=image.name, arch=image.architecture, group=group, archs=archs))
    _check_volumes(group, mounts, same)
    able = [agent for agent in same if has_image(agent, image.name) and has_volumes(agent, mounts)]
    if able and not any(slots.fits(agent.slots) for agent in able):
        raise BadRequest(Reason.of("too-big", asked=slots.describe(), group=group, max=_largest(slots, able)))


def _check_volumes(group: str, mounts: Sequence[MountWant], agents: Sequence[AgentRecord]) -> None:
    for mount in mounts:
        if not any(has_volumes(agent, [mount]) for agent in agents):
            raise BadRequest(Reason.of("volume-missing", folder=mount.name, volume=mount.volume, group=group))


def _largest(slots: ResourceSlots, agents: Sequence[AgentRecord]) -> str:
    """The agent that comes nearest, described by the slots asked for."""

    def shortfall(agent: AgentRecord) -> Decimal:
        return max(slots[name] / (agent.slots[name] or Decimal("0.001")) for name in slots)

    nearest = min(agents, key=shortfall)
    return ResourceSlots({name: nearest.slots[name] for name in slots}).describe()


def _check_isolation(image: ImageRecord, offer: Offer, owner: UserId) -> None:
    """Agents that do not isolate serve one person at a time: refuse if only those could run it and they are taken."""
    able = [a for a in offer.agents if a.architecture == image.architecture and has_image(a, image.name)]
    if able and all(offer.occupants.get(agent.id, set()) - {owner} for agent in able):
        raise Forbidden(Reason.of("runtime-unsafe"))


# Reading JSON


def _get(body: Mapping[str, Any], name: str, kind: type, default: Any) -> Any:
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, kind):
        raise bad_value(name, value, "an object" if kind is Mapping else "a list")
    return value


def _first(body: Mapping[str, Any], *names: str) -> Any:
    """Clients of different ages spell it differently."""
    return next((body[name] for name in names if body.get(name) is not None), None)


def _text(field: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise bad_value(field, value, "a text")
    return value


def _optional_text(field: str, value: object) -> str | None:
    return None if value is None else _text(field, value)


def _texts(field: str, value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(one, str) for one in value.values()):
        raise bad_value(field, value, "an object of texts")
    return dict(value)


def _environ(variables: dict[str, str]) -> dict[str, str]:
    for name, value in variables.items():
        if not _VARIABLE.fullmatch(name) or "\0" in value:
            raise bad_value("config.environ", name, "letters, digits and underscores")
    return variables


def _slots(raw: Mapping[str, Any]) -> dict[str, Decimal]:
    """Amounts by slot; a zero stays, because it takes away what a preset would give."""
    try:
        return {name: ResourceSlots.parse({name: value})[name] for name, value in raw.items() if value is not None}
    except ValueError as error:
        raise bad_value("config.resources", str(error), "an amount such as 2 or 4g") from error


def _size(field: str, value: object) -> int | None:
    if value is None:
        return None
    try:
        return parse_size(value)  # type: ignore[arg-type]
    except ValueError as error:
        raise bad_value(field, value, "a size such as 64m") from error


def _refuse(field: str, given: object, expected: str) -> float:
    raise bad_value(field, given, expected)
