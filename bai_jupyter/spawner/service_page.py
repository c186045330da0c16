"""The page of the Hub's service: a user's sessions, as HTML that needs no script. Pure."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Backend.AI sessions of {name}</title></head>
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
        prefix=escape(prefix),
        hub=escape(hub),
        scope=escape(scope),
        sessions=table,
        notice="" if xsrf else "<p>You may look, and not change anything.</p>",
    )


def _row(view: Mapping[str, Any], prefix: str, xsrf: str | None) -> str:
    amounts = ", ".join(f"{slot} {amount}" for slot, amount in view["slots"].items())
    cells = (view["name"], view["image"], amounts, f"{view['status']}. {view['reason']['text']}")
    shown = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    return f"<tr>{shown}<td>{_end_button(view, prefix, xsrf) if xsrf else ''}</td></tr>"


def _end_button(view: Mapping[str, Any], prefix: str, xsrf: str) -> str:
    return (
        f'<form method="post" action="{escape(prefix)}end"><input type="hidden" name="_xsrf" value="{escape(xsrf)}">'
        f'<input type="hidden" name="session" value="{escape(view["id"])}">'
        f'<button aria-label="End {escape(view["name"])}">End</button></form>'
    )
