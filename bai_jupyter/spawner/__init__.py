"""The JupyterHub spawner: log in, and your server runs in a session."""

from bai_jupyter.spawner.spawner import BackendAISpawner

__all__ = ["BackendAISpawner"]
