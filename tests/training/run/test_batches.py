"""Batches depend on the step alone, whoever makes them."""

import os
import signal
import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tapsdk.errors import TapsdkError
from tests.training.run.tiny import TAPNEXT, tiny, write_videos
from training.data.synthetic import SceneConfig, make_clip
from training.run.batches import Batch, check_clips, iterate, make_batch, open_videos
from training.run.config import ConfigError, Phase, TrainConfig


def assert_equal(found: Batch, expected: Batch) -> None:
    assert found.keys() == expected.keys()
    for name in expected:
        assert np.array_equal(found[name], expected[name]), name


def test_shapes_are_those_of_the_phase() -> None:
    phase = Phase(1, size=32, frames=3, points=5, batch=2, scene={"height": 24})
    batch = make_batch(TrainConfig("tapir", (phase,)), 0)
    shapes = {name: (array.shape, array.dtype.name) for name, array in batch.items()}
    assert shapes == {
        "video": ((2, 3, 24, 32, 3), "uint8"),
        "xy": ((2, 3, 5, 2), "float32"),
        "visible": ((2, 3, 5), "bool"),
        "known": ((2, 3, 5), "bool"),
        "queries_tyx": ((2, 5, 3), "float32"),
        "previous": ((2, 3, 5, 2), "float32"),
        "hidden_from": ((2,), "int32"),
    }


def test_queries_lie_on_the_tracks(tmp_path: Path) -> None:
    batch = make_batch(tiny(tmp_path), 0)
    assert (batch["queries_tyx"][..., 0] == 0).all()
    assert np.array_equal(batch["queries_tyx"][..., :0:-1], batch["xy"][:, 0])
    assert np.array_equal(batch["previous"][:, 0], batch["xy"][:, 0])


def test_every_step_and_every_seed_has_its_own_clips(tmp_path: Path) -> None:
    config = tiny(tmp_path)
    first = make_batch(config, 0)
    assert_equal(make_batch(config, 0), first)
    for other in (make_batch(config, 1), make_batch(replace(config, seed=1), 0)):
        assert not np.array_equal(other["video"], first["video"])
    assert not np.array_equal(first["video"][0], first["video"][1])


@pytest.mark.parametrize("world", [2, 4])
def test_processes_take_shares_of_the_same_batch(tmp_path: Path, world: int) -> None:
    config = TrainConfig("tapir", (Phase(1, size=32, frames=2, points=3, batch=4),))
    shares = [make_batch(config, 0, rank, world) for rank in range(world)]
    assert_equal({name: np.concatenate([s[name] for s in shares]) for name in shares[0]}, make_batch(config, 0))


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_iteration_goes_on_at_any_step_in_any_number_of_processes(tmp_path: Path, workers: int) -> None:
    config = tiny(tmp_path, steps=8, workers=workers)
    batches = list(iterate(config, 5))
    assert len(batches) == 3
    for step, batch in enumerate(batches, 5):
        assert_equal(batch, make_batch(config, step))


def test_a_process_that_was_killed_is_reported(tmp_path: Path) -> None:
    import multiprocessing

    with closing(iterate(tiny(tmp_path, workers=1), 0)) as batches:
        next(batches)
        for process in multiprocessing.active_children():
            os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(TapsdkError, match="was killed"):
            list(batches)


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    pytest.importorskip("PIL", reason="datasets need Pillow: pip install '.[train]'")
    scene = SceneConfig(height=40, width=56, frames=6, points=9)
    return write_videos(tmp_path / "labelled", [make_clip(scene, seed) for seed in range(2)])


def test_clips_are_cut_from_labelled_videos(tmp_path: Path, labelled: Path) -> None:
    config = tiny(tmp_path, data=str(labelled), augment={"crop": 0.5, "flip": 0.5, "colour": 0.5})
    with open_videos(config) as videos:
        batches = [make_batch(config, step, videos=videos) for step in range(6)]
        assert_equal(make_batch(config, 5, videos=videos), batches[5])
    wanted = make_batch(tiny(tmp_path), 0)
    for batch in batches:
        assert {name: (a.shape, a.dtype) for name, a in batch.items()} == {
            name: (a.shape, a.dtype) for name, a in wanted.items()
        }
        assert all(np.isfinite(array).all() for array in batch.values())
        clip, point = np.indices(batch["queries_tyx"].shape[:2])
        t = batch["queries_tyx"][..., 0].astype(int)
        assert batch["visible"][clip, t, point].all()
        np.testing.assert_array_equal(batch["queries_tyx"][..., :0:-1], batch["xy"][clip, t, point])
    assert not np.array_equal(batches[0]["video"], batches[1]["video"])


@pytest.mark.parametrize("workers", [0, 1])
def test_processes_cut_the_same_clips_and_nothing_is_left_behind(
    tmp_path: Path, labelled: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    config = tiny(tmp_path, steps=4, workers=workers, data=str(labelled))
    with open_videos(config) as videos:
        expected = [make_batch(config, step, videos=videos) for step in range(4)]
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    with closing(iterate(config, 1)) as batches:
        for batch, wanted in zip(batches, expected[1:], strict=True):
            assert_equal(batch, wanted)
            assert any((tmp_path / "temporary").glob("*/000001-frames.npy"))
    assert not any((tmp_path / "temporary").iterdir())


def test_a_share_of_the_clips_is_generated(tmp_path: Path, labelled: Path) -> None:
    config = tiny(tmp_path, data=str(labelled), data_share=0.5)
    generated = 0
    with open_videos(config) as videos:
        for step in range(8):
            mixed, alone = make_batch(config, step, videos=videos), make_batch(replace(config, data=None), step)
            generated += sum(np.array_equal(a, b) for a, b in zip(mixed["video"], alone["video"], strict=True))
    assert 2 < generated < 14


def test_nobody_knows_what_is_hidden_between_labels(tmp_path: Path, labelled: Path) -> None:
    for file in labelled.glob("*/tracks.npz"):
        arrays = dict(np.load(file))
        annotated = np.arange(6) % 3 == 0
        np.savez(file, xy=arrays["xy"], visible=arrays["visible"] & annotated, annotated=annotated)
    config = tiny(tmp_path, data=str(labelled))
    with open_videos(config) as videos:
        known = make_batch(config, 0, videos=videos)["known"]
    assert (known == known[..., :1]).all()
    assert set(known.sum(1).ravel()) == {1}
    assert make_batch(replace(config, data=None), 0)["known"].all()


def test_generated_clips_are_augmented_as_well(tmp_path: Path) -> None:
    plain, grey = (make_batch(tiny(tmp_path, augment={"grey": share}), 0)["video"] for share in (0.0, 1.0))
    assert not np.array_equal(plain, grey)
    assert (np.ptp(grey, axis=-1) == 0).all()


def test_pictures_are_hidden_from_some_frame_on_in_a_share_of_the_clips(tmp_path: Path) -> None:
    """From each frame but the first."""
    batches = [make_batch(tiny(tmp_path, **TAPNEXT, drop_tokens=0.5), step) for step in range(20)]
    hidden_from = np.concatenate([batch["hidden_from"] for batch in batches])
    assert set(hidden_from) == {1, 2, 3}
    assert 8 < (hidden_from < 3).sum() < 32
    assert (make_batch(tiny(tmp_path), 0)["hidden_from"] == 3).all()


@pytest.mark.parametrize(
    ("augment", "sentence"),
    [
        ({"blur": 0.5}, r"\[augment\]: unknown blur; allowed: crop, flip"),
        ({"flip": 2}, r"\[augment\]: flip is 2; it must be a share of the clips, in \[0, 1\]"),
        ({"flip": "often"}, r"\[augment\]: flip is 'often'; it must be"),
    ],
)
def test_augmentations_that_do_not_exist_are_refused(augment: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        check_clips(TrainConfig("tapir", (Phase(1),), augment=augment))


@pytest.mark.parametrize("field", ["data", "validation"])
def test_videos_that_are_not_there_are_refused_before_the_first_step(tmp_path: Path, field: str) -> None:
    for path, sentence in ((tmp_path / "nowhere", "no such file or folder"), (tmp_path, "holds no dataset")):
        with pytest.raises(ConfigError, match=f"{field}: {path}.*{sentence}"):
            check_clips(TrainConfig("tapir", (Phase(1),), **{field: str(path)}))


@pytest.mark.parametrize(
    ("scene", "sentence"),
    [({"speed": 2}, "speed"), ({"layers": [3, 1]}, "layers"), ({"width": 20}, "32x20; both must be multiples of 8")],
)
def test_scenes_that_cannot_be_are_refused_before_the_first_step(scene: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        check_clips(TrainConfig("tapir", (Phase(1, size=32, scene=scene),)))


def test_a_folder_without_photographs_is_refused_before_the_first_step(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no photographs"):
        check_clips(TrainConfig("tapir", (Phase(1),), textures=str(tmp_path)))
