"""Trackers scored against true tracks: TAP-Vid's metrics, datasets, baselines, and how well points keep to objects."""

from training.evaluation.metrics import tapvid_metrics

__all__ = ["tapvid_metrics"]
