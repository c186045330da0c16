"""A Python kernel's variables, kept in a folder of its owner's, and brought back into another kernel.

``inside`` does the work and runs in the kernel itself; ``outside`` is the agent's side of it.
"""
