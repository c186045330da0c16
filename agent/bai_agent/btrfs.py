"""Hard limits of folders on btrfs: each such folder lies in a subvolume of its own, in a quota group with its limit.

Only *simple quotas* count as hard: with them a subvolume that somebody makes in a limited one joins its group, while
btrfs' older quotas let everybody write without limit in one. All of it blocks and needs root; each function may be
repeated, also after a kill in the middle. Raises ``OSError``.
"""

import fcntl
import os
import struct
from contextlib import suppress
from pathlib import Path
from uuid import UUID

# From <linux/btrfs.h>
_SUBVOL_CREATE, _INO_LOOKUP, _FS_INFO = 0x5000940E, 0xD0009412, 0x8400941F
_QGROUP_ASSIGN, _QGROUP_CREATE, _QGROUP_LIMIT = 0x40189429, 0x4010942A, 0x8030942B
_FIRST_INODE = 256  # of each subvolume
_LIMITS_REFERENCED = 1
_NO_LIMIT = 2**64 - 1
_LEVEL = 2977
"""Our groups are ``2977/<id of the subvolume>``: subvolumes' own are of level 0, and admins' begin at 1."""


def keeps_limits(folder: int) -> bool:
    """Whether limits of subvolumes here are hard: an agent that is root, btrfs, and simple quotas that are on."""
    if os.geteuid() != 0:
        return False
    try:
        groups = _groups(folder)
        return ((groups / "mode").read_text().strip(), (groups / "enabled").read_text().strip()) == ("squota", "1")
    except OSError:
        return False


def make_subvolume(parent: int, name: str) -> None:
    """With a quota group of its own, which has no limit yet."""
    with suppress(FileExistsError):
        fcntl.ioctl(parent, _SUBVOL_CREATE, bytearray(struct.pack("q4088s", 0, os.fsencode(name))))
    folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        subvolume, group = _numbers(folder)
        with suppress(FileExistsError):
            fcntl.ioctl(folder, _QGROUP_CREATE, struct.pack("QQ", 1, group))
        with suppress(FileExistsError):
            fcntl.ioctl(folder, _QGROUP_ASSIGN, struct.pack("QQQ", 1, subvolume, group))
    finally:
        os.close(folder)


def limit(folder: int, size_bytes: int | None) -> None:
    """How much the subvolume of this open folder may hold, its own book-keeping counted; None: no limit."""
    _, group = _numbers(folder)
    most = _NO_LIMIT if size_bytes is None else size_bytes
    fcntl.ioctl(folder, _QGROUP_LIMIT, struct.pack("QQQQQQ", group, _LIMITS_REFERENCED, most, 0, 0, 0))


def sweep(folder: int) -> None:
    """Take away groups of subvolumes that are gone. btrfs drops those some time after they were deleted."""
    groups = _groups(folder)
    for path in groups.glob(f"{_LEVEL}_*"):
        number = int(path.name.partition("_")[2])
        if not (groups / f"0_{number}").exists():
            with suppress(OSError):
                fcntl.ioctl(folder, _QGROUP_CREATE, struct.pack("QQ", 0, _LEVEL << 48 | number))


def _numbers(folder: int) -> tuple[int, int]:
    """The subvolume that an open folder lies in, and its group."""
    asked = bytearray(struct.pack("QQ4080x", 0, _FIRST_INODE))
    fcntl.ioctl(folder, _INO_LOOKUP, asked)
    (subvolume,) = struct.unpack_from("Q", asked)
    return subvolume, _LEVEL << 48 | subvolume


def _groups(folder: int) -> Path:
    """Where Linux tells of the quota groups of this file system."""
    told = fcntl.ioctl(folder, _FS_INFO, bytes(1024))
    return Path(f"/sys/fs/btrfs/{UUID(bytes=told[16:32])}/qgroups")
