"""What pages may ask for, and what they may not."""

import json

import numpy as np
import pytest

from tapsdk.live.orders import SIMPLE, read_order


def test_points_to_add():
    order = read_order('{"do": "add", "points": [[1, 2.5], [3, 4]], "frame": 7}')
    assert (order.do, order.frame) == ("add", 7)
    np.testing.assert_array_equal(order.xy, [[1, 2.5], [3, 4]])
    assert read_order('{"do": "add", "points": [[1, 2]], "frame": null}').frame is None


def test_points_to_remove():
    assert read_order('{"do": "remove", "ids": [3, 1]}').ids == [3, 1]


@pytest.mark.parametrize("do", SIMPLE)
def test_what_needs_no_more_words(do):
    assert read_order(json.dumps({"do": do})).do == do


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "7",
        "{",
        "{}",
        '{"do": "dance"}',
        '{"do": ["undo"]}',
        '{"do": "_stop_recording"}',
        '{"do": "add", "points": [[1]]}',
        '{"do": "add", "points": "all"}',
        '{"do": "add", "points": [["1", "2"]]}',
        '{"do": "add", "points": [[1, 2]], "frame": "7"}',
        '{"do": "add", "points": [[1, 2]], "frame": true}',
        '{"do": "remove", "ids": 3}',
        '{"do": "remove", "ids": [true]}',
        '{"do": "remove"}',
        "[" * 100_000,
    ],
    ids=lambda text: text[:40],
)
def test_what_is_no_order_is_refused(text):
    with pytest.raises(ValueError):
        read_order(text)
