"""Makes two kernels name their sockets as Jupyter does: PATH-1, not PATH:1. Run for each, while the image is built.

Fails if a line to correct is no longer there, so that a new release of a kernel cannot slip by.
"""

import sys
from pathlib import Path

CORRECTIONS = {
    "ilua": (
        "/opt/venv/lib/python3*/site-packages/ilua/kernelbase.py",
        '"{}://{}:{}".format(transport, addr, port)',
        '"{}://{}{}{}".format(transport, addr, "-" if transport == "ipc" else ":", port)',
    ),
    "tslab": (
        "/opt/tslab/lib/node_modules/tslab/dist/jupyter.js",
        "${conn.transport}://${conn.ip}:${port}",
        "${conn.transport}://${conn.ip}${conn.transport === 'ipc' ? '-' : ':'}${port}",
    ),
}

pattern, found, right = CORRECTIONS[sys.argv[1]]
(path,) = Path("/").glob(pattern.removeprefix("/"))
text = path.read_text()
if text.count(found) != 1:
    raise SystemExit(f"{path}: expected {found!r} once, found it {text.count(found)} times")
path.write_text(text.replace(found, right))
