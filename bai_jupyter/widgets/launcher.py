"""A form that starts a session, says beforehand when it would start, and then how it is."""

import asyncio
import secrets
from enum import Enum
from typing import Any

from ipywidgets import BoundedFloatText, Button, Dropdown, HBox, SelectMultiple, Text, VBox

from bai_jupyter.client import ClientConfig, Json, ManagerClient, SessionRequest
from bai_jupyter.common.errors import BaiError
from bai_jupyter.widgets import work
from bai_jupyter.widgets.asking import BY_AMOUNTS, BY_POLICY, Form, Offer, offer_of, request_of
from bai_jupyter.widgets.panel import LABELLED, WIDE, Line, Panel
from bai_jupyter.words import sentence_of, state_of, verdict_of

REST_S = 0.3
"""The manager is asked what would happen when the form has been left alone for so long."""

_MOST = 1e6
_END_HINT = "Variables, and files outside of folders, are gone then"


class Stage(Enum):
    """Of the session that was started last."""

    NONE = "none, or it has ended"
    ASKED = "asked for"
    THERE = "it waits or runs"
    ENDING = "its end was asked for"


class SessionLauncher(Panel):
    """Choose an environment, resources and folders; start a session, see how it is, end it.

    ``session`` is the id of the one that was started last, else ``None``. It goes on when this is closed. ``config``:
    other credentials than those the kernel finds.
    """

    def __init__(self, *, config: ClientConfig | None = None) -> None:
        self.session: str | None = None
        self._stage, self._is_refused = Stage.NONE, True  # until something can be asked for
        self._name = Text(_fresh_name(), description="Name", style=LABELLED, layout=WIDE)
        self._image = Dropdown(description="Environment", style=LABELLED, layout=WIDE)
        self._resources = Dropdown(
            options={"As your policy says": BY_POLICY}, description="Resources", style=LABELLED, layout=WIDE
        )
        self._amounts = VBox()
        self._fields: dict[str, BoundedFloatText] = {}
        self._folders = SelectMultiple(description="Folders", rows=4, style=LABELLED, layout=WIDE)
        self._verdict, self._state = Line(), Line()
        self._start = Button(description="Start", button_style="primary", disabled=True, tooltip="Start this session")
        self._end = Button(description="End", disabled=True, tooltip=_END_HINT)
        form = [self._name, self._image, self._resources, self._amounts, self._folders]
        loop = work.loop_of_the_kernel()
        super().__init__(work.Work(config, loop), [*form, self._verdict, HBox([self._start, self._end]), self._state])
        for control in (self._name, self._image, self._resources, self._folders):
            control.observe(self._changed, "value")
        self._start.on_click(self._clicked_start)
        self._end.on_click(self._clicked_end)
        self._verdict.say("Asking the manager…")
        self._work.begin("load", self._load, self._verdict.say)

    async def _load(self, client: ManagerClient) -> None:
        images, capacity = await client.list_images(), await client.check_presets()
        folders, me = await client.list_folders(), await client.whoami()
        self._offer(offer_of(images, capacity, folders, me["id"]))

    def _offer(self, offer: Offer) -> None:
        for amount in offer.amounts:
            control = BoundedFloatText(
                amount.value, min=0, max=_MOST, step=amount.step, description=amount.label, style=LABELLED
            )
            control.observe(self._changed, "value")
            self._fields[amount.slot] = control
        self._folders.options = list(offer.folders.items())
        self._resources.options = list(offer.resources.items())
        self._image.options = offer.images
        self._image.value = next(iter(offer.images), None)
        if not offer.images:
            self._verdict.say("The manager has no environment for you. Your admin can add one: `bai image add`.")

    def _changed(self, _change: Any) -> None:
        asks_amounts = self._resources.value == BY_AMOUNTS
        self._amounts.children = list(self._fields.values()) if asks_amounts else []
        if self._image.value:
            request = request_of(self._form())
            self._work.begin("verdict", lambda client: self._judge(client, request), self._verdict.say)

    def _form(self) -> Form:
        amounts = {slot: control.value for slot, control in self._fields.items()}
        return Form(self._name.value, self._image.value, self._resources.value, amounts, self._folders.value)

    async def _judge(self, client: ManagerClient, request: SessionRequest) -> None:
        await asyncio.sleep(REST_S)
        self._is_refused = False  # if the manager does not say, a click on Start will
        self._enable()
        answer = await client.dry_run(request)
        self._is_refused = answer["verdict"] == "refused"
        self._verdict.say(verdict_of(answer))
        self._enable()

    def _enable(self) -> None:
        self._start.disabled = self._is_refused or self._stage is not Stage.NONE
        self._end.disabled = self._stage is not Stage.THERE

    def _enter(self, stage: Stage) -> None:
        self._stage = stage
        self._enable()

    def _clicked_start(self, _button: Button) -> None:
        request = request_of(self._form())
        self._enter(Stage.ASKED)
        self._work.begin("session", lambda client: self._run(client, request), self._state.say)

    async def _run(self, client: ManagerClient, request: SessionRequest) -> None:
        try:
            self._state.say(f"{request.name}: asking for it.")
            self.session = (await client.create_session(request))["sessionId"]
            await work.watch(client, self.session, self._show, self._state.say)
        finally:
            self._enter(Stage.NONE)

    def _show(self, view: Json) -> None:
        queue = view.get("queue")
        place = f" of {queue['of']}" if queue else ""
        self._state.say(f"{view['name']}: {state_of(view)}{place}. {sentence_of(view)}")
        if self._stage is Stage.ASKED:
            self._enter(Stage.THERE)
            self._name.value = _fresh_name()  # the next one's

    def _clicked_end(self, _button: Button) -> None:
        self._enter(Stage.ENDING)
        self._work.begin("end", self._destroy, self._state.say)

    async def _destroy(self, client: ManagerClient) -> None:
        try:
            await client.destroy_session(str(self.session))
        except BaiError:
            self._enter(Stage.THERE)
            raise


def _fresh_name() -> str:
    return f"session-{secrets.token_hex(3)}"
