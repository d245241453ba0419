"""The configuration of TAPNext, for its torch and its JAX module. Variants are rows of numbers, nothing else."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TapnextConfig:
    """TAPNext (Zholus et al. 2025, arXiv:2504.05579): a recurrent transformer with points among its tokens.

    The defaults are BootsTAPNext, trained in JAX; TAPNext++ (fine-tuned in PyTorch) has the same sizes.
    """

    width: int = 768
    depth: int = 12
    heads: int = 12
    """Of the attention, and blocks of the recurrence's block-diagonal gates."""
    mlp_width: int = 3072
    taps: int = 4
    """Frames that the convolution before the recurrence looks at."""
    patch: int = 8
    grid: tuple[int, int] = (32, 32)
    """(rows, columns) of patches that the position table was learned on; other sizes interpolate it."""
    bins: int = 256
    """Positions along an axis that the head chooses from: the side of the space that coordinates live in."""
    head_width: int = 256
    softmax_temperature: float = 0.5
    """Multiplies the logits of the bins."""
    softargmax_radius: int = 20
    """Bins around the likeliest one that are averaged."""
    exact_gelu: bool = False
    """In transformer and heads: exact, as in the published PyTorch code, or by tanh, as in the JAX code."""
    final_norm_eps: float = 1e-6
    """Of the last normalisation and the heads'; the PyTorch code has 1e-5."""
    resolution: tuple[int, int] = (256, 256)
    """(height, width) of the frames that the variant was trained on."""

    @property
    def causal(self) -> bool:
        return True


TAPNEXT_TORCH = {"exact_gelu": True, "final_norm_eps": 1e-5}
"""Where the published PyTorch code differs from the JAX code; weights belong to the code that made them."""


VARIANTS = {
    "tapnext/base": TapnextConfig(),
    "tapnext/plus": TapnextConfig(**TAPNEXT_TORCH),
    "tapnext/plus-512": TapnextConfig(resolution=(512, 512), **TAPNEXT_TORCH),
}
