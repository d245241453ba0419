"""A Ray cluster on this machine, whose nodes are processes. Without Ray, who asks for it is skipped."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support import child_environment, import_or_skip

NODE = {"num_cpus": 1, "object_store_memory": 100 << 20}


@contextmanager
def ray_cluster(nodes: int) -> Iterator[Any]:
    """A `ray.cluster_utils.Cluster` that "ray" means as long as it is there."""
    import_or_skip("ray", "ray")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", child_environment()["PYTHONPATH"])
        patch.setenv("RAY_DEDUP_LOGS", "0")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        logging.getLogger("ray").setLevel(logging.ERROR)
        cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
        try:
            for _ in range(nodes - 1):
                cluster.add_node(**NODE)
            patch.setenv("RAY_ADDRESS", cluster.address)
            yield cluster
        finally:
            cluster.shutdown()
