"""Makes two kernels name their sockets as Jupyter does: PATH-1, not PATH:1. Run once, while the image is built.

Fails if a line to correct is no longer there, so that a new release of a kernel cannot slip by.
"""

from pathlib import Path

import ilua

CORRECTIONS = {
    Path(ilua.__file__).with_name("kernelbase.py"): (
        '"{}://{}:{}".format(transport, addr, port)',
        '"{}://{}{}{}".format(transport, addr, "-" if transport == "ipc" else ":", port)',
    ),
    Path("/opt/tslab/lib/node_modules/tslab/dist/jupyter.js"): (
        "${conn.transport}://${conn.ip}:${port}",
        "${conn.transport}://${conn.ip}${conn.transport === 'ipc' ? '-' : ':'}${port}",
    ),
}

for path, (found, right) in CORRECTIONS.items():
    text = path.read_text()
    if text.count(found) != 1:
        raise SystemExit(f"{path}: expected {found!r} once, found it {text.count(found)} times")
    path.write_text(text.replace(found, right))
