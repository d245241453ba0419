"""What holds of TRAJAN for any weights, in both frameworks."""

from typing import Any

import numpy as np
import pytest

from tapsdk.errors import TracksError
from tests.training.models.trajan.small import SMALL, decoded, small, some_latents, some_queries, some_tracks
from training.models.trajan.constants import LEVELS, dither_noise


@pytest.fixture(scope="module", params=["torch", "jax"])
def model(request: pytest.FixtureRequest) -> Any:
    return small(request.param)


def assert_close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=0, atol=2e-5)


def assert_same_outputs(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys() == {"tracks", "visible_logits", "certain_logits"}
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-4, err_msg=name)


def test_the_frameworks_agree() -> None:
    models, latents = [small(framework) for framework in ("torch", "jax")], some_latents()
    one, other = (np.asarray(each.encode(*some_tracks())) for each in models)
    assert_close(other, one)
    assert np.abs(one).max() > 0.1
    one, other = (decoded(each, latents, some_queries()) for each in models)
    assert_same_outputs(other, one)


def test_shapes(model: Any) -> None:
    latents = np.asarray(model.encode(*some_tracks(videos=2, points=3)))
    assert latents.shape == (2, SMALL.latents, SMALL.channels)
    outputs = decoded(model, latents, some_queries(points=7))
    assert outputs["tracks"].shape == (2, 7, SMALL.frames, 2)
    assert outputs["visible_logits"].shape == outputs["certain_logits"].shape == (2, 7, SMALL.frames)
    assert all(array.dtype == np.float32 for array in outputs.values())


# What goes in


def test_short_tracks_are_as_if_padded(model: Any) -> None:
    tracks, visible, frames = some_tracks()
    padded = np.pad(tracks, ((0, 0), (0, 0), (0, 1), (0, 0))), np.pad(visible, ((0, 0), (0, 0), (0, 1)))
    assert_close(model.encode(*padded, frames), model.encode(tracks, visible, frames))


def test_hidden_positions_do_not_matter(model: Any) -> None:
    tracks, visible, frames = some_tracks()
    expected = model.encode(tracks, visible, frames)
    for other in (np.nan, np.inf, 1e6):
        hidden = np.where(visible[..., None], tracks, np.float32(other))
        assert_close(model.encode(hidden, visible, frames), expected)


def test_visible_may_be_numbers(model: Any) -> None:
    tracks, visible, frames = some_tracks()
    expected = np.asarray(model.encode(tracks, visible, frames))
    for dtype in (np.float32, np.int64):
        assert np.array_equal(np.asarray(model.encode(tracks, visible.astype(dtype), frames)), expected)


def test_nothing_is_seen_of_frames_after_the_last(model: Any) -> None:
    """But they count for a track's token, as published, where they are called visible."""
    tracks, _, frames = some_tracks()
    visible = np.ones(tracks.shape[:3], bool)
    full, cut = (np.asarray(model.encode(tracks, visible, count)) for count in (frames, frames - 2))
    assert np.abs(full - cut).max() > 1e-3
    hidden = visible.copy()
    hidden[..., -2:] = False
    assert np.abs(np.asarray(model.encode(tracks, hidden, frames - 2)) - cut).max() > 1e-4


def test_the_order_of_tracks_does_not_matter(model: Any) -> None:
    tracks, visible, frames = some_tracks()
    assert_close(model.encode(tracks[:, ::-1].copy(), visible[:, ::-1].copy(), frames), model.encode(*some_tracks()))


def test_a_track_that_is_never_visible_counts_as_one_of_nothing(model: Any) -> None:
    tracks, visible, frames = some_tracks()
    visible[:, 0] = False
    with_it = np.asarray(model.encode(tracks, visible, frames))
    without = np.asarray(model.encode(tracks[:, 1:], visible[:, 1:], frames))
    assert np.isfinite(with_it).all()
    assert np.abs(with_it - without).max() > 1e-3
    nothing = np.asarray(model.encode(tracks, np.zeros_like(visible), frames))
    assert np.isfinite(nothing).all()
    assert np.array_equal(nothing[0], nothing[1])


def test_videos_of_a_batch_do_not_see_one_another(model: Any) -> None:
    """Nor does their place change anything, which it does in the published code: there, each has its own dither."""
    tracks, visible, frames = some_tracks()
    latents, queries = some_latents(), some_queries()
    together, outputs = model.encode(tracks, visible, frames), decoded(model, latents, queries)
    for i in (0, 1):
        alone = slice(i, i + 1)
        assert_close(model.encode(tracks[alone], visible[alone], frames[alone]), together[alone])
        expected = {name: array[alone] for name, array in outputs.items()}
        assert_same_outputs(decoded(model, latents[alone], queries[alone]), expected)


@pytest.mark.parametrize("chunk", [3, 100])
def test_chunks_change_nothing(model: Any, chunk: int) -> None:
    assert_close(model.encode(*some_tracks(), chunk), model.encode(*some_tracks()))
    arguments = some_latents(), some_queries(), True
    assert_same_outputs(decoded(model, *arguments, chunk), decoded(model, *arguments))


# What comes out


@pytest.mark.parametrize("points", [0, 1])
def test_any_number_of_queries(model: Any, points: int) -> None:
    latents, queries = some_latents(), some_queries()
    expected = {name: array[:, :points] for name, array in decoded(model, latents, queries).items()}
    assert_same_outputs(decoded(model, latents, queries[:, :points]), expected)


def test_the_frame_and_the_place_of_a_query_matter(model: Any) -> None:
    latents, queries = some_latents(), some_queries()
    queries[..., 0] = 1
    expected = decoded(model, latents, queries)["tracks"]
    for change in ([1, 0, 0], [0, 0.1, 0], [0, 0, 0.1]):
        other = decoded(model, latents, queries + np.float32(change))["tracks"]
        assert (np.abs(other - expected).max((-1, -2)) > 1e-4).all()


@pytest.mark.parametrize(("t", "frame"), [(0.5, 0), (1.5, 2), (2.5, 2), (2.6, 3)])
def test_the_frame_of_a_query_is_rounded_half_to_even(model: Any, t: float, frame: int) -> None:
    latents, queries = some_latents(), some_queries()
    between, at = queries.copy(), queries.copy()
    between[..., 0], at[..., 0] = t, frame
    assert_same_outputs(decoded(model, latents, between), decoded(model, latents, at))


def test_latents_of_one_step_are_decoded_alike_but_without_dither(model: Any) -> None:
    steps = np.round(some_latents().clip(-0.9, 0.9) * LEVELS) / LEVELS
    near, queries = (steps + np.float32(0.4 / LEVELS)).astype(np.float32), some_queries()
    assert_same_outputs(decoded(model, near, queries), decoded(model, steps, queries))
    plain = decoded(model, steps, queries, False)
    assert np.abs(decoded(model, near, queries, False)["tracks"] - plain["tracks"]).max() > 1e-4
    noise = dither_noise(SMALL.latents, SMALL.channels)
    assert_same_outputs(decoded(model, steps + noise, queries, False), decoded(model, steps, queries))


def test_numbers_of_any_precision_are_taken(model: Any) -> None:
    tracks, visible, frames = some_tracks()
    assert_close(model.encode(tracks.astype(np.float64), visible, frames), model.encode(tracks, visible, frames))
    latents, queries = some_latents(), some_queries()
    found = decoded(model, latents.astype(np.float64), queries.astype(np.float64))
    assert_same_outputs(found, decoded(model, latents, queries))


def test_latents_beyond_one_are_cut_off(model: Any) -> None:
    latents = some_latents()
    assert np.abs(latents).max() > 1
    assert_same_outputs(decoded(model, latents, some_queries()), decoded(model, latents.clip(-1, 1), some_queries()))


def test_to_reconstruct_is_to_encode_and_decode(model: Any) -> None:
    found = model.reconstruct(*some_tracks(), some_queries())
    expected = decoded(model, model.encode(*some_tracks()), some_queries())
    assert_same_outputs({name: np.asarray(array) for name, array in found.items()}, expected)


# What cannot be


@pytest.mark.parametrize(
    ("tracks", "visible", "frames", "says"),
    [
        ((4, 5, 2), (4, 5), (1,), r"tracks must be \[B, S, T, 2\], got \[4, 5, 2\]"),
        ((1, 4, 5, 3), (1, 4, 5), (1,), r"tracks must be \[B, S, T, 2\], got \[1, 4, 5, 3\]"),
        ((1, 4, 5, 2), (1, 4, 5, 1), (1,), r"visible must be .* \[1, 4, 5\], got \[1, 4, 5, 1\]"),
        ((2, 4, 5, 2), (2, 4, 5), (1,), r"frames must be \[B\], a number for each of 2 videos, got \[1\]"),
        ((1, 0, 5, 2), (1, 0, 5), (1,), "there are no tracks to encode"),
        ((1, 4, 0, 2), (1, 4, 0), (1,), "may have 1 to 6 frames, got 0"),
        ((1, 4, 7, 2), (1, 4, 7), (1,), "may have 1 to 6 frames, got 7; cut longer ones"),
    ],
)
def test_tracks_of_other_shapes_are_an_error(
    model: Any, tracks: tuple[int, ...], visible: tuple[int, ...], frames: tuple[int, ...], says: str
) -> None:
    with pytest.raises(TracksError, match=says):
        model.encode(np.zeros(tracks, np.float32), np.zeros(visible, bool), np.zeros(frames, int))


@pytest.mark.parametrize(
    ("latents", "queries", "says"),
    [
        ((1, 5, 4), (1, 2, 3), r"latents must be \[B, 5, 3\], got \[1, 5, 4\]"),
        ((5, 3), (1, 2, 3), r"latents must be \[B, 5, 3\], got \[5, 3\]"),
        ((1, 5, 3), (1, 2, 2), r"queries_txy must be \[B, Q, 3\] with B = 1 as the latents, got \[1, 2, 2\]"),
        ((1, 5, 3), (2, 2, 3), r"queries_txy must be .* got \[2, 2, 3\]"),
    ],
)
def test_latents_and_queries_of_other_shapes_are_an_error(
    model: Any, latents: tuple[int, ...], queries: tuple[int, ...], says: str
) -> None:
    with pytest.raises(TracksError, match=says):
        model.decode(np.zeros(latents, np.float32), np.zeros(queries, np.float32))
