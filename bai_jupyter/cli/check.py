"""Run one notebook through nbclient on a Backend.AI kernel, for ``bai up --check``.

``run_notebook`` starts this file as a program, as Lab's user and with a kernelspec in a folder of its own, so that the
kernel is started the way any Jupyter program would; the program prints the notebook's output as one line of JSON.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Collection
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bai_jupyter.cli.local import PYTHON, LocalCluster
from bai_jupyter.cli.servers import write_private
from bai_jupyter.cli.session import END_TIMEOUT_S, end
from bai_jupyter.cli.terminal import CommandFailed, resources
from bai_jupyter.client import Json, ManagerAway, ManagerClient
from bai_jupyter.common.statuses import FINAL, SessionStatus
from bai_jupyter.provisioner.kernelspecs import kernelspecs_of

SOURCE = "print(6 * 7)"  # Python and R
EXPECTED = "42"
TIMEOUT_S = 300.0


@dataclass
class Result:
    """What was seen: the session's view while the cell ran, and the cell's output."""

    kernel_name: str
    output: str = ""
    session: Json = field(default_factory=dict)

    def describe(self) -> str:
        view = self.session
        isolation = "" if view.get("isolated", True) else ", not isolated"
        where = f"{view.get('name')} on {view.get('agent')} ({view.get('runtime')}{isolation})"
        return f"{where}, {resources(view.get('slots'))}"

    def to_json(self) -> Json:
        keys = ("id", "name", "image", "agent", "runtime", "isolated", "slots")
        session = {key: self.session.get(key) for key in keys}
        return {"kernel_name": self.kernel_name, "output": self.output, "session": session}


async def run_notebook(cluster: LocalCluster) -> Result:
    """Run the notebook, end the sessions it started. Raises ``CommandFailed`` with the cause if it did not work."""
    async with cluster.client() as client:
        specs = kernelspecs_of(await client.list_images())
        before = {view["id"] for view in await client.list_sessions()}
        result = Result(_choose(specs))
        seen: dict[str, Json] = {}
        watching = asyncio.ensure_future(_watch(client, before, seen))
        try:
            result.output = await _run(cluster, result.kernel_name, specs[result.kernel_name])
        except CommandFailed as error:
            causes = [view["reason"]["text"] for view in seen.values() if view.get("reason")]
            raise CommandFailed("\n".join([*causes, str(error)])) from error
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await _end_new(client, before)
    result.session = next(iter(seen.values()), {})
    if EXPECTED not in result.output:
        raise CommandFailed(f"The notebook printed {result.output!r} instead of {EXPECTED}.")
    return result


def _choose(specs: dict[str, dict[str, Any]]) -> str:
    """A Python kernel if there is one, for the shortest start."""
    if not specs:
        raise CommandFailed("No image has a Jupyter kernel. Run: bai image build python")
    return min(specs, key=lambda name: (specs[name]["language"] != "python", name))


async def _watch(client: ManagerClient, before: Collection[str], seen: dict[str, Json]) -> None:
    """Keep the last view of each new session; of one that ran, the last while it ran."""
    while True:
        try:
            async with aclosing(client.events()) as events:
                async for name, view in events:
                    known = seen.get(view.get("id", ""), {})
                    ran = known.get("status") == SessionStatus.RUNNING
                    if name != "session_changed" or view["id"] in before or (ran and view["status"] != known["status"]):
                        continue
                    seen[view["id"]] = view
        except ManagerAway:
            pass
        await asyncio.sleep(0.2)


async def _end_new(client: ManagerClient, before: Collection[str]) -> None:
    for view in await client.list_sessions():
        if view["id"] not in before and view["status"] not in FINAL:
            await end(client, view["id"], forced=False, timeout_s=END_TIMEOUT_S)


async def _run(cluster: LocalCluster, kernel_name: str, spec: dict[str, Any]) -> str:
    folder = cluster.folder.path / "jupyter"
    env = cluster.lab_environ(folder)
    data = folder / "check"
    kernel = data / "kernels" / kernel_name
    kernel.mkdir(parents=True, exist_ok=True)
    write_private(kernel / "kernel.json", json.dumps(spec))
    if cluster.user is not None:
        for path in (data, data / "kernels", kernel, kernel / "kernel.json"):
            os.chown(path, cluster.user.uid, cluster.user.gid)
    env["JUPYTER_PATH"] = str(data)
    argv = cluster.as_lab_user([*PYTHON, "-m", "bai_jupyter.cli.check", kernel_name, str(cluster.home)])
    process = await asyncio.create_subprocess_exec(
        *argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, process_group=0
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            out, err = await process.communicate()
    except TimeoutError:
        raise CommandFailed(f"The notebook did not finish in {TIMEOUT_S:.0f} s.") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        last = err.decode(errors="replace").strip().splitlines()[-12:]
        raise CommandFailed("\n".join(["The notebook did not run:", *(f"    {line}" for line in last)]))
    return str(json.loads(out.splitlines()[-1])["output"])


def main(kernel_name: str, folder: str) -> int:
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(SOURCE)])  # type: ignore[no-untyped-call]
    runner = NotebookClient(
        notebook,
        kernel_name=kernel_name,
        timeout=int(TIMEOUT_S),
        startup_timeout=int(TIMEOUT_S),
        resources={"metadata": {"path": str(Path(folder))}},
    )
    runner.execute()
    outputs = notebook.cells[0].outputs
    print(json.dumps({"output": "".join(output.get("text", "") for output in outputs).strip()}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
