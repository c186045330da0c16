"""Sessions, resources and folders as ipywidgets, for notebooks and Voila. See ``docs/widgets.md``.

Owns: what is chosen and shown. Knows only ipywidgets' own classes, so no front end of ours is needed, and asks the
manager as whoever the kernel's credentials stand for. ``work`` calls the manager, ``asking``, ``figures`` and
``places`` are pure, the others are what is seen.
"""

from bai_jupyter.widgets.launcher import SessionLauncher
from bai_jupyter.widgets.monitor import ResourceMonitor
from bai_jupyter.widgets.picker import FolderPicker

__all__ = ["FolderPicker", "ResourceMonitor", "SessionLauncher"]
