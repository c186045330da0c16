"""JupyterHub's spawner and authenticator: log in, and your server runs in a session."""

from bai_jupyter.spawner.authenticator import BackendAIAuthenticator
from bai_jupyter.spawner.spawner import BackendAISpawner

__all__ = ["BackendAIAuthenticator", "BackendAISpawner"]
