"""Files of camera poses, as others write them."""

import numpy as np
import pytest

from tapsdk.errors import DepthError
from tapsdk.space.camera import inverse, parse_poses
from tapsdk.space.poses_file import read_poses

QUARTER = np.array([[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1.0]])  # about z, from x to y
POSES = np.stack([np.eye(4), QUARTER])


def lines(rows):
    return "# made\n\n" + "\n".join(" ".join(map(repr, map(float, row))) for row in rows) + "\n"


def test_every_form_gives_the_same_poses(tmp_path):
    np.save(tmp_path / "poses.npy", POSES)
    np.savez(tmp_path / "alone.npz", anything=POSES)
    np.savez(tmp_path / "named.npz", camera_to_world=POSES, other=np.zeros(2))
    (tmp_path / "kitti.txt").write_text(lines(POSES[:, :3].reshape(2, 12)))
    (tmp_path / "whole.csv").write_text(lines(POSES.reshape(2, 16)).replace(" ", ",").replace("#,", "# "))
    half = np.sqrt(0.5)
    (tmp_path / "tum.txt").write_text(lines([[0, 0, 0, 0, 0, 0, 0, 1], [0.1, 1, 2, 3, 0, 0, half, half]]))
    for path in tmp_path.iterdir():
        np.testing.assert_allclose(parse_poses(read_poses(path), 2), POSES, atol=1e-9, err_msg=path.name)


def test_the_inverse_leads_back():
    np.testing.assert_allclose(inverse(POSES) @ POSES, np.tile(np.eye(4), (2, 1, 1)), atol=1e-12)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("poses.txt", "1 2 3\n", "a line must have 12 or 16 numbers"),
        ("poses.txt", "", "a line must have 12 or 16 numbers"),
        ("poses.txt", "1 2 3 4 5 6 7 a\n", "holds no poses"),
        ("poses.txt", "0 0 0 0 0 0 0 2\n", "must have length 1"),
        ("poses.npy", "text", "holds no poses"),
        ("poses.yaml", "", "the suffix must be one of .npy, .npz, .txt, .csv"),
    ],
)
def test_files_that_hold_none_are_named(tmp_path, name, text, says):
    (tmp_path / name).write_text(text)
    with pytest.raises(DepthError, match=says):
        read_poses(tmp_path / name)
    with pytest.raises(DepthError, match=r"none\.npy cannot be read"):
        read_poses(tmp_path / "none.npy")
