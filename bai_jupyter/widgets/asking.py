"""What a session can be asked for, and what a filled-in form asks for. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from bai_jupyter.client import SessionRequest
from bai_jupyter.common.slots import ResourceSlots, is_fractional, words_of
from bai_jupyter.common.statuses import FolderStatus

BY_POLICY = ("policy", "")
BY_AMOUNTS = ("amounts", "")


@dataclass(frozen=True)
class Offer:
    """What there is to choose from. ``resources`` and ``folders`` are by what they are shown as."""

    images: Sequence[str]
    resources: Mapping[str, tuple[str, str]]
    amounts: Sequence["Amount"]
    folders: Mapping[str, str]


@dataclass(frozen=True)
class Amount:
    """A field for one kind of slot: memory in GiB, all others in what they are counted in."""

    slot: str
    label: str
    value: float
    step: float


@dataclass(frozen=True)
class Form:
    """What was filled in. ``amounts`` count where ``resources`` is ``BY_AMOUNTS``."""

    name: str
    image: str
    resources: tuple[str, str] = BY_POLICY
    amounts: Mapping[str, float] = field(default_factory=dict)
    folders: Sequence[str] = ()


def offer_of(
    images: Sequence[Mapping[str, Any]], capacity: Mapping[str, Any], folders: Sequence[Mapping[str, Any]], me: str
) -> Offer:
    """From the manager's images, its ``check-presets``, and the folders of the user whose id is ``me``."""
    presets = {
        f"{one['name']}: {ResourceSlots.parse(one['resource_slots']).describe()}": ("preset", one["name"])
        for one in capacity["presets"]
    }
    return Offer(
        images=sorted(one["name"] for one in images),
        resources={"As your policy says": BY_POLICY, **presets, "Amounts of my own": BY_AMOUNTS},
        amounts=[_amount(slot) for slot in _slots(capacity)],
        folders={describe_folder(one, me): one["name"] for one in mountable(folders)},
    )


def request_of(form: Form) -> SessionRequest:
    """The session that a form asks for; a name that is used already is refused, not joined."""
    kind, preset = form.resources
    amounts = {slot: _text(slot, value) for slot, value in form.amounts.items() if value}
    return SessionRequest(
        name=form.name.strip(),
        image=form.image,
        preset=preset or None,
        resources=amounts if (kind, preset) == BY_AMOUNTS else None,
        mounts=tuple(form.folders),
        reuse_if_exists=False,
    )


def mountable(folders: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those that may be left out: one's home and those with a leading dot are in every session."""
    return [one for one in usable(folders) if one["name"] != "home" and not one["name"].startswith(".")]


def usable(folders: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Not those in the trash, by name."""
    return sorted((one for one in folders if one["status"] == FolderStatus.READY), key=lambda one: str(one["name"]))


def describe_folder(folder: Mapping[str, Any], me: str) -> str:
    """``data (read only, from kim@lab.org)``; nothing of the owner for one's own."""
    facts = ["read only" if folder["permission"] == "ro" else "read and write"]
    if folder["ownership_type"] == "group":
        facts.append(f"project {folder['group_name']}")
    elif folder["user"] != me:  # a superadmin may do as the owner may, and is not
        facts.append(f"from {folder['user_email']}")
    return f"{folder['name']} ({', '.join(facts)})"


def _slots(capacity: Mapping[str, Any]) -> list[str]:
    """Kinds that some agent has; processors and memory first, also while no agent is there."""
    groups = capacity["scaling_groups"].values()
    there = {
        slot
        for group in groups
        for part in (group["using"], group["remaining"])
        for slot, amount in part.items()
        if Decimal(amount)
    }
    return ["cpu", "mem", *sorted(there - {"cpu", "mem"})]


def _amount(slot: str) -> Amount:
    if slot == "mem":
        return Amount(slot, "Memory (GiB)", 2.0, 0.5)
    if slot == "cpu":
        return Amount(slot, "CPU", 1.0, 1.0)
    return Amount(slot, words_of(slot).name, 0.0, 0.1 if is_fractional(slot) else 1.0)


def _text(slot: str, value: float) -> str:
    return f"{round(value * 1024)}m" if slot == "mem" else f"{value:.10g}"
