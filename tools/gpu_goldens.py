"""The goldens of tests/golden by PyTorch on a device: how far its tracks are from DeepMind's numbers."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from tests.golden import formula, official
from tests.training.models.tapnext.golden import golden_weights
from training.checkpoints import convert
from training.models import load
from training.models.rollout import frame_by_frame

GOLDENS = {
    "tapnext_torch_256": "tapnext/base",
    "tapnext_torch_late_256": "tapnext/base",
    "tapnext_jax_online_late_256": "tapnext/base",
    **official.TAPIR_GOLDENS,
    "tapnet_jax_clip_256": "tapnet/base",
    "tapnet_jax_clip_256x320_first": "tapnet/base",
    "tapnet_jax_clip_single_200x264": "tapnet/base",
}
"""Their model by name; those of what gives no tracks, and TRAJAN's, are tested on the processor alone."""
QUICK = ("tapnet_jax_clip_256x320_first",)


def off_golden(name: str, device: str) -> float:
    """Pixels by which tracks are off at most. Computes in float32, as it is written."""
    arrays = dict(np.load(Path(official.__file__).parent / f"{name}.npz"))
    module = load(GOLDENS[name], weights_of(name, int(arrays["seed"]))).to(device)
    video = formula.video(*arrays["video_shape"], seed=int(arrays["seed"]))[None].astype(np.float32) / 255 * 2 - 1
    given = torch.from_numpy(video).to(device), torch.from_numpy(arrays["queries_tyx"][None]).to(device)
    online = "causal" in GOLDENS[name] or "online" in name
    with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        tracks = frame_by_frame(module, *given)["tracks"] if online else module.clip(*given)["tracks"].cpu().numpy()
    return float(np.abs(tracks[0] - expected_tracks(arrays, online)).max())


def expected_tracks(arrays: Mapping[str, np.ndarray], online: bool) -> np.ndarray:
    """[N, T, 2] (x, y); TAPNext's lie as (y, x), frames first."""
    if "tracks" in arrays:
        return arrays["tracks"]
    way = "online" if online or "clip_tracks_yx" not in arrays else "clip"
    return arrays[f"{way}_tracks_yx"].swapaxes(0, 1)[..., ::-1]


def weights_of(name: str, seed: int) -> dict[str, np.ndarray]:
    """By formula, in the layout of the golden, turned into ours."""
    model, layout = GOLDENS[name], "jax" if "_jax_" in name else "torch"
    if model.startswith("tapnext/"):
        return golden_weights(layout, seed)
    tapnet = model.startswith("tapnet/")
    drawn = official.tapnet_arrays(seed) if tapnet else official.tapir_parameters("boots" in model, layout, seed)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        return convert(official.write(Path(folder) / f"official{official.SUFFIX[layout]}", drawn), model).weights
