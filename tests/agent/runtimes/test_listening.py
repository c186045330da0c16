"""Which ports are told of, by tables as Linux writes them on a little-endian machine."""

import sys

import pytest
from bai_agent.runtimes import listening

LISTENS, ESTABLISHED = "0A", "01"
pytestmark = pytest.mark.skipif(sys.byteorder == "big", reason="the tables are of a little-endian machine")


def table(*rows: tuple[str, str, int]) -> str:
    """``(local address, state, inode)`` each."""
    head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    rest = "00000000:00000000 00:00000000 00000000  1000        0"
    tail = "1 0000000000000000 100 0 0 10 0\n"
    return head + "".join(
        f"{number:4}: {local} {'0' * len(local.partition(':')[0])}:0000 {state} {rest} {inode} {tail}"
        for number, (local, state, inode) in enumerate(rows)
    )


TCP = table(
    ("00000000:1F72", LISTENS, 101),
    ("0100007F:1F90", LISTENS, 102),
    ("0100007F:C350", LISTENS, 103),  # a program's own
    ("00000000:C351", LISTENS, 104),
    ("0B00007F:0035", LISTENS, 105),  # the engine's name server
    ("0200A8C0:1F9A", LISTENS, 106),  # not by the loopback address
    ("0100007F:1F91", ESTABLISHED, 107),
)
TCP6 = table(
    ("00000000000000000000000000000000:1770", LISTENS, 201),
    ("00000000000000000000000001000000:1771", LISTENS, 202),  # not by IPv4
    ("0000000000000000FFFF00000100007F:1772", LISTENS, 203),
)


def test_what_a_dial_reaches_and_people_may_want():
    assert listening.open_ports([TCP]) == [8050, 8080, 50001]
    assert listening.open_ports([TCP6]) == [6000, 6002]
    assert listening.open_ports([TCP, TCP6], {102, 103, 203}) == [6002, 8080]


def test_who_listens_everywhere_does_not_fill_the_panel():
    everywhere = table(*((f"00000000:{port:04X}", LISTENS, port) for port in range(1, 500)))
    assert listening.open_ports([everywhere]) == list(range(1, listening.MOST + 1))
