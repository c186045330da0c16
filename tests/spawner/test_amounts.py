import pytest

from bai_jupyter.spawner.amounts import amounts_of

GIB = 1024**3


@pytest.mark.parametrize(
    ("limits", "guarantees", "of_preset", "asked"),
    [
        ((None, None), (None, None), {"cpu": "2"}, {}),  # as the preset or the policy says
        ((1.5, GIB), (None, None), {"cpu": "2", "mem": str(4 * GIB)}, {"cpu": "1.5", "mem": str(GIB)}),
        ((2, None), (0.5, None), {}, {"cpu": "2"}),  # a session's amount is guaranteed
        ((1, GIB), (2, 2 * GIB), {}, {"cpu": "2", "mem": str(2 * GIB)}),  # what is promised is kept
        ((None, None), (0.25, GIB), {}, {"cpu": "0.25", "mem": str(GIB)}),
        ((None, None), (1, 2 * GIB), {"cpu": "8", "mem": str(GIB)}, {"mem": str(2 * GIB)}),  # a preset may have more
        ((None, None), (10, None), {"cuda.device": "1"}, {"cpu": "10"}),
    ],
)
def test_limits_and_guarantees_as_slots(limits, guarantees, of_preset, asked):
    of_hub = [dict(zip(("cpu", "mem"), each, strict=True)) for each in (limits, guarantees)]
    assert amounts_of(*of_hub, of_preset) == asked
