"""The reference itself: google-deepmind/tapnet's BootsTAPIR in PyTorch, run as its demos do.

Its weights here are random: they change no time, and positions are not compared.
"""

from __future__ import annotations

import itertools
from typing import Any

from benchmarks.runners import Turns
from benchmarks.workloads import Workload

CHUNK = 64
"""Query points at once, as in the reference's demos."""


def online(workload: Workload) -> Turns:
    """Frame by frame. Raises ValueError for a model that is not the reference's online one."""
    import torch

    model = _model(workload, "tapir/boots-causal")
    frames = [torch.from_numpy(image)[None, None] for image in workload.video()]

    def encoded(frame: torch.Tensor) -> tuple[torch.Tensor, Any]:
        seen = frame.float() / 255 * 2 - 1
        return seen, model.get_feature_grids(seen, is_training=False)

    with torch.inference_mode():
        seen, grids = encoded(frames[0])
        queries = torch.from_numpy(workload.queries_tyx())
        features = model.get_query_features(seen, is_training=False, query_points=queries, feature_grids=grids)
        state = model.construct_initial_causal_state(workload.points, len(features.resolutions) - 1)
    yield None
    for frame in itertools.cycle(frames):
        with torch.inference_mode():
            seen, grids = encoded(frame)
            found = model.estimate_trajectories(
                seen.shape[-3:-1],
                is_training=False,
                feature_grids=grids,
                query_features=features,
                query_points_in_video=None,
                query_chunk_size=CHUNK,
                causal_context=state,
                get_causal_context=True,
            )
            state = found["causal_context"]
        yield found["tracks"][-1][0, :, 0].numpy()


def clip(workload: Workload) -> Turns:
    """Whole clips. Raises ValueError for a model that is not the reference's offline one."""
    import torch

    model = _model(workload, "tapir/boots")
    video, queries = (torch.from_numpy(array) for array in (workload.whole_clip(), workload.queries_tyx()))
    yield None
    while True:
        with torch.inference_mode():
            found = model(video, queries, query_chunk_size=CHUNK)
        yield found["tracks"][0, :, -1].numpy()


def _model(workload: Workload, name: str) -> Any:
    import torch
    from tapnet.torch.tapir_model import TAPIR

    if workload.model != name:
        raise ValueError(f"this runs {name}, not {workload.model}")
    torch.set_num_threads(workload.threads)
    torch.manual_seed(0)
    return TAPIR(pyramid_level=1, use_casual_conv=name.endswith("-causal")).eval()
