"""`cluster`, as people call it."""

import numpy as np
import pytest

from tests.golden.rigid_tracks import rigid_tracks
from tests.support import import_or_skip

torch = import_or_skip("torch", "train")
import_or_skip("cv2", "train")
from training.clustering import ClusterError, cluster  # noqa: E402
from training.data.synthetic import SceneConfig  # noqa: E402
from training.data.synthetic.clips import POSED  # noqa: E402
from training.data.synthetic.sampling import sample_tracks, topmost  # noqa: E402
from training.data.synthetic.scene import random_scene  # noqa: E402

SIZE = (256, 256)


CLIP_SIZE = (192, 256)


def clip_with_owners(seed, frames=24, points=96):
    """Tracks of flat objects that move, tilt and hide one another before a moving camera, and whose each point is."""
    config = SceneConfig(
        *CLIP_SIZE, frames=frames, points=points, creatures=0, deformation=0, layers=(3, 4), motion=2.5
    )
    scene = random_scene(np.random.default_rng([seed, 0]), config)
    layers = [POSED[type(layer)].of(layer, np.arange(frames, dtype=float)) for layer in scene]
    rng = np.random.default_rng([seed, 2])
    tracks, visible = sample_tracks(layers, CLIP_SIZE, points, config.foreground, False, rng)
    first = visible.argmax(axis=1)
    return tracks, visible, topmost(layers, tracks[np.arange(points), first], first)


def purity(labels, true):
    """The share of points in groups that are mostly of their own kind, among those that are in a group."""
    found, true = labels[labels >= 0], true[labels >= 0]
    return sum(np.bincount(true[found == k]).max() for k in np.unique(found)) / len(true)


@pytest.fixture
def hasty(monkeypatch):
    """A fit of few steps, for what does not go by how good it is."""
    monkeypatch.setattr("training.clustering.fit.STEPS", 1)
    monkeypatch.setattr("training.clustering.settling.ROUNDS", 1)


# What it finds


@pytest.mark.slow  # three fits
def test_the_three_groups_of_the_clear_cut_case_are_found():
    """Of two demonstrations, and with a point that is never seen; as the reference does, in 28 minutes."""
    tracks, visible, true = rigid_tracks(3, 12, 40, 62)
    visible[-1] = False
    found = [cluster(tracks, visible, SIZE, 3, 4, [[0, 24], [24, 40]], seed=seed) for seed in range(3)]
    assert np.median([purity(each.labels, true) for each in found]) >= 0.95
    for each in found:
        assert each.labels[-1] == -1 and not each.kept[-1]
        assert each.kept[:-1].all()
        assert np.isnan(each.error[-1]).all()


@pytest.mark.slow
@pytest.mark.parametrize("case", [(3, 14, 40, 7, 5), (4, 10, 30, 11, 6)], ids=str)
def test_groups_are_found_where_the_reference_mixes_them(case):
    groups, per_group, frames, seed, most = case
    tracks, visible, true = rigid_tracks(groups, per_group, frames, seed)
    assert purity(cluster(tracks, visible, SIZE, groups, most).labels, true) >= 0.95


@pytest.mark.slow
def test_positions_may_be_a_little_off_and_frames_wide():
    tracks, visible, true = rigid_tracks(3, 12, 40, 3, size=(180, 320))
    tracks = tracks + np.random.default_rng(0).normal(0, 0.7, tracks.shape)
    found = cluster(tracks, visible, (180, 320), 3, 5)
    assert purity(found.labels, true) >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 3])
def test_the_moving_objects_of_a_generated_clip_are_told_apart(seed):
    tracks, visible, owner = clip_with_owners(seed)
    found = cluster(tracks, visible, CLIP_SIZE)
    assert len(np.unique(owner)) >= 4
    assert purity(found.labels, owner) >= 0.95


# What it gives


def test_groups_are_sorted_by_size_and_their_errors_with_them(hasty):
    tracks, visible, _ = rigid_tracks(3, 6, 12, 0)
    visible[2] = False
    tracks[2] = np.nan
    found = cluster(tracks, visible, SIZE, 3, 4)
    assert (found.labels.dtype, found.error.dtype, found.kept.dtype) == (np.int64, np.float32, np.bool_)
    assert found.error.shape == (18, 3)
    np.testing.assert_array_equal(found.kept, np.arange(18) != 2)
    np.testing.assert_array_equal(found.labels[found.kept], found.error[found.kept].argmin(axis=1))
    assert found.labels[2] == -1 and np.isnan(found.error[2]).all()
    sizes = np.bincount(found.labels[found.kept], minlength=3)
    assert sizes.tolist() == sorted(sizes, reverse=True)


@pytest.mark.parametrize("options", [{}, {"em": True}, {"six_dof": True}], ids=str)
def test_the_same_seed_gives_the_same_groups(hasty, options):
    tracks, visible, _ = rigid_tracks(3, 5, 9, 1)
    one, other, another = (cluster(tracks, visible, SIZE, 3, 5, seed=seed, **options) for seed in (4, 4, 5))
    np.testing.assert_array_equal(one.error, other.error)
    assert not np.array_equal(one.error, another.error)
    assert np.isfinite(one.error).all()


def test_torch_computes_with_as_many_threads_afterwards_as_before(hasty):
    tracks, visible, _ = rigid_tracks(3, 5, 9, 1)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        cluster(tracks, visible, SIZE, 3, 5)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_what_hidden_positions_are_does_not_matter(hasty):
    tracks, visible, _ = rigid_tracks(3, 5, 9, 1)
    expected = cluster(tracks, visible, SIZE, 3, 4)
    for value in (np.nan, np.inf, -1e30):
        spoilt = np.where(visible[..., None], tracks, value)
        np.testing.assert_array_equal(cluster(spoilt, visible, SIZE, 3, 4).error, expected.error)


def test_points_that_are_hardly_ever_seen_are_thrown_out(hasty):
    tracks, visible, _ = rigid_tracks(3, 5, 20, 1, hidden=0)
    visible[0, 2:], visible[1, 3:] = False, False
    found = cluster(tracks, visible, SIZE, 3, 4)
    np.testing.assert_array_equal(np.flatnonzero(~found.kept), [0])


@pytest.mark.parametrize("points, frames", [(3, 1), (3, 9), (4, 200)])
def test_as_few_points_as_groups_and_clips_of_any_length(hasty, points, frames):
    tracks = np.random.default_rng(0).uniform(0, 256, (points, frames, 2))
    found = cluster(tracks, np.ones((points, frames), bool), SIZE, 3, 12)
    assert np.isfinite(found.error).all()
    assert found.labels.min() >= 0


def test_more_points_and_frames_than_one_step_looks_at(hasty, monkeypatch):
    monkeypatch.setattr("training.clustering.fit.MOST_POINTS", 7)
    monkeypatch.setattr("training.clustering.fit.MOST_FRAMES", 5)
    tracks, visible, _ = rigid_tracks(3, 5, 12, 1)
    assert np.isfinite(cluster(tracks, visible, SIZE, 3, 4).error).all()


def test_what_takes_long_says_how_far_it_is(hasty, monkeypatch, caplog):
    times = iter(range(100_000))
    monkeypatch.setattr("training.clustering.fit.time.monotonic", lambda: float(next(times)))
    tracks, visible, _ = rigid_tracks(3, 5, 9, 1)
    with caplog.at_level("INFO", "training.clustering"):
        cluster(tracks, visible, SIZE, 3, 4)
    assert caplog.messages[0].startswith("clustering: ")
    assert 2 <= len(caplog.messages) <= 9


def test_a_turn_is_a_turn_in_wide_frames_too(hasty):
    """One body that turns, in three parts: its parts fit without any error, whatever the frame's shape."""
    angle = np.linspace(0, 2, 12)[:, None]
    local = np.random.default_rng(0).uniform(-40, 40, (9, 1, 2))
    x = 160 + np.cos(angle)[None, ..., 0] * local[..., 0] - np.sin(angle)[None, ..., 0] * local[..., 1]
    y = 90 + np.sin(angle)[None, ..., 0] * local[..., 0] + np.cos(angle)[None, ..., 0] * local[..., 1]
    found = cluster(np.stack([x, y], -1), np.ones((9, 12), bool), (180, 320), 3, 3)
    assert found.error.min(axis=1).max() < 1e-7


# What is refused


TRACKS = np.random.default_rng(0).uniform(0, 256, (8, 6, 2))
SEEN = np.ones((8, 6), bool)


@pytest.mark.parametrize(
    "tracks, visible, options, sentence",
    [
        (TRACKS[..., 0], SEEN, {}, r"tracks must have shape \[N, T, 2\] \(x, y\), got \[8, 6\]"),
        (np.zeros((8, 6, 3)), SEEN, {}, r"tracks must have shape \[N, T, 2\]"),
        ([[1, 2], [3]], SEEN, {}, "tracks must be numbers"),
        (TRACKS, SEEN.T, {}, r"visible must have shape \[8, 6\] to fit tracks, got \[6, 8\]"),
        (TRACKS, SEEN * 0.5, {}, "visible must be true or false"),
        (np.where(np.arange(6)[:, None] == 4, np.nan, TRACKS), SEEN, {}, "no number for point 0 in frame 4"),
        (np.where(np.arange(8)[:, None, None] == 1, 1e30, TRACKS), SEEN, {}, "so far off that they cannot be computed"),
        (TRACKS, ~SEEN, {}, "3 clusters need as many points that are seen in more than 10% of the frames, got 0"),
        (TRACKS[:1], SEEN[:1], {}, "got 1; track more points"),
        (TRACKS[:2], SEEN[:2], {}, "got 2; track more points"),
        (TRACKS[:0], SEEN[:0], {}, "got 0; track more points"),
        (TRACKS[:, :0], SEEN[:, :0], {}, "got 0; track more points"),
        (TRACKS, SEEN, {"clusters": 2}, "clusters is 2; it must be at least 3"),
        (TRACKS, SEEN, {"clusters": 5, "most": 4}, "most is 4; it must be at least clusters, which is 5"),
        (TRACKS, SEEN, {"clusters": 3.5}, "clusters must be a whole number, got 3.5"),
        (TRACKS, SEEN, {"size": (0, 256)}, "both positive"),
        (TRACKS, SEEN, {"size": 256}, "size must be"),
        (TRACKS, SEEN, {"boundaries": [[0, 3], [4, 6]]}, "together all 6 frames in order"),
        (TRACKS, SEEN, {"boundaries": [[0, 3], [3, 5]]}, "together all 6 frames in order"),
        (TRACKS, SEEN, {"boundaries": [[0, 0], [0, 6]]}, "together all 6 frames in order"),
        (TRACKS, SEEN, {"boundaries": [3, 6]}, "boundaries must be"),
        (TRACKS, SEEN, {"boundaries": [[0, 3], [3]]}, "boundaries must be"),
        (TRACKS, SEEN, {"boundaries": []}, "boundaries must be"),
    ],
)
def test_what_cannot_be_grouped_is_one_sentence(hasty, tracks, visible, options, sentence):
    arguments = {"size": SIZE, "clusters": 3, "most": 4, **options}
    with pytest.raises(ClusterError, match=sentence):
        cluster(tracks, visible, **arguments)
