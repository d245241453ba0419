"""How many floating-point operations a frame takes, counted from the model as it is written.

What PyTorch's own counter knows counts: convolutions and matrix products, a multiplication and an addition each as
two. Norms, activations, interpolation and the three-tap sums of the mixer do not, about a hundredth of the rest, so
that rates are a little too low. The lookup counts as we do it, a dot product for each of (2 radius + 2)^2 cells;
convolutions count as such even where a runner does with fewer multiplications. All runners are measured by the same
numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from training.models.registry import config_of
from training.models.tapir.config import TapirConfig
from training.models.tapir.torch import Estimate, Grids, Query, Tapir


@cache
def frame_flops(model: str, size: tuple[int, int], points: int) -> dict[str, int]:
    """Of one frame of a TAPIR, by part: encode, locate, lookup, mixer. size: (height, width) that it is encoded at."""
    return count(config_of(model), size, points)


def count(config: TapirConfig, size: tuple[int, int], points: int) -> dict[str, int]:
    """The same for a configuration. Works on shapes alone: no memory, no arithmetic."""
    with torch.device("meta"), torch.no_grad():
        tapir = Tapir(config, correlate="gather").eval()
        frame = torch.empty(1, *size, 3)
        high, low = tapir.encode(frame)
        xy, logit = torch.empty(1, 1, points, 2), torch.empty(1, 1, points)
        query = Query(torch.empty(1, points, config.high_width), torch.empty(1, points, config.low_width))
        features, grids = torch.cat(query, -1)[:, None], Grids(high[:, None], low[:, None], size)
        patches = torch.empty(1, 1, points, config.levels * 49)
        refining = {
            "lookup": lambda: tapir.lookup(grids, xy, features),
            "mixer": lambda: tapir.update(Estimate(xy, logit, logit), features, patches, None),
        }
        return {
            "encode": _counted(lambda: tapir.encode(frame)),
            "locate": _counted(lambda: tapir.locate(low, query.low)),
            **{name: config.iterations * _counted(call) for name, call in refining.items()},
        }


def _counted(call: Callable[[], object]) -> int:
    counter = FlopCounterMode(display=False)
    with counter:
        call()
    return int(counter.get_total_flops())
