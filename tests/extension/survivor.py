"""A provisioner whose kernels outlive whoever started them: a local ipykernel in a session of its own.

Installed for tests as entry point ``survivor``. While the file named by ``gate`` exists, a start waits in a queue, as
it would at a busy manager. A file ``no-image`` beside it makes a start fail. A file ``ended`` says of a kernel that
dies that its session was ended, or the status, code and sentence that are in it. A file ``elsewhere`` gives its view a
notice, a file ``reason`` holds the code and the sentence of one that runs, a file ``session`` the id of its session.
``log_file`` gets a line for each thing that was done to a kernel, ``options-ID.json`` beside it what the kernel was
started with.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from jupyter_client.provisioning import KernelProvisionerBase
from traitlets import Dict, Unicode


class Survivor(KernelProvisionerBase):
    gate = Unicode()
    log_file = Unicode()
    image, kernelspec, preset, resources = Unicode(), Unicode(), Unicode(), Dict()  # what a choice's kernelspec says
    view: Any = Dict(None, allow_none=True)
    reason: Any = Dict(None, allow_none=True)

    pid: int | None = None
    _exit_code: int | None = None

    @property
    def has_process(self) -> bool:
        return self.pid is not None

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        for name in ("extra_arguments", "transport_encryption"):
            kwargs.pop(name, None)
        options = {name: kwargs.pop(name) for name in list(kwargs) if name.startswith("bai_")}
        Path(self.log_file).with_name(f"options-{self.kernel_id}.json").write_text(json.dumps(options))
        kwargs = await super().pre_launch(**kwargs)
        return {"cmd": [], "env": kwargs["env"], "cwd": kwargs.get("cwd")}

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        await self._pass_gate()
        if Path(self.gate).with_name("no-image").exists():
            self._show("ERROR", "pull-failed", "Could not pull r:4 on lab-3: not found.", None)
            raise RuntimeError("Could not pull r:4 on lab-3: not found.")
        kernel = self.parent
        kernel.write_connection_file()
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", kernel.connection_file]
        process = subprocess.Popen(  # noqa: ASYNC220  as the local provisioner does
            argv, env=kwargs["env"], cwd=kwargs["cwd"], start_new_session=True, stdin=subprocess.DEVNULL
        )
        self.pid, self._exit_code = process.pid, None
        self._note("launched")
        code, text = (self._file("reason") or "running Running on lab-3.").split(" ", 1)
        self._show("RUNNING", code, text, None)
        self.connection_info = kernel.get_connection_info()
        return self.connection_info

    async def _pass_gate(self) -> None:
        if Path(self.gate).exists():
            self._note("queued")
        while self.gate and Path(self.gate).exists():
            self._show(
                "PENDING", "queued", "3rd in the queue of group gpu.", {"position": 3, "of": 3, "estimate_s": 60}
            )
            await asyncio.sleep(0.02)

    def _show(self, status: str, code: str, text: str, queue: dict[str, Any] | None) -> None:
        reason = {"code": code, "params": {}, "text": text}
        notice = "It starts elsewhere." if Path(self.gate).with_name("elsewhere").exists() else None
        kernels = [{"id": self.kernel_id, "notice": notice}, {"id": "another", "notice": "Of another."}]
        session = {
            "id": self._file("session") or f"s-{self.kernel_id}",
            "status": status,
            "reason": reason,
            "queue": queue,
            "slots": json.loads(self._file("slots") or "null"),
        }
        self.view = {**session, "jupyterKernels": kernels}
        self.reason = reason

    def _file(self, name: str) -> str:
        """What is in a file beside the gate; nothing if it is not there."""
        path = Path(self.gate).with_name(name)
        return path.read_text() if path.exists() else ""

    async def poll(self) -> int | None:
        if self.pid is None:
            return self._exit_code if self._exit_code is not None else 0
        try:
            found, code = os.waitpid(self.pid, os.WNOHANG)  # noqa: ASYNC222  does not wait
            if found:
                self._exit_code = os.waitstatus_to_exitcode(code)
                if Path(self.gate).with_name("ended").exists():
                    said = self._file("ended") or "TERMINATED user-requested Ended by kim."
                    self._show(*said.split(" ", 2), None)
                return self._exit_code
        except ChildProcessError:  # started by an earlier server
            if not is_running(self.pid):
                return 1
        return None

    async def wait(self) -> int | None:
        code = await self.poll()
        self.pid = None
        return code

    async def send_signal(self, signum: int) -> None:
        if self.pid is not None and await self.poll() is None:
            os.kill(self.pid, signum)

    async def kill(self, restart: bool = False) -> None:
        self._note("killed" if self.pid else "withdrawn")
        await self.send_signal(signal.SIGKILL)

    async def terminate(self, restart: bool = False) -> None:
        await self.send_signal(signal.SIGTERM)

    async def cleanup(self, restart: bool = False) -> None:
        pass

    async def detach(self) -> None:
        self._note("detached")

    async def get_provisioner_info(self) -> dict[str, Any]:
        return {**await super().get_provisioner_info(), "pid": self.pid}

    async def load_provisioner_info(self, provisioner_info: dict[str, Any]) -> None:
        await super().load_provisioner_info(provisioner_info)
        self.pid = provisioner_info["pid"]
        if self.pid is not None:
            self._show("RUNNING", "running", "Running on lab-3.", None)

    def _note(self, what: str) -> None:
        with Path(self.log_file).open("a") as file:
            file.write(f"{what} {self.kernel_id} {self.pid or ''}\n")


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
