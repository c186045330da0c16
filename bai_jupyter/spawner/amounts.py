"""What the Hub's limits and guarantees are as slots of a session. Pure.

A session has what it asks for, no less and no more, so one amount is limit and guarantee. The Hub's limit is that
amount, unless more is guaranteed; a guarantee alone is the least, where a preset may say more.
"""

from collections.abc import Mapping
from decimal import Decimal


def amounts_of(
    limits: Mapping[str, float | None], guarantees: Mapping[str, float | None], of_preset: Mapping[str, str]
) -> dict[str, str]:
    """What is asked for over the preset, ``{slot: amount}``; memory is in bytes."""
    asked = {}
    for slot in (*limits, *(one for one in guarantees if one not in limits)):
        limit, least = _decimal(limits.get(slot)), _decimal(guarantees.get(slot))
        if limit:
            asked[slot] = max(limit, least)
        elif least > Decimal(of_preset.get(slot, 0)):
            asked[slot] = least
    return {slot: f"{amount.normalize():f}" for slot, amount in asked.items()}


def _decimal(amount: float | None) -> Decimal:
    return Decimal(str(amount or 0))
