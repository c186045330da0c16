"""Do file work with the rights of a user, in one thread, while the agent stays root.

The kernel asks for a file system identity (``setfsuid(2)``) that belongs to the calling thread alone; with another than
root's, root's rights over files are gone. So what a folder's user could not read, write or reach through a link, cannot
be reached for them either, and what is made is theirs from its first moment.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

from bai_agent.runtimes.base import Identity

_libc = ctypes.CDLL(None)
_ASK = ctypes.c_uint(0xFFFFFFFF)  # no valid id: changes nothing, and the present one is returned


def drop_groups() -> None:
    """Root needs no groups, and they would stay with a thread that acts as somebody else. Once per process."""
    if os.geteuid() == 0:
        os.setgroups([])


@contextmanager
def acting_as(identity: Identity) -> Iterator[None]:
    """Until the end of the block this thread touches files as ``identity``. An agent that is not root is itself."""
    if os.geteuid() != 0:
        yield
        return
    try:
        _become(identity.uid, identity.gid)
        yield
    finally:
        _become(0, 0)


def _become(uid: int, gid: int) -> None:
    _libc.setfsgid(gid)
    _libc.setfsuid(uid)
    if (_libc.setfsuid(_ASK), _libc.setfsgid(_ASK)) != (uid, gid):
        raise PermissionError(f"the system does not let this thread act as user {uid}")
