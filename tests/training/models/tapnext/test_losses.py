"""What TAPNext is trained on, in both frameworks."""

import importlib
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.golden.official import FOLDER as GOLDEN

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
    xy = np.float32([[[[0.5, 13.0], [3.5, 7.0], [6.5, 1.0]]]])
    outputs = {
        "tracks": xy,
        "coordinate_logits": certain_of([[[[0, 6], [3, 3], [6, 0]]]]),
        "visible_logits": np.float32([[[100, 100, -100]]]),
    }
    visible = np.array([[[True, True, False]]])
    queries = np.float32([[[0, 13, 0.5]]])
    return {"outputs": outputs, "xy": xy, "visible": visible, "queries_tyx": queries, "size": (16, 8)}


def compute(framework: SimpleNamespace, arguments: dict[str, Any]) -> dict[str, float]:
    outputs = {name: framework.array(a) for name, a in arguments["outputs"].items()}
    arrays = [framework.array(arguments[name]) for name in ("xy", "visible", "queries_tyx")]
    known = framework.array(arguments["known"]) if "known" in arguments else None
    losses = framework.losses.tapnext_losses(outputs, *arrays, arguments["size"], known)
    return {name: float(value) for name, value in losses.items()}


def test_nothing_is_lost_on_a_perfect_track(framework: SimpleNamespace) -> None:
    assert compute(framework, perfect()) == pytest.approx(dict.fromkeys(("coordinate", "position", "visibility"), 0))


def test_occluded_frames_teach_no_position(framework: SimpleNamespace) -> None:
    arguments = perfect()
    arguments["xy"] = np.where(arguments["visible"][..., None], arguments["xy"], 1000).astype(np.float32)
    assert compute(framework, arguments) == pytest.approx(dict.fromkeys(("coordinate", "position", "visibility"), 0))


def test_frames_before_the_query_teach_nothing(framework: SimpleNamespace) -> None:
    arguments = perfect()
    arguments["queries_tyx"] = np.float32([[[2, 1, 6.5]]])
    arguments["outputs"]["tracks"] = np.float32([[[[9, 9], [9, 9], [6.5, 1]]]])
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
    """Of the position, as published, at 0 and at 7 of 8 bins; of the coordinates, all around."""
    arguments = perfect()
    arguments["xy"] = arguments["xy"] + np.float32([[-20, 30], [0, 0], [0, 0]])
    arguments["outputs"]["tracks"] = np.float32([[[[0, 14], [3.5, 7], [6.5, 1]]]])
    arguments["outputs"]["coordinate_logits"] = certain_of([[[[0, 7], [3, 3], [6, 0]]]])
    assert compute(framework, arguments) == pytest.approx(dict.fromkeys(("coordinate", "position", "visibility"), 0))


def test_where_nobody_looked_nothing_is_hidden(framework: SimpleNamespace) -> None:
    arguments = perfect()
    arguments["outputs"]["visible_logits"] = np.float32([[[100, 100, 100]]])
    assert compute(framework, arguments)["visibility"] == pytest.approx(100 / 3)
    assert compute(framework, {**arguments, "known": np.array([[[True, True, False]]])})["visibility"] < 1e-9


def golden(framework: SimpleNamespace, name: str) -> dict[str, Any]:
    with np.load(GOLDEN / f"tapnext_losses_{name}.npz") as arrays:
        return {key: framework.array(array) for key, array in arrays.items()}


def test_losses_of_a_point_are_the_published_ones(framework: SimpleNamespace) -> None:
    """Outside of the frame and between two bins, too."""
    losses, of = framework.losses, golden(framework, "jax")
    tracks, xy = of["pred_points"], of["target_points"]
    logits = of["logits"].reshape((*xy.shape, -1))
    sure = of["certainty_logits"][..., 0]
    for name, found in {
        "huber_1": losses.position_loss(tracks, xy, 256),
        "huber_4": losses.position_loss(tracks, xy, 256, delta=4.0),
        "coordinate": losses.coordinate_loss(logits, xy),
        "certainty_1": losses.certainty_loss(sure, tracks, xy),
        "certainty_6": losses.certainty_loss(sure, tracks, xy, within=6.0),
    }.items():
        np.testing.assert_allclose(found, of[name][..., 0], rtol=1e-5, atol=1e-5, err_msg=name)
    patches = np.asarray(losses.patch_loss(of["patches_pred"], of["patches_target"])).mean(-1, keepdims=True)
    np.testing.assert_allclose(patches, of["masked_l1_mean"], rtol=1e-5)
    values = np.prod(of["patches_pred"].shape[-3:])
    np.testing.assert_allclose(patches * values / 1024, of["masked_l1_sum"], rtol=1e-5)


def test_means_are_the_published_ones_over_what_is_seen(framework: SimpleNamespace) -> None:
    """The published mean of the coordinates is over all of it, seen or not."""
    losses, of = framework.losses, golden(framework, "torch")
    tracks, xy, seen = of["pred_points"], of["target_points"], of["mask"][..., 0]
    for delta in (1, 4):
        found = losses.masked_mean(losses.position_loss(tracks, xy, 256, delta=delta), seen)
        assert float(found) == pytest.approx(float(of[f"huber_{delta}"]), rel=1e-5)
    values = losses.coordinate_loss(of["logits"].reshape((*xy.shape, -1)), xy)
    everywhere = losses.masked_mean(values, seen | ~seen)
    assert float(everywhere) == pytest.approx(float(of["coordinate_softmax_as_published"]), rel=1e-5)
    where_seen = np.asarray(values)[np.asarray(seen)].mean()
    assert float(losses.masked_mean(values, seen)) == pytest.approx(where_seen, rel=1e-5)
    assert abs(float(everywhere) - where_seen) > 1e-3


def test_nothing_visible_gives_no_loss_and_no_nan(framework: SimpleNamespace) -> None:
    arguments = perfect()
    arguments["visible"] = np.zeros((1, 1, 3), bool)
    losses = compute(framework, arguments)
    assert losses["coordinate"] == losses["position"] == 0
    assert np.isfinite(losses["visibility"])
