import cv2
import numpy as np
import pytest

from training.data.synthetic import SceneConfig, textures


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for index in range(40):
        image = rng.integers(0, 256, (12, 16, 3), np.uint8)
        assert cv2.imwrite(str(tmp_path / f"{index:03d}.png"), image)
    (tmp_path / "MANIFEST.csv").write_text("file,licence\n")
    return str(tmp_path)


def test_splits_part_the_photographs_by_name(folder):
    parts = {split: set(textures.list_photographs(folder, split)) for split in ("train", "heldout", "all")}
    assert parts["train"] | parts["heldout"] == parts["all"]
    assert not parts["train"] & parts["heldout"]
    assert len(parts["all"]) == 40
    assert 0 < len(parts["heldout"]) < 12


def test_an_unknown_split_is_refused(folder):
    with pytest.raises(ValueError, match="heldout"):
        textures.list_photographs(folder, "test")


def test_a_folder_without_photographs_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no photographs"):
        textures.list_photographs(str(tmp_path), "train")


def test_a_broken_photograph_is_named(tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"not a picture")
    paths = textures.list_photographs(str(tmp_path), "all")
    with pytest.raises(ValueError, match=r"broken\.jpg"):
        textures.photograph_crop(np.random.default_rng(0), paths, 8, 8)


def test_photographs_are_read_as_rgb(tmp_path):
    red = np.zeros((20, 20, 3), np.uint8)
    red[..., 2] = 255
    assert cv2.imwrite(str(tmp_path / "red.png"), red)
    paths = textures.list_photographs(str(tmp_path), "all")
    crop = textures.photograph_crop(np.random.default_rng(0), paths, 9, 5)
    assert crop.shape == (9, 5, 3)
    np.testing.assert_array_equal(crop[4, 2], [255, 0, 0])


def test_larger_frames_show_more_of_a_photograph(tmp_path):
    fine = np.random.default_rng(0).integers(0, 256, (960, 960, 3), np.uint8)
    assert cv2.imwrite(str(tmp_path / "fine.png"), fine)
    sharpness = {}
    for side in (256, 512):
        config = SceneConfig(height=side, width=side, textures=str(tmp_path), split="all", photo_share=1.0)
        found = [config.texture(np.random.default_rng(seed), 512, 512) for seed in range(6)]
        sharpness[side] = np.mean([cv2.Laplacian(texture, cv2.CV_32F).std() for texture in found])
    assert sharpness[512] > 1.3 * sharpness[256]


@pytest.mark.parametrize("kind", ["octaves", "fur", "stripes", "checks", "spots", "voronoi", "gradient"])
@pytest.mark.parametrize("size", [(64, 64), (9, 130), (5, 5)])
def test_patterns_fill_any_size_and_are_not_flat(kind, size):
    image = textures.pattern(np.random.default_rng(3), *size, kind)
    assert image.shape == (*size, 3) and image.dtype == np.uint8
    assert image.std() > 0


def test_the_same_generator_state_gives_the_same_texture(folder):
    paths = textures.list_photographs(folder, "all")
    first, second = (textures.random_texture(np.random.default_rng(9), paths, 0.5, 30, 40) for _ in range(2))
    np.testing.assert_array_equal(first, second)
