"""A batch on a Ray cluster of three nodes: the same bytes as here, whatever dies meanwhile."""

from functools import partial

import numpy as np
import pytest

from tapsdk.batch import run
from tapsdk.errors import BackendError, TapsdkError
from tests.clusters import NODE, ray_cluster
from tests.support import needs_kill
from tests.tapsdk.batch.made import BACKEND, make_videos, tracks_in

VIDEOS = 60
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of Ray's own


@pytest.fixture(scope="module")
def nodes():
    with ray_cluster(3) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """A folder of many short videos, and one that is none."""
    folder = make_videos(tmp_path_factory.mktemp("ray") / "videos", VIDEOS, frames=2)
    (folder / "bad.mp4").write_bytes(b"no video")
    return folder


@pytest.fixture(scope="module")
def batch(bundled, videos):
    return partial(run, videos, model=bundled, grid=2, backend=BACKEND)


@pytest.fixture(scope="module")
def here(batch, tmp_path_factory):
    """What one worker on this machine leaves."""
    folder = tmp_path_factory.mktemp("here")
    batch(output=folder, workers=1)
    return tracks_in(folder)


def test_tracks_are_those_of_this_machine_to_the_byte_and_a_second_run_computes_nothing(nodes, batch, here, tmp_path):
    table = batch(output=tmp_path, on="ray")
    assert [row.status for row in table] == ["failed"] + ["done"] * VIDEOS
    assert "bad.mp4: not a video" in table[0].reason
    assert tracks_in(tmp_path) == here
    assert len(here) == VIDEOS
    again = batch(output=tmp_path, on="ray")
    assert [row.status for row in again] == ["failed"] + ["kept"] * VIDEOS
