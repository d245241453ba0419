"""What long videos and many points take: measured in processes of their own."""

import subprocess
import sys

import pytest

from tapsdk.system.machine import peak_memory
from tests.support import child_environment

pytestmark = [pytest.mark.slow, pytest.mark.skipif(peak_memory() is None, reason="needs a system that tells")]

CODE = """
import sys
import numpy as np
import tapsdk
from tapsdk.system.machine import peak_memory
frames, side, memory = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
picture = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
video = (np.roll(picture, t, 1) for t in range(frames))
model = tapsdk.load(backend="onnxruntime:native", threads=1, resolution=64)
points = tapsdk.grid_points(side, (64, 64))
tracks = tapsdk.track(video, points, model, memory=memory or None)
assert tracks.xy.shape == (side * side, frames, 2)
print(peak_memory())
"""


def megabytes(frames, side, memory=""):
    """The most that a process had at once, which tracks a grid through a number of frames."""
    command = [sys.executable, "-c", CODE, *map(str, (frames, side, memory))]
    done = subprocess.run(command, env=child_environment(), capture_output=True, text=True, check=True)
    return int(done.stdout) / 1e6


def test_memory_hardly_grows_with_frames():
    """By the tracks alone: 13 bytes a point and frame, twice while they are put together, and what Python adds."""
    short, long = megabytes(200, 8), megabytes(1200, 8)
    assert long - short < 1000 * (64 * 13 * 2 + 3000) / 1e6 + 10


def test_ten_thousand_points_take_little_more_than_a_thousand():
    assert megabytes(3, 100) < 2000


def test_less_may_be_asked_for():
    much, little = megabytes(3, 32), megabytes(3, 32, "60MB")
    assert little < much - 50
