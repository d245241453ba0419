"""A model tracks points through a clip, in torch and by the runtime.

Both take frames uint8 [T, H, W, 3] and points [N, 2] of the frames `t` [N], by default of the first one; a model that
goes frame by frame takes no other. They give xy [N, T - 1, 2] and visible [N, T - 1]: the frame of each point's query
is left out, because what a track says there is the manifest's choice.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from tapsdk.artifact import Artifact
from tapsdk.artifact.manifest import Visibility
from tapsdk.backends import Backend
from tapsdk.points import parse_query_points
from tapsdk.runtime.model import open_model
from tapsdk.runtime.stages import certainty_of
from tapsdk.runtime.whole_video import start_run
from tapsdk.video.frames import frames_from_array
from training.models.rollout import frame_by_frame


def torch_rollout(
    model: nn.Module, visibility: Visibility, frames: np.ndarray, xy: np.ndarray, t: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    video = torch.from_numpy(frames)[None].float() / 127.5 - 1
    txy = _queries(xy, t)
    tyx = torch.from_numpy(txy[None, :, [0, 2, 1]])
    with torch.inference_mode():
        out = frame_by_frame(model, video, tyx) if model.config.causal else model.clip(video, tyx)
    out = {name: np.asarray(array[0]) for name, array in out.items()}
    logits = {name: out[name] for name in visibility.logits}
    visible = certainty_of(logits, visibility) > visibility.threshold
    return _without_queries(out["tracks"], txy), _without_queries(visible, txy)


def runtime_rollout(
    artifact: Artifact, backend: Backend, plan: str, frames: np.ndarray, xy: np.ndarray, t: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    txy = _queries(xy, t)
    query = parse_query_points(txy, num_frames=len(frames), frame_size=frames.shape[1:3])
    tracks = start_run(open_model(artifact, backend, plan), frames_from_array(frames), query).run()
    return _without_queries(tracks.xy, txy), _without_queries(tracks.visible, txy)


def _queries(xy: np.ndarray, t: np.ndarray | None) -> np.ndarray:
    return np.concatenate([np.zeros((len(xy), 1)) if t is None else t[:, None], xy], 1).astype(np.float32)


def _without_queries(tracks: np.ndarray, txy: np.ndarray) -> np.ndarray:
    """[N, T, ...] without the frame of each point's query."""
    points, frames = tracks.shape[:2]
    return tracks[np.arange(frames) != txy[:, :1]].reshape(points, frames - 1, *tracks.shape[2:])
