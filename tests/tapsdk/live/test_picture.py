"""What goes to a page: a JPEG file and what there is to say of it."""

from __future__ import annotations

from io import BytesIO

import av
import numpy as np
import pytest

from tapsdk.live.picture import jpeg, points_of
from tapsdk.tracks import Tracks


def decoded(data: bytes) -> np.ndarray:
    with av.open(BytesIO(data), format="jpeg_pipe") as container:
        (frame,) = container.decode(video=0)
    return frame.to_ndarray(format="rgb24")


@pytest.mark.parametrize("size", [(48, 80), (1, 1), (3, 5), (720, 1280), (17, 2000), (2000, 31)])
def test_a_picture_of_any_size_is_sent_no_larger_than_a_screen(size: tuple[int, int]):
    color = np.array([200, 60, 20], np.uint8)
    shown = decoded(jpeg(np.broadcast_to(color, (*size, 3)).copy()))
    scale = min(1, 1280 / max(size))
    assert shown.shape[:2] == tuple(max(1, round(side * scale)) for side in size)
    assert np.abs(shown.astype(int) - color).max() <= 8


def test_points_as_json_has_them():
    xy = np.array([[[1.234567, 2]], [[-3, 4.005]]], np.float32)
    tracks = Tracks(xy, np.array([[True], [False]]), np.array([[0.98765], [0]]), ids=np.array([4, 9]))
    assert points_of(tracks) == {
        "ids": [4, 9],
        "xy": [[1.23, 2.0], [-3.0, 4.01]],
        "visible": [True, False],
        "confidence": [0.988, 0.0],
    }
