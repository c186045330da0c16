"""``bai usage``: what one uses, which limits bind, and what the groups of agents have free."""

import argparse
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from bai_jupyter.cli.login import with_manager
from bai_jupyter.cli.terminal import NOTHING, Exit, Terminal, resources
from bai_jupyter.client import Json
from bai_jupyter.common.slots import ResourceSlots, describe_amount

_LEVELS = {"keypair": "keypair", "user": "you", "group": "project", "domain": "domain"}
_NO_LIMIT = "Infinity"


def show(_options: argparse.Namespace, terminal: Terminal) -> int:
    found = with_manager(lambda client: client.check_presets())
    if terminal.as_json:
        terminal.document(found)
        return Exit.DONE
    terminal.line(f"You use {_amounts(found['user_using'])}.")
    limits = [row for level in _LEVELS for row in (*_limits(found, level), *_budgets(found, level))]
    terminal.table(["LIMIT OF", "AT MOST", "IN USE", "LEFT"], limits)
    if not limits:
        terminal.line("No limit binds you.")
    for resets_at in {budget["resets_at"] for budget in found["budgets"]}:
        terminal.line(f"GPU-hours begin anew at {datetime.fromisoformat(resets_at):%Y-%m-%d %H:%M} UTC.")
    groups = [_group(name, group) for name, group in found["scaling_groups"].items()]
    terminal.table(["GROUP", "IN USE", "FREE"], groups)
    if not groups:
        terminal.line("There is no resource group for you. Ask your admin for one.")
    return Exit.DONE


def _limits(found: Json, level: str) -> list[list[str]]:
    using, remaining = found[f"{level}_using"], found[f"{level}_remaining"]
    return [
        [
            _LEVELS[level],
            *(describe_amount(slot, Decimal(amount)) for amount in (limit, using[slot], _left(remaining[slot]))),
        ]
        for slot, limit in found[f"{level}_limits"].items()
        if limit != _NO_LIMIT
    ]


def _budgets(found: Json, level: str) -> list[list[str]]:
    return [
        [_LEVELS[level], f"{limit:g} GPU-hours a week", f"{used:.2f}", f"{max(limit - used, 0):.2f}"]
        for budget in found["budgets"]
        for limit, used in [(budget["gpu_hours_limit"], budget["gpu_hours_used"])]
        if budget["level"] == level
    ]


def _left(amount: str) -> str:
    """A limit that was lowered may be passed already."""
    return "0" if amount.startswith("-") else amount


def _group(name: str, group: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Of what is free, nothing is worth saying too."""
    free = [describe_amount(slot, Decimal(amount)) for slot, amount in group["remaining"].items()]
    using = {slot: amount for slot, amount in group["using"].items() if Decimal(amount)}
    return [name, resources(using), " ".join(free) or NOTHING]


def _amounts(amounts: Mapping[str, str]) -> str:
    return ResourceSlots.parse({slot: amount for slot, amount in amounts.items() if Decimal(amount)}).describe()
