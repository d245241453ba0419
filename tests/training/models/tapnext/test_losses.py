"""What TAPNext is trained on, in both frameworks."""

import importlib
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

BINS = 8


@pytest.fixture(params=["torch", "jax"])
def framework(request: pytest.FixtureRequest) -> SimpleNamespace:
    """losses: the module; array: from numpy to the framework's own."""
    library: ModuleType = pytest.importorskip(request.param)
    losses = importlib.import_module(f"training.models.tapnext.losses_{request.param}")
    array = library.from_numpy if request.param == "torch" else library.numpy.asarray
    return SimpleNamespace(losses=losses, array=lambda a: array(np.asarray(a)))


def certain_of(bins: Any) -> np.ndarray:
    """Logits [..., BINS] that are sure of bins [...]."""
    return 100 * np.eye(BINS, dtype=np.float32)[np.asarray(bins)]


def perfect() -> dict[str, Any]:
    """Arguments of `tapnext_losses` for one point on frames of 16x8 pixels (height, width), tracked without error."""
    xy = np.float32([[[[0.5, 15.0], [3.5, 7.0], [7.5, 1.0]]]])
    outputs = {
        "tracks": xy,
        "coordinate_logits": certain_of([[[[0, 7], [3, 3], [7, 0]]]]),
        "visible_logits": np.float32([[[100, 100, -100]]]),
    }
    visible = np.array([[[True, True, False]]])
    queries = np.float32([[[0, 15, 0.5]]])
    return {"outputs": outputs, "xy": xy, "visible": visible, "queries_tyx": queries, "size": (16, 8)}


def compute(framework: SimpleNamespace, arguments: dict[str, Any]) -> dict[str, float]:
    outputs = {name: framework.array(a) for name, a in arguments["outputs"].items()}
    arrays = [framework.array(arguments[name]) for name in ("xy", "visible", "queries_tyx")]
    losses = framework.losses.tapnext_losses(outputs, *arrays, arguments["size"])
    return {name: float(value) for name, value in losses.items()}


def test_nothing_is_lost_on_a_perfect_track(framework: SimpleNamespace) -> None:
    assert compute(framework, perfect()) == pytest.approx(dict.fromkeys(("coordinate", "position", "visibility"), 0))


def test_occluded_frames_teach_no_position(framework: SimpleNamespace) -> None:
    arguments = perfect()
    arguments["xy"] = np.where(arguments["visible"][..., None], arguments["xy"], 1000).astype(np.float32)
    assert compute(framework, arguments) == pytest.approx(dict.fromkeys(("coordinate", "position", "visibility"), 0))


def test_frames_before_the_query_teach_nothing(framework: SimpleNamespace) -> None:
    arguments = perfect()
    arguments["queries_tyx"] = np.float32([[[2, 1, 7.5]]])
    arguments["outputs"]["tracks"] = np.float32([[[[9, 9], [9, 9], [7.5, 1]]]])
    arguments["outputs"]["visible_logits"] = np.float32([[[-100, -100, -100]]])
    assert compute(framework, arguments) == pytest.approx(dict.fromkeys(("coordinate", "position", "visibility"), 0))


def test_the_position_loss_is_a_parabola_and_then_a_line(framework: SimpleNamespace) -> None:
    """In the model's space: 2 px along the height of 16 are one of 8 bins."""
    for pixels, expected in ((1, 0.5**2 / 2), (6, 3 - 0.5)):
        arguments = perfect()
        arguments["outputs"]["tracks"] = arguments["xy"] + np.float32([0, pixels])
        assert compute(framework, arguments)["position"] == pytest.approx(0.1 * expected, rel=1e-4)


def test_both_axes_count_for_the_coordinates(framework: SimpleNamespace) -> None:
    arguments = perfect()
    arguments["outputs"]["coordinate_logits"] = np.zeros((1, 1, 3, 2, BINS), np.float32)
    assert compute(framework, arguments)["coordinate"] == pytest.approx(2 * np.log(BINS), rel=1e-5)


def test_targets_beyond_the_border_are_those_on_it(framework: SimpleNamespace) -> None:
    arguments = perfect()
    arguments["xy"] = arguments["xy"] + np.float32([[-20, 30], [0, 0], [0, 0]])
    assert compute(framework, arguments) == pytest.approx(dict.fromkeys(("coordinate", "position", "visibility"), 0))


def test_certain_is_what_lies_within_a_bin(framework: SimpleNamespace) -> None:
    arrays = [np.float32([100, -100]), np.float32([[1, 1], [1, 1]]), np.float32([[1, 2], [1, 2.1]])]
    seen = np.array([True, True])
    loss = framework.losses.certainty_loss(*(framework.array(a) for a in (*arrays, seen)))
    assert float(loss) == pytest.approx(0)
    loss = framework.losses.certainty_loss(*(framework.array(a) for a in (-arrays[0], *arrays[1:], seen)))
    assert float(loss) == pytest.approx(100)


def test_nothing_visible_gives_no_loss_and_no_nan(framework: SimpleNamespace) -> None:
    arguments = perfect()
    arguments["visible"] = np.zeros((1, 1, 3), bool)
    losses = compute(framework, arguments)
    assert losses["coordinate"] == losses["position"] == 0
    assert np.isfinite(losses["visibility"])
