"""Our own modules in PyTorch and JAX, and the literal form of them. Frames come as bytes; the modules resize them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.models import weights_of
from benchmarks.runners import Turns
from benchmarks.workloads import Workload
from training.models import load


def eager(workload: Workload) -> Turns:
    model = _torch_model(workload)
    return _torch_by_frame(workload, model, model.step)


def compiled(workload: Workload) -> Turns:
    import torch

    model = _torch_model(workload)
    return _torch_by_frame(workload, model, torch.compile(model.step, dynamic=False))


def literal(workload: Workload) -> Turns:
    from benchmarks.literal import literal_form

    model = literal_form(_torch_model(workload))
    return _torch_by_frame(workload, model, model.step)


def eager_clip(workload: Workload) -> Turns:
    return _torch_clip(workload, _torch_model(workload))


def literal_clip(workload: Workload) -> Turns:
    from benchmarks.literal import literal_form

    return _torch_clip(workload, literal_form(_torch_model(workload)))


def in_jax(workload: Workload) -> Turns:
    import jax
    import jax.numpy as jnp

    model = load(workload.model, weights_of(workload.model), framework="jax")
    frames = [jnp.asarray(image)[None, None] for image in workload.video()]

    def as_seen(frame: Any) -> Any:
        return frame.astype(jnp.float32) / 127.5 - 1

    state = model.init(as_seen(frames[0]), jnp.asarray(workload.queries_tyx()))
    yield None
    for frame in itertools.cycle(frames):
        found, state = jax.block_until_ready(model.step(as_seen(frame), state))
        yield np.asarray(found["tracks"])[0, :, 0]


def _torch_model(workload: Workload) -> Any:
    import torch

    torch.set_num_threads(workload.threads)
    return load(workload.model, weights_of(workload.model))


def _torch_by_frame(workload: Workload, model: Any, step: Callable[..., Any]) -> Turns:
    import torch

    frames = [torch.from_numpy(image)[None, None] for image in workload.video()]

    def as_seen(frame: Any) -> Any:
        return frame.float() / 127.5 - 1

    # Entered for every turn: around a yield it would be in force for the caller, too.
    with torch.inference_mode():
        state = model.init(as_seen(frames[0]), torch.from_numpy(workload.queries_tyx()))
    yield None
    for frame in itertools.cycle(frames):
        with torch.inference_mode():
            found, state = step(as_seen(frame), state)
        yield found["tracks"][0, :, 0].numpy()


def _torch_clip(workload: Workload, model: Any) -> Turns:
    import torch

    video = torch.from_numpy(workload.whole_clip())
    queries = torch.from_numpy(workload.queries_tyx())
    yield None
    while True:
        with torch.inference_mode():
            found = model.clip(video, queries)
        yield found["tracks"][0, :, -1].numpy()
