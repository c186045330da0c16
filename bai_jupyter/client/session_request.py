"""What is asked for when a session is."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bai_jupyter.client.answers import Json


@dataclass(frozen=True)
class SessionRequest:
    """What a session should be. ``resources`` as people write them: ``{"cpu": 2, "mem": "4g", "cuda.shares": "0.5"}``.

    Left out: resources come from the preset, without preset from the policy. ``mount_map`` maps a folder's name to an
    absolute path in the session.
    """

    name: str
    image: str
    resources: Mapping[str, Any] | None = None
    preset: str | None = None
    resource_opts: Mapping[str, str] = field(default_factory=dict)
    mounts: Sequence[str] = ()
    mount_map: Mapping[str, str] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    resource_group: str | None = None
    reuse_if_exists: bool = True
    enqueue_only: bool = True
    max_wait_s: int = 0
    manager_access: str | None = None  # "self" or "user": what the session may do at the manager by itself
    project: str | None = None
    read_only: Collection[str] = ()  # folders of ``mounts`` that cannot be written
    command: str | None = None  # a batch session's, which ends with it; without one it is interactive
    route: tuple[str, int] | None = None  # for services: a path of the manager, and the port that it leads to
    doors: Sequence[str] = ()  # for services: the agent's doors that the session may use
    cluster_size: int = 1  # containers, each with these resources
    bootstrap: str | None = field(default=None, repr=False)  # a shell script that runs before anything else
    dependencies: Sequence[str] = ()  # sessions that must have succeeded before
    starts_at: str | None = None  # not before: a time as ISO 8601 has it, or from now (``30m``)
    tag: str | None = None

    def to_json(self) -> Json:
        """The body of ``POST /session``; what was not given is not sent."""
        config = {
            "resources": {name: str(amount) for name, amount in self.resources.items()} if self.resources else None,
            "preset": self.preset,
            "resource_opts": dict(self.resource_opts),
            "mounts": list(self.mounts),
            "mount_map": dict(self.mount_map),
            "environ": dict(self.environ),
            "scalingGroup": self.resource_group,
            "manager_access": self.manager_access,
            "mount_options": {name: {"permission": "ro"} for name in self.read_only},
            "route": {"path": self.route[0], "port": self.route[1]} if self.route else None,
            "doors": list(self.doors),
        }
        body = {
            "name": self.name,
            "image": self.image,
            "type": "batch" if self.command else "interactive",
            "startupCommand": self.command,
            "bootstrap_script": self.bootstrap,
            "group": self.project,
            "dependencies": list(self.dependencies) or None,
            "starts_at": self.starts_at,
            "tag": self.tag,
            "enqueueOnly": self.enqueue_only,
            "maxWaitSeconds": self.max_wait_s,
            "reuseIfExists": self.reuse_if_exists,
            "clusterSize": self.cluster_size if self.cluster_size > 1 else None,
            "config": {key: value for key, value in config.items() if value},
        }
        return {key: value for key, value in body.items() if value is not None}
