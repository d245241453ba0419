"""JHMDB's folders, small ones: splits, joints in .mat files, frames as pictures."""

import json
import logging
import sys

import numpy as np
import pytest

pytest.importorskip("PIL", reason="datasets need Pillow: pip install '.[train]'")
pytest.importorskip("scipy.io", reason="needs SciPy: pip install '.[jhmdb]'")

from PIL import Image as pillow
from scipy import io

from training.__main__ import main
from training.data.datasets import benchmark_of, open_dataset, recognise
from training.data.errors import DatasetError
from training.data.readers.jhmdb import JOINTS, read_jhmdb

HEIGHT, WIDTH, FRAMES = 24, 32, 5


def joints(frames=FRAMES, seed=0):
    """[2, 15, T] as the .mat files have them; the last joint begins outside the frame and comes in."""
    positions = np.random.default_rng(seed).uniform(1, HEIGHT - 1, (2, JOINTS, frames))
    positions[0, -1, 0] = WIDTH
    return positions


@pytest.fixture
def write(tmp_path):
    """Writes a video of an action, and what else its dataset needs; gives the dataset's folder."""

    def write(action="brush_hair", name="April_09", mark=2, frames=FRAMES, **content):
        (tmp_path / "splits").mkdir(exist_ok=True)
        with open(tmp_path / "splits" / f"{action}_test_split1.txt", "a") as file:
            file.write(f"{name}.avi {mark} \n")
        pictures = tmp_path / "Rename_Images" / action / name
        pictures.mkdir(parents=True)
        for t in range(frames):
            pillow.new("RGB", (WIDTH, HEIGHT), (20 * t, 0, 0)).save(pictures / f"{t + 1:05d}.png")
        folder = tmp_path / "joint_positions" / action / name
        folder.mkdir(parents=True)
        if content.get("pos_img", 0) is not None:
            io.savemat(folder / "joint_positions.mat", {"pos_img": joints(), "viewpoint": "left", **content})
        return tmp_path

    return write


def test_the_test_videos_of_the_first_split_with_all_joints(write):
    write("walk", "b", pos_img=joints(seed=1))
    write("walk", "training", mark=1)
    path = write()
    (path / "splits" / "brush_hair_test_split2.txt").write_text("other.avi 2\n")
    first, second = read_jhmdb(path)
    assert [first.name, second.name] == ["brush_hair/April_09", "walk/b"]
    assert first.frames.shape == (FRAMES, HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(first.frames[:, 0, 0, 0], 20 * np.arange(FRAMES))
    np.testing.assert_allclose(first.xy, joints().transpose(1, 2, 0), rtol=1e-6)
    np.testing.assert_array_equal(first.visible, np.arange(JOINTS)[:, None] < JOINTS - 1 + np.zeros((1, FRAMES)))


def test_resized_as_published_it_still_knows_its_size(write):
    path = write()
    assert recognise(path) == "jhmdb" and benchmark_of(str(path)) == "pck"
    (video,) = open_dataset("jhmdb", path)
    assert video.frames.shape[1:3] == (256, 256)
    assert video.original_size == (HEIGHT, WIDTH)
    np.testing.assert_allclose(video.xy, joints().transpose(1, 2, 0) * [256 / WIDTH, 256 / HEIGHT], rtol=1e-6)


def test_evaluate_scores_it_by_pck_of_all_videos_together(write, tmp_path, capsys):
    pytest.importorskip("cv2", reason="Lucas-Kanade needs OpenCV: pip install '.[train]'")
    write("walk", "moves", pos_img=joints(seed=1))
    path = write(name="stands", pos_img=np.repeat(joints()[..., 1:2], FRAMES, axis=2))
    command = ["evaluate", "--model", "still", "--dataset", str(path)]
    assert main([*command, "--json", str(tmp_path / "scores.json")]) == 0
    head, still, *_ = capsys.readouterr().out.splitlines()
    assert head.split() == [f"PCK@0.{tenth}" for tenth in range(1, 6)]
    scores = json.loads((tmp_path / "scores.json").read_text())["still"]
    assert still.split()[1] == f"{100 * scores['PCK@0.1']:.1f}"
    stands, moves = (video["PCK@0.1"] for video in scores["per_video"])
    assert stands == 1 and 0.2 <= moves < 1  # a fifth are the joints of the first frame, which are given
    assert moves < scores["PCK@0.1"] < stands
    assert main([*command, "--mode", "strided"]) == 1
    assert "PCK asks for joints in the first frame" in capsys.readouterr().err


@pytest.mark.parametrize(("frames", "of_joints"), [(FRAMES, 3), (3, FRAMES)])
def test_a_video_ends_with_its_joints_or_its_frames(write, frames, of_joints):
    (video,) = read_jhmdb(write(frames=frames, pos_img=joints(of_joints)))
    assert len(video.frames) == video.xy.shape[1] == video.visible.shape[1] == 3


def test_videos_without_joints_are_left_out_with_a_warning(write, caplog):
    write(name="gone", pos_img=None)
    with caplog.at_level(logging.WARNING):
        (video,) = read_jhmdb(write())
    assert video.name == "brush_hair/April_09"
    assert "1 of 2 videos have no joints: brush_hair/gone" in caplog.text


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"pos_img": np.zeros((2, 14, 5))}, r"must be numbers \[2, 15, T\], got \[2, 14, 5\]"),
        ({"pos_img": np.zeros((2, JOINTS, 0))}, "must be numbers"),
        ({"pos_img": "text"}, "must be numbers"),
        ({"pos_img": np.full((2, JOINTS, 5), 1j)}, "must be numbers"),
        ({"pos_img": joints() * 1e9}, "farther off than any frame"),
        ({"pos_img": joints() + np.where(np.arange(5) == 3, np.nan, 0)}, "no finite position"),
        ({"pos_img": None}, "has joints of none of the 1 videos"),
        ({"mark": 1}, "names no test videos"),
        ({"frames": 0}, "holds no frames"),
    ],
)
def test_what_is_wrong_is_named(write, content, says):
    with pytest.raises(DatasetError, match=says):
        list(read_jhmdb(write(**content)))


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:200],
        lambda data: b"no matlab",
        lambda data: b"",
        lambda data: data[:300] + bytes(reversed(data[300:])),
    ],
)
def test_a_damaged_file_of_joints_is_named(write, damage):
    path = write()
    mat = path / "joint_positions" / "brush_hair" / "April_09" / "joint_positions.mat"
    mat.write_bytes(damage(mat.read_bytes()))
    with pytest.raises(DatasetError, match=r"joint_positions\.mat is not a \.mat file of joints"):
        list(read_jhmdb(path))


def test_a_file_too_large_for_joints_is_not_read(write, monkeypatch):
    monkeypatch.setattr("training.data.readers.jhmdb.MOST_MAT_BYTES", 100)
    with pytest.raises(DatasetError, match="more than 100 bytes"):
        list(read_jhmdb(write()))


def test_a_damaged_split_is_named(write):
    path = write()
    (path / "splits" / "brush_hair_test_split1.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DatasetError, match="is not a split of JHMDB"):
        list(read_jhmdb(path))


def test_a_name_too_long_for_a_file_is_an_error(write):
    path = write()
    (path / "splits" / "brush_hair_test_split1.txt").write_text("9" * 300 + ".avi 2\n")
    with pytest.raises(DatasetError, match="cannot be read: File name too long"):
        list(read_jhmdb(path))


def test_without_scipy_it_says_what_to_install(write, monkeypatch):
    path = write()
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(DatasetError, match=r"pip install 'tapsdk\[jhmdb\]'"):
        list(read_jhmdb(path))
