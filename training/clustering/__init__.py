"""Tracks grouped by the rigid motion of what they lie on, as RoboTAP does (arXiv:2308.15975).

    from training.clustering import cluster

    clusters = cluster(tracks.xy, tracks.visible, (height, width), clusters=4)
    clusters.labels  # [N], the largest group being 0

What is different from the published code, and why, `fit.py` and `settling.py` say.
"""

from training.clustering.clusters import Clusters, cluster
from training.clustering.errors import ClusterError

__all__ = ["ClusterError", "Clusters", "cluster"]
