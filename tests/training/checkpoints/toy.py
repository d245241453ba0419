"""A family of models small enough to write checkpoints of by the dozen; it has all that a family needs."""

from dataclasses import dataclass

import numpy as np
from torch import nn

from tapsdk.artifact.manifest import Visibility
from training.models.family import Family


@dataclass(frozen=True)
class ToyConfig:
    width: int = 3
    causal: bool = False
    temperature: float = 1.0
    sizes: tuple[int, int] = (4, 5)


class Toy(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.conv = nn.Conv2d(2, config.width, 3)
        self.first = nn.Linear(config.width, 2)
        self.second = nn.Linear(config.width, 2)


IGNORED = frozenset({"table"})


def official_names(config):
    """PyTorch keeps both linear layers in one tensor; JAX turns the kernels."""
    for name, layout in (
        ("weight", lambda w: w.transpose(3, 2, 0, 1)),
        ("bias", lambda w: w),
    ):
        yield f"conv.{name}", f"stem.{name}", lambda w: w, f"toy/~/stem/{name[0]}", layout
    for i, linear in enumerate(("first", "second")):
        for name in ("weight", "bias"):

            def half(w, i=i):
                return np.split(w, 2)[i]

            yield f"{linear}.{name}", f"heads.{name}", half, f"toy/{linear}/{name[0]}", lambda w: w.T


CONFIGS = {
    "toy/base": ToyConfig(),
    "toy/wide": ToyConfig(width=4),
    "toy/wide-causal": ToyConfig(width=4, causal=True),
}
FAMILY = Family(
    CONFIGS,
    Visibility({"logit": 1}),
    torch=f"{__name__}:Toy",
    jax=f"{__name__}:Toy",
    official=__name__,
)


def torch_parameters(width=3):
    """Official parameters in PyTorch's layout."""
    rng = np.random.default_rng(width)
    shapes = {
        "stem.weight": (width, 2, 3, 3),
        "stem.bias": (width,),
        "heads.weight": (4, width),
        "heads.bias": (4,),
    }
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def jax_parameters(width=3):
    """The same numbers in JAX's layout."""
    w = torch_parameters(width)
    return {
        "toy/~/stem/w": w["stem.weight"].transpose(2, 3, 1, 0),
        "toy/~/stem/b": w["stem.bias"],
        "toy/first/w": w["heads.weight"][:2].T,
        "toy/first/b": w["heads.bias"][:2],
        "toy/second/w": w["heads.weight"][2:].T,
        "toy/second/b": w["heads.bias"][2:],
    }


def our_parameters(width=3):
    """And in ours."""
    w = torch_parameters(width)
    return {
        "conv.weight": w["stem.weight"],
        "conv.bias": w["stem.bias"],
        "first.weight": w["heads.weight"][:2],
        "first.bias": w["heads.bias"][:2],
        "second.weight": w["heads.weight"][2:],
        "second.bias": w["heads.bias"][2:],
    }
