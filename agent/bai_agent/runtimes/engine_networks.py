"""The networks of our containers: one for all, where none reaches another, and one for each session of several.

A session's containers find one another in theirs by name, and nobody else is in it. The firewall's rules go by how the
names of such bridges begin, so they are there before the network is (``firewall``). A network goes when its session
has no container any more, whoever was killed in between: what is there is asked of the engine.
"""

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from docker.errors import APIError, DockerException

from bai_agent import firewall
from bai_agent.runtimes.engine import Engine
from bai_jupyter.common.messages import KernelWant

_SESSION = "bai.session-id"
_BRIDGE_NAME = "com.docker.network.bridge.name"
_ICC = "com.docker.network.bridge.enable_icc"


class EngineNetworks:
    """All methods are for a worker thread. ``bridge`` names the network of all, and its interface."""

    def __init__(self, engine: Engine, agent_id: str, labels: Mapping[str, str]) -> None:
        self.bridge = f"bai-{agent_id.replace('-', '')[:8]}"
        self._engine, self._labels = engine, {"bai.agent-id": agent_id, **labels}
        self._agent_id = agent_id
        self._lock = threading.Lock()
        self._may_have_clusters = True

    def ensure(self) -> None:
        if self.bridge not in self._ours():
            self._create(self.bridge, {_BRIDGE_NAME: self.bridge, _ICC: "false"}, self._labels)

    @contextlib.contextmanager
    def of(self, want: KernelWant) -> Iterator[tuple[str, Any]]:
        """The name of the network for a container, and its place there. Make the container within."""
        if want.cluster_host is None:
            yield self.bridge, self._place({})
            return
        with self._lock:  # a network whose session has no container yet looks like one that is not needed any more
            self._may_have_clusters = True
            yield self._of_session(want.session_id), self._place({"aliases": [want.cluster_host]})

    def drop_unused(self) -> None:
        """Remove the networks of sessions that have no container any more."""
        if not self._may_have_clusters:
            return
        with self._lock:
            clusters = {name: one for name, one in self._ours().items() if _SESSION in one["Labels"]}
            mine = {"label": [f"bai.agent-id={self._agent_id}"]}
            containers = self._engine.api.containers(all=True, filters=mine) if clusters else []
            in_use = {one["Labels"].get(_SESSION) for one in containers}
            for name, one in clusters.items():
                if one["Labels"][_SESSION] not in in_use:
                    self._remove(name)
            self._may_have_clusters = bool(clusters)

    def remove_all(self) -> None:
        """Once there are no containers."""
        self._may_have_clusters = True
        self.drop_unused()
        self._remove(self.bridge)

    def _of_session(self, session_id: str) -> str:
        name, ours = f"{self.bridge}-{session_id}", self._ours()
        if name not in ours:
            taken = {(one.get("Options") or {}).get(_BRIDGE_NAME) for one in ours.values()}
            bridge = next((one for one in firewall.cluster_bridges(self.bridge) if one not in taken), None)
            if bridge is None:
                raise DockerException("no more sessions of several containers: all their networks are in use")
            self._create(name, {_BRIDGE_NAME: bridge}, {**self._labels, _SESSION: session_id})
        return name

    def _place(self, names: dict[str, list[str]]) -> Any:
        return self._engine.api.create_endpoint_config(**names)

    def _ours(self) -> dict[str, dict[str, Any]]:
        found = self._engine.api.networks(filters={"label": f"bai.agent-id={self._agent_id}"})
        return {one["Name"]: one for one in found}

    def _create(self, name: str, options: dict[str, str], labels: Mapping[str, str]) -> None:
        self._engine.api.create_network(
            name, driver="bridge", check_duplicate=True, labels=dict(labels), options=options
        )

    def _remove(self, name: str) -> None:
        with contextlib.suppress(APIError):  # it is gone, or somebody has put a container of theirs into it
            self._engine.api.remove_network(name)
