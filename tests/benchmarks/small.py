"""A model of as little as shows each part at work, of which sums can be done by hand."""

from training.models.tapir.config import TapirConfig

SMALL = TapirConfig(
    causal=True,
    channels=(4, 8, 12, 16),
    blocks=(1, 1, 1, 1),
    strides=(2, 1, 2, 1),
    head=(2, 3, 5),
    mixer_width=10,
    mixer_blocks=2,
    iterations=3,
    pyramid_level=1,
)
