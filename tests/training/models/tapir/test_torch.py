"""TAPIR in torch: what must hold for any weights."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the torch models need PyTorch: pip install '.[train]'")

from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from tapkernels import reference  # noqa: E402
from training.models.layers.sampling_torch import (  # noqa: E402
    correlate_dense,
    correlate_gather,
    first_peak,
    sample_clip,
    sample_frame,
)
from training.models.registry import CONFIGS  # noqa: E402
from training.models.tapir.config import TapirConfig  # noqa: E402
from training.models.tapir.torch import Tapir  # noqa: E402

SMALL = TapirConfig(
    causal=True,
    channels=(8, 12, 8, 16),
    blocks=(1, 1, 1, 1),
    pyramid_level=1,
    head=(4, 4, 4),
    mixer_width=16,
    mixer_blocks=2,
    iterations=2,
    resolution=(64, 64),
)
VARIANTS = {
    "causal": SMALL,
    "clip": replace(SMALL, causal=False),
    "extra convolutions": replace(SMALL, extra_convs=1, pyramid_level=2),
    "motion prior": replace(SMALL, motion_prior=2.0),
    "flow": replace(SMALL, motion_prior=2.0, flow=replace(CONFIGS["tapir/tiny"].flow, levels=2, slip=(0.5, 1.0))),
}


def model(config: TapirConfig, correlate: str = "gather") -> Tapir:
    torch.manual_seed(0)
    return Tapir(config, correlate).eval()


def clip(frames: int = 6, height: int = 64, width: int = 96) -> "torch.Tensor":
    return torch.rand(1, frames, height, width, 3, generator=torch.Generator().manual_seed(1)) * 2 - 1


QUERIES = torch.tensor([[[0.0, 10.0, 20.0], [2.0, 40.5, 90.0], [5.0, 63.0, 1.0]]])


@pytest.mark.parametrize("shape", [(1,), (7,), (3, 256), (2, 5, 9), (0, 4)])
def test_the_first_peak_is_the_argmax(shape: tuple[int, ...]) -> None:
    values = torch.randint(-3, 3, shape).float()  # some of the largest are there twice
    torch.testing.assert_close(first_peak(values)[..., 0], values.argmax(-1).float())


@pytest.mark.parametrize("radius", [0, 1, 3])
@pytest.mark.parametrize("size", [(1, 1), (5, 9), (16, 12)])
def test_both_lookups_are_the_kernels_specification(size: tuple[int, int], radius: int) -> None:
    rng = np.random.default_rng(0)
    grid = rng.standard_normal((*size, 7)).astype(np.float32)
    query = rng.standard_normal((40, 7)).astype(np.float32)
    xy = rng.uniform(-6, 20, (40, 2)).astype(np.float32)
    expected = reference.local_correlation(grid, query, xy, radius)
    for lookup in (correlate_dense, correlate_gather):
        found = lookup(*(torch.from_numpy(a)[None] for a in (grid, query, xy)), radius)[0]
        np.testing.assert_allclose(found.numpy(), expected, atol=2e-5, err_msg=lookup.__name__)


def test_a_frame_is_sampled_like_a_clip_of_one_frame() -> None:
    grid = torch.rand(2, 1, 6, 9, 5)
    tyx = torch.tensor([[0.0, 0.0, 0.0], [0.0, 6.0, 9.0], [0.0, 3.2, 4.7]]).expand(2, -1, -1)
    torch.testing.assert_close(sample_frame(grid[:, 0], tyx[..., 1:].flip(-1)), sample_clip(grid, tyx))


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_clip_gives_one_estimate_per_point_and_frame(variant: str) -> None:
    with torch.inference_mode():
        out = model(VARIANTS[variant]).clip(clip(), QUERIES)
    assert out["tracks"].shape == (1, 3, 6, 2)
    assert out["occlusion"].shape == out["expected_dist"].shape == (1, 3, 6)
    assert all(torch.isfinite(v).all() for v in out.values())


@pytest.mark.parametrize("variant", VARIANTS)
def test_points_do_not_see_one_another(variant: str) -> None:
    tapir = model(VARIANTS[variant])
    with torch.inference_mode():
        together = tapir.clip(clip(), QUERIES)
        chunked = tapir.clip(clip(), QUERIES, chunk=1)
        alone = tapir.clip(clip(), QUERIES[:, 1:2])
    torch.testing.assert_close(together, chunked, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(together["tracks"][:, 1:2], alone["tracks"], atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("variant", ["causal", "motion prior", "flow"])
def test_frame_by_frame_is_the_clip_for_queries_on_its_first_frame(variant: str) -> None:
    """On square frames: a clip takes the mean over resolutions, a step the last one."""
    tapir = model(VARIANTS[variant])
    video, queries = clip(width=64), QUERIES * torch.tensor([0.0, 1.0, 0.6])
    with torch.inference_mode():
        grids = tapir.feature_grids(video)
        if variant == "causal":
            estimates, _, _ = tapir.trajectories(grids, tapir.clip_queries(grids, queries, (64, 64)))
            expected = estimates[-1].xy.transpose(1, 2)
        else:
            expected = tapir.clip(video, queries)["tracks"]
        state = tapir.init(video[:, :1], queries)
        found = []
        for t in range(video.shape[1]):
            out, state = tapir.step(video[:, t : t + 1], state)
            found.append(out["tracks"])
    torch.testing.assert_close(torch.cat(found, 2), expected, atol=1e-3, rtol=1e-4)


def test_the_future_does_not_change_what_a_causal_model_said() -> None:
    tapir, video = model(SMALL), clip()
    with torch.inference_mode():
        whole = tapir.clip(video, QUERIES[:, :1])["tracks"]
        start = tapir.clip(video[:, :3], QUERIES[:, :1])["tracks"]
    torch.testing.assert_close(whole[:, :, :3], start, atol=1e-3, rtol=1e-4)


def test_a_transposed_video_gives_transposed_tracks_where_the_network_is_symmetric() -> None:
    """Width and height are never confused, as they are in the reference for frames that are not square."""
    tapir = model(SMALL)
    with torch.no_grad():
        for parameter in tapir.parameters():
            if parameter.ndim == 4:
                # SAME padding puts the odd pixel at the end of both axes alike, so symmetric kernels suffice.
                parameter.copy_((parameter + parameter.transpose(2, 3)) / 2)
        embed = tapir.mixer.embed.weight
        patches = embed[:, 4 + SMALL.feature_width :].reshape(-1, SMALL.levels, 7, 7)
        embed[:, 4 + SMALL.feature_width :] = ((patches + patches.transpose(2, 3)) / 2).reshape(len(embed), -1)
        out = tapir.mixer.out
        out.weight[:2], out.bias[:2] = out.weight[:2].mean(0), out.bias[:2].mean()
    video = clip(frames=3, height=64, width=128)
    queries = QUERIES.clamp(max=torch.tensor([2.0, 60, 60]))
    with torch.inference_mode():
        wide = tapir.clip(video, queries)["tracks"]
        tall = tapir.clip(video.transpose(2, 3), queries[..., [0, 2, 1]])["tracks"]
    torch.testing.assert_close(tall.flip(-1), wide, atol=2e-2, rtol=1e-3)


def test_offline_variants_refuse_frame_by_frame() -> None:
    with pytest.raises(ValueError, match="causal"):
        model(VARIANTS["clip"]).init(clip(1), QUERIES)


def test_refinement_resolutions_must_be_multiples_of_eight() -> None:
    with pytest.raises(ValueError, match="multiples of 8"):
        model(SMALL).clip(clip(), QUERIES, resolutions=[(60, 64)])


def test_tiny_keeps_to_its_budget() -> None:
    """At most 2.5 million parameters and, for 64 points in a frame of 256x256, about 2 GFLOP."""
    tiny = Tapir(CONFIGS["tapir/tiny"]).eval()
    assert sum(p.numel() for p in tiny.parameters()) <= 2.5e6
    frame = torch.zeros(1, 1, 256, 256, 3)
    with torch.inference_mode():
        state = tiny.init(frame, torch.zeros(1, 64, 3))
        with FlopCounterMode(display=False) as counter:
            tiny.step(frame, state)
    assert counter.get_total_flops() <= 2.1e9


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_points_give_no_tracks(variant: str) -> None:
    with torch.inference_mode():
        out = model(VARIANTS[variant]).clip(clip(), QUERIES[:, :0])
    assert out["tracks"].shape == (1, 0, 6, 2)
    assert out["occlusion"].shape == (1, 0, 6)


@pytest.mark.parametrize("blocks", [1, 3])
def test_the_mixer_of_a_clip_looks_exactly_as_far_as_its_reach(blocks: int) -> None:
    config = replace(SMALL, causal=False, mixer_blocks=blocks)
    mixer, frames = model(config).mixer, 2 * config.reach + 5
    middle = frames // 2
    x = torch.randn(1, frames, mixer.embed.in_features, requires_grad=True)
    mixer(x)[0][0, middle].sum().backward()
    assert x.grad is not None
    seen = x.grad[0].abs().sum(-1) > 0
    assert torch.nonzero(seen).flatten().tolist() == list(range(middle - config.reach, middle + config.reach + 1))
