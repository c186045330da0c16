"""Runtimes: how a container is made and how a process is started in it."""
