"""A kernel's variables, kept in a folder of its owner's, and brought back into another kernel.

``inside.py`` and ``inside.R`` do the work and run in the kernel itself, one for each of the ``languages``; ``outside``
is the agent's side of it.
"""
