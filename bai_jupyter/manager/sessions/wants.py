"""Turns what the database says into what an agent is told: ``KernelWant``. Pure, but for secrets opened and made."""

import json

from bai_jupyter.common.messages import JupyterKernelWant, KernelWant
from bai_jupyter.common.statuses import JupyterKernelStatus, Target
from bai_jupyter.manager.auth.session_tokens import SessionTokens
from bai_jupyter.manager.auth.vault import Vault
from bai_jupyter.manager.db.records import JupyterKernelRecord, SessionRecord


def kernel_want(session: SessionRecord, vault: Vault, tokens: SessionTokens) -> KernelWant:
    """What the agent should have for this session, which must have a kernel."""
    assert session.kernel is not None
    processes = [] if session.target is Target.TERMINATED else session.jupyter_kernels
    return KernelWant(
        kernel_id=session.kernel.id,
        session_id=session.id,
        session_name=session.name,
        target=session.target,
        image=session.image,
        image_digest=session.image_digest,
        slots=session.slots,
        shm_bytes=session.shm_bytes,
        environ={**json.loads(vault.open(session.environ_encrypted)), **_own_environ(session)},
        mounts=list(session.mounts),
        jupyter_kernels=[_jupyter_kernel_want(one, vault) for one in processes if _is_wanted(one)],
        bootstrap=vault.open(session.bootstrap_encrypted) if session.bootstrap_encrypted else None,
        command=session.command,
        restarts=session.restarts,
        resizes=session.resizes,
        doors=list(session.doors),
        access_token=tokens.issue(session),
    )


def _is_wanted(process: JupyterKernelRecord) -> bool:
    """One that died by itself stays in the list with its generation, so that the agent does not start it again."""
    return process.target is Target.RUNNING or process.status is not JupyterKernelStatus.DEAD


def _jupyter_kernel_want(process: JupyterKernelRecord, vault: Vault) -> JupyterKernelWant:
    secret = json.loads(vault.open(process.secret_encrypted))
    return JupyterKernelWant(
        jupyter_kernel_id=process.id,
        generation=process.generation,
        kernelspec=process.kernelspec,
        cwd=process.cwd,
        env=secret["env"],
        key=secret["key"],
        target=process.target,
    )


def _own_environ(session: SessionRecord) -> dict[str, str]:
    assert session.kernel is not None
    return {
        "BACKENDAI_SESSION_ID": session.id,
        "BACKENDAI_SESSION_NAME": session.name,
        "BACKENDAI_KERNEL_ID": session.kernel.id,
        "BACKENDAI_KERNEL_IMAGE": session.image,
        "BACKENDAI_ACCESS_KEY": session.access_key,
        "BACKENDAI_PREOPEN_PORTS": ",".join(map(str, session.preopen_ports)),
        "BACKENDAI_CLUSTER_SIZE": "1",
        "BACKENDAI_CLUSTER_ROLE": "main",
        "BACKENDAI_CLUSTER_HOST": "main1",
        "BACKENDAI_CLUSTER_IDX": "1",
    }
