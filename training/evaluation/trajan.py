"""Motion judged by TRAJAN (Allen et al. 2025, arXiv:2505.00209), an autoencoder of point tracks.

How well tracks can be reconstructed from others of their video says how much their motion is like motion that the
model knows; how far the latents of two videos lie apart, how much their motions differ. Both need no true tracks.

    model = training.models.load("trajan/base", "track_autoencoder_ckpt.npz")
    reconstruction_score(tracks.xy, tracks.visible, (height, width), model)["average_jaccard"]
    motion_distance(embed(a.xy, a.visible, size, model), embed(b.xy, b.visible, size, model))
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapsdk.errors import ModelError, TracksError
from tapsdk.geometry import Size
from training.data.labelled_video import LabelledVideo
from training.evaluation.metrics import METRIC_SIZE, tapvid_metrics
from training.evaluation.report import Metrics
from training.models.trajan import FAMILY

logger = logging.getLogger(__name__)

HALF_PIXEL = 0.5


def reconstruction_score(
    tracks: ArrayLike, visible: ArrayLike, size: Size, model: Any, *, seed: int = 0, as_published: bool = False
) -> Metrics:
    """How well a random half of the tracks is reconstructed from the other half, in TAP-Vid's metrics.

    Each of the one half is asked for by one point, in a frame where it is visible, drawn at random; that frame is not
    scored. Tracks that are never visible are left out, and so are frames after the model's last, the 150th. The more
    tracks, the better they are reconstructed: compare scores of equal numbers (published: 4096, half of them given).

    Args:
        tracks: [N, T, 2] (x, y) in pixels of the video, any N and T >= 1; where hidden anything, NaN included.
        visible: [N, T] bool. size: (height, width) of the video.
        model: of `training.models.load("trajan/base", ...)`, in either framework.
        seed: which half, and which frames.
        as_published: score as the authors' notebook does, to compare with its numbers: positions half a pixel further
            right and down, distances in pixels of the video and not at 256x256, frame 0 left out in place of the
            queries' own, and points called hidden only where the model is neither sure that they are visible nor
            certain of their place.
    Returns:
        average_jaccard, average_pts_within_thresh, occlusion_accuracy and the rest of `tapvid_metrics`; NaN where
        fewer than two tracks are ever visible.
    Raises TracksError for arrays of other shapes and for positions that are not finite where they are visible, and
    ModelError for a model that is no TRAJAN.
    """
    xy, seen = _checked(tracks, visible, size, model)
    height, width = size
    side = np.float32([width, height])
    if as_published:
        xy = xy + np.float32(HALF_PIXEL)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(xy))
    targets, given = np.split(order, [len(order) // 2])
    if not len(targets):
        return dict.fromkeys(_metrics(xy[:0], seen[:0], xy[:0], seen[:0], np.zeros(0, int)), np.nan)
    frame = np.where(seen[targets], rng.random(seen[targets].shape), -1).argmax(1)
    queries = np.concatenate([frame[:, None], xy[targets, frame] / side], 1).astype(np.float32)
    count = np.array([xy.shape[1]])
    found = _outputs(model, "reconstruct", xy[None, given] / side, seen[None, given], count, queries[None])
    found = {name: array[0, :, : xy.shape[1]] for name, array in found.items()}
    predicted = found["tracks"] * side
    if as_published:
        return _metrics(xy[targets], seen[targets], predicted, _published_visible(found), np.zeros(len(targets), int))
    scale = np.float32(METRIC_SIZE[::-1]) / side
    return _metrics(xy[targets] * scale, seen[targets], predicted * scale, FAMILY.visible(found), frame)


def embed(tracks: ArrayLike, visible: ArrayLike, size: Size, model: Any) -> NDArray[np.float32]:
    """The latents [128, 64] that stand for the motion of a video's tracks; arguments and errors as for
    `reconstruction_score`. Raises TracksError, too, where no point is ever visible: there is no motion then."""
    xy, seen = _checked(tracks, visible, size, model)
    if not len(xy):
        raise TracksError("no point is ever visible, so there is no motion to embed")
    height, width = size
    latents = _outputs(model, "encode", xy[None] / np.float32([width, height]), seen[None], np.array([xy.shape[1]]))
    return np.asarray(latents[0], np.float32)


def motion_distance(a: ArrayLike, b: ArrayLike) -> float:
    """How much the motion of two videos differs: the Euclidean distance of their latents, as `embed` gives them.

    0 for equal ones. Raises TracksError for latents of different shapes and for numbers that are not finite.
    """
    one, other = _finite(a), _finite(b)
    if one.shape != other.shape:
        raise TracksError(f"latents of one model have one shape, got {list(one.shape)} and {list(other.shape)}")
    return float(np.linalg.norm(one - other))


def frechet_distance(a: ArrayLike, b: ArrayLike) -> float:
    """How much the motion of two sets of videos differs: the Frechet distance of normal distributions around them.

    a, b: [M, ...] and [N, ...], latents of each video as `embed` gives them; at least two of each. With fewer videos
    than latents have numbers, as always, it is a comparison between sets of equal sizes and not an absolute number.
    Returns |mean a - mean b|^2 + trace(A + B - 2 (A B)^(1/2)) of the means and covariances A and B.
    Raises TracksError for fewer videos, for different shapes, and for numbers that are not finite.
    """
    sets = [_finite(of) for of in (a, b)]
    if any(each.ndim < 2 or len(each) < 2 for each in sets) or sets[0].shape[1:] != sets[1].shape[1:]:
        shapes = " and ".join(str(list(each.shape)) for each in sets)
        raise TracksError(f"give the latents of at least two videos for each set, [M, ...] and [N, ...], got {shapes}")
    one, other = (each.reshape(len(each), -1) for each in sets)
    apart = np.square(one.mean(0) - other.mean(0)).sum()
    # Covariances are products of these; so the root's trace is a sum of as many singular values as there are videos.
    one, other = ((each - each.mean(0)) / np.sqrt(len(each) - 1) for each in (one, other))
    shared = np.linalg.svd(one @ other.T, compute_uv=False).sum()
    return max(0.0, float(apart + np.square(one).sum() + np.square(other).sum() - 2 * shared))


def trajan_score(video: LabelledVideo, xy: NDArray[np.float32], visible: NDArray[np.bool_], model: Any) -> Metrics:
    """Of tracks [N, T, 2] and [N, T] in a video: their `reconstruction_score`, with names that begin with "trajan_",
    and "trajan_distance", that of their motion from the true one; NaN where no point is visible.

    Of queries chosen as "strided" a point has several tracks; then one half knows the other, and scores are too good.
    """
    size = video.frames.shape[1:3]
    scores = reconstruction_score(xy, visible, size, model)
    distance = np.nan
    if visible.any() and video.visible.any():
        found, true = embed(xy, visible, size, model), embed(video.xy, video.visible, size, model)
        distance = motion_distance(found, true)
    return {**{f"trajan_{name}": value for name, value in scores.items()}, "trajan_distance": distance}


def _checked(
    tracks: ArrayLike, visible: ArrayLike, size: Size, model: Any
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Tracks that are visible at some time, with zeros where they are hidden, and no more frames than the model has."""
    if not (hasattr(model, "encode") and hasattr(model, "reconstruct")):
        raise ModelError(f"tracks are scored by a model of trajan/base, got {type(model).__name__}")
    xy, seen = np.asarray(tracks, np.float32), np.asarray(visible)
    if xy.ndim != 3 or xy.shape[-1] != 2 or not xy.shape[1] or seen.shape != xy.shape[:2]:
        raise TracksError(f"tracks must be [N, T, 2] and visible [N, T], got {list(xy.shape)} and {list(seen.shape)}")
    if len(size) != 2 or not all(np.isfinite(side) and side > 0 for side in size):
        raise TracksError(f"size must be (height, width) of the video in pixels, got {size!r}")
    if seen.dtype.kind not in "biuf" or not np.isin(seen, (0, 1)).all():
        raise TracksError("visible must be True or False, or 1 or 0")
    seen = seen.astype(bool)
    if not np.isfinite(xy[seen]).all():
        raise TracksError("tracks have positions that are not finite where visible says that the point is seen")
    frames = model.config.frames
    if xy.shape[1] > frames:
        logger.warning("only the first %d of %d frames are scored", frames, xy.shape[1])
    xy, seen = xy[:, :frames], seen[:, :frames]
    kept = seen.any(1)
    return np.where(seen[..., None], xy, np.float32(0))[kept], seen[kept]


def _metrics(
    true: NDArray[np.float32],
    seen: NDArray[np.bool_],
    predicted: NDArray[np.float32],
    predicted_seen: NDArray[np.bool_],
    left_out: NDArray[np.integer],
) -> Metrics:
    """left_out: [N], the frame of each track that is not scored."""
    queries = np.stack([left_out, left_out, left_out], -1)
    metrics = tapvid_metrics(queries[None], ~seen[None], true[None], ~predicted_seen[None], predicted[None], "strided")
    return {name: float(value[0]) for name, value in metrics.items()}


def _published_visible(outputs: dict[str, NDArray[np.float32]]) -> NDArray[np.bool_]:
    """By logits of being visible and certain, taken for logits of the opposite as the authors' notebook takes them."""
    visible, certain = (1 / (1 + np.exp(-np.float64(outputs[f"{name}_logits"]))) for name in ("visible", "certain"))
    return (1 - visible) * (1 - certain) <= 0.5


def _finite(latents: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(latents, np.float64)
    if not np.isfinite(array).all():
        raise TracksError("latents have numbers that are not finite")
    return array


def _outputs(model: Any, method: str, *arrays: NDArray[Any]) -> Any:
    """What a method of a model of either framework gives, as numpy arrays."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(model, torch.nn.Module):
        return _in_numpy(getattr(model, method)(*arrays))
    with torch.inference_mode():
        return _in_numpy(getattr(model, method)(*arrays))


def _in_numpy(outputs: Any) -> Any:
    if isinstance(outputs, dict):
        return {name: _in_numpy(array) for name, array in outputs.items()}
    return np.asarray(outputs.cpu() if hasattr(outputs, "cpu") else outputs)
