"""Runs a notebook from its first cell to its last, in place: the command of a batch session. Python 3.7 or later.

It is carried into the session as text and knows nothing of our packages: an image that has ipykernel has all it needs.
What has been computed is in the file after each cell, and at least every ten seconds. A cell that fails is the end,
as in *Run All*, unless it has the tag ``raises-exception``. Exit codes: 0 all cells ran, 1 one failed, 2 the kernel
could not go on.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import sys
import time
from typing import Any, Callable  # noqa: UP035 - as old as the oldest Python

from jupyter_client.manager import start_new_kernel

SAVE_EVERY_S = 10
LOOK_EVERY_S = 1
START_S = 120
COMES_S = 120  # the notebook, which is written once its session is there
LEFT_S = 3600  # no save takes so long: who wrote the draft was killed
LEFT = re.compile(r"\..+-result-\d{8}-\d{4}(-\d+)?\.ipynb\.new")
MAY_FAIL = "raises-exception"
"""The tag of cells that are to fail: Jupyter goes on after them."""


class Notebook:
    """The file. It is replaced as a whole, so whoever reads it never finds half of it."""

    def __init__(self, path: str) -> None:
        self.path = path
        with open(path, encoding="utf-8") as file:
            self.content = json.load(file)
        self.cells = [cell for cell in self.content["cells"] if cell["cell_type"] == "code"]
        self.saved_at = time.monotonic()

    def save(self) -> None:
        draft = os.path.join(os.path.dirname(self.path), f".{os.path.basename(self.path)}.new")
        with open(draft, "w", encoding="utf-8") as file:
            json.dump(self.content, file, indent=1, ensure_ascii=False)
            file.write("\n")
        os.replace(draft, self.path)
        self.saved_at = time.monotonic()

    def save_now_and_then(self) -> None:
        if time.monotonic() - self.saved_at >= SAVE_EVERY_S:
            self.save()


def remove_leftovers(folder: str) -> None:
    """Drafts of runs in this folder that were killed in a save."""
    for name in os.listdir(folder):
        draft = os.path.join(folder, name)
        if LEFT.fullmatch(name):
            with contextlib.suppress(OSError):  # another run was faster
                if time.time() - os.path.getmtime(draft) > LEFT_S:
                    os.remove(draft)


class Outputs:
    """What a kernel says while a cell runs, as the cell keeps it."""

    def __init__(self, cell: dict[str, Any], displays: dict[str, list[dict[str, Any]]]) -> None:
        self.cell, self.list, self.displays = cell, cell["outputs"], displays
        self.clears_next = False
        self.error: str | None = None

    def take(self, kind: str, content: dict[str, Any]) -> None:
        if kind == "execute_input":
            self.cell["execution_count"] = content["execution_count"]
        elif kind == "clear_output":
            self.clears_next = content.get("wait", False)
            if not self.clears_next:
                self.list.clear()
        elif kind == "update_display_data":
            for output in self.displays.get(content.get("transient", {}).get("display_id"), ()):
                output.update(data=content["data"], metadata=content["metadata"])
        elif kind in ("stream", "display_data", "execute_result", "error"):
            if self.clears_next:
                self.list.clear()
                self.clears_next = False
            self.add(kind, content)

    def add(self, kind: str, content: dict[str, Any]) -> None:
        last = self.list[-1] if self.list else {}
        if kind == "stream" and last.get("output_type") == kind and last["name"] == content["name"]:
            last["text"] += content["text"]
            return
        display = content.get("transient", {}).get("display_id")
        output = {name: value for name, value in content.items() if name != "transient"}
        self.list.append(dict(output, output_type=kind))
        if kind == "error":
            self.error = f"{content['ename']}: {content['evalue']}"
        if display is not None:
            self.displays.setdefault(display, []).append(self.list[-1])


class KernelDied(Exception):
    """The process is gone."""


def run_cell(manager: Any, client: Any, source: str, outputs: Outputs, look: Callable[[], None]) -> None:
    """``look`` is called again and again meanwhile. Raises ``KernelDied``."""
    message_id = client.execute(source, allow_stdin=False)
    while True:
        look()
        try:
            message = client.get_iopub_msg(timeout=LOOK_EVERY_S)
        except queue.Empty:
            if not manager.is_alive():
                raise KernelDied() from None
            continue
        if message["parent_header"].get("msg_id") != message_id:
            continue
        kind, content = message["header"]["msg_type"], message["content"]
        if kind == "status" and content["execution_state"] == "idle":
            return
        outputs.take(kind, content)


def wait_for(path: str) -> bool:
    """Whether it has come. Whoever writes it may have been ended before."""
    until = time.monotonic() + COMES_S
    while not os.path.exists(path):
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


def run(path: str, kernel_name: str) -> int:
    """The exit code. What is printed is the session's log."""
    if not wait_for(path):
        print(f"{path} did not come within {COMES_S} s. Run the notebook again.", flush=True)
        return 2
    notebook, folder = Notebook(path), os.path.dirname(os.path.abspath(path))
    remove_leftovers(folder)
    try:
        manager, client = start_new_kernel(START_S, kernel_name, cwd=folder)
    except Exception as error:  # noqa: BLE001 - whatever it is, the log is where it is read
        print(f"The kernel {kernel_name} did not start: {error!r}", flush=True)
        return 2
    displays: dict[str, list[dict[str, Any]]] = {}
    total = len(notebook.cells)
    number = 0
    try:
        for number, cell in enumerate(notebook.cells, 1):
            print(f"Cell {number} of {total}", flush=True)
            outputs = Outputs(cell, displays)
            run_cell(manager, client, "".join(cell["source"]), outputs, notebook.save_now_and_then)
            notebook.save()
            if outputs.error is not None and MAY_FAIL not in cell["metadata"].get("tags", ()):
                print(f"Cell {number} failed: {outputs.error}", flush=True)
                return 1
    except KernelDied:
        notebook.save()
        print(f"Cell {number}: the kernel ended by itself.", flush=True)
        return 2
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    print(f"All cells ran: {total}.", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(run(*sys.argv[1:]))
