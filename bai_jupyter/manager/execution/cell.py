"""What a Jupyter kernel says about one request of ours, as events of a run. Pure."""

from collections.abc import Mapping
from typing import Any

from bai_jupyter.common.jupyter_messages import JupyterMessage
from bai_jupyter.manager.execution.runs import Asks, Ends, Event, RunStatus, Shown, Text

_SHOWN = frozenset({"display_data", "execute_result", "update_display_data"})


class Cell:
    """One execute request. It is over when it was answered and the kernel is idle again: the two come separately."""

    def __init__(self, message_id: str) -> None:
        self.message_id = message_id
        self._is_answered = False
        self._is_idle = False

    def hear(self, message: JupyterMessage) -> list[Event]:
        """The events in a message; none if it belongs to another request."""
        if message.parent_id != self.message_id:
            return []
        content = message.content
        match message.kind:
            case "stream":
                stream = "stderr" if content.get("name") == "stderr" else "stdout"
                return [Text(stream, str(content.get("text", "")))]
            case kind if kind in _SHOWN:
                return [_shown(content.get("data"))]
            case "error":
                return [Text("stderr", _traceback(content))]
            case "input_request":
                asks = Asks(bool(content.get("password")))
                return [Text("stdout", str(content.get("prompt", ""))), asks]
            case "execute_reply":
                self._is_answered = True
            case "status":
                self._is_idle = content.get("execution_state") == "idle"
        return [Ends(RunStatus.FINISHED, 0)] if self._is_answered and self._is_idle else []


def completions(content: Mapping[str, Any]) -> list[str]:
    """The candidates in a complete reply."""
    matches = content.get("matches")
    return [str(one) for one in matches] if isinstance(matches, list) else []


def cursor_position(code: str, row: object, column: object) -> int:
    """Where the cursor is in ``code``; without row and column, at its end."""
    if not isinstance(row, int) or not isinstance(column, int):
        return len(code)
    lines = code.split("\n")
    if not 0 <= row < len(lines):
        return len(code)
    return sum(len(line) + 1 for line in lines[:row]) + max(0, min(column, len(lines[row])))


def _shown(data: object) -> Text | Shown:
    """The richest form that Backend.AI's console has a word for: an image, a page, or else the plain text."""
    forms = data if isinstance(data, Mapping) else {}
    for media_type, value in forms.items():
        if media_type.startswith("image/"):
            text = _joined(value)
            is_text = media_type == "image/svg+xml"
            return Shown("media", [media_type, text if is_text else f"data:{media_type};base64,{text.strip()}"])
    if "text/html" in forms:
        return Shown("html", _joined(forms["text/html"]))
    return Text("stdout", _joined(forms.get("text/plain", "")) + "\n")


def _traceback(content: Mapping[str, Any]) -> str:
    lines = content.get("traceback")
    if isinstance(lines, list) and lines:
        return "\n".join(map(str, lines)) + "\n"
    return f"{content.get('ename', '')}: {content.get('evalue', '')}\n"


def _joined(value: object) -> str:
    return "".join(map(str, value)) if isinstance(value, list) else str(value)
