"""Choices that this server keeps, each kind in one file beside the kernel records.

``LastChoices`` are the user's last for each image. ``ConfirmedChoices`` are what somebody who is logged in here has
chosen for a notebook: what that notebook asks for is then followed, also if Jupyter's notary does not know the file.
"""

import json
import os
from collections.abc import Mapping
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


class ConfirmedChoices(KeptChoices):
    """By path of the notebook. One that was moved, or that asks for something else, is confirmed anew."""

    def confirm(self, path: str, choice: Mapping[str, Any]) -> None:
        self.keep(path.strip("/"), choice)

    def covers(self, path: str, asked: object) -> bool:
        """Whether this very choice, as the notebook has it, was confirmed for that path."""
        try:
            return self._choices.get(path.strip("/")) == read_choice(asked)
        except BadRequest:
            return False
