"""Choose a folder, and a directory or file in it."""

from typing import Any

from ipywidgets import Button, Dropdown, HBox, Select
from traitlets import Tuple, Unicode

from bai_jupyter.client import ClientConfig, Json, ManagerClient
from bai_jupyter.widgets import work
from bai_jupyter.widgets.asking import describe_folder, usable
from bai_jupyter.widgets.panel import LABELLED, WIDE, Line, Panel
from bai_jupyter.widgets.places import Entry, above, count, describe_place, entries_of, inside

_NO_FOLDER = ("Choose a folder", "")


class FolderPicker(Panel):
    """One's folders, own and shared, and what is in them.

    ``value`` is ``None`` or ``(folder, path)``: its name, and what was chosen in it, relative to its root, ``""`` being
    the folder itself. ``observe(f, "value")`` tells of another choice. ``is_read_only`` says whether one may only read
    it. ``config``: other credentials than those the kernel finds.
    """

    value = Tuple(Unicode(), Unicode(), default_value=None, allow_none=True, read_only=True)

    def __init__(self, *, config: ClientConfig | None = None) -> None:
        self._by_id: dict[str, Json] = {}
        self._directory, self._entries = "", []  # type: tuple[str, list[Entry]]
        self._folder = Dropdown(options=[_NO_FOLDER], description="Folder", style=LABELLED, layout=WIDE)
        self._place = Line()
        self._list = Select(options=[], rows=10, description="Contents", style=LABELLED, layout=WIDE, disabled=True)
        self._open = Button(description="Open", disabled=True, tooltip="Show what is in this directory")
        self._up = Button(description="Up", disabled=True, tooltip="Show the directory above")
        self._more = Button(description="More", disabled=True, tooltip="Show what comes after these")
        loop = work.loop_of_the_kernel()
        buttons = HBox([self._open, self._up, self._more])
        super().__init__(work.Work(config, loop), [self._folder, self._place, self._list, buttons])
        self._folder.observe(self._chose_folder, "value")
        self._list.observe(self._chose_entry, "index")
        self._open.on_click(lambda _: self._go(inside(self._directory, self._chosen().name)))
        self._up.on_click(lambda _: self._go(above(self._directory)))
        self._more.on_click(lambda _: self._read(len(self._entries)))
        self._place.say("Asking the manager…")
        self._work.begin("load", self._load, self._place.say)

    @property
    def is_read_only(self) -> bool:
        folder = self._by_id.get(self._folder.value)
        return folder is not None and folder["permission"] == "ro"

    async def _load(self, client: ManagerClient) -> None:
        folders, me = usable(await client.list_folders()), await client.whoami()
        self._by_id = {one["id"]: dict(one) for one in folders}
        self._folder.options = [_NO_FOLDER, *((describe_folder(one, me["id"]), one["id"]) for one in folders)]
        self._place.say("" if folders else "You have no folders yet. Make one: bai vfolder create NAME.")

    def _chose_folder(self, _change: Any) -> None:
        if self._folder.value:
            self._go("")
            return
        self.set_trait("value", None)
        self._place.say("")
        self._show([], 0)

    def _go(self, directory: str) -> None:
        """Show a directory, which is then what is chosen."""
        self._directory = directory
        self._choose(directory)
        self._read(0)

    def _read(self, offset: int) -> None:
        folder, directory = self._by_id[self._folder.value], self._directory
        facts = [describe_place(folder["name"], directory), *(["read only"] if self.is_read_only else [])]

        async def read(client: ManagerClient) -> None:
            listing = await client.list_files(folder["id"], directory, offset)
            if self._folder.value != folder["id"]:
                return  # no folder is chosen any more
            known = self._entries[:offset]
            self._show([*known, *entries_of(listing["items"])], listing["total"])
            self._place.say(f"{', '.join(facts)}: {count(len(self._entries), listing['total'])}")

        if not offset:
            self._show([], 0)
        self._work.begin("list", read, self._place.say)

    def _show(self, entries: list[Entry], total: int) -> None:
        self._entries = entries
        self._list.index = None  # else the first of the new ones would be chosen
        self._list.options = [(one.label, place) for place, one in enumerate(entries)]
        self._list.disabled = not entries
        self._open.disabled = True
        self._up.disabled = not (self._folder.value and self._directory)
        self._more.disabled = len(entries) >= total

    def _chose_entry(self, _change: Any) -> None:
        if self._list.index is None:
            return
        entry = self._chosen()
        self._open.disabled = not entry.is_directory
        self._choose(inside(self._directory, entry.name))

    def _chosen(self) -> Entry:
        return self._entries[self._list.index]

    def _choose(self, path: str) -> None:
        self.set_trait("value", (self._by_id[self._folder.value]["name"], path))
