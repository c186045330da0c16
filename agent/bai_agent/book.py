"""What is known of each kernel on this agent: what is wanted, what was last told, what it holds.

Each change is on disk before it is told, unless the disk is full: then it is told all the same.
"""

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from bai_agent.allocation import Allocation
from bai_agent.runtimes.base import FoundContainer
from bai_agent.state import KernelState, StateFolder
from bai_jupyter.common.ids import KernelId
from bai_jupyter.common.messages import JupyterKernelReport, KernelReport
from bai_jupyter.common.statuses import KernelStatus

log = logging.getLogger(__name__)

FINAL = frozenset({KernelStatus.TERMINATED, KernelStatus.ERROR})
HELLO_LOG_BYTES = 16 * 1024 * 1024  # half of what a manager takes in one message

Held = dict[str, dict[str, str]]
"""``{slot: {device id: amount}}``, as it is told and kept."""


class Book:
    """``states`` are the kernels that we know; ``strays`` the containers that are ours by label and nothing more.

    ``on_report`` gets each new report, on the loop; ``jupyter_reports`` is asked for the Jupyter kernels of one.
    """

    def __init__(self, store: StateFolder, on_report: Callable[[KernelReport], None]) -> None:
        self.store = store
        self.states: dict[KernelId, KernelState] = {}
        self.strays: dict[KernelId, FoundContainer] = {}
        self.jupyter_reports: Callable[[KernelId], list[JupyterKernelReport]]
        self._on_report = on_report
        self._unsaved: set[KernelId] = set()  # whose state found no room on disk

    def load(self) -> None:
        """What an earlier agent wrote down."""
        self.states = {key: _told_again(state) for key, state in self.store.load().items()}

    def run_folder(self, kernel_id: KernelId) -> Path:
        return self.store.kernel_folder(kernel_id) / "run"

    def ref_of(self, kernel_id: KernelId) -> str | None:
        """The runtime's name of a kernel's container; ``None`` if there is none."""
        state = self.states.get(kernel_id)
        return state.report.runtime_ref if state else None

    def running_ref(self, kernel_id: KernelId) -> str:
        """Of one that runs. Raises ``KeyError``."""
        report = self.states[kernel_id].report
        if report.runtime_ref is None or report.status is not KernelStatus.RUNNING:
            raise KeyError(kernel_id)
        return report.runtime_ref

    def running(self) -> list[KernelId]:
        return [key for key, state in self.states.items() if state.report.status is KernelStatus.RUNNING]

    def together(self, kernel_id: KernelId) -> list[KernelId]:
        """Those that run of the same session, this one among them if it does."""
        state = self.states.get(kernel_id)
        return [key for key in self.running() if state and self.states[key].want.session_id == state.want.session_id]

    def of_session(self, kernel_id: KernelId) -> list[KernelId]:
        """Those of the same session that have not ended, this one among them."""
        session_id = self.states[kernel_id].want.session_id
        there = [key for key, state in self.states.items() if state.want.session_id == session_id]
        return [key for key in there if self.states[key].report.status not in FINAL]

    def reports(self) -> list[KernelReport]:
        """The latest of every kernel, for ``Hello``; with the logs of those that ended as far as one message holds."""
        strays = [
            KernelReport(
                kernel_id=found.kernel_id,
                session_id=found.session_id,
                status=KernelStatus.RUNNING if found.running else KernelStatus.TERMINATING,
                revision=recovered_revision(),
                runtime_ref=found.ref,
                devices=found.devices,
            )
            for found in self.strays.values()
        ]
        return [*_with_logs_within(HELLO_LOG_BYTES, [state.report for state in self.states.values()]), *strays]

    # What is held

    def held(self) -> dict[KernelId, Held]:
        """Which devices each kernel holds."""
        known = {key: state.report.devices for key, state in self.states.items() if state.report.devices}
        return {**known, **{key: stray.devices for key, stray in self.strays.items()}}

    def held_by(self, kernel_id: KernelId) -> dict[str, dict[str, Decimal]]:
        return amounts_of(self.held().get(kernel_id, {}))

    def held_by_others(self, kernel_id: KernelId) -> list[Allocation]:
        """Without the cores of frozen sessions: who starts meanwhile shares them with those once they go on."""
        return [
            amounts_of({slot: of for slot, of in devices.items() if slot != "cpu" or not self._is_frozen(owner)})
            for owner, devices in self.held().items()
            if owner != kernel_id
        ]

    def _is_frozen(self, kernel_id: KernelId) -> bool:
        """With all others of its session."""
        known = kernel_id in self.states
        return known and all(self.states[one].report.suspended for one in (kernel_id, *self.of_session(kernel_id)))

    # Writing

    def change(self, kernel_id: KernelId, **changes: Any) -> None:
        self.save(replace(self.states[kernel_id], **changes))

    def save(self, state: KernelState) -> None:
        """On a full disk it is kept in memory and told all the same; a next agent tells larger revisions than ours."""
        kernel_id = state.want.kernel_id
        self.states[kernel_id] = state
        try:
            self.store.save(state)
            self._unsaved.discard(kernel_id)
        except OSError as error:
            self._unsaved.add(kernel_id)
            log.warning("kernel %s: its state cannot be written: %s", kernel_id, error)

    def save_again(self) -> None:
        """What found no room before."""
        for kernel_id in list(self._unsaved):
            self.save(self.states[kernel_id])

    def begin(self, state: KernelState) -> None:
        """A kernel that we did not know."""
        self.save(state)
        self._on_report(state.report)

    def energy_before(self, kernel_id: KernelId, device_id: str, now_j: float) -> float:
        """What a device's energy counter showed when the kernel was first seen with it; 0 if it began anew since."""
        state = self.states.get(kernel_id)
        if state is None:
            return now_j  # it has just gone
        known = state.energy_before.get(device_id)
        before = now_j if known is None else known if known <= now_j else 0.0
        if before != known:
            self.change(kernel_id, energy_before={**state.energy_before, device_id: before})
        return before

    def tell(self, kernel_id: KernelId, **changes: Any) -> None:
        """Report ``changes``, if they are any."""
        old = self.states[kernel_id].report
        changes = {"jupyter_kernels": self.all_jupyter_reports(kernel_id), **changes}
        new = replace(old, **changes)
        if new != old:
            new = replace(new, revision=old.revision + 1)
            self.change(kernel_id, report=new)
            self._on_report(new)

    def tell_again(self, kernel_id: KernelId) -> None:
        """The manager has not got it."""
        self._on_report(self.states[kernel_id].report)

    def all_jupyter_reports(self, kernel_id: KernelId) -> list[JupyterKernelReport]:
        """The latest of each, also of those that have been let go of since."""
        state = self.states[kernel_id]
        live = {item.jupyter_kernel_id: item for item in self.jupyter_reports(kernel_id)}
        wanted = {want.jupyter_kernel_id for want in state.want.jupyter_kernels}
        old = {item.jupyter_kernel_id: item for item in state.report.jupyter_kernels}
        kept = {key: item for key, item in old.items() if key in wanted or key in live}
        return list({**kept, **live}.values())

    def drop(self, kernel_id: KernelId) -> None:
        self.states.pop(kernel_id, None)
        self.strays.pop(kernel_id, None)
        self._unsaved.discard(kernel_id)
        self.store.drop(kernel_id)


def first_revision() -> int:
    """Revisions begin at the clock's seconds, so that a record that was lost can be followed by a larger one."""
    return int(time.time())


def recovered_revision() -> int:
    """Larger than any that was told before our record was lost: reports come more slowly than seconds, on the whole."""
    return first_revision() + 1000


def amounts_of(devices: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, Decimal]]:
    return {slot: {name: Decimal(amount) for name, amount in of.items()} for slot, of in devices.items()}


def written(chosen: Allocation) -> Held:
    return {slot: {name: format(amount, "f") for name, amount in of.items()} for slot, of in chosen.items()}


def boot_id() -> str:
    """What is another one after each start of this host. No clock: those are set."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _told_again(state: KernelState) -> KernelState:
    """What an earlier agent wrote down, told anew: on a full disk it may have told more than it could write."""
    return replace(state, report=replace(state.report, revision=max(state.report.revision, recovered_revision())))


def _with_logs_within(budget_bytes: int, reports: Iterable[KernelReport]) -> Iterator[KernelReport]:
    """Many may have ended while no manager was there; what is more than the budget goes without its log."""
    for report in reports:
        size = 0 if report.log is None else len(json.dumps(report.log))
        fits = size <= budget_bytes
        budget_bytes -= size if fits else 0
        yield report if fits else replace(report, log=None)
