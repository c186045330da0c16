"""Ports of the loopback address for servers of tests."""

import secrets
import socket
from pathlib import Path

_OURS_FROM = 12_000


def free_port() -> int:
    """One that was free a moment ago, and that Linux does not give to somebody's connection meanwhile."""
    below = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = _OURS_FROM + secrets.randbelow(max(below - _OURS_FROM, 1000))
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
