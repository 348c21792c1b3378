"""A cluster that starts machines as there is work for them, by Ray's own autoscaler."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("ray")

from qreg.processes.cluster import RayExecutor
from qreg.processes.executor import Piece, run
from qreg.processes.sending import folder_tree, package_tree
from tests.cluster.processes import STORE, ray_head

pytestmark = pytest.mark.slow
_MOST = 3
_HEAD = "ray.head.default"  # as that provider calls it
_PORT = 6379  # where its machines look for the head
# Its machines are processes here: ray/autoscaler/_private/fake_multi_node/example.yaml.
_CONFIG = {
    "cluster_name": "growing",
    "max_workers": _MOST,
    "provider": {
        "type": "fake_multinode",
        "use_node_id_as_ip": True,
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
    },
    "available_node_types": {
        _HEAD: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "machine": {
            "resources": {"CPU": 1, "object_store_memory": STORE},
            "node_config": {},
            "min_workers": 0,
            "max_workers": _MOST,
        },
    },
    "head_node_type": _HEAD,
    "upscaling_speed": 1.0,
    "idle_timeout_minutes": 5,
    "auth": {},
    "docker": {},
    "file_mounts": {},
    "cluster_synced_files": [],
    "file_mounts_sync_continuously": False,
    "rsync_exclude": [],
    "rsync_filter": [],
    "initialization_commands": [],
    "setup_commands": [],
    "head_setup_commands": [],
    "worker_setup_commands": [],
    "head_start_ray_commands": [],
    "worker_start_ray_commands": [],
}
_TASK = """
import time

def wait(content, places):
    time.sleep(content["seconds"])
    return {}
"""


@pytest.fixture
def growing(tmp_path: Path) -> Iterator[str]:
    """The address of a cluster without any machine yet."""
    with socket.socket() as probe:
        if probe.connect_ex(("localhost", _PORT)) == 0:
            pytest.skip(f"another cluster is at port {_PORT}")
    config = tmp_path / "config.json"
    config.write_text(json.dumps(_CONFIG))
    words = ("--num-cpus=0", f"--port={_PORT}", f"--autoscaling-config={config}")
    often = {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
    no_token = {"RAY_AUTH_MODE": "disabled"}
    with ray_head(*words, outlived=True, **often, **no_token) as (address, _):
        yield address


def test_a_cluster_that_grows_on_demand_does(growing: str, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "tasks_of_test.py").write_text(_TASK)
    content = json.dumps({"seconds": 3.0})
    pieces = [Piece(str(number), "tasks_of_test:wait", content) for number in range(24)]
    executor = RayExecutor(growing, [package_tree(), folder_tree(project)], folder=project)
    try:
        found = [piece.name for piece, _ in run(executor, pieces)]
        done = executor.counts.done
    finally:
        executor.close()
    assert sorted(found) == sorted(piece.name for piece in pieces)
    assert len(done) == _MOST
