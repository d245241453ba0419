"""TAPNext in torch: what must hold for any weights, and DeepMind's numbers from DeepMind's file formats."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the torch models need PyTorch: pip install '.[train]'")

from tests.training.models.frameworks import random_clip  # noqa: E402
from tests.training.models.tapnext.golden import (  # noqa: E402
    FULL,
    ROWS,
    assert_golden,
    convert_golden,
    golden_inputs,
    golden_weights,
    load_golden,
    published_shapes,
)
from training.models.registry import CONFIGS  # noqa: E402
from training.models.rollout import frame_by_frame  # noqa: E402
from training.models.tapnext.config import TapnextConfig  # noqa: E402
from training.models.tapnext.official import IGNORED, as_published, official_names  # noqa: E402
from training.models.tapnext.position_tables import cubic_matrix, sincos_table  # noqa: E402
from training.models.tapnext.torch import GatedRecurrence, Tapnext, TapnextState, scan, soft_argmax  # noqa: E402

SMALL = TapnextConfig(
    width=32, depth=2, heads=2, mlp_width=48, grid=(4, 4), bins=32, head_width=16, softargmax_radius=4
)


def model(config: TapnextConfig = SMALL) -> Tapnext:
    torch.manual_seed(0)
    return Tapnext(config).eval()


def clip(frames: int = 6, height: int = 32, width: int = 48, points: int = 4) -> tuple["torch.Tensor", "torch.Tensor"]:
    video, queries = random_clip(2, frames, height, width, points)
    return torch.from_numpy(video), torch.from_numpy(queries)


@pytest.mark.parametrize("frames", [1, 2, 3, 7, 8])
def test_the_scan_is_the_recurrence(frames: int) -> None:
    decay, x, state = torch.rand(2, frames, 3), torch.randn(2, frames, 3), torch.randn(2, 3)
    found = scan(decay, x, state)
    for t in range(frames):
        state = decay[:, t] * state + x[:, t]
        torch.testing.assert_close(found[:, t], state)


@torch.inference_mode()
def test_frame_by_frame_is_the_clip() -> None:
    tapnext, (video, queries) = model(), clip()
    whole, online = tapnext.clip(video, queries), frame_by_frame(tapnext, video, queries)
    for name, expected in whole.items():
        np.testing.assert_allclose(online[name], expected.numpy(), atol=1e-4, err_msg=name)


@pytest.mark.parametrize("chunk", [1, 4, 100])
@torch.inference_mode()
def test_chunks_of_frames_change_nothing(chunk: int) -> None:
    tapnext, (video, queries) = model(), clip()
    torch.testing.assert_close(tapnext.clip(video, queries, chunk), tapnext.clip(video, queries), atol=1e-4, rtol=0)


def assert_equal_until(found: dict[str, "torch.Tensor"], expected: dict[str, "torch.Tensor"], frame: int) -> None:
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name][:, :, :frame], tensor[:, :, :frame], atol=1e-4, rtol=0)


@torch.inference_mode()
def test_every_block_predicts_and_the_last_one_says_what_a_clip_says() -> None:
    tapnext, (video, queries) = model(), clip()
    predictions = tapnext.predictions(video, queries, torch.tensor([6, 6]))
    assert len(predictions) == SMALL.depth
    assert_equal_until(predictions[-1], tapnext.clip(video, queries), 6)
    # The first block's, by the same heads: a model that ends after it.
    tapnext.blocks = tapnext.blocks[:1]
    tapnext.config = replace(SMALL, depth=1)
    assert_equal_until(predictions[0], tapnext.clip(video, queries), 6)


@torch.inference_mode()
def test_from_the_frame_on_from_which_the_picture_is_hidden_nothing_of_it_is_seen() -> None:
    tapnext, (video, queries) = model(), clip()
    hidden = tapnext.predictions(video, queries, torch.tensor([3, 6]))[-1]
    assert_equal_until(hidden, tapnext.clip(video, queries), 3)
    other = video.clone()
    other[0, 3:] = 0.5
    assert_equal_until(tapnext.predictions(other, queries, torch.tensor([3, 6]))[-1], hidden, 6)
    shown = tapnext.clip(video, queries)["coordinate_logits"]
    assert (hidden["coordinate_logits"] - shown)[0, :, 3:].abs().min(-1).values.max() > 1e-3
    torch.testing.assert_close(hidden["coordinate_logits"][1], shown[1], atol=1e-4, rtol=0)


@pytest.mark.parametrize("points", [0, 1, 5])
@torch.inference_mode()
def test_a_clip_gives_one_estimate_per_point_and_frame(points: int) -> None:
    video, queries = clip()
    out = model().clip(video, queries[:, :1].expand(-1, points, -1))
    assert out["tracks"].shape == (2, points, 6, 2)
    assert out["visible_logits"].shape == (2, points, 6)
    assert out["coordinate_logits"].shape == (2, points, 6, 2, 32)
    assert all(torch.isfinite(v).all() for v in out.values())


@torch.inference_mode()
def test_where_a_late_query_lies_matters_from_its_frame_on() -> None:
    video, queries = clip()
    queries[:, 1, 0] = 3
    moved = queries.clone()
    moved[:, 1, 1:] = torch.tensor([5.0, 40.0])
    here, there = (model().clip(video, q)["coordinate_logits"] for q in (queries, moved))
    torch.testing.assert_close(here[:, :, :3], there[:, :, :3])
    assert ((here - there)[:, 1, 3:].abs().amax((-1, -2)) > 1e-3).all()


@torch.inference_mode()
def test_a_query_beyond_the_clip_stays_unknown() -> None:
    tokens = model().point_tokens(torch.tensor([[[7.0, 3, 4], [-1.0, 3, 4]]]), 5)
    assert (tokens[0, :, 0] == model().unknown_token).all()
    assert (tokens[0, :, 1] == model().mask_token).all()


def test_a_query_between_two_frames_belongs_to_the_nearer_one() -> None:
    near, exact = (model().point_tokens(torch.tensor([[[t, 3.0, 4.0]]]), 5) for t in (1.7, 2.0))
    torch.testing.assert_close(near, exact)


def test_positions_are_read_between_pixel_centres_and_repeat_beyond_the_border() -> None:
    tapnext, table = model(), torch.from_numpy(sincos_table(32, 16))

    def positions(y: float, x: float) -> torch.Tensor:
        return tapnext.point_tokens(torch.tensor([[[0.0, y, x]]]), 1)[0, 0, 0] - tapnext.query_token

    torch.testing.assert_close(positions(3.5, 8.5), torch.cat([table[8], table[3]]))
    torch.testing.assert_close(positions(3.5, 8.75), torch.cat([0.75 * table[8] + 0.25 * table[9], table[3]]))
    torch.testing.assert_close(positions(0.0, 32.0), torch.cat([table[31], table[0]]))


def test_the_sincos_table_is_no_parameter() -> None:
    assert set(model().state_dict()) == {name for name, _ in model().named_parameters()}


@pytest.mark.parametrize(("size", "to"), [(32, 64), (32, 48), (4, 9), (8, 8), (8, 4)])
def test_cubic_interpolation_is_torchs(size: int, to: int) -> None:
    x = torch.rand(1, 1, size, 3)
    expected = torch.nn.functional.interpolate(x, (to, 3), mode="bicubic", align_corners=False)
    torch.testing.assert_close(torch.from_numpy(cubic_matrix(size, to)) @ x, expected)


def test_the_position_table_is_interpolated_along_each_axis() -> None:
    tapnext = model()
    table = tapnext.patch_positions.reshape(1, 4, 4, 32).permute(0, 3, 1, 2)
    expected = torch.nn.functional.interpolate(table, (8, 2), mode="bicubic", align_corners=False)
    torch.testing.assert_close(tapnext.positions_on((8, 2)), expected[0].permute(1, 2, 0).reshape(16, 32))
    assert tapnext.positions_on((4, 4)) is tapnext.patch_positions


@torch.inference_mode()
def test_coordinates_are_those_of_the_video() -> None:
    """Inside they are of a square of 32 pixels, on a video of 64x48 as well."""
    tapnext, (video, queries) = model(), clip(frames=2, height=64, width=48)
    inside = tapnext.init(video[:, :1], queries).queries
    torch.testing.assert_close(inside, queries * torch.tensor([1, 32 / 64, 32 / 48]))
    out = tapnext.clip(video, queries)
    xy = soft_argmax(out["coordinate_logits"], SMALL.softmax_temperature, SMALL.softargmax_radius)
    torch.testing.assert_close(out["tracks"], xy * torch.tensor([48 / 32, 64 / 32]))


@torch.inference_mode()
def test_the_first_frame_is_not_a_frame_after_nothing() -> None:
    """Without a past the input counts in full; after an empty past it would be scaled down."""
    lru = GatedRecurrence(8, 2)
    x, nothing = torch.randn(1, 1, 3, 8), torch.zeros(1, 3, 8)
    first = lru(x, nothing, torch.ones(1, 1, 3, 1, dtype=torch.bool))
    torch.testing.assert_close(first, x * lru.input_gate(x).sigmoid())
    assert (lru(x, nothing, torch.zeros(1, 1, 3, 1, dtype=torch.bool)).abs() < first.abs()).all()


@torch.inference_mode()
def test_a_token_with_zero_rows_starts_afresh() -> None:
    """So that points can be added while streaming. In the first block, tokens have not seen one another yet."""
    tapnext, (video, queries) = model(), clip(points=1)
    state = tapnext.init(video[:, :1], queries)
    for t in range(3):
        _, state = tapnext.step(video[:, t : t + 1], state)
    added = torch.tensor([[[0.0, 10.0, 20.0]]]).expand(2, -1, -1)
    grown = TapnextState(
        torch.cat([state.queries, added], 1),
        torch.nn.functional.pad(state.seen, (0, 1)),
        torch.nn.functional.pad(state.hidden, (0, 0, 0, 1)),
        torch.nn.functional.pad(state.window, (0, 0, 0, 1)),
    )
    _, grown = tapnext.step(video[:, 3:4], grown)
    _, fresh = tapnext.step(video[:, 3:4], tapnext.init(video[:, 3:4], added * torch.tensor([1, 1, 48 / 32])))
    torch.testing.assert_close(grown.hidden[0, :, -1], fresh.hidden[0, :, -1])
    torch.testing.assert_close(grown.window[0, :, :, -1], fresh.window[0, :, :, -1])


@pytest.mark.parametrize("filler", [1, 5])
@torch.inference_mode()
def test_rows_that_only_fill_up_change_nothing(filler: int) -> None:
    tapnext, (video, queries) = model(), clip()
    full = torch.cat([queries, torch.rand(2, filler, 3)], 1)
    active = torch.cat([torch.ones(2, 4), torch.zeros(2, filler)], 1)
    state, padded, seen = (tapnext.init(video[:, :1], q) for q in (queries, full, full))
    for t in range(video.shape[1]):
        expected, state = tapnext.step(video[:, t : t + 1], state)
        found, padded = tapnext.step(video[:, t : t + 1], padded, active)
        torch.testing.assert_close(found["coordinate_logits"][:, :4], expected["coordinate_logits"])
        torch.testing.assert_close(found["visible_logits"][:, :4], expected["visible_logits"])
        other, seen = tapnext.step(video[:, t : t + 1], seen)
    assert (other["coordinate_logits"][:, :4] - expected["coordinate_logits"]).abs().max() > 1e-3


def test_gradients_are_finite_even_where_nothing_decays() -> None:
    tapnext, (video, queries) = model(), clip()
    with torch.no_grad():
        tapnext.blocks[0].recurrence.lru.decay.fill_(-200)
    sum(v.square().mean() for v in tapnext.clip(video, queries).values()).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in tapnext.parameters())


@pytest.mark.parametrize("peak", [0, 3, 31])
def test_soft_argmax_leaves_out_what_is_far_from_the_peak(peak: int) -> None:
    logits = torch.full((32,), -50.0)
    logits[peak] = 10.0
    logits[(peak + 16) % 32] = 9.9
    torch.testing.assert_close(soft_argmax(logits, 0.5, 4), torch.tensor(peak + 0.5))


@pytest.mark.parametrize("size", [(30, 32), (32, 47)])
def test_frames_that_do_not_divide_into_patches_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="do not divide into patches of 8x8"):
        model().init(torch.zeros(1, 1, *size, 3), torch.zeros(1, 1, 3))


def test_a_step_exports_for_any_number_of_points() -> None:
    class Step(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model()

        def forward(self, frame: torch.Tensor, *state: torch.Tensor) -> tuple[torch.Tensor, ...]:
            outputs, state = self.model.step(frame, TapnextState(*state))
            return outputs["tracks"], outputs["visible_logits"], *state

    video, queries = clip(frames=1)
    n = torch.export.Dim("points", min=2, max=64)
    m = n + 24
    shapes = (None, ({1: n}, {1: m}, {2: m}, {3: m}))
    state = model().init(video, queries)
    with torch.inference_mode():
        program = torch.export.export(Step(), (video, *state), dynamic_shapes=shapes)
        more = model().init(video, queries.repeat(1, 3, 1))
        expected, _ = model().step(video, more)
        torch.testing.assert_close(program.module()(video, *more)[0], expected["tracks"])


# The published models.


@pytest.mark.parametrize("layout", ["torch", "jax"])
def test_every_published_parameter_has_its_place(layout: str) -> None:
    shapes = published_shapes(layout)
    with torch.device("meta"):
        ours = {name: tuple(p.shape) for name, p in Tapnext(FULL).state_dict().items()}
    turned, used = {}, set()
    for name, *columns in official_names(FULL):
        theirs, turn = columns[:2] if layout == "torch" else columns[2:]
        turned[name] = turn(np.broadcast_to(np.float32(0), shapes[theirs])).shape
        used.add(theirs)
    assert turned == ours
    assert used == set(shapes)
    assert not used & IGNORED


@pytest.mark.parametrize("name", ["tapnext/base", "tapnext/plus", "tapnext/plus-512"])
def test_published_sizes(name: str) -> None:
    with torch.device("meta"):
        parameters = sum(p.numel() for p in Tapnext(CONFIGS[name]).parameters())
    assert parameters == sum(int(np.prod(shape)) for shape in published_shapes("torch").values())


def test_weights_are_run_as_the_code_that_made_them() -> None:
    assert as_published(CONFIGS["tapnext/base"], "jax") == CONFIGS["tapnext/base"]
    assert as_published(CONFIGS["tapnext/plus"], "torch") == CONFIGS["tapnext/plus"]
    assert as_published(CONFIGS["tapnext/base"], "torch") == CONFIGS["tapnext/plus"]


def with_weights(config: TapnextConfig, weights: dict[str, np.ndarray]) -> Tapnext:
    with torch.device("meta"):
        tapnext = Tapnext(config)
    tapnext.load_state_dict({name: torch.from_numpy(w) for name, w in weights.items()}, assign=True)
    return tapnext


@torch.inference_mode()
def test_the_first_frame_of_a_golden() -> None:
    """Enough to see that every parameter is in its place."""
    arrays = load_golden("tapnext_torch_256")
    tapnext = with_weights(as_published(FULL, "torch"), golden_weights("torch", int(arrays["seed"])))
    video, queries = (torch.from_numpy(a) for a in golden_inputs(arrays, frames=1))
    assert_golden(tapnext.clip(video, queries), arrays, "clip")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "layout"), ROWS)
@torch.inference_mode()
def test_golden(name: str, layout: str, tmp_path: Path) -> None:
    arrays = load_golden(name)
    canonical = convert_golden(layout, int(arrays["seed"]), tmp_path)
    assert canonical.config == as_published(FULL, layout)
    tapnext = with_weights(canonical.config, canonical.weights)
    video, queries = (torch.from_numpy(a) for a in golden_inputs(arrays))
    if "clip_tracks_yx" in arrays:
        assert_golden(tapnext.clip(video, queries), arrays, "clip")
    assert_golden(frame_by_frame(tapnext, video, queries), arrays, "online")
