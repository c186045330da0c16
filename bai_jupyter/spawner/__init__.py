"""JupyterHub's spawner and authenticator: log in, and your server runs in a session.

``TEMPLATES`` is for ``c.JupyterHub.template_paths``: pages of the Hub that go on when it starts again.
"""

from pathlib import Path

from bai_jupyter.spawner.authenticator import BackendAIAuthenticator
from bai_jupyter.spawner.spawner import BackendAISpawner

TEMPLATES = str(Path(__file__).with_name("templates"))

__all__ = ["TEMPLATES", "BackendAIAuthenticator", "BackendAISpawner"]
