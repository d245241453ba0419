"""What TRAJAN computes with and does not learn, in numpy, for both frameworks."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

LEVELS = 128
"""Steps of a unit that latents are rounded to."""
UNSEEN = -1e30
"""Added to the scores of frames that attention must not see. It swallows the score, so that where no frame may be seen
all are alike, as published; bfloat16 can hold it."""
PHASE = np.float32(np.pi / 2)

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = np.uint32(0x1BD11BDA)


def scales(frequencies: int) -> NDArray[np.float32]:
    """What the sinusoidal embedding multiplies a number by, [frequencies]."""
    return (2 ** (np.arange(frequencies) / 3)).astype(np.float32)


@cache
def dither_noise(latents: int, channels: int) -> NDArray[np.float32]:
    """What is added to rounded latents before they are decoded, [latents, channels], less than half a step.

    The published model draws it from JAX's generator with key 0, anew for every size of a batch, so that a video's
    tracks depend on its place among others. Here every video has the dither of one that is alone; JAX before 0.5
    drew another. Computed here, so that all frameworks and versions have the same.
    """
    uniform = threefry_uniform(latents * channels).reshape(latents, channels)
    noise = uniform / np.float32(LEVELS) - np.float32(0.5 / LEVELS)
    noise.flags.writeable = False
    return noise


def threefry_uniform(count: int) -> NDArray[np.float32]:
    """jax.random.uniform(jax.random.PRNGKey(0), [count]) with partitionable keys: in [0, 1), [count].

    Threefry-2x32 with 20 rounds (Salmon et al. 2011), in counter mode, on a key of zeros.
    """
    key = (np.uint32(0), np.uint32(0), PARITY)
    high, low = np.zeros(count, np.uint32), np.arange(count, dtype=np.uint32)
    for group in range(5):
        for rotation in ROTATIONS[group % 2]:
            high = high + low
            low = high ^ (low << np.uint32(rotation) | low >> np.uint32(32 - rotation))
        high = high + key[(group + 1) % 3]
        low = low + key[(group + 2) % 3] + np.uint32(group + 1)
    mantissa = (high ^ low) >> np.uint32(9) | np.uint32(0x3F800000)
    return mantissa.view(np.float32) - np.float32(1)
