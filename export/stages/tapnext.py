"""TAPNext, frame by frame, as stages.

query   points and the frames until their queries -> queries        step    frame, queries, state -> xy, logit, state

Points see one another. In buckets, `step` also takes which rows are points; the other rows nobody sees.

Tokens of points and of patches are kept apart, so that points come and go while the patches' past stays.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from export.stages import Cut, Stage, Style
from tapsdk.artifact.manifest import NEXT, Causal, FrameSpec, PointSpec, StageSpec, TensorSpec
from training.models.tapnext.torch import Tapnext, TapnextState

N = "N"
EXACT = ("model.coordinate_head", "model.visible_head")


class Describe(nn.Module):
    def __init__(self, model: Tapnext) -> None:
        super().__init__()
        self.resolution, self.bins = model.config.resolution, model.config.bins

    def forward(self, xy: Tensor, delay: Tensor) -> Tensor:
        """Queries [N, 3] (t, y, x) in the model's own space."""
        scale = xy.new_tensor([self.bins / self.resolution[1], self.bins / self.resolution[0]])
        return torch.cat([delay[:, None], (xy * scale).flip(-1)], -1)


class Step(nn.Module):
    def __init__(self, model: Tapnext, padded: bool) -> None:
        super().__init__()
        self.model, self.padded = model, padded

    def forward(self, frame: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
        """inputs: which rows are points, where some may not be; queries; then the state: seen, hidden and window of
        the points, then of the patches. Their tokens lie along axis 0, 1 and 2."""
        active, (queries, *state) = (inputs[0][None], inputs[1:]) if self.padded else (None, inputs)
        points, patches = state[:3], state[3:]
        count = patches[0].shape[0]
        seen, hidden, window = (torch.cat([patches[axis], points[axis]], axis) for axis in range(3))
        before = TapnextState(queries[None], seen[None], hidden[:, None], window[:, None])
        out, after = self.model.step(frame[None], before, active)
        joined = after.seen[0], after.hidden[:, 0], after.window[:, 0]
        points = [t.narrow(axis, count, t.shape[axis] - count) for axis, t in enumerate(joined)]
        patches = [t.narrow(axis, 0, count) for axis, t in enumerate(joined)]
        return out["tracks"][0, :, 0], out["visible_logits"][0, :, 0], after.queries[0], *points, *patches


def cut(model: Tapnext, style: Style) -> Cut:
    """The stages of TAPNext."""
    config = model.config
    if style.frame_size not in (None, config.resolution):
        raise ValueError(f"this model takes frames of {config.resolution[0]}x{config.resolution[1]} alone")
    height, width = config.resolution
    patches = height // config.patch * (width // config.patch)

    def memory(name: str, tokens: int | str) -> tuple[TensorSpec, ...]:
        return (
            TensorSpec(f"{name}_seen", (tokens,), "state"),
            TensorSpec(f"{name}_hidden", (config.depth, tokens, config.width), "state"),
            TensorSpec(f"{name}_window", (config.depth, config.taps - 1, tokens, config.width), "state"),
        )

    frame = TensorSpec("frame", (1, height, width, 3), "frame")
    queries = TensorSpec("queries", (N, 3), "state")
    state = (queries, *memory("point", N), *memory("patch", patches))
    logit = TensorSpec("visible_logits", (N,), "logit")
    xy = TensorSpec("xy", (N, 2), "xy")
    points = (TensorSpec("xy", (N, 2), "points"), TensorSpec("delay", (N,), "delay"))
    active = (TensorSpec("active", (N,), "active"),) if style.padded else ()
    after = tuple(TensorSpec(NEXT + t.name, t.shape, t.role) for t in state)
    stages = (
        Stage("query", Describe(model), StageSpec(points, (queries,))),
        Stage("step", Step(model, style.padded), StageSpec((frame, *active, *state), (xy, logit, *after)), exact=EXACT),
    )
    return Cut(
        stages,
        FrameSpec(config.resolution),
        PointSpec(config.resolution, join="start"),
        Causal(),
    )
