import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import import_or_skip

torch = import_or_skip("torch", "train")
from tests.training.clustering.golden import PIECES, tensor  # noqa: E402
from training.clustering.choices import delete_losses, delete_objective, split_losses, split_objective  # noqa: E402
from training.clustering.rigid import (  # noqa: E402
    em_loss,
    hard_loss,
    project,
    rigid_matrices,
    robust_loss,
    summed_errors,
)

# As published


@pytest.mark.parametrize("freedom", ["4dof", "6dof"])
def test_matrices_are_those_of_the_reference(freedom):
    raw = tensor("matrix/raw").unflatten(-1, (3, 3, 4))
    np.testing.assert_allclose(rigid_matrices(raw, freedom == "6dof"), PIECES[f"matrix/{freedom}"], atol=1e-5)


@pytest.mark.parametrize("focal", [1.0, 1.7])
def test_projections_are_those_of_the_reference(focal):
    matrices, points = tensor("matrix/4dof").transpose(0, 1), tensor("project/points").transpose(0, 1)
    xy, depth = project(matrices, points, focal, tensor("project/noise")[..., 0].permute(2, 0, 1))
    np.testing.assert_allclose(xy.permute(1, 2, 0, 3), PIECES[f"project/xy_f{focal}"], atol=1e-5)
    np.testing.assert_allclose(depth.permute(1, 2, 0), PIECES[f"project/depth_f{focal}"], atol=1e-5)


def test_errors_and_losses_are_those_of_the_reference():
    visible = tensor("error/vis")
    errors = summed_errors(tensor("error/pts"), visible, tensor("error/pred").permute(2, 0, 1, 3))
    np.testing.assert_allclose(errors.T, PIECES["error/out"], atol=1e-6)
    seen = visible.sum()
    np.testing.assert_allclose(hard_loss(errors, seen), PIECES["error/loss_hard"], atol=1e-8)
    np.testing.assert_allclose(em_loss(errors, seen), PIECES["error/loss_em"], atol=1e-8)
    np.testing.assert_allclose(em_loss(errors, seen, 0.001), PIECES["error/loss_em_var_001"], atol=1e-8)


# What holds of all matrices


def numbers(shape, seed):
    return torch.tensor(np.random.default_rng(seed).normal(size=shape)).float()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_matrices_keep_lengths_and_handedness(seed, six_dof):
    raw = numbers((4, 3, 4), seed)
    turn = rigid_matrices(raw, six_dof)[..., :3]
    np.testing.assert_allclose(turn @ turn.mT, np.tile(np.eye(3), (4, 1, 1)), atol=1e-5)
    np.testing.assert_allclose(torch.linalg.det(turn), -np.ones(4), atol=1e-5)
    np.testing.assert_array_equal(rigid_matrices(raw, six_dof)[..., 3], raw[..., 3])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6))
def test_four_degrees_of_freedom_leave_depth_alone(seed):
    turn = rigid_matrices(numbers((3, 4), seed))[..., :3]
    np.testing.assert_array_equal(turn[2], (0, 0, 1))
    np.testing.assert_array_equal(turn[:2, 2], (0, 0))


def test_a_matrix_of_zeros_has_bounded_gradients():
    raw = torch.zeros(2, 3, 4, requires_grad=True)
    for six_dof in (False, True):
        (rigid_matrices(raw, six_dof) ** 2).sum().backward()
        assert torch.isfinite(raw.grad).all()
        assert raw.grad.abs().max() <= 100


@settings(max_examples=50, deadline=None)
@given(st.floats(-0.4, 0.9), st.floats(0.5, 2))
def test_what_is_twice_as_far_is_half_as_large(z, focal):
    matrices = torch.tensor([[[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]])
    (xy,), _ = project(matrices, torch.tensor([[0.3, -0.2, z]]), focal)
    np.testing.assert_allclose(xy[0], np.float32([0.3, -0.2]) * focal / (z + 1), rtol=1e-5)


def test_noise_is_added_outside_of_the_depths_alone():
    matrices = torch.eye(3, 4)[None]
    points = torch.tensor([[0, 0, 0.0], [0, 0, 0.5], [0, 0, 2.0], [0, 0, 3.0]])
    xy, _ = project(matrices, points, 1.0, torch.ones(4, 1))
    np.testing.assert_allclose(xy[:, 0, 0], [0.05, 0, 0, 0.1], atol=1e-7)


def test_hidden_positions_do_not_count():
    positions, projected = numbers((3, 5, 2), 0), numbers((2, 3, 5, 2), 1)
    visible = torch.tensor([[1.0, 1, 0, 0, 1]] * 3)
    spoilt = torch.where(visible[..., None] > 0, positions, 1e3)
    np.testing.assert_array_equal(
        summed_errors(positions, visible, projected), summed_errors(spoilt, visible, projected)
    )


# Losses, and what splits and removals do to them

SEEN = torch.full((9,), 5.0)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([hard_loss, em_loss, robust_loss]))
def test_the_order_of_groups_and_points_does_not_matter(seed, loss):
    errors = numbers((2, 4, 9), seed).square() * 1e-3
    rng = np.random.default_rng(seed)
    shuffled = errors[:, rng.permutation(4)][..., rng.permutation(9)]
    np.testing.assert_allclose(loss(shuffled, SEEN), loss(errors, SEEN), rtol=1e-4, atol=1e-9)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([hard_loss, em_loss]))
def test_all_changes_at_a_time_are_those_made_one_by_one(seed, loss):
    errors = numbers((3, 2, 4, 9), seed).square() * 1e-3
    splits, removals = split_losses(errors, SEEN, loss), delete_losses(errors[0], SEEN, loss)
    assert splits.shape == removals.shape == (2, 4)
    for start in range(2):
        for group in range(4):
            others = [k for k in range(4) if k != group]
            left = errors[0, start, others]
            forked = torch.cat([left, errors[1:, start, group]])
            np.testing.assert_allclose(splits[start, group], loss(forked, SEEN), rtol=1e-4, atol=1e-9)
            np.testing.assert_allclose(removals[start, group], loss(left, SEEN), rtol=1e-4, atol=1e-9)


def test_large_errors_count_little_more_and_small_ones_as_they_are():
    small = numbers((2, 4, 9), 0).square() * 1e-9
    np.testing.assert_allclose(robust_loss(small, SEEN), hard_loss(small, SEEN), rtol=1e-3)
    large = torch.ones(1, 9)
    assert robust_loss(2 * large, SEEN) < 1.1 * robust_loss(large, SEEN)


def test_the_fit_works_on_the_best_split_and_on_several_removals():
    losses = torch.tensor([[5.0, 1, 4, 2, 3]])
    assert split_objective(losses).tolist() == [1]
    assert delete_objective(losses, 5).tolist() == [2]
    assert delete_objective(losses, 3).tolist() == [3]
