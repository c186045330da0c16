"""The local ports of a kernel that runs elsewhere."""

import errno
import socket
from typing import Any

import pytest
import zmq

from bai_jupyter.kernel_stream import reader_id
from bai_jupyter.provisioner.facade import Facade, Ports

pytestmark = pytest.mark.asyncio


def open_facade(ports: Ports, **options: Any) -> Facade:
    client: Any = None  # asked for nothing before a generation is followed
    return Facade(client, "session", "kernel", reader_id("facade kernel"), None, ports, lambda: True, **options)


async def test_a_port_that_somebody_has_taken_meanwhile_is_replaced_and_the_others_stay(free_port: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        taken = somebody.getsockname()[1]
        facade = open_facade(Ports(shell=free_port, stdin=taken), may_move=True)
        try:
            assert facade.ports.shell == free_port
            assert facade.ports.stdin not in (0, taken)
        finally:
            await facade.close()


async def test_where_clients_know_the_ports_already_one_that_is_taken_is_an_error() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as somebody,
        pytest.raises(zmq.ZMQError) as refused,
    ):
        open_facade(Ports(shell=somebody.getsockname()[1]))
    assert refused.value.errno == errno.EADDRINUSE
