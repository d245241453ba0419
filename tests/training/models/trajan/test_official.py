"""The table of the official file's names."""

from math import prod

from tests.training.models.trajan.golden import PUBLISHED, published_shapes
from training.models.registry import parameter_shapes
from training.models.trajan.official import official_names


def test_every_published_parameter_has_one_place() -> None:
    theirs = [row[3] for row in official_names(PUBLISHED)]
    assert sorted(theirs) == sorted(published_shapes())


def test_every_parameter_of_ours_has_one() -> None:
    shapes = parameter_shapes("trajan/base")
    assert sorted(row[0] for row in official_names(PUBLISHED)) == sorted(shapes)
    assert sum(prod(shape) for shape in shapes.values()) == 68_333_080
