import numpy as np
import pytest

from tests.golden.rigid_tracks import rigid_tracks
from tests.support import import_or_skip

torch = import_or_skip("torch", "train")
from training.clustering.network import Evidence  # noqa: E402
from training.clustering.settling import Flat, Settling  # noqa: E402


def evidence(groups=3, per_group=8, frames=20, seed=0, bend=None):
    """Of tracks that move by similarities, or by these further maps [T, 2, 2]."""
    tracks, visible, true = rigid_tracks(groups, per_group, frames, seed)
    if bend is not None:
        tracks = np.einsum("tij,ntj->nti", bend, tracks - 128) + 128
    shares = torch.tensor(tracks / 256).float()
    return Evidence(shares, torch.tensor(visible).float(), ((0, frames),)), true


def anywhere(given, groups, starts=2, seed=0):
    """Groups that have nothing to do with the evidence."""
    rng = np.random.default_rng(seed)
    points, frames = given.visible.shape
    maps = np.tile(np.eye(2, 3), (starts, groups, frames, 1, 1)) + rng.normal(0, 0.1, (starts, groups, frames, 2, 3))
    return Flat(torch.tensor(maps).float(), torch.tensor(rng.normal(0, 0.3, (starts, groups, points, 2))).float())


def settling(given, affine=False):
    return Settling(given, affine, lambda: None)


def same_partition(labels, true):
    return len(set(zip(labels.tolist(), true.tolist(), strict=True))) == len(set(true.tolist()))


@pytest.mark.parametrize("seed", [0, 1, 4])
def test_from_anywhere_some_start_comes_to_the_exact_groups(seed):
    given, true = evidence(seed=seed)
    work = settling(given)
    found = work.settle(anywhere(given, 3, starts=4, seed=seed))
    best = work.loss(found).argmin()
    errors = work.errors(found)[best]
    assert same_partition(errors.argmin(0), true)
    assert errors.amin(0).max() < 1e-8


def test_affine_groups_may_also_slant():
    t = np.linspace(0, 1, 20)
    bend = np.stack([np.stack([1 - 0.5 * t, 0.4 * t], -1), np.stack([0 * t, 1 + 0 * t], -1)], axis=1)
    given, true = evidence(bend=bend)
    start = anywhere(given, 3, starts=4)
    stiff, loose = settling(given), settling(given, affine=True)
    found = loose.settle(start)
    errors = loose.errors(found)[loose.loss(found).argmin()]
    assert same_partition(errors.argmin(0), true)
    assert errors.amin(0).max() < 1e-8
    assert stiff.loss(stiff.settle(start)).min() > 10 * loose.loss(found).min()


def test_similarities_keep_angles():
    given, _ = evidence()
    maps = settling(given).settle(anywhere(given, 3)).maps[..., :2]
    square = maps.mT @ maps
    np.testing.assert_allclose(square[..., 0, 1], 0 * square[..., 0, 1], atol=1e-4)
    np.testing.assert_allclose(square[..., 0, 0], square[..., 1, 1], atol=1e-4)


def test_settling_never_makes_the_loss_larger():
    given, _ = evidence(4, 6, 15, 11)
    start = anywhere(given, 4)
    work = settling(given)
    first = work._turns(start, 1)
    assert (work.loss(work.settle(start)) <= work.loss(first) * 1.001).all()


def test_starts_do_not_see_each_other():
    given, _ = evidence()
    start = anywhere(given, 3)
    work = settling(given)
    together = work.errors(work._turns(start, 10))
    for each in range(2):
        alone = work.errors(work._turns(Flat(start.maps[each : each + 1], start.places[each : each + 1]), 10))
        np.testing.assert_allclose(together[each], alone[0], rtol=1e-3, atol=1e-6)


def test_a_group_of_nothing_and_a_frame_in_which_nothing_is_seen_do_no_harm():
    given, _ = evidence()
    visible = given.visible.clone()
    visible[:, 5], visible[3] = 0, 0
    given = Evidence(given.positions, visible, given.demonstrations)
    start = anywhere(given, 4)
    start.maps[:, 3, :, :, 2] += 1e3
    work = settling(given)
    found = work.settle(start)
    assert torch.isfinite(work.errors(found)).all()
