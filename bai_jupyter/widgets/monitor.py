"""What a session uses of what it has, live."""

import os
import time

from ipywidgets import FloatProgress, HBox, Label, VBox

from bai_jupyter.client import ClientConfig, Json, ManagerClient
from bai_jupyter.widgets import work
from bai_jupyter.widgets.figures import CpuSample, Figure, add_sample, figures_of
from bai_jupyter.widgets.panel import LABELLED, Line, Panel
from bai_jupyter.words import sentence_of, state_of

NO_SESSION = 'This kernel does not run in a session. Name one: ResourceMonitor("demo").'


class ResourceMonitor(Panel):
    """CPU, memory and accelerators of a session against its limits, every two seconds until it is closed.

    ``session`` is a name or an id, else the session that this kernel runs in. It has a thread of its own, so its
    figures go on while a cell computes. ``config``: other credentials than those the kernel finds.
    """

    def __init__(self, session: str | None = None, *, config: ClientConfig | None = None) -> None:
        self._session = session or os.environ.get("BACKENDAI_SESSION_ID", "")
        self._line, self._bars = Line(), VBox()
        self._rows: dict[str, HBox] = {}  # also those that are not seen just now
        self._samples: list[CpuSample] = []
        super().__init__(work.Work(config, work.loop_of_its_own(), owns_loop=True), [self._line, self._bars])
        if self._session:
            self._work.begin("watch", self._watch, self._say)
        else:
            self._say(NO_SESSION)

    async def _watch(self, client: ManagerClient) -> None:
        await work.watch(client, self._session, self._show, self._say)

    def _show(self, view: Json) -> None:
        self._samples = add_sample(self._samples, view, time.monotonic())
        self._line.say(f"{view['name']}: {state_of(view)}. {sentence_of(view)}")
        self._draw(figures_of(view, self._samples))

    def _say(self, sentence: str) -> None:
        """Why there are no figures."""
        self._line.say(sentence)
        self._draw([])

    def _draw(self, figures: list[Figure]) -> None:
        for figure in figures:
            if figure.name not in self._rows:
                bar = FloatProgress(max=1.0, description=figure.name, style=LABELLED)
                self._rows[figure.name] = HBox([bar, Label()])
            bar, label = self._rows[figure.name].children
            bar.value, label.value = figure.part, figure.text
        self._bars.children = [self._rows[figure.name] for figure in figures]
