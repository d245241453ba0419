"""Trackers scored against true tracks: metrics of TAP-Vid and TAPVid-3D, baselines, points that keep to objects."""

from training.evaluation.metrics import tapvid_metrics
from training.evaluation.metrics3d import tapvid3d_metrics
from training.evaluation.redetection import aj_rd

__all__ = ["aj_rd", "tapvid3d_metrics", "tapvid_metrics"]
