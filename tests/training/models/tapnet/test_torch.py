"""TAP-Net in torch: what a point's track depends on, and what it does not. Its goldens are in test_golden."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install '.[train]'")

from tests.training.models.frameworks import random_clip  # noqa: E402
from tests.training.models.tapnet.small import SMALL, random_weights  # noqa: E402
from training.models.tapnet.config import VARIANTS, TapnetConfig  # noqa: E402
from training.models.tapnet.torch import Tapnet, shift  # noqa: E402


def make(config: TapnetConfig = SMALL) -> Tapnet:
    model = Tapnet(config)
    weights = random_weights(model.state_dict())
    model.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    return model.eval()


def run(model: Tapnet, video: np.ndarray, queries: np.ndarray, **options: int) -> dict[str, np.ndarray]:
    with torch.inference_mode():
        outputs = model.clip(torch.from_numpy(video), torch.from_numpy(queries), **options)
    return {name: tensor.numpy() for name, tensor in outputs.items()}


def test_the_published_one_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        model = Tapnet(VARIANTS["tapnet/base"])
    assert sum(p.numel() for p in model.parameters()) == 2_791_090
    assert VARIANTS["tapnet/base"].reach == 4
    assert VARIANTS["tapnet/base"].stride == 8


def test_a_shift_takes_the_last_channels_of_the_frame_after_first() -> None:
    x = torch.arange(2 * 3 * 8, dtype=torch.float32).reshape(6, 8, 1, 1)
    found = shift(x, 3).reshape(2, 3, 8)
    clips = x.reshape(2, 3, 8)
    assert torch.equal(found[:, :, 1:7], clips[:, :, 1:7])
    assert torch.equal(found[:, :2, 0], clips[:, 1:, 7])
    assert torch.equal(found[:, 1:, 7], clips[:, :2, 0])
    assert not found[:, 2, 0].any() and not found[:, 0, 7].any()


def test_of_fewer_channels_than_there_are_shares_none_is_shifted() -> None:
    x = torch.randn(6, 7, 2, 2)
    assert torch.equal(shift(x, 3), x)


def test_a_query_that_is_nowhere_changes_no_other() -> None:
    video, queries = random_clip(1, 3, 24, 32, points=4)
    lost = queries.copy()
    lost[0, 1] = np.nan
    expected, found = (run(make(), video, asked) for asked in (queries, lost))
    others = [0, 2, 3]
    for name, array in expected.items():
        np.testing.assert_allclose(found[name][:, others], array[:, others], atol=1e-4, err_msg=name)


def test_a_point_is_at_its_query_in_its_querys_frame() -> None:
    """To which a time between two frames is rounded, half to even."""
    video, queries = random_clip(1, 5, 40, 56, points=4)
    queries[0, :, 0] = 0.5, 1.5, 2.6, 4
    tracks = run(make(), video, queries)["tracks"]
    for point, frame in enumerate((0, 2, 3, 4)):
        assert tracks[0, point, frame].tolist() == queries[0, point, :0:-1].tolist()
        others = np.delete(tracks[0, point], frame, axis=0)
        assert (np.abs(others - queries[0, point, :0:-1]).max(-1) > 1e-3).all()


@pytest.mark.parametrize("frames", [1, 2, 7])
@pytest.mark.parametrize("size", [(64, 96), (41, 55), (8, 9)])
@pytest.mark.parametrize("points", [0, 1, 5])
def test_clips_of_any_size(frames: int, size: tuple[int, int], points: int) -> None:
    outputs = run(make(), *random_clip(2, frames, *size, points) if points else empty(frames, size))
    batch = len(outputs["tracks"])
    assert outputs["tracks"].shape == (batch, points, frames, 2)
    assert outputs["occlusion"].shape == (batch, points, frames)
    assert all(np.isfinite(array).all() for array in outputs.values())
    assert (outputs["tracks"] >= 0).all() and (outputs["tracks"] <= size[::-1]).all()


def empty(frames: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((1, frames, *size, 3), np.float32), np.zeros((1, 0, 3), np.float32)


def test_points_do_not_see_one_another() -> None:
    video, queries = random_clip(1, 3, 40, 56, points=5)
    whole, parts = (run(make(), video, queries, chunk=chunk) for chunk in (64, 2))
    for name, array in whole.items():
        np.testing.assert_allclose(parts[name], array, atol=1e-3, err_msg=name)


@pytest.mark.parametrize("shifted, reach", [((True, True, False), 4), ((True, False, False), 2), ((False,) * 3, 0)])
def test_features_depend_on_frames_within_reach_alone(shifted: tuple[bool, bool, bool], reach: int) -> None:
    torch.manual_seed(0)
    model = Tapnet(replace(SMALL, channels=(16, 32, 16), shifted=shifted)).eval()
    assert model.config.reach == reach
    video = torch.from_numpy(random_clip(1, 13, 24, 32, points=1)[0])
    other = video.clone()
    other[:, 6] = -other[:, 6]
    with torch.inference_mode():
        differs = [bool((a != b).any()) for a, b in zip(model.encode(video)[0], model.encode(other)[0], strict=True)]
    assert differs == [abs(t - 6) <= reach for t in range(13)]


def test_a_clip_alone_is_the_same_as_beside_another() -> None:
    video, queries = random_clip(2, 4, 24, 32, points=3)
    model = make()
    both, alone = run(model, video, queries), run(model, video[1:], queries[1:])
    for name, array in alone.items():
        np.testing.assert_allclose(both[name][1:], array, atol=1e-3, err_msg=name)
