"""The configuration of TRAJAN, for its torch and its JAX module."""

from __future__ import annotations

from dataclasses import dataclass

Sizes = tuple[int, int, int]
"""Of a transformer: its width, its layers, and the width of their MLPs."""


@dataclass(frozen=True)
class TrajanConfig:
    """TRAJAN (Allen et al. 2025, arXiv:2505.00209): an autoencoder of point tracks.

    The defaults are the published model.
    """

    frames: int = 150
    """Of every track that comes out, and the most that one may have that goes in."""
    frequencies: int = 32
    """Of the sines and cosines that a number is embedded by; each is higher than the one before by a third of an
    octave."""
    heads: int = 8
    head_width: int = 64
    """Of all attention, whatever the width of its tokens."""
    track_transformer: Sizes = (256, 2, 1024)
    """Along the frames of one track."""
    latent_transformer: Sizes = (512, 6, 2048)
    """From the tokens of all tracks to the latents."""
    latents: int = 128
    channels: int = 64
    """Of each latent: latents x channels numbers stand for a set of tracks."""
    decompress_transformer: Sizes = (896, 3, 2048)
    """Among the latents, on their way back."""
    readout_transformer: Sizes = (1024, 4, 1024)
    """A query among the latents. It is wider than these: a window of their channels, which the query's frame chooses,
    comes again beside all of them."""
    window_step: int = 5
    """Channels by which that window moves from frame to frame."""

    @property
    def window(self) -> int:
        return self.readout_transformer[0] - self.decompress_transformer[0]


VARIANTS = {"trajan/base": TrajanConfig()}
