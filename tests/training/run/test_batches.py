"""Batches depend on the step alone, whoever makes them."""

import os
import signal
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tapsdk.errors import TapsdkError
from tests.training.run.tiny import tiny
from training.run.batches import Batch, check_clips, iterate, make_batch
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
        "queries_tyx": ((2, 5, 3), "float32"),
        "previous": ((2, 3, 5, 2), "float32"),
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
