"""Backend.AI, Jupyter-native: share GPUs from notebooks. Importing this package imports nothing else."""

from bai_jupyter._version import __version__

__all__ = ["__version__"]
