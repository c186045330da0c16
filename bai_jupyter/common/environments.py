"""What images are called that users made of their sessions."""

import re
from datetime import datetime

from bai_jupyter.common.ids import UserId

OF_USERS = "bai-user/"
_LONGEST_PART = 40
_NAME = re.compile(OF_USERS + r"[^/]+/([^/:]+):(\d{4})(\d\d)(\d\d)-(\d\d)(\d\d)\d\d")


def image_name(user: str, user_id: UserId, name: str, made_at: datetime) -> str:
    """``bai-user/alice-1b2c3d4e/my-work:20260131-120000``: no two users ever have the same."""
    return f"{OF_USERS}{_part(user)}-{user_id[:8]}/{_part(name)}:{made_at:%Y%m%d-%H%M%S}"


def title_of(image: str) -> str:
    """As its user called it, with when it was: ``my-work (2026-01-31 12:00)``. Of others the name, then the version.

    A launcher's card has little room, and breaks lines at spaces.
    """
    made = _NAME.fullmatch(image)
    if made:
        return "{} ({}-{}-{} {}:{})".format(*made.groups())
    name, colon, tag = image.rpartition(":")
    return f"{name} {tag}" if colon and "/" not in tag and "@" not in name else image


def _part(text: str) -> str:
    """As registries take it: lower case letters and digits, single dashes between them."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:_LONGEST_PART].strip("-") or "x"
