"""Jupyter's wire messages, as far as we speak them ourselves: made, signed, and read. No sockets.

A message's frames begin at the delimiter: ``<IDS|MSG>``, signature, header, parent header, metadata, content, buffers.
Identities or a topic may stand before it.
"""

import hashlib
import hmac
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

DELIMITER = b"<IDS|MSG>"
VERSION = "5.3"


@dataclass(frozen=True)
class JupyterMessage:
    """What a kernel said. ``parent_id`` is the id of the message that it answers or was caused by."""

    kind: str
    parent_id: str
    content: Mapping[str, Any]


def pack_message(kind: str, content: Mapping[str, Any], key: str, message_id: str, username: str) -> list[bytes]:
    """The frames of a message, signed with HMAC-SHA256 of its four parts."""
    header = {
        "msg_id": message_id,
        "msg_type": kind,
        "username": username,
        "session": uuid.uuid4().hex,
        "date": datetime.now(UTC).isoformat(),
        "version": VERSION,
    }
    parts = [json.dumps(part).encode() for part in (header, {}, {}, content)]
    signature = hmac.new(key.encode(), b"".join(parts), hashlib.sha256).hexdigest().encode()
    return [DELIMITER, signature, *parts]


def read_message(frames: Sequence[bytes]) -> JupyterMessage | None:
    """None for what is not a message. The signature is not checked: who holds the key is the one who is asked."""
    try:
        start = list(frames).index(DELIMITER) + 2
        header, parent, _, content = (json.loads(part) for part in frames[start : start + 4])
        return JupyterMessage(str(header["msg_type"]), str(parent.get("msg_id", "")), dict(content))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
