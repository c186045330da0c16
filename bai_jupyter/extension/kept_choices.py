"""Choices that this server keeps, each kind in one file beside the kernel records.

``LastChoices`` are the user's last for each image. ``Consents`` know for which notebooks somebody who is logged in here
has agreed to what they ask for, or was asked and has not; and what was chosen for those that cannot be written, which
is in no file.
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from logging import Logger
from pathlib import Path
from typing import Any

from bai_jupyter.choice import read_choice
from bai_jupyter.common.errors import BadRequest

# The image is what it is kept under, and a session is joined because somebody says so, never out of habit.
_NOT_KEPT = ("image", "kernelspec", "session")


class KeptChoices:
    """``{key: choice}``. Without a file that can be read there is none yet."""

    def __init__(self, path: Path, log: Logger) -> None:
        self._path = path
        self._choices: dict[str, dict[str, Any]] = {}
        try:
            self._choices = {key: read_choice(raw) for key, raw in json.loads(path.read_text()).items()}
        except FileNotFoundError:
            return
        except (OSError, ValueError, AttributeError, BadRequest) as error:
            log.warning("the choices in %s are not used: %s", path, error)

    def all(self) -> dict[str, dict[str, Any]]:
        return dict(self._choices)

    def keep(self, key: str, choice: Mapping[str, Any]) -> None:
        """Replaces the last one; a choice that leaves all open forgets it."""
        self._choices.pop(key, None)
        if choice:
            self._choices[key] = dict(choice)
        draft = self._path.with_suffix(".new")
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(self._choices, file, indent=1)
        draft.replace(self._path)


class LastChoices(KeptChoices):
    """By image."""

    def remember(self, image: str, choice: Mapping[str, Any]) -> None:
        self.keep(image, {key: value for key, value in choice.items() if key not in _NOT_KEPT})


@dataclass(frozen=True)
class Chosen:
    """For a notebook that cannot be written: in place of what it asks for, and of the kernelspec that it names."""

    choice: dict[str, Any]
    kernelspec: dict[str, str]


class Consents:
    """By path of the notebook. One that was moved, or that asks for something else, is looked at anew."""

    def __init__(self, folder: Path, log: Logger) -> None:
        self._held: dict[str, tuple[object, Chosen]] = {}
        self._given = KeptChoices(folder / "confirmed_choices.json", log)
        self._asked = KeptChoices(folder / "doubted_choices.json", log)

    def give(self, path: str, choice: Mapping[str, Any]) -> None:
        """Somebody has chosen this for the notebook, or nothing."""
        self._given.keep(_key(path), choice)
        self._asked.keep(_key(path), {})
        self._held.pop(_key(path), None)

    def hold(self, path: str, asked: object, chosen: Chosen) -> None:
        """Somebody has chosen this for the notebook, whose file goes on asking for what it asks."""
        self._held[_key(path)] = (asked, chosen)

    def held(self, path: str, asked: object) -> Chosen | None:
        kept, chosen = self._held.get(_key(path), (None, None))
        return chosen if kept == asked else None

    def is_heard(self, path: str, asked: object, is_trusted: bool) -> bool:
        """Whether what the notebook asks for is followed. ``is_trusted``: the notary knows the file."""
        if _is(self._given, path, asked):
            return True
        return is_trusted and not _is(self._asked, path, asked)

    def ask(self, path: str, asked: object) -> None:
        """From now on only consent counts: a page saves an open notebook by itself, which makes the notary know it."""
        with suppress(BadRequest):
            self._asked.keep(_key(path), read_choice(asked))


def _key(path: str) -> str:
    return path.strip("/")


def _is(kept: KeptChoices, path: str, asked: object) -> bool:
    try:
        return kept.all().get(_key(path)) == read_choice(asked)
    except BadRequest:
        return False
