"""Variables of one launch of a Jupyter kernel: saved when it is asked, restored at its start, and what it says of both.

The kernel does the work, by a program that is put into its container (``languages``); what it says is read from files
(``outside``) and believed of nothing but this kernel.
"""

import asyncio
import logging
import os
from pathlib import Path
from uuid import uuid4

from bai_agent import asking, folders
from bai_agent.keeper import Keeper
from bai_agent.listener import SAVER
from bai_agent.runtimes.base import Runtime
from bai_agent.variables import outside
from bai_agent.variables.languages import LANGUAGES, SAVE_TO, WAKE_FROM, Language
from bai_jupyter.common.ids import KernelId
from bai_jupyter.common.messages import JupyterKernelWant, KernelSpecFacts
from bai_jupyter.common.reasons import Reason

log = logging.getLogger(__name__)

_SAVE_MARGIN_S = 10.0  # an object that takes long by itself is not interrupted; then nobody waits for it


class LaunchVariables:
    """``name`` is the launch's in the kernel's ``run_folder``; ``language`` is ``None`` if it can save none."""

    def __init__(self, runtime: Runtime, kernel_id: KernelId, run_folder: Path, name: str, keeper: Keeper) -> None:
        self._runtime, self._kernel_id, self._keeper = runtime, kernel_id, keeper
        self._run_folder, self._name = run_folder, name
        self.language: Language | None = None
        self._is_to_wake = False
        self._saving = asyncio.Lock()

    def begin(self, want: JupyterKernelWant, spec: KernelSpecFacts) -> None:
        """What is asked of this launch."""
        self.language = LANGUAGES.get(spec.language) if want.save_to is not None else None
        self._is_to_wake = want.wake_from is not None

    def prepare(self, want: JupyterKernelWant) -> dict[str, str]:
        """Put in what saves and restores variables, where that can be done; the environment that tells it where."""
        language = self.language
        if language is None or want.save_to is None:
            return {}
        try:
            program = self._put_in(language)
            if want.wake_from is None:
                return {SAVE_TO: want.save_to}
            call = language.wake(program, self._inside(self._woken))
            folders.replace_private(self._run_folder, self._startup, call.encode())
        except OSError as error:  # its user hinders it, or the disk is full; it goes without
            log.warning("launch %s: its variables can be neither saved nor restored: %s", self._name, error)
            self.language = None
            return {}
        startup = {language.startup: self._inside(self._startup)}
        return {SAVE_TO: want.save_to, WAKE_FROM: want.wake_from, **startup}

    def _put_in(self, language: Language) -> str:
        """The program, as it is here. Its path inside. Raises ``OSError``."""
        folders.replace_private(self._run_folder, language.file, language.program())
        return self._inside(language.file)

    def how_it_woke(self) -> Reason | None:
        """None for a kernel that was to begin with no variables."""
        if not self.wakes:
            cannot = Reason.of("wake-failed", cause="this kernel is not one that can restore them")
            return cannot if self._is_to_wake else None
        report = outside.read_report(self._run_folder, self._woken)
        return Reason.of("wake-failed", cause="it said nothing of it") if report is None else outside.woken(report)

    async def save(self, key: str, seconds: float, *, is_busy: bool) -> dict[str, object]:
        """Have them saved, unless something runs in it. As in ``messages.Call``, but for the id; raises nothing.

        ``key`` signs what the kernel is asked.
        """
        report: outside.Report | None = None
        refused = self._why_not_saved(is_busy=is_busy)
        if refused is None and self.language is not None:
            async with self._saving:
                try:
                    report = await self._ask_to_save(self.language, key, seconds)
                except TimeoutError:
                    refused = Reason.of("save-late", seconds=f"{seconds:g}")
                except (OSError, ValueError) as error:
                    refused = Reason.of("save-failed", cause=str(error))
        if report is not None and report.error is not None:
            refused = Reason.of("save-failed", cause=report.error)
        if report is None and refused is None:
            refused = Reason.of("save-failed", cause="the kernel does not say how it went")
        said = outside.Report("", None, 0, 0, [], [], []) if report is None else report
        return {
            "refused": refused.to_json() if refused else None,
            "variables": said.variables,
            "bytes": said.size_bytes,
            "left_out": said.left_out,
            "doubtful": said.doubtful,
        }

    def _why_not_saved(self, *, is_busy: bool) -> Reason | None:
        if self.language is None:
            return Reason.of("save-language")
        return Reason.of("save-busy") if is_busy else None

    async def _ask_to_save(self, language: Language, key: str, seconds: float) -> outside.Report | None:
        name, ask = outside.SAVED.format(self._name), uuid4().hex
        code = language.save(self._put_in(language), self._inside(name), ask, seconds)
        async with asyncio.timeout(seconds + _SAVE_MARGIN_S):
            await asking.run_silently(self._keeper, key, SAVER, code)
        report = outside.read_report(self._run_folder, name)
        return report if report is not None and report.ask == ask else None

    @property
    def _startup(self) -> str:
        return outside.STARTUP.format(self._name)

    @property
    def _woken(self) -> str:
        return outside.WOKEN.format(self._name)

    @property
    def wakes(self) -> bool:
        """It restores variables when it starts."""
        return os.path.lexists(self._run_folder / self._startup)

    def _inside(self, name: str) -> str:
        return self._runtime.to_inside(self._kernel_id, self._run_folder / name)
