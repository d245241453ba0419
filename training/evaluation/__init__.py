"""Trackers scored against true tracks: TAP-Vid's metrics, datasets, baselines, and how well points keep to objects."""

from training.evaluation.metrics import tapvid_metrics
from training.evaluation.redetection import aj_rd

__all__ = ["aj_rd", "tapvid_metrics"]
