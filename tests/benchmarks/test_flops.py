"""The count of operations, against sums by hand."""

from dataclasses import replace

import pytest

from tests.support import import_or_skip

import_or_skip("torch", "export-onnx")
from benchmarks.flops import count, frame_flops  # noqa: E402
from tests.benchmarks.small import SMALL  # noqa: E402


def conv(inputs, outputs, side, cells):
    return 2 * inputs * outputs * side * side * cells


def test_the_encoder_is_its_convolutions():
    """Of a frame of 64 x 32: a stem at 32 x 16, groups at 16 x 8, 16 x 8, 8 x 4 and 8 x 4."""
    fine, coarse = 16 * 8, 8 * 4
    expected = conv(3, 4, 7, 32 * 16)
    for inputs, outputs, cells in ((4, 4, fine), (4, 8, fine), (8, 12, coarse), (12, 16, coarse)):
        expected += conv(inputs, outputs, 3, cells) + conv(outputs, outputs, 3, cells) + conv(inputs, outputs, 1, cells)
    assert count(SMALL, (64, 32), 1)["encode"] == expected


def test_extra_convolutions_go_through_four_times_the_width():
    more = count(replace(SMALL, extra_convs=2), (64, 32), 1)["encode"] - count(SMALL, (64, 32), 1)["encode"]
    assert more == 2 * (conv(16, 64, 3, 8 * 4) + conv(64, 16, 3, 8 * 4))


def test_locating_is_a_score_for_every_cell_and_the_head_on_them():
    cells, quarter = 8 * 4, 4 * 2
    a_point = 2 * 16 * cells + conv(1, 2, 3, cells) + conv(2, 1, 3, cells) + conv(2, 3, 3, quarter)
    a_point += 2 * 3 * 5 + 2 * 5 * 2
    assert count(SMALL, (64, 32), 7)["locate"] == 7 * a_point


def test_a_lookup_is_sixty_four_dot_products_at_each_level_and_iteration():
    assert count(SMALL, (64, 32), 7)["lookup"] == 3 * 7 * 2 * 64 * (8 + 16 + 16)


def test_the_mixer_is_its_linear_layers():
    outputs = 4 + 8 + 16
    a_point = 2 * (outputs + 3 * 49) * 10 + 2 * (2 * 10 * 40 + 2 * 40 * 10) + 2 * 10 * outputs
    assert count(SMALL, (64, 32), 7)["mixer"] == 3 * 7 * a_point


def test_points_cost_in_proportion_and_none_costs_nothing():
    one, many, none = (count(SMALL, (64, 32), points) for points in (1, 50, 0))
    assert {name: 50 * n for name, n in one.items() if name != "encode"} == {
        name: n for name, n in many.items() if name != "encode"
    }
    assert none == {**dict.fromkeys(one, 0), "encode": one["encode"]}


def test_the_published_model_takes_what_is_known_of_it():
    """The encoder of BootsTAPIR: 67 GFLOP, 48 of them in extra convolutions."""
    found = frame_flops("tapir/boots-causal", (256, 256), 64)
    assert found["encode"] == pytest.approx(67.1e9, rel=0.01)
