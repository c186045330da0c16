"""Making an engine's containers: unprivileged, limited, without a way to other sessions, and with our labels.

What devices need is put into words that this engine knows (``engine_devices``).
"""

import contextlib
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from docker.errors import APIError
from docker.types import LogConfig
from docker.types import Mount as DockerMount

from bai_agent.devices import cdi
from bai_agent.devices.base import ContainerOptions, DeviceFault
from bai_agent.runtimes import engine_devices, spares, supervisor
from bai_agent.runtimes.base import INSIDE_HOME, INSIDE_RUN, CreateRequest, RuntimeFault, config_hash, environ_of
from bai_agent.runtimes.engine import Engine
from bai_agent.runtimes.engine_folders import LABEL as MOUNTS
from bai_agent.runtimes.engine_folders import EngineFolders
from bai_agent.runtimes.engine_images import INSPECTS
from bai_agent.runtimes.engine_networks import EngineNetworks
from bai_jupyter.common.messages import KernelWant
from bai_jupyter.common.reasons import Reason

log = logging.getLogger(__name__)

NANO = 10**9  # of a CPU, as engines count


class EngineContainers:
    """``abilities`` are those of the engine, once it has told them."""

    abilities = engine_devices.Abilities(cdi=False, own_seccomp=False)
    lifts_memlock: bool | None = None  # not tried yet

    def __init__(
        self,
        engine: Engine,
        networks: EngineNetworks,
        folders: EngineFolders,
        agent_id: str,
        labels: Mapping[str, str],
        pids_limit: int,
    ) -> None:
        self._engine, self._networks, self._folders = engine, networks, folders
        self._agent_id, self._labels, self._pids_limit = agent_id, labels, pids_limit

    def create(self, request: CreateRequest) -> str:
        options = self._possible(request.options)
        with self._networks.of(request.want) as (network, place):
            ref = self._create_with(request, options, network, place)
        for other in options.networks:
            self._join(ref, other)
        return ref

    def _possible(self, options: ContainerOptions) -> ContainerOptions:
        """The same in words that this engine knows. Raises ``RuntimeFault`` for what is not on this host."""
        if options.cdi and not self.abilities.cdi:
            try:
                resolved = cdi.resolve(options.cdi)
            except DeviceFault as fault:
                raise RuntimeFault(self._engine.reason("device-not-ready", fault.cause, device=fault.device)) from fault
            if resolved.hooks:
                log.warning("%s: hooks that are not run: %s", ", ".join(options.cdi), "; ".join(resolved.hooks))
            options = options.without_cdi().merge(resolved.options)
        for path in engine_devices.missing(options):
            raise RuntimeFault(Reason.of("device-missing", device=path, agent=self._engine.agent))
        return options

    def _join(self, ref: str, network: str) -> None:
        joined = self._engine.api.inspect_container(ref)["NetworkSettings"]["Networks"]
        if network not in joined:
            self._engine.api.connect_container_to_network(ref, network)

    def _can_lift_memlock(self, image: str) -> bool:
        """Tried once, on a container of its own: an engine says only when it starts one."""
        if self.lifts_memlock is None:
            created = self._engine.api.create_container(
                image,
                entrypoint=["/bin/sh", "-c", ":"],
                command=[],
                user="65534:65534",
                labels={INSPECTS: self._agent_id, **self._labels},
                network_disabled=True,
                host_config=self._engine.api.create_host_config(cap_drop=["ALL"], ulimits=[engine_devices.MEMLOCK]),
            )
            try:
                self._engine.api.start(created["Id"])
                self.lifts_memlock = True
            except APIError as error:
                if "rlimit" not in str(error):
                    raise
                self.lifts_memlock = False
                log.warning("%s", engine_devices.NO_MEMLOCK)
            finally:
                self._engine.api.remove_container(created["Id"], force=True, v=True)
        return self.lifts_memlock

    def _create_with(self, request: CreateRequest, options: ContainerOptions, network: str, place: Any) -> str:
        want, folders = request.want, request.folders
        name = f"bai-{want.kernel_id}"
        with contextlib.suppress(OSError):  # a full disk, which others tell; then the engine is asked for each process
            supervisor.prepare(folders.run)
        try:
            created = self._engine.api.create_container(
                image=_image_of(want),
                name=name,
                entrypoint=["/bin/sh", "-c", supervisor.MAIN],
                command=[],
                user=f"{folders.identity.uid}:{folders.identity.gid}",
                working_dir=INSIDE_HOME,
                hostname=want.cluster_host or _hostname(want.session_name),
                environment=environ_of(replace(request, options=options)),
                labels=self._labels_of(request),
                host_config=self._host_config(request, options, network),
                networking_config=self._engine.api.create_networking_config({network: place}),
            )
        except APIError as error:
            if error.status_code != 409:
                raise
            existing = self._engine.api.inspect_container(name)
            if existing["Config"]["Labels"].get("bai.agent-id") != self._agent_id:
                raise
            return str(existing["Id"])
        return str(created["Id"])

    def _labels_of(self, request: CreateRequest) -> dict[str, str]:
        want = request.want
        checked = {mount.target: [mount.device, mount.inode] for mount in self._folders.bound(request.folders.mounts)}
        ours = {**self._labels, "bai.agent-id": self._agent_id, MOUNTS: json.dumps(checked)}
        if request.spare:
            return {**ours, spares.LABEL: want.kernel_id}
        return {
            **ours,
            "bai.kernel-id": want.kernel_id,
            "bai.session-id": want.session_id,
            "bai.config-hash": config_hash(want),
            "bai.devices": json.dumps(request.devices),
        }

    def _host_config(self, request: CreateRequest, options: ContainerOptions, network: str) -> Any:
        want, folders = request.want, request.folders
        memory = int(want.slots["mem"]) or None
        binds = [(folders.run, INSIDE_RUN, False), (folders.scratch, INSIDE_HOME, False)]
        # Parents before what lies below them, or the parent's mount would hide it.
        binds += sorted(
            ((mount.source, mount.target, mount.read_only) for mount in self._folders.bound(folders.mounts)),
            key=lambda bind: bind[1],
        )
        binds += [(Path(host), inside, read_only) for host, inside, read_only in options.binds]
        memlock = options.memlock and self._can_lift_memlock(_image_of(want))
        return self._engine.api.create_host_config(
            mounts=[DockerMount(target, str(source), "bind", read_only=ro) for source, target, ro in binds],
            network_mode=network,
            cap_drop=["ALL"],
            pids_limit=self._pids_limit,
            init=True,
            mem_limit=memory,
            memswap_limit=memory,
            nano_cpus=int(want.slots["cpu"] * NANO) or None,
            log_config=LogConfig(type="json-file", config={"max-size": "1m", "max-file": "1"}),
            restart_policy={"Name": "no"},
            **engine_devices.host_config(options, self.abilities, memlock=memlock, shm_bytes=want.shm_bytes),
        )


def _image_of(want: KernelWant) -> str:
    return want.image_digest or want.image


def _hostname(session_name: str) -> str:
    return re.sub(r"[^a-z0-9-]+", "-", session_name.lower()).strip("-")[:63] or "session"
