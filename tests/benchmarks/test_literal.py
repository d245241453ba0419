"""The literal form of TAPIR computes what ours does."""

from dataclasses import replace

import numpy as np
import pytest

from tests.support import import_or_skip

torch = import_or_skip("torch", "export-onnx")
from benchmarks.literal import correlate_literal, literal_form  # noqa: E402
from tapkernels import reference  # noqa: E402
from tests.benchmarks import small  # noqa: E402
from training.models.layers.sampling_torch import correlate_gather  # noqa: E402
from training.models.rollout import frame_by_frame  # noqa: E402
from training.models.tapir.torch import Tapir  # noqa: E402

SMALL = replace(small.SMALL, iterations=2, resolution=(32, 48))


@pytest.mark.parametrize("size", [(9, 14), (16, 5), (1, 1)])
@pytest.mark.parametrize("points", [0, 1, 11])
def test_patches_are_the_same_even_where_they_reach_beyond_the_grid(size, points):
    rng = np.random.default_rng(3)
    grid = rng.normal(size=(2, *size, 6)).astype(np.float32)
    query = rng.normal(size=(2, points, 6)).astype(np.float32)
    xy = (rng.uniform(-0.4, 1.4, (2, points, 2)) * np.array(size[::-1])).astype(np.float32)
    arrays = [torch.from_numpy(array) for array in (grid, query, xy)]
    found = correlate_literal(*arrays, 3)
    assert found.shape == (2, points, 49)
    np.testing.assert_allclose(found, correlate_gather(*arrays, 3), atol=2e-5)
    for i in range(2):
        expected = reference.local_correlation(grid[i], query[i], xy[i], 3)
        np.testing.assert_allclose(found[i], expected.reshape(points, 49), atol=2e-5)


@pytest.mark.parametrize("causal", [True, False])
def test_tracks_are_the_same(causal):
    torch.manual_seed(1)
    model = Tapir(replace(SMALL, causal=causal)).eval()
    video = torch.rand(1, 4, 32, 48, 3) * 2 - 1
    queries = torch.tensor([[[0, 8.0, 30.0], [0, 31.0, 1.0], [0, 16.0, 24.0]]])

    def tracked():
        with torch.no_grad():
            if causal:
                return frame_by_frame(model, video, queries)["tracks"]
            return model.clip(video, queries)["tracks"].numpy()

    ours = tracked()
    literal_form(model)
    np.testing.assert_allclose(tracked(), ours, atol=1e-3)
