"""A Ray cluster whose machines are processes here, each with a folder and a cache of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cluster.processes import STORE

# A lost machine is noticed within seconds, not within a quarter of a minute.
_QUICK = {
    "worker_niceness": 0,  # else who else runs here comes first
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 2000,
    "health_check_failure_threshold": 3,
}
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


class Nodes:
    """A cluster; its head does no work."""

    def __init__(self, folder: Path) -> None:
        os.environ.update(_QUIET)
        from ray.cluster_utils import Cluster

        self._folder, self._made = folder, 0
        #: By the names that Ray gives them.
        self.machines: dict[str, Any] = {}
        head = {
            "num_cpus": 0,
            "object_store_memory": STORE,
            "include_dashboard": False,
            "include_log_monitor": False,  # it would look for lines of which none is shown
            "_system_config": _QUICK,
        }
        self._cluster = Cluster(initialize_head=True, head_node_args=head)

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def add(self, *, cpus: int = 1, variables: Mapping[str, str] | None = None) -> Any:
        """A machine with a cache of its own, and other variables that its processes have."""
        self._made += 1
        cache = self._folder / f"machine{self._made}"
        own = {"QREG_CACHE_DIR": str(cache), "OMP_NUM_THREADS": "1", **(variables or {})}
        node = self._cluster.add_node(
            num_cpus=cpus, object_store_memory=STORE, include_dashboard=False, env_vars=own
        )
        self.machines[node.node_id] = node
        return node

    def kill(self, node: Any) -> None:
        """End a machine at once, with its workers."""
        self._cluster.remove_node(node, allow_graceful=False)

    def shutdown(self) -> None:
        self._cluster.shutdown()


@contextmanager
def nodes(folder: Path) -> Iterator[Nodes]:
    """A cluster without machines that work, ended at the end."""
    made = Nodes(folder)
    try:
        yield made
    finally:
        made.shutdown()
