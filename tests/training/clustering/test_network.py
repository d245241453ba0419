import numpy as np
import pytest

from tests.support import import_or_skip

torch = import_or_skip("torch", "train")
from tests.training.clustering.golden import NORMS, PIECES, SHAPES, evidence, gradients, statistics, weights  # noqa: E402
from training.clustering.choices import delete_losses, delete_objective, split_losses, split_objective  # noqa: E402
from training.clustering.network import Evidence, first_weights, groups  # noqa: E402
from training.clustering.rigid import em_loss, hard_loss, project, rigid_matrices, summed_errors  # noqa: E402

CASES = sorted({name.split("/")[1] for name in PIECES if name.startswith("net/c")})
FOCAL = 1.3


def errors_of(found, given, six_dof=False, focal=FOCAL):
    projected, _ = project(rigid_matrices(found.raw, six_dof), found.points, focal)
    return summed_errors(given.positions, given.visible, projected)


# As published


@pytest.mark.parametrize("case", CASES)
def test_losses_and_gradients_are_those_of_the_reference(case):
    """Of two demonstrations, without noise."""
    count, given = int(case[1]), evidence()
    ours, seen = weights(count), given.visible.sum()
    errors = errors_of(groups(ours, given), given, "6dof" in case)
    loss = em_loss if "_em_" in case else hard_loss
    if "split" in case:
        losses = split_losses(errors, seen, loss)
        objective = split_objective(losses)
    else:
        losses = delete_losses(errors[0], seen, loss)
        objective = delete_objective(losses, 3)
    np.testing.assert_allclose(losses[0].detach(), PIECES[f"net/{case}/losses"], atol=1e-5)
    np.testing.assert_allclose(objective[0].detach(), PIECES[f"net/{case}/loss"], atol=1e-5)
    objective.sum().backward()
    found = gradients(ours, count)
    norms = [float(found[name].norm()) for name in SHAPES[f"order{count}"]]
    np.testing.assert_allclose(norms, PIECES[f"net/{case}/gradient_norms"], atol=1e-4)
    for name, expected in PIECES.items():
        if name.startswith(f"net/{case}/gradient/"):
            np.testing.assert_allclose(found[f"~/{name.split('/')[-1]}"], expected, atol=1e-5)


def test_what_the_norms_see_is_what_those_of_the_reference_remember():
    """A step of its moving average, which began with other numbers: all of what was seen, and 99 times these."""
    seen = groups(weights(3), evidence()).statistics["frames"][0][0].numpy()
    began = statistics()["frames"][0][0].numpy()
    np.testing.assert_allclose(seen + 99 * began, PIECES["net/c3_split_4dof/state_mean_ema"], rtol=1e-5, atol=1e-5)


def test_with_what_its_norms_remember_it_says_what_the_reference_does():
    given = evidence()
    found = groups(weights(3), given, statistics(), copies=1)
    xy, depth = project(rigid_matrices(found.raw), found.points, 1.0)
    np.testing.assert_allclose(xy[0, 0].permute(1, 2, 0, 3).detach(), PIECES["net/eval_xy"], atol=1e-5)
    np.testing.assert_allclose(depth[0, 0].permute(1, 2, 0).detach(), PIECES["net/eval_depth"], atol=1e-5)
    error = errors_of(found, given, focal=1.0)[0, 0].T
    np.testing.assert_allclose(error.detach(), PIECES["net/eval_error"].sum(1), atol=1e-4)
    assert found.statistics.keys() == set(NORMS.values())


# What holds beside that


def small(points=5, frames=7, demonstrations=None, seed=0):
    rng = np.random.default_rng(seed)
    visible = torch.tensor(rng.random((points, frames)) < 0.8).float()
    return Evidence(torch.tensor(rng.random((points, frames, 2))).float(), visible, demonstrations or ((0, frames),))


def test_starts_do_not_see_each_other():
    given = small()
    both = first_weights(given, 2, torch.Generator().manual_seed(0))
    together = groups(both, given)
    for start in range(2):
        alone = groups({name: w[start : start + 1] for name, w in both.items()}, given)
        np.testing.assert_allclose(together.points[:, start], alone.points[:, 0], atol=1e-6)
        np.testing.assert_allclose(together.raw[:, start], alone.raw[:, 0], atol=1e-6)


def test_demonstrations_are_smoothed_each_by_itself():
    joined, parted = small(), small(demonstrations=((0, 3), (3, 7)))
    w = first_weights(joined, 1, torch.Generator().manual_seed(0))
    one, two = groups(w, joined), groups(w, parted)
    np.testing.assert_array_equal(one.points, two.points)
    assert (one.raw - two.raw).abs().max() > 1e-3


def test_hidden_positions_have_no_say():
    given = small()
    w = first_weights(given, 1, torch.Generator().manual_seed(0))
    spoilt = Evidence(
        torch.where(given.visible[..., None] > 0, given.positions, 7), given.visible, given.demonstrations
    )
    np.testing.assert_array_equal(groups(w, given).points, groups(w, spoilt).points)


@pytest.mark.parametrize("frames", [1, 2, 130, 300])
def test_demonstrations_may_be_shorter_and_longer_than_the_smoothing(frames):
    given = small(3, frames)
    found = groups(first_weights(given, 1, torch.Generator().manual_seed(0)), given)
    assert found.raw.shape == (3, 1, 1, frames, 3, 4)
    assert torch.isfinite(found.raw).all()


def test_the_first_forks_are_all_but_their_group():
    found = groups(first_weights(small(), 2, torch.Generator().manual_seed(0)), small())
    assert found.points.shape == (3, 2, 1, 5, 3)
    assert (found.points[1:] - found.points[:1]).abs().max() < 1e-3
