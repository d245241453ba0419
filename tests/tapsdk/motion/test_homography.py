import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tapsdk.errors import PointsError
from tapsdk.motion import apply_homography, estimate_homography, ransac_homography
from tests.support import ROOT

SQUARE = np.float64([[0, 0], [640, 0], [640, 480], [0, 480]])
BENT = np.array([[1.1, 0.05, 12], [-0.03, 0.95, -7], [1e-4, -5e-5, 1]])


def points_in(size, count, seed=0):
    return np.random.default_rng(seed).uniform(0, size[::-1], (count, 2))


@st.composite
def homographies(draw):
    """By which the corners of a picture go to places within a third of it."""
    gap = st.floats(-0.16, 0.16)
    moved = SQUARE + np.array([[draw(gap), draw(gap)] for _ in range(4)]) * (640, 480)
    return estimate_homography(moved, SQUARE), moved


# As published


def golden():
    with np.load(ROOT / "tests/golden/viz_utils.npz") as stored:
        return {name.split("/")[1]: stored[name] for name in stored.files if name.startswith("homography/")}


def test_the_matrix_is_that_of_the_reference():
    case = golden()
    found = estimate_homography(case["target"], case["source"], case["mask"])
    np.testing.assert_allclose(found, case["true"], atol=1e-12)
    np.testing.assert_allclose(found, case["out_scaled"], atol=1e-6)
    mapped = apply_homography(found, case["source"])
    np.testing.assert_allclose(mapped, case["mapped"], atol=1e-6)
    np.testing.assert_allclose(((mapped - case["target"]) ** 2).sum(1), case["squared_error"], atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_the_inliers_are_those_of_the_reference(seed):
    case = golden()
    matrix, inliers = ransac_homography(case["target"], case["source"], 0.05, seed=seed)
    np.testing.assert_array_equal(inliers, case["inliers"])
    np.testing.assert_allclose(matrix, case["true"], atol=1e-12)


# What holds of all of them


@settings(max_examples=100, deadline=None)
@given(homographies())
def test_four_corners_determine_it(case):
    matrix, moved = case
    np.testing.assert_allclose(apply_homography(matrix, SQUARE), moved, atol=1e-6)
    np.testing.assert_allclose(apply_homography(np.linalg.inv(matrix), moved), SQUARE, atol=1e-5)


@settings(max_examples=50, deadline=None)
@given(homographies(), st.integers(5, 60), st.integers(0, 1000))
def test_from_exact_points_comes_the_exact_matrix(case, count, seed):
    matrix, _ = case
    source = points_in((480, 640), count, seed)
    assume(np.linalg.svd(source - source.mean(0), compute_uv=False)[1] > 20)
    found = estimate_homography(apply_homography(matrix, source), source)
    there = points_in((480, 640), 50, seed + 1)
    np.testing.assert_allclose(apply_homography(found, there), apply_homography(matrix, there), atol=1e-3)


@settings(max_examples=30, deadline=None)
@given(homographies(), st.integers(0, 1000), st.floats(0, 0.45))
def test_whatever_less_than_half_of_the_points_do_the_others_decide(case, seed, share):
    matrix, _ = case
    rng = np.random.default_rng(seed)
    source = points_in((480, 640), 60, seed)
    target = apply_homography(matrix, source)
    astray = rng.random(60) < share
    target[astray] += rng.uniform(15, 150, (astray.sum(), 1)) * np.sign(rng.normal(size=(astray.sum(), 2)))
    found, inliers = ransac_homography(target, source, 2.0, seed=seed)
    np.testing.assert_array_equal(inliers, ~astray)
    np.testing.assert_allclose(apply_homography(found, source), apply_homography(matrix, source), atol=1e-5)


@settings(max_examples=50, deadline=None)
@given(homographies(), st.floats(1e-3, 1e3), st.floats(-1e4, 1e4))
def test_units_and_origin_do_not_matter(case, scale, shift):
    matrix, _ = case
    source = points_in((480, 640), 20)
    target = apply_homography(matrix, source)
    found = estimate_homography(target * scale + shift, source * scale + shift)
    mapped = apply_homography(found, source * scale + shift)
    np.testing.assert_allclose((mapped - shift) / scale, target, atol=1e-4)


def test_noise_is_averaged():
    source = points_in((480, 640), 400)
    target = apply_homography(BENT, source) + np.random.default_rng(1).normal(0, 1, (400, 2))
    found = estimate_homography(target, source)
    assert np.abs(apply_homography(found, source) - apply_homography(BENT, source)).mean() < 0.2


def test_pairs_of_weight_0_do_not_count():
    source = points_in((480, 640), 9)
    target = apply_homography(BENT, source)
    target[4:] += 50
    found = estimate_homography(target, source, [1, 1, 1, 1, 0, 0, 0, 0, 0])
    np.testing.assert_allclose(found, BENT, atol=1e-6)


def test_the_same_seed_gives_the_same_matrix():
    rng = np.random.default_rng(0)
    source, target = rng.uniform(0, 100, (2, 30, 2))
    one, other = (ransac_homography(target, source, 10.0, seed=3)[0] for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_what_lies_beyond_the_horizon_is_nowhere():
    tilted = np.array([[1, 0, 0], [0, 1, 0], [0.01, 0, 1.0]])
    mapped = apply_homography(tilted, [[0, 0], [-100, 0], [-200, 0]])
    np.testing.assert_array_equal(mapped[0], (0, 0))
    assert np.isnan(mapped[1:]).all()


def test_many_matrices_at_a_time():
    points = points_in((480, 640), 7)
    mapped = apply_homography(np.stack([np.eye(3), BENT]), points)
    np.testing.assert_allclose(mapped, np.stack([points, apply_homography(BENT, points)]))


# What is refused


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_points(count):
    for estimate in (estimate_homography, lambda *pair: ransac_homography(*pair, 1.0)):
        with pytest.raises(PointsError, match=f"needs 4 pairs of points, got {count}"):
            estimate(SQUARE[:count], SQUARE[:count])


@pytest.mark.parametrize("source", [[(i, 2 * i) for i in range(8)], [(3, 3)] * 8], ids=["a line", "one place"])
def test_points_that_determine_none(source):
    for estimate in (estimate_homography, lambda *pair: ransac_homography(*pair, 1.0)):
        with pytest.raises(PointsError, match="no three lie on a line"):
            estimate(source, source)


def test_arguments_that_do_not_fit():
    with pytest.raises(PointsError, match=r"both be \[N, 2\]"):
        estimate_homography(SQUARE, SQUARE[:3])
    with pytest.raises(PointsError, match=r"shape \[..., N, 2\]"):
        estimate_homography(SQUARE[:, :1], SQUARE[:, :1])
    with pytest.raises(PointsError, match="finite"):
        estimate_homography(SQUARE, np.where(SQUARE == 0, np.nan, SQUARE))
    with pytest.raises(PointsError, match="weights must be 4 numbers from 0 up"):
        estimate_homography(SQUARE, SQUARE, [1, 1, 1, -1])
    with pytest.raises(PointsError, match="threshold must be a positive distance"):
        ransac_homography(SQUARE, SQUARE, 0.0)
    with pytest.raises(PointsError, match=r"\[..., 3, 3\]"):
        apply_homography(np.eye(2), SQUARE)
