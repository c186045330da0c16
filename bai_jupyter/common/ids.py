"""Typed ids, and how they are made.

Every id is a random UUID in its canonical text form, so nobody can guess one and no process has to ask
another for the next number.
"""

from typing import NewType
from uuid import uuid4

SessionId = NewType("SessionId", str)
KernelId = NewType("KernelId", str)  # one container of a session
JupyterKernelId = NewType("JupyterKernelId", str)  # one Jupyter kernel process inside a kernel
AgentId = NewType("AgentId", str)
VFolderId = NewType("VFolderId", str)
UserId = NewType("UserId", str)
AccessKey = NewType("AccessKey", str)


def new_session_id() -> SessionId:
    return SessionId(str(uuid4()))


def new_kernel_id() -> KernelId:
    return KernelId(str(uuid4()))


def new_jupyter_kernel_id() -> JupyterKernelId:
    return JupyterKernelId(str(uuid4()))


def new_agent_id() -> AgentId:
    return AgentId(str(uuid4()))


def new_vfolder_id() -> VFolderId:
    return VFolderId(str(uuid4()))


def new_user_id() -> UserId:
    return UserId(str(uuid4()))
