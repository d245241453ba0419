"""The sizes at which a clip is refined: what the caller wants, as far as the model takes it."""

from types import SimpleNamespace

import numpy as np
import pytest

from tapsdk.artifact.manifest import FrameSpec, Refined, Refinement
from tapsdk.errors import ModelError
from tapsdk.runtime.sizes import RefinementSizes, refinement_sizes

BASE = (256, 256)
DAVIS = (480, 854)
REFINEMENT = Refinement(4, 3, ())


def model(program, multiple=None):
    return SimpleNamespace(model="tapir/base", frames=FrameSpec(BASE, multiple), program=program)


PUBLISHED, ONE_SIZE = model(Refined(REFINEMENT, 8)), model(Refined(REFINEMENT))
ANY_SHAPE = model(Refined(REFINEMENT), multiple=16)


@pytest.mark.parametrize(
    "frame, resolution, refinement",
    [
        (BASE, None, [BASE]),
        ((100, 200), None, [BASE]),
        ((256, 320), None, [BASE, (256, 320)]),
        (DAVIS, None, [BASE, (344, 464), (480, 848)]),
        (DAVIS, 256, [BASE]),
        (DAVIS, BASE, [BASE]),
        (DAVIS, (480, 640), [BASE, (344, 400), (480, 640)]),
        (DAVIS, 512, [BASE, (312, 416), (384, 680)]),
        ((1080, 1920), np.int64(1024), [BASE, (368, 440), (528, 776), (768, 1368)]),
    ],
    ids=str,
)
def test_a_model_that_refines_at_several_sizes_goes_up_to_that_of_the_video(frame, resolution, refinement):
    assert refinement_sizes(frame, resolution, PUBLISHED) == RefinementSizes(BASE, tuple(refinement))


@pytest.mark.parametrize(
    "resolution", [0, -256, 255, (128, 256), (248, 256), (256, 300), (16, 8192), (256, 256, 256), "256", 256.0, ()]
)
def test_a_resolution_that_it_does_not_refine_at(resolution):
    complaint = (
        r"resolution must be a side, or \(height, width\) in multiples of 8, with at least the area of \(256, 256\)"
    )
    with pytest.raises(ModelError, match=complaint):
        refinement_sizes(DAVIS, resolution, PUBLISHED)


def test_another_model_works_at_one_size():
    assert (
        refinement_sizes(DAVIS, None, ONE_SIZE)
        == refinement_sizes(DAVIS, 256, ONE_SIZE)
        == RefinementSizes(BASE, (BASE,))
    )
    with pytest.raises(ModelError, match=r"was exported to work at \(256, 256\)"):
        refinement_sizes(DAVIS, 512, ONE_SIZE)


def test_or_at_one_that_keeps_the_aspect_ratio():
    assert refinement_sizes(DAVIS, None, ANY_SHAPE) == RefinementSizes((192, 336), ((192, 336),))
    assert refinement_sizes(DAVIS, (128, 256), ANY_SHAPE) == RefinementSizes((128, 256), ((128, 256),))
