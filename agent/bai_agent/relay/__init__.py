"""A process of its own, one per Jupyter kernel: the kernel's only client, and the recorder of all it says.

Imports only the standard library and ``bai_jupyter.common.records``, so that it starts in a blink and stays small.
``docs/kernel-path.md`` has the reasons and the table of what survives which kill.
"""
