"""The user's last choice for each image, in one file beside the kernel records."""

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


class LastChoices:
    """``{image: choice}``. Without a file that can be read there is none yet."""

    def __init__(self, path: Path, log: Logger) -> None:
        self._path = path
        self._choices: dict[str, dict[str, Any]] = {}
        try:
            self._choices = {image: read_choice(raw) for image, raw in json.loads(path.read_text()).items()}
        except FileNotFoundError:
            return
        except (OSError, ValueError, AttributeError, BadRequest) as error:
            log.warning("the last choices in %s are not used: %s", path, error)

    def all(self) -> dict[str, dict[str, Any]]:
        return dict(self._choices)

    def remember(self, image: str, choice: Mapping[str, Any]) -> None:
        """Replaces the last one; a choice that leaves all open forgets it."""
        kept = {key: value for key, value in choice.items() if key not in _NOT_KEPT}
        self._choices.pop(image, None)
        if kept:
            self._choices[image] = kept
        draft = self._path.with_suffix(".new")
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(self._choices, file, indent=1)
        draft.replace(self._path)
