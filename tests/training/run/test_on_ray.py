"""Batches that a Ray cluster makes are those of this machine, in the same order."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.clusters import ray_cluster
from tests.training.run.test_batches import assert_equal
from tests.training.run.tiny import tiny
from training.run.batches import iterate
from training.run.loop import train

pytest.importorskip("torch", reason="needs torch: pip install 'tapsdk[train]'")
pytest.importorskip("ray", reason="needs ray: pip install 'tapsdk[ray]'")

from training.run.on_ray import iterate_on_ray
from training.run.updaters import make_updater

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),  # of Ray's own
]


@pytest.fixture(scope="module", autouse=True)
def nodes():
    with ray_cluster(2) as cluster:
        yield cluster


@pytest.mark.parametrize("start, rank, world", [(0, 0, 1), (1, 1, 2)])
def test_every_batch_is_the_same_to_the_bit(tmp_path: Path, start: int, rank: int, world: int) -> None:
    config = replace(tiny(tmp_path), workers=0)
    with (
        closing(iterate(config, start, rank, world)) as here,
        closing(iterate_on_ray(config, start, rank, world)) as there,
    ):
        for expected, found in zip(here, there, strict=True):
            assert_equal(found, expected)


def test_a_run_fed_by_a_cluster_ends_with_the_weights_of_one_that_is_not(tmp_path: Path) -> None:
    config, ends = replace(tiny(tmp_path), workers=0), []
    for name, source in (("here", iterate), ("there", iterate_on_ray)):
        with closing(make_updater(config)) as updater:
            train(config, updater, tmp_path / name, progress=False, source=source)
            ends.append(updater.state().weights)
    assert all((ends[0][name] == ends[1][name]).all() for name in ends[0])
