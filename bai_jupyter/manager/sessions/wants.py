"""Turns what the database says into what an agent is told: ``KernelWant``. Pure, but for secrets opened and made."""

import json

from bai_jupyter.common.messages import FileWant, JupyterKernelWant, KernelWant
from bai_jupyter.common.statuses import JupyterKernelStatus, Target
from bai_jupyter.manager.auth import ssh_keys
from bai_jupyter.manager.auth.session_tokens import SessionTokens
from bai_jupyter.manager.auth.vault import Vault
from bai_jupyter.manager.db.records import JupyterKernelRecord, KernelRecord, SessionRecord
from bai_jupyter.manager.db.user_config import OwnerConfig
from bai_jupyter.manager.sessions.clusters import environ_of, host_of
from bai_jupyter.manager.sessions.ports import SSHD, apps_of
from bai_jupyter.manager.sessions.variables import folder_for

_SSH_FILES = {"ssh-rsa": "id_rsa", "ssh-ed25519": "id_ed25519"}
"""Where ssh looks for a private key, by the first word of the public one."""


def kernel_wants(session: SessionRecord, vault: Vault, tokens: SessionTokens, config: OwnerConfig) -> list[KernelWant]:
    """What the agent should have for this session: its containers that are not gone, all or none of them running.

    ``config`` is empty for a session that has started: it has had all of it.
    """
    target = Target.TERMINATED if any(one.is_gone for one in session.kernels) else session.target
    there = [one for one in session.kernels if not one.is_gone] or session.kernels
    return [_kernel_want(session, one, target, vault, tokens, config) for one in there]


def _kernel_want(
    session: SessionRecord,
    kernel: KernelRecord,
    target: Target,
    vault: Vault,
    tokens: SessionTokens,
    config: OwnerConfig,
) -> KernelWant:
    """What people and programs come to, and a batch session's command, is in the main container."""
    is_main = kernel.place == 0
    processes = session.jupyter_kernels if is_main and target is Target.RUNNING else ()
    return KernelWant(
        kernel_id=kernel.id,
        session_id=session.id,
        session_name=session.name,
        target=target,
        image=session.image,
        image_digest=session.image_digest,
        slots=session.slots,
        shm_bytes=session.shm_bytes,
        environ={**json.loads(vault.open(session.environ_encrypted)), **_own_environ(session, kernel)},
        mounts=list(session.mounts),
        jupyter_kernels=[_jupyter_kernel_want(session, one, vault) for one in processes if _is_wanted(one)],
        bootstrap=_open(session.bootstrap_encrypted, vault),
        owner_bootstrap=_open(config.bootstrap_encrypted, vault),
        files=[*_files(session, config, vault), *_cluster_files(session, vault)],
        command=session.command if is_main else None,
        restarts=session.restarts,
        resizes=session.resizes,
        mount_changes=session.mount_changes,
        doors=list(session.doors),
        access_token=tokens.issue(session),
        cluster_host=host_of(kernel.place) if session.cluster_size > 1 else None,
    )


def _open(sealed: str | None, vault: Vault) -> str | None:
    return vault.open(sealed) if sealed else None


def _files(session: SessionRecord, config: OwnerConfig, vault: Vault) -> list[FileWant]:
    """Dotfiles; and SSH keys, where sshd, ssh and Backend.AI's own client look for them.

    That client fetches its key before it opens the app. For an owner who has no keypair it is the session's own.
    """
    found = [FileWant(one.path, one.permission, vault.open(one.data_encrypted)) for one in config.dotfiles]
    if config.ssh_public_key is not None and config.ssh_private_encrypted is not None:
        public, private = config.ssh_public_key, vault.open(config.ssh_private_encrypted)
        found.append(FileWant(f".ssh/{_SSH_FILES.get(public.split()[0], 'id_ecdsa')}", "600", private))
    elif any(app.name == SSHD for app in apps_of(config.labels, ())):
        private = _derived(session, "ssh", vault)
        public = ssh_keys.public_of(private)
    else:
        return found
    return [*found, FileWant(".ssh/authorized_keys", "600", public), FileWant("id_container", "600", private)]


def _cluster_files(session: SessionRecord, vault: Vault) -> list[FileWant]:
    """With which the containers of a session log in to one another, until they run."""
    if session.cluster_size == 1 or session.started_at is not None:
        return []
    return [FileWant(".ssh/id_cluster", "600", _derived(session, "cluster-ssh", vault))]


def _derived(session: SessionRecord, purpose: str, vault: Vault) -> str:
    """A private key that is written down nowhere: it follows from our master key and the session's id."""
    return ssh_keys.private_of(vault.derive(f"{purpose}:{session.id}"))


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


def _own_environ(session: SessionRecord, kernel: KernelRecord) -> dict[str, str]:
    return {
        "BACKENDAI_SESSION_ID": session.id,
        "BACKENDAI_SESSION_NAME": session.name,
        "BACKENDAI_KERNEL_ID": kernel.id,
        "BACKENDAI_KERNEL_IMAGE": session.image,
        "BACKENDAI_ACCESS_KEY": session.access_key,
        "BACKENDAI_PREOPEN_PORTS": ",".join(map(str, session.preopen_ports)),
        **environ_of(kernel.place, session.cluster_size),
    }
