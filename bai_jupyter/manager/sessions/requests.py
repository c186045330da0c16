"""A request for a session: reading it, and checking it against what there is. Pure; refusals leave nothing behind."""

import difflib
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from bai_jupyter.common.errors import BadRequest, Forbidden, Frozen, NotFound, QuotaExceeded
from bai_jupyter.common.ids import AgentId, UserId
from bai_jupyter.common.messages import MountWant, folder_at, is_door_name
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import ResourceSlots, format_size, parse_size, read_number, rounded_up
from bai_jupyter.common.statuses import SessionType
from bai_jupyter.manager.auth.session_tokens import Scope
from bai_jupyter.manager.db.admission import PolicyLimit, from_quanta, over_quota, to_quanta
from bai_jupyter.manager.db.records import (
    AgentRecord,
    GroupRecord,
    ImageRecord,
    PresetRecord,
    SessionRecord,
    VFolderRecord,
)
from bai_jupyter.manager.sessions.clusters import SINGLE_NODE
from bai_jupyter.manager.sessions.matching import (
    cuda_needed,
    cuda_offered,
    has_cuda,
    has_image,
    has_networks,
    has_volumes,
)
from bai_jupyter.manager.sessions.ports import HIGHEST_PORT, LOWEST_PORT
from bai_jupyter.manager.sessions.routes import EXPECTED as EXPECTED_ROUTE
from bai_jupyter.manager.sessions.routes import Route, read_route
from bai_jupyter.public_web import check_url

HOME = "/home/work"
_PLACE_OF_HOME = f"{HOME}/home"  # where variables are saved, and loaded from: nobody else writes there
DEFAULT_SHM_BYTES = 64 * 1024**2
MOST_CONTAINERS = 64  # of one session
RESIZABLE = ("cpu", "mem")
LEAST_MEM_BYTES = 6 * 1024**2  # what container engines want at least
_NAME = re.compile(r"(?=.{4,64}\Z)\w[\w.-]*\w", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FROM_NOW = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)\s*([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_MOST_DEPENDENCIES = 100
_LONGEST_WAIT_S = 7 * 86400
_LONGEST_TAG = 64
_MAX_PREOPEN = 20
_MIN_LABEL = "ai.backend.resource.min."


@dataclass(frozen=True)
class SessionRequest:
    """The body of ``POST /session``, read. ``slots`` and ``shm_bytes`` are what was given, zeros included."""

    name: str
    image: str
    project: str | None
    group: str
    enqueue_only: bool
    max_wait_s: float
    reuse: bool
    slots: Mapping[str, Decimal]
    preset: str | None
    shm_bytes: int | None
    mounts: tuple[str, ...]
    mount_map: Mapping[str, str]
    mount_permissions: Mapping[str, str]
    environ: Mapping[str, str]
    manager_access: Scope | None
    kind: SessionType = SessionType.INTERACTIVE
    command: str | None = None
    bootstrap: str | None = None
    tag: str | None = None
    starts_at: datetime | timedelta | None = None
    dependencies: tuple[str, ...] = ()
    callback_url: str | None = None
    preopen_ports: tuple[int, ...] = ()
    route: Route | None = None
    doors: tuple[str, ...] = ()
    resource_opts: Mapping[str, str] = field(default_factory=dict)
    cluster_size: int = 1


@dataclass(frozen=True)
class Offer:
    """What there is for one caller in one group; ``groups`` are all that they may use.

    ``used`` is ``{scope: {slot: thousandths}}``; ``frozen`` says why nobody may start anything.
    """

    groups: Sequence[GroupRecord]
    agents: Sequence[AgentRecord]
    images: Sequence[ImageRecord]
    presets: Sequence[PresetRecord]
    limits: Sequence[PolicyLimit]
    used: Mapping[str, Mapping[str, int]]
    vfolders: Sequence[VFolderRecord]
    occupants: dict[AgentId, set[UserId]]
    frozen: Reason | None


@dataclass(frozen=True)
class Resolved:
    """A request that can be queued."""

    image: str
    image_digest: str
    architecture: str
    group: str
    slots: ResourceSlots  # of each container
    cluster_size: int
    shm_bytes: int
    mounts: tuple[MountWant, ...]


def read_request(body: Mapping[str, Any]) -> SessionRequest:
    """Raises ``BadRequest`` naming the field, what was given and what is expected."""
    config = _get(body, "config", Mapping, {})
    kind = _kind(_first(body, "type", "sessionType", "session_type"))
    if agents := _first(config, "agentList", "agent_list"):
        raise bad_value("config.agentList", agents, "empty; the scheduler chooses the agent")
    wait = _first(body, "maxWaitSeconds", "max_wait_seconds") or 0
    reuse = _first(body, "reuseIfExists", "reuse")
    options = _get(config, "resource_opts", Mapping, {})
    mounts, aliases = _mounts(_get(config, "mounts", list, []))
    return SessionRequest(
        name=read_name(_first(body, "name", "session_name", "clientSessionToken")),
        image=_text("image", _first(body, "image", "lang")),
        project=optional_text("group", _first(body, "group", "groupName", "group_name")),
        group=_text("config.scalingGroup", _first(config, "scalingGroup", "scaling_group") or "default"),
        enqueue_only=bool(_first(body, "enqueueOnly", "enqueue_only")),
        max_wait_s=_wait(wait),
        reuse=reuse is None or bool(reuse),
        slots=_slots(_get(config, "resources", Mapping, {})),
        preset=optional_text("config.preset", config.get("preset")),
        shm_bytes=_size("config.resource_opts.shmem", options.get("shmem")),
        mounts=mounts,
        mount_map={**aliases, **_texts("config.mount_map", _first(config, "mount_map", "mountMap"))},
        mount_permissions=_mount_permissions(_first(config, "mount_options", "mountOptions") or {}),
        environ=_environ(_texts("config.environ", config.get("environ"))),
        manager_access=_scope(config.get("manager_access")),
        kind=kind,
        command=_command(kind, _first(body, "startupCommand", "startup_command")),
        bootstrap=optional_text("bootstrap_script", _first(body, "bootstrap_script", "bootstrapScript") or None),
        tag=_short_text("tag", body.get("tag")),
        starts_at=read_moment("starts_at", _first(body, "starts_at", "startsAt")),
        dependencies=_dependencies(_get(body, "dependencies", list, [])),
        callback_url=_callback(_first(body, "callback_url", "callbackUrl", "callbackURL")),
        preopen_ports=_ports(_first(config, "preopen_ports", "preopenPorts")),
        route=_route(config.get("route")),
        doors=_doors(_get(config, "doors", list, [])),
        resource_opts={name: _plain(f"config.resource_opts.{name}", value) for name, value in options.items()},
        cluster_size=_cluster_size(body, config),
    )


def read_name(value: object) -> str:
    """A session name: 4 to 64 letters, digits, dots, dashes and underscores, no dot or dash at the ends."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise bad_value("name", value, "4 to 64 letters, digits, dots, dashes or underscores")
    return value


def resolve(request: SessionRequest, offer: Offer, owner: UserId, *, allow_unsafe_runtime: bool) -> Resolved:
    """Check a request against the offer. Raises the ``PublicError`` that says what is wrong and what would do."""
    if offer.frozen is not None:
        raise Frozen(offer.frozen)
    _check_group(request, offer)
    image = _find_image(request, offer)
    preset = _find_preset(request, offer)
    slots = _choose_slots(request, preset, offer)
    shm_bytes = _choose_shm(request, preset, image, slots)
    mounts = _choose_mounts(request, offer.vfolders, owner)
    _check_image_minimum(image, slots)
    size = request.cluster_size
    _check_limits(slots, size, offer)
    _check_agents(request.group, image, slots, size, mounts, offer)
    if not allow_unsafe_runtime:
        _check_isolation(image, offer, owner)
    return Resolved(image.name, image.digest, image.architecture, request.group, slots, size, shm_bytes, mounts)


def bad_value(field: str, given: object, expected: str) -> BadRequest:
    return BadRequest(Reason.of("bad-value", field=field, given=repr(given), expected=expected))


# Checks, in the order in which a person would want to hear of them


def _check_group(request: SessionRequest, offer: Offer) -> None:
    groups = {group.name: group for group in offer.groups}
    if request.group not in groups:
        raise NotFound(Reason.of("group-unknown", group=request.group, groups=", ".join(groups) or "none"))
    if request.kind not in groups[request.group].allowed_session_types:
        allowed = ", ".join(groups[request.group].allowed_session_types) or "no"
        raise Forbidden(Reason.of("session-type", group=request.group, type=request.kind, types=allowed))


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
    """What was given, over the preset, or over the policy's default where none is named; in steps that agents give."""
    defaults = [limit.default_slots for limit in reversed(offer.limits) if limit.default_slots]
    base = preset.slots if preset else (defaults[0] if defaults else ResourceSlots())
    asked = ResourceSlots({**base, **request.slots})
    for name in ("cpu", "mem"):
        if asked[name] <= 0:
            raise bad_value(f"config.resources.{name}", "0", "more than 0")
    try:
        to_quanta(asked)
    except ValueError as error:
        raise bad_value("config.resources", str(error), "a sensible amount") from error
    _check_parts(asked)
    return ResourceSlots({name: rounded_up(name, amount) for name, amount in asked.items()})


def _check_parts(slots: ResourceSlots) -> None:
    """A session takes devices of one kind whole or in parts: its programs are told one size of each."""
    for kind in (slot.removesuffix(".shares") for slot in slots if slot.endswith(".shares")):
        same = ResourceSlots({slot: amount for slot, amount in slots.items() if slot.startswith(f"{kind}.")})
        if len(same) > 1:
            raise BadRequest(Reason.of("parts-and-whole", asked=same.describe()))


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


def _choose_mounts(request: SessionRequest, vfolders: Sequence[VFolderRecord], owner: UserId) -> tuple[MountWant, ...]:
    """The folders asked for, and the owner's home and dot-folders, each at its place below ``/home/work``."""
    always = [one for one in vfolders if one.user_id == owner and (one.name == "home" or one.name.startswith("."))]
    asked = [_find_folder(ref, vfolders) for ref in (*request.mounts, *request.mount_map)]
    paths = {_find_folder(ref, vfolders).id: path for ref, path in request.mount_map.items()}
    wishes = {_find_folder(ref, vfolders).id: wish for ref, wish in request.mount_permissions.items()}
    mounts: dict[str, MountWant] = {}
    for folder in {one.id: one for one in (*always, *asked)}.values():
        usual = f"{HOME}/{folder.name}"
        target = usual if folder in always else _target(paths.get(folder.id, usual), folder, owner)
        if any(_is_inside(target, other) or _is_inside(other, target) for other in mounts):
            raise BadRequest(Reason.of("mount-clash", path=target))
        read_only = _is_read_only(folder, wishes.get(folder.id))
        mounts[target] = MountWant(folder.name, folder.volume, folder.subpath, target, read_only)
    return tuple(mounts.values())


def _find_folder(ref: str, vfolders: Sequence[VFolderRecord]) -> VFolderRecord:
    """By id, with dashes or without, or by name: own before shared before the project's."""
    for folder in vfolders:
        if ref in (folder.id, folder.id.replace("-", "")):
            return folder
    for folder in vfolders:
        if folder.name == ref:
            return folder
    raise NotFound(Reason.of("folder-denied", folder=ref))


def _is_read_only(folder: VFolderRecord, wish: str | None) -> bool:
    if wish in ("rw", "wd") and folder.access == "ro":
        raise Forbidden(Reason.of("folder-ro", folder=folder.name, owner=folder.user_name or folder.project_name))
    return (wish or folder.access) == "ro"


def _target(path: str, folder: VFolderRecord, owner: UserId) -> str:
    clean = posixpath.normpath(posixpath.join(HOME, path))
    if not clean.startswith(f"{HOME}/") or ".." in path.split("/") or "\0" in path:
        raise bad_value("config.mount_map", path, f"a path below {HOME}")
    if _is_inside(clean, _PLACE_OF_HOME) and (folder.user_id, folder.name) != (owner, "home"):
        raise bad_value("config.mount_map", path, "another path: there is the place of your home folder")
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


def read_attach(
    body: Mapping[str, Any], session: SessionRecord, vfolders: Sequence[VFolderRecord]
) -> tuple[VFolderRecord, MountWant]:
    """``{"folder": "data", "path": "d"?, "permission": "ro"?}``: which folder, and how. Raises ``PublicError``."""
    folder = _find_folder(_text("folder", body.get("folder")), vfolders)
    for one in session.mounts:
        if (one.volume, one.subpath) == (folder.volume, folder.subpath):
            there = {"folder": folder.name, "session": session.name, "path": one.target}
            raise BadRequest(Reason.of("folder-attached", **there))
    target = _target(optional_text("path", body.get("path")) or folder.name, folder, session.user_id)
    if any(_is_inside(target, one.target) or _is_inside(one.target, target) for one in session.mounts):
        raise BadRequest(Reason.of("mount-clash", path=target))
    wish = optional_text("permission", body.get("permission"))
    if wish not in (None, "ro", "rw", "wd"):
        raise bad_value("permission", wish, "ro or rw")
    return folder, MountWant(folder.name, folder.volume, folder.subpath, target, _is_read_only(folder, wish))


def read_detach(body: Mapping[str, Any], session: SessionRecord) -> tuple[MountWant, bool]:
    """``{"folder": name, id or path, "force": false}``: which mount, and whether also if it is in use."""
    ref = _text("folder", body.get("folder"))
    is_forced = body.get("force", False)
    if not isinstance(is_forced, bool):
        raise bad_value("force", is_forced, "true or false")
    for one in session.mounts:
        vfolder_id = folder_at(one.subpath) or one.name
        if ref in (one.name, one.target, vfolder_id, vfolder_id.replace("-", "")):
            return one, is_forced
    names = ", ".join(one.name for one in session.mounts) or "none"
    raise NotFound(Reason.of("not-attached", folder=ref, session=session.name, names=names))


def read_resize(body: Mapping[str, Any], session: SessionRecord, image: ImageRecord | None) -> ResourceSlots:
    """Which slots ``{"resources": {"cpu": "2", "mem": "4g"}}`` changes, and to what. Raises ``BadRequest``.

    Only CPU and memory: devices are given to a container when it is made.
    """
    asked = body.get("resources")
    if not isinstance(asked, Mapping) or not asked:
        raise bad_value("resources", asked, 'amounts by slot, such as {"cpu": "2", "mem": "4g"}')
    for slot in asked:
        if slot not in RESIZABLE:
            raise BadRequest(Reason.of("resize-what", slot=slot))
    try:
        changes = ResourceSlots.parse(asked)
        to_quanta(changes)
    except ValueError as error:
        raise BadRequest(str(error)) from error
    for slot in asked:
        if changes[slot] <= 0 or (slot == "mem" and changes[slot] < LEAST_MEM_BYTES):
            raise bad_value(f"resources.{slot}", asked[slot], "enough to go on with")
    slots = ResourceSlots({**session.slots, **changes})
    if session.shm_bytes >= slots["mem"]:
        raise BadRequest(Reason.of("shm-too-big", shm=format_size(session.shm_bytes), mem=format_size(slots["mem"])))
    if image is not None:
        _check_image_minimum(image, slots)
    return changes


def check_in_use(session: SessionRecord, changes: ResourceSlots, figures: Mapping[str, float] | None) -> None:
    """Refuse to take memory away that is in use. The agent looks again before it does."""
    used = Decimal(int((figures or {}).get("mem_used_bytes", 0)))
    if "mem" in changes and changes["mem"] < min(used, session.slots["mem"]):
        raise BadRequest(Reason.of("resize-in-use", used=format_size(used), asked=format_size(changes["mem"])))


def _check_limits(slots: ResourceSlots, cluster_size: int, offer: Offer) -> None:
    """Refuse what can never start; what only has to wait for other sessions is the scheduler's matter."""
    asked = slots * cluster_size
    for limit in offer.limits:
        if limit.max_containers is not None and cluster_size > limit.max_containers:
            figures = {"limit": limit.max_containers, "asked": cluster_size}
            raise QuotaExceeded(Reason.of("over-containers", level=limit.level, name=limit.name, **figures))
        used = from_quanta(offer.used.get(limit.scope, {}))
        for slot in limit.slots:
            if asked[slot] > limit.slots[slot]:
                excess = asked[slot] - limit.slots[slot]
                raise QuotaExceeded(over_quota(limit, slot, used[slot], asked[slot], excess))
        if limit.max_sessions is not None and limit.max_sessions < 1:
            raise QuotaExceeded(
                Reason.of("over-sessions", level=limit.level, name=limit.name, limit=limit.max_sessions, used=0)
            )


def _check_agents(
    group: str,
    image: ImageRecord,
    slots: ResourceSlots,
    cluster_size: int,
    mounts: Sequence[MountWant],
    offer: Offer,
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
    if not any(has_cuda(agent, slots, image.labels) for agent in same):
        needs, has = cuda_needed(image.labels), cuda_offered(same)
        raise BadRequest(Reason.of("image-cuda", image=image.name, needs=needs, group=group, has=has))
    able = [agent for agent in same if has_image(agent, image.name) and has_volumes(agent, mounts)]
    if able and not any(has_networks(agent, cluster_size) for agent in able):
        raise BadRequest(Reason.of("cluster-runtime", asked=cluster_size, group=group))
    able = [agent for agent in able if has_networks(agent, cluster_size)]
    if able and not any((slots * cluster_size).fits(agent.slots) for agent in able):
        largest, asked = _largest(slots * cluster_size, able), _asked(slots, cluster_size)
        raise BadRequest(Reason.of("too-big", asked=asked, group=group, max=largest))


def _asked(slots: ResourceSlots, cluster_size: int) -> str:
    each = slots.describe()
    return each if cluster_size == 1 else f"{cluster_size} times {each} on one agent"


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


def optional_text(field: str, value: object) -> str | None:
    return None if value is None else _text(field, value)


def _texts(field: str, value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(one, str) for one in value.values()):
        raise bad_value(field, value, "an object of texts")
    return dict(value)


def _mounts(given: list[object]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Folders to mount; old clients write ``folder:path``."""
    parts = [_text("config.mounts", one).partition(":") for one in given]
    return tuple(ref for ref, _, _ in parts), {ref: path for ref, _, path in parts if path}


def _mount_permissions(given: object) -> dict[str, str]:
    """``{folder: {"permission": "ro" or "rw"}}`` as ``{folder: permission}``."""
    if not isinstance(given, Mapping) or not all(isinstance(one, Mapping) for one in given.values()):
        raise bad_value("config.mount_options", given, "an object of objects")
    wishes = {ref: options["permission"] for ref, options in given.items() if options.get("permission") is not None}
    for wish in wishes.values():
        if wish not in ("ro", "rw", "wd"):
            raise bad_value("config.mount_options", wish, "ro, rw or wd")
    return wishes


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


def _kind(value: object) -> SessionType:
    if value is None:
        return SessionType.INTERACTIVE
    if value not in list(SessionType):
        raise bad_value("type", value, " or ".join(SessionType))
    return SessionType(str(value))


def _command(kind: SessionType, value: object) -> str | None:
    if kind is SessionType.BATCH:
        return _text("startupCommand", value)
    if value:
        raise bad_value("startupCommand", value, "for an interactive session; only batch sessions have one")
    return None


def _cluster_size(body: Mapping[str, Any], config: Mapping[str, Any]) -> int:
    """How many containers. The newest clients say it beside ``config``, older ones within."""
    mode = _first(body, "clusterMode", "cluster_mode") or SINGLE_NODE
    names = ("clusterSize", "cluster_size")
    value = next((one for one in (_first(body, *names), _first(config, *names)) if one is not None), 1)
    size = int(value) if re.fullmatch(r"[0-9]{1,3}", str(value)) else 0
    if not 1 <= size <= MOST_CONTAINERS:
        raise bad_value("clusterSize", value, f"a number from 1 to {MOST_CONTAINERS}")
    if size > 1 and mode != SINGLE_NODE:
        raise BadRequest(Reason.of("cluster-mode", mode=mode))
    return size


def read_moment(field: str, value: object) -> datetime | timedelta | None:
    """``2026-01-01T12:00:00+09:00`` (no zone: UTC), or from now: ``20s``, ``5m``, ``1h``, ``2d``."""
    if value is None or value == "":
        return None
    text = str(value).strip()
    try:
        if found := _FROM_NOW.fullmatch(text):
            return timedelta(seconds=float(found[1]) * _SECONDS[found[2]])
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise bad_value(field, value, "a moment such as 2026-01-31T12:00:00Z or 20m") from error


def _dependencies(values: Sequence[object]) -> tuple[str, ...]:
    if len(values) > _MOST_DEPENDENCIES:
        raise bad_value("dependencies", len(values), f"at most {_MOST_DEPENDENCIES} sessions")
    return tuple(_text("dependencies", one) for one in values)


def _callback(value: object) -> str | None:
    if value is None or value == "":
        return None
    text = _text("callback_url", value)
    try:
        check_url(text)
    except ValueError as error:
        raise bad_value("callback_url", str(error), "an http or https address that others can reach") from error
    return text


def _short_text(field: str, value: object) -> str | None:
    if value is None or value == "":
        return None
    text = _text(field, value)
    if len(text) > _LONGEST_TAG:
        raise bad_value(field, f"{len(text)} characters", f"at most {_LONGEST_TAG} characters")
    return text


def _plain(field: str, value: object) -> str:
    if not isinstance(value, str | int | float):
        raise bad_value(field, value, "a text or a number")
    return str(value)


def _scope(value: object) -> Scope | None:
    if value is None:
        return None
    if value not in list(Scope):
        raise bad_value("config.manager_access", value, " or ".join(Scope))
    return Scope(str(value))


def _ports(value: object) -> tuple[int, ...]:
    """Clients send them as numbers or as texts."""
    given = value or []
    expected = f"at most {_MAX_PREOPEN} different ports from {LOWEST_PORT} to {HIGHEST_PORT}"
    if not isinstance(given, list):
        raise bad_value("config.preopen_ports", value, expected)
    ports = tuple(read_number(str(port)) or 0 for port in given)
    if len(set(ports)) < len(ports) or len(ports) > _MAX_PREOPEN:
        raise bad_value("config.preopen_ports", value, expected)
    if not all(LOWEST_PORT <= port <= HIGHEST_PORT for port in ports):
        raise bad_value("config.preopen_ports", value, expected)
    return ports


def _route(value: object) -> Route | None:
    if value is None:
        return None
    route = read_route(value) if isinstance(value, Mapping) else None
    if route is None:
        raise bad_value("config.route", value, EXPECTED_ROUTE)
    return route


def _doors(values: Sequence[object]) -> tuple[str, ...]:
    for one in values:
        if not isinstance(one, str) or not is_door_name(one):
            raise bad_value("config.doors", one, "a door's name")
    return tuple(dict.fromkeys(map(str, values)))


def _size(field: str, value: object) -> int | None:
    if value is None:
        return None
    try:
        return parse_size(value)  # type: ignore[arg-type]
    except ValueError as error:
        raise bad_value(field, value, "a size such as 64m") from error


def _wait(value: object) -> float:
    if not isinstance(value, int | float) or not 0 <= value <= _LONGEST_WAIT_S:
        raise bad_value("maxWaitSeconds", value, f"a number from 0 to {_LONGEST_WAIT_S}")
    return float(value)
