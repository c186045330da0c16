"""Jupyter kernels of this agent: which of them are to run, adopted, asked, ended.

Level-triggered like the agent's reconciler: ``converge`` compares what is wanted with what runs. One launch of one
Jupyter kernel (``launch``) is a *generation*; a larger one wanted means end this process and start the next.
"""

import asyncio
import contextlib
import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from bai_agent.keeper import Keeper
from bai_agent.launch import Launch, Place
from bai_agent.runtimes.base import Process, Runtime
from bai_agent.variables import outside
from bai_agent.variables.languages import LANGUAGES, Language
from bai_jupyter.common.ids import JupyterKernelId, KernelId
from bai_jupyter.common.messages import JupyterKernelReport, JupyterKernelWant, KernelSpecFacts
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.statuses import JupyterKernelStatus, Target

_RETIRE_S = 10.0  # how long the relay of a replaced launch goes on answering readers that are behind
_KEPT_GENERATIONS = 2


class JupyterKernels:
    """All Jupyter kernels on this agent.

    ``on_change(kernel_id)`` is called on the loop after every change of a report of that kernel.
    """

    def __init__(self, runtime: Runtime, state_dir: Path, on_change: Callable[[KernelId], None]) -> None:
        self._runtime = runtime
        self._kernels_dir = state_dir / "kernels"
        self._on_change = on_change
        self._launches: dict[tuple[KernelId, JupyterKernelId], Launch] = {}
        self._retired: dict[asyncio.Task[None], Launch] = {}

    async def converge(
        self,
        kernel_id: KernelId,
        ref: str,
        wants: Iterable[JupyterKernelWant],
        kernelspecs: dict[str, KernelSpecFacts],
        image: str = "the image",
    ) -> None:
        """Make the Jupyter kernels of one running container what is wanted. Starting goes on in the background."""
        for want in wants:
            launch = self._launches.get((kernel_id, want.jupyter_kernel_id))
            if want.target is Target.TERMINATED:
                if launch is not None:
                    await launch.end(Reason.of("kernel-shutdown", who="its user"))
            elif launch is None or launch.report.generation < want.generation:
                if launch is not None:
                    await launch.end(Reason.of("kernel-restarted", who="its user"))
                    self._retire(launch)
                self._start(kernel_id, ref, want, kernelspecs, image)

    def _start(
        self,
        kernel_id: KernelId,
        ref: str,
        want: JupyterKernelWant,
        kernelspecs: dict[str, KernelSpecFacts],
        image: str,
    ) -> None:
        report = JupyterKernelReport(want.jupyter_kernel_id, want.generation, JupyterKernelStatus.STARTING)
        launch = self._new_launch(kernel_id, report)
        spec = kernelspecs.get(want.kernelspec)
        if spec is None:
            names = ", ".join(kernelspecs) or "none"
            reason = Reason.of("no-kernelspec", image=image, kernelspec=want.kernelspec, names=names)
            launch.report = JupyterKernelReport(
                want.jupyter_kernel_id, want.generation, JupyterKernelStatus.DEAD, reason=reason
            )
        else:
            launch.start(ref, want, spec, image)
        self._drop_old_generations(kernel_id, want)
        self._on_change(kernel_id)

    def _new_launch(self, kernel_id: KernelId, report: JupyterKernelReport) -> Launch:
        place = Place.of(self._kernels_dir / kernel_id, report.jupyter_kernel_id, report.generation)
        launch = Launch(self._runtime, kernel_id, place, report, lambda: self._on_change(kernel_id))
        self._launches[kernel_id, report.jupyter_kernel_id] = launch
        return launch

    def _retire(self, launch: Launch) -> None:
        task = asyncio.create_task(launch.retire(_RETIRE_S))
        self._retired[task] = launch
        task.add_done_callback(self._retired.pop)

    def _drop_old_generations(self, kernel_id: KernelId, want: JupyterKernelWant) -> None:
        for generation in range(want.generation - _KEPT_GENERATIONS, 0, -1):
            place = Place.of(self._kernels_dir / kernel_id, want.jupyter_kernel_id, generation)
            if not place.ours.exists():
                break
            shutil.rmtree(place.ours, ignore_errors=True)
            shutil.rmtree(place.shared, ignore_errors=True)
            for name in (outside.STARTUP, outside.WOKEN, outside.SAVED):
                with contextlib.suppress(OSError):  # its user may have put something else there
                    (place.shared.parent / name.format(place.shared.name)).unlink()

    async def adopt(self, kernel_id: KernelId, ref: str, image: str = "the image") -> None:
        """After an agent restart: find the newest launch of each Jupyter kernel and take it over."""
        newest: dict[str, dict[str, object]] = {}
        for path in (self._kernels_dir / kernel_id / "jupyter").glob("*/launch.json"):
            saved = json.loads(path.read_text())
            known = newest.get(saved["jupyter_kernel_id"])
            if known is None or saved["generation"] > known["generation"]:
                newest[saved["jupyter_kernel_id"]] = saved
        for saved in newest.values():
            await self._adopt_one(kernel_id, ref, saved, image)
        await self._stop_stray_relays(kernel_id)

    async def _adopt_one(self, kernel_id: KernelId, ref: str, saved: dict, image: str) -> None:  # type: ignore[type-arg]
        report = JupyterKernelReport(
            JupyterKernelId(saved["jupyter_kernel_id"]),
            saved["generation"],
            JupyterKernelStatus(saved["status"]),
            saved["exit_code"],
            Reason.from_json(saved["reason"]) if saved["reason"] else None,
        )
        launch = self._new_launch(kernel_id, report)
        process = Process(**saved["process"]) if saved["process"] else None
        if not await launch.adopt(ref, process, saved["key"], image, language_of(saved.get("saves"))):
            del self._launches[kernel_id, report.jupyter_kernel_id]  # ``converge`` starts it again

    def reports(self, kernel_id: KernelId) -> list[JupyterKernelReport]:
        return [launch.report for (owner, _), launch in self._launches.items() if owner == kernel_id]

    async def activity(self, kernel_id: KernelId) -> tuple[bool, float | None]:
        """Whether one of them runs something now, and when one did last (seconds since the epoch; None: never)."""
        mine = [launch for (owner, _), launch in self._launches.items() if owner == kernel_id]
        for launch in mine:
            await asyncio.to_thread(launch.listener.look)
        moments = [launch.listener.active_at for launch in mine if launch.listener.active_at is not None]
        return any(launch.is_busy for launch in mine), max(moments, default=None)

    async def save(self, kernel_id: KernelId, seconds: float) -> list[dict[str, object]]:
        """Save the variables of each that runs, at most ``seconds`` long. As in ``messages.Call``."""
        await self.activity(kernel_id)
        mine = [launch for (owner, _), launch in self._launches.items() if owner == kernel_id]
        running = [launch for launch in mine if launch.report.status is JupyterKernelStatus.RUNNING]
        return [await launch.save(seconds) for launch in running]

    async def interrupt(self, kernel_id: KernelId, jupyter_kernel_id: JupyterKernelId) -> None:
        """Raises ``KeyError`` if there is no such Jupyter kernel here."""
        await self._launches[kernel_id, jupyter_kernel_id].interrupt()

    def relay_socket(self, kernel_id: KernelId, jupyter_kernel_id: JupyterKernelId, generation: int) -> Path:
        """Where to read this launch's tapes. Raises ``KeyError`` if nothing of it is served."""
        if (kernel_id, jupyter_kernel_id) not in self._launches:
            raise KeyError(jupyter_kernel_id)
        path = Place.of(self._kernels_dir / kernel_id, jupyter_kernel_id, generation).ours / "relay.sock"
        if not path.exists():
            raise KeyError(jupyter_kernel_id)
        return path

    async def stop_all(self, kernel_id: KernelId, why: Reason | None = None) -> None:
        """End every Jupyter kernel of a container and its relays. The folders stay until the kernel's are removed.

        ``why``: what is told of those that have not ended by themselves; by default that their session was ended.
        """
        why = why or Reason.of("kernel-shutdown", who="the end of its session")
        mine = [key for key in self._launches if key[0] == kernel_id]
        for key in mine:
            await self._launches[key].end(why)
            await self._launches.pop(key).close(stop_relay=True)
        await self._end_retired([task for task, launch in self._retired.items() if launch.kernel_id == kernel_id])
        await self._stop_stray_relays(kernel_id)

    async def _end_retired(self, tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _stop_stray_relays(self, kernel_id: KernelId) -> None:
        """Stop relays of launches that an earlier agent had replaced, and died before it could retire them."""
        current = {launch.keeper.socket_path for launch in self._launches.values()}
        for path in (self._kernels_dir / kernel_id / "jupyter").glob("*/relay.sock"):
            keeper = Keeper(path.parent)
            if path not in current and await keeper.adopt():
                await keeper.stop()

    async def close(self) -> None:
        """The agent stops; kernels and relays live on."""
        await self._end_retired(list(self._retired))
        for launch in self._launches.values():
            await launch.close(stop_relay=False)


def language_of(saves: object) -> Language | None:
    """Of a kernel that can save its variables, by its launch's record. An earlier agent knew Python only: True."""
    return LANGUAGES.get("python" if saves is True else str(saves))
