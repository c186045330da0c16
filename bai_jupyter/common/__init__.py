"""The words manager, agent and Jupyter side share. Standard library only; no I/O, no clock."""
