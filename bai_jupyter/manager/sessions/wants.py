"""Turns what the database says into what an agent is told: ``KernelWant``. Pure, but for secrets opened and made."""

import json

from bai_jupyter.common.messages import FileWant, JupyterKernelWant, KernelWant
from bai_jupyter.common.statuses import JupyterKernelStatus, Target
from bai_jupyter.manager.auth.session_tokens import SessionTokens
from bai_jupyter.manager.auth.vault import Vault
from bai_jupyter.manager.db.records import JupyterKernelRecord, SessionRecord
from bai_jupyter.manager.db.user_config import OwnerConfig
from bai_jupyter.manager.sessions.variables import folder_for

_SSH_FILES = {"ssh-rsa": "id_rsa", "ssh-ed25519": "id_ed25519"}
"""Where ssh looks for a private key, by the first word of the public one."""


def kernel_want(session: SessionRecord, vault: Vault, tokens: SessionTokens, config: OwnerConfig) -> KernelWant:
    """What the agent should have for this session, which must have a kernel.

    ``config`` is empty for a session that has started: it has had all of it.
    """
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
        jupyter_kernels=[_jupyter_kernel_want(session, one, vault) for one in processes if _is_wanted(one)],
        bootstrap=_open(session.bootstrap_encrypted, vault),
        owner_bootstrap=_open(config.bootstrap_encrypted, vault),
        files=_files(config, vault),
        command=session.command,
        restarts=session.restarts,
        resizes=session.resizes,
        mount_changes=session.mount_changes,
        doors=list(session.doors),
        access_token=tokens.issue(session),
    )


def _open(sealed: str | None, vault: Vault) -> str | None:
    return vault.open(sealed) if sealed else None


def _files(config: OwnerConfig, vault: Vault) -> list[FileWant]:
    """Dotfiles; and the SSH keypair, where sshd, ssh and Backend.AI's own client look for it."""
    found = [FileWant(one.path, one.permission, vault.open(one.data_encrypted)) for one in config.dotfiles]
    if config.ssh_public_key is None or config.ssh_private_encrypted is None:
        return found
    private = vault.open(config.ssh_private_encrypted)
    own = _SSH_FILES.get(config.ssh_public_key.split()[0], "id_ecdsa")
    return [
        *found,
        FileWant(".ssh/authorized_keys", "600", config.ssh_public_key),
        FileWant(f".ssh/{own}", "600", private),
        FileWant("id_container", "600", private),
    ]


def _is_wanted(process: JupyterKernelRecord) -> bool:
    """One that died by itself stays in the list with its generation, so that the agent does not start it again."""
    return process.target is Target.RUNNING or process.status is not JupyterKernelStatus.DEAD


def _jupyter_kernel_want(session: SessionRecord, process: JupyterKernelRecord, vault: Vault) -> JupyterKernelWant:
    secret = json.loads(vault.open(process.secret_encrypted))
    return JupyterKernelWant(
        jupyter_kernel_id=process.id,
        generation=process.generation,
        kernelspec=process.kernelspec,
        cwd=process.cwd,
        env=secret["env"],
        key=secret["key"],
        target=process.target,
        save_to=folder_for(session, process.id),
        wake_from=process.wake_from,
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
