"""PCK on JHMDB: how many joints of a person are found, to within a share of the person's size.

The definition is that of TAP-Net's evaluation (Doersch et al. 2022, arXiv:2211.03726): a joint is right if it is no
farther from the truth than a share of 0.6 times the diagonal of the box around the visible joints, in pixels of the
video as it was shot. All frames count, the first one included, in which the joints are given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tapsdk.geometry import scale_points
from training.data.labelled_video import LabelledVideo
from training.evaluation.errors import EvaluationError
from training.evaluation.report import Metrics, mean_of_known, weighted_mean

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5)
BOX = 0.6
"""Of the diagonal of the box, the length that shares are of."""


def ask_joints(video: LabelledVideo, mode: str) -> LabelledVideo:
    """The video with every joint asked for in its first frame, also one that cannot be seen there.

    Raises EvaluationError for another mode than "first".
    """
    if mode != "first":
        raise EvaluationError(f"PCK asks for joints in the first frame: --mode first, not {mode}")
    start = np.where(np.isfinite(video.xy[:, 0]), video.xy[:, 0], 0)
    queries = np.concatenate([np.zeros((len(start), 1)), start], axis=1).astype(np.float32)
    return replace(video, queries=queries)


def pck(video: LabelledVideo, xy: NDArray[np.float32], visible: NDArray[np.bool_], mode: str = "first") -> Metrics:
    """PCK of tracks [N, T, 2] in pixels of the video; whether they are called visible has no say.

    Returns "PCK@S" for S of `SHARES`, the mean over joints; "PCK@S/J" of the joint J alone, NaN where that is not
    visible; and "joint_frames/J", in how many frames it is, which weighs them where videos are pooled.
    """
    size = video.frames.shape[1:3]
    found, true = (scale_points(points, size, video.original_size or size) for points in (xy, video.xy))
    seen = video.visible[..., None]
    high = np.where(seen, true, -np.inf).max(axis=0, initial=-np.inf)
    low = np.where(seen, true, np.inf).min(axis=0, initial=np.inf)
    with np.errstate(invalid="ignore", divide="ignore"):
        length = BOX * np.linalg.norm(high - low, axis=-1)
        distance = np.linalg.norm(found - true, axis=-1) / length
    frames = video.visible.sum(axis=1)
    metrics: Metrics = {f"joint_frames/{joint}": float(count) for joint, count in enumerate(frames)}
    for share in SHARES:
        right = (video.visible & (distance <= share)).sum(axis=1)
        metrics |= {
            f"PCK@{share}/{joint}": float(r / n) if n else float("nan")
            for joint, (r, n) in enumerate(zip(right, frames, strict=True))
        }
    return metrics | _over_joints(metrics, len(frames))


def pool_pck(rows: Sequence[Metrics]) -> Metrics:
    """PCK of all videos together: of each joint in all frames of all videos in which it is visible, then the mean."""
    joints = max((sum(name.startswith("joint_frames/") for name in row) for row in rows), default=0)
    pooled: Metrics = {}
    for joint in range(joints):
        frames = f"joint_frames/{joint}"
        pooled[frames] = float(sum(row.get(frames, 0) for row in rows))
        names = [f"PCK@{share}/{joint}" for share in SHARES]
        pooled |= {name: weighted_mean(rows, name, frames) for name in names}
    return pooled | _over_joints(pooled, joints)


def _over_joints(metrics: Metrics, joints: int) -> Metrics:
    return {
        f"PCK@{share}": mean_of_known(metrics[f"PCK@{share}/{joint}"] for joint in range(joints)) for share in SHARES
    }
