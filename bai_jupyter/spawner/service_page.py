"""The page of the Hub's service: a user's sessions, as HTML that needs no script. Pure."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from html import escape
from typing import Any

from bai_jupyter.common.slots import ResourceSlots
from bai_jupyter.words import sentence_of, state_of

_STYLE = """
:root { color-scheme: light dark; font-family: system-ui, sans-serif; line-height: 1.5 }
body { max-width: 70rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100% }
th, td { padding: 0.5rem 1rem 0.5rem 0; text-align: start; vertical-align: top; border-bottom: 1px solid GrayText }
td:nth-child(3) { white-space: nowrap }
form { margin: 0 }
"""
STYLE_SOURCE = f"'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'"  # for the page's policy
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Backend.AI sessions of {name}</title><style>{style}</style></head>
<body>
<h1>Your sessions</h1>
{notice}
{sessions}
<h2>For programs</h2>
<p>A token of the Hub with the scope <code>{scope}</code> opens the manager's calls, as you, below
<code>{prefix}api/</code>. <a href="{prefix}api/openapi.json">All calls</a></p>
<p><a href="{hub}">Back to the Hub</a></p>
</body>
</html>
"""
_HEAD = "<tr><th>Name</th><th>Environment</th><th>Resources</th><th>State</th><th></th></tr>"


def page_of(
    name: str, sessions: Sequence[Mapping[str, Any]], *, prefix: str, hub: str, scope: str, xsrf: str | None
) -> str:
    """``sessions`` are the manager's views. Without ``xsrf`` its reader may end none."""
    rows = [_row(one, prefix, xsrf) for one in sessions]
    table = f"<table><thead>{_HEAD}</thead><tbody>{''.join(rows)}</tbody></table>" if rows else "<p>You have none.</p>"
    return _PAGE.format(
        name=escape(name),
        style=_STYLE,
        prefix=escape(prefix),
        hub=escape(hub),
        scope=escape(scope),
        sessions=table,
        notice="" if xsrf else "<p>You may look, and not change anything.</p>",
    )


def _row(view: Mapping[str, Any], prefix: str, xsrf: str | None) -> str:
    amounts = ResourceSlots.parse(view["slots"]).describe()
    state, sentence = state_of(view), sentence_of(view)
    why = sentence if sentence.startswith(state) else f"{state}. {sentence}"
    cells = (view["name"], view["image"], amounts, why)
    shown = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    return f"<tr>{shown}<td>{_end_button(view, prefix, xsrf) if xsrf else ''}</td></tr>"


def _end_button(view: Mapping[str, Any], prefix: str, xsrf: str) -> str:
    return (
        f'<form method="post" action="{escape(prefix)}end"><input type="hidden" name="_xsrf" value="{escape(xsrf)}">'
        f'<input type="hidden" name="session" value="{escape(view["id"])}">'
        f'<button aria-label="End {escape(view["name"])}">End</button></form>'
    )
