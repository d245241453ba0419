"""What the reference keeps among its utilities: sampling, soft argmax, scaling, the rule of visibility; its numbers."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tapsdk.geometry import scale_points
from training.models.tapir import FAMILY
from training.models.tapir.config import SOFT_ARGMAX_RADIUS

TABLE = np.load(Path(__file__).parents[3] / "golden" / "model_utils.npz")


@pytest.fixture(params=["torch", "jax"])
def framework(request: pytest.FixtureRequest) -> SimpleNamespace:
    """sampling: its module; array: from numpy to its own."""
    library = pytest.importorskip(request.param)
    return SimpleNamespace(
        sampling=importlib.import_module(f"training.models.layers.sampling_{request.param}"),
        array=library.from_numpy if request.param == "torch" else library.numpy.asarray,
    )


def test_a_picture_is_read_between_its_pixels(framework: SimpleNamespace) -> None:
    grid, xy = TABLE["interp/grid2"][None, ..., None], np.ascontiguousarray(TABLE["interp/yx"][None, :, ::-1])
    found = framework.sampling.sample_frame(framework.array(grid), framework.array(xy))
    np.testing.assert_allclose(np.asarray(found)[0, :, 0], TABLE["interp/out2"], atol=1e-5)


def test_a_clip_is_read_between_its_pixels_and_frames(framework: SimpleNamespace) -> None:
    grid, tyx = TABLE["interp/grid3"][None, ..., None], TABLE["interp/tyx"][None]
    found = framework.sampling.sample_clip(framework.array(grid), framework.array(tyx))
    np.testing.assert_allclose(np.asarray(found)[0, :, 0], TABLE["interp/out3"], atol=1e-5)


def test_a_heatmap_becomes_a_point(framework: SimpleNamespace) -> None:
    heatmaps = TABLE["heatmap/softmax"]
    maps = framework.array(heatmaps.reshape(-1, *heatmaps.shape[-2:]))
    cells = framework.sampling.soft_argmax(maps, SOFT_ARGMAX_RADIUS)
    xy = scale_points(np.asarray(cells), heatmaps.shape[-2:], tuple(TABLE["heatmap/image_shape"][2:4]))
    np.testing.assert_allclose(xy.reshape(TABLE["heatmap/points"].shape), TABLE["heatmap/points"], atol=1e-4)


def test_coordinates_are_scaled_and_nothing_else() -> None:
    np.testing.assert_allclose(scale_points(TABLE["grid/xy"], (60, 100), (256, 256)), TABLE["grid/xy_out"], rtol=1e-6)
    yx, expected = TABLE["grid/tyx"][:, 1:], TABLE["grid/tyx_out"][:, 1:]
    np.testing.assert_allclose(scale_points(yx[:, ::-1], (15, 25), (8, 12))[:, ::-1], expected, rtol=1e-6)


def test_a_point_is_visible_where_both_logits_say_so() -> None:
    outputs = {name: TABLE[f"visible/{name}"] for name in ("occlusion", "expected_dist")}
    np.testing.assert_array_equal(FAMILY.visible(outputs), TABLE["visible/out"])
