import numpy as np
import pytest

from training.data.synthetic import silhouettes


def test_fill_is_antialiased_at_sub_pixel_accuracy():
    square = np.array([[2.2, 3.45], [7.2, 3.45], [7.2, 8.9], [2.2, 8.9]])
    mask = silhouettes.fill([square], 14, 12)
    assert mask.dtype == np.float32
    assert mask.sum() == pytest.approx(5 * 5.45, rel=0.12)
    y, x = np.mgrid[:14, :12] + 0.5
    assert (mask * x).sum() / mask.sum() == pytest.approx(4.7, abs=0.1)
    assert (mask * y).sum() / mask.sum() == pytest.approx(6.175, abs=0.1)


def test_an_inner_outline_is_a_hole():
    outer = np.array([[2, 2], [18, 2], [18, 18], [2, 18]], float)
    inner = np.array([[7, 7], [13, 7], [13, 13], [7, 13]], float)
    mask = silhouettes.fill([outer, inner], 20, 20)
    assert mask[10, 10] == 0
    assert mask[4, 4] == 1


@pytest.mark.parametrize("seed", range(60))
def test_silhouettes_have_an_empty_border_and_something_inside(seed):
    rng = np.random.default_rng(seed)
    mask = silhouettes.soften(silhouettes.random_silhouette(rng, rng.uniform(4, 60)), 1.0)
    assert mask.min() >= 0 and mask.max() <= 1
    assert (mask > 0.5).any()
    assert not mask[[0, -1]].any() and not mask[:, [0, -1]].any()


def test_a_limb_hangs_from_its_joint():
    mask, (x, y) = silhouettes.limb(20.0, 4.0, 2.0)
    height, width = mask.shape
    assert mask[int(y), int(x)] == 1
    assert mask[int(y + 20), int(x)] == 1
    assert mask[int(y), int(x + 5)] == 0
    assert y < height / 2 and abs(x - width / 2) <= 0.5
