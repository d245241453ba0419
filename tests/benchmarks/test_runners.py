"""Runners do what they say: the same as ours where they say so, and what is missing with a command that helps."""

import importlib
import itertools
import re

import numpy as np
import pytest

from benchmarks.runners import RUNNERS
from benchmarks.workloads import Workload
from tests.support import import_or_skip

SMALL = Workload("tapir/tiny", points=3, size=(96, 160))


@pytest.mark.parametrize("name", RUNNERS)
def test_a_runner_is_there_and_says_how_to_get_what_it_needs(name):
    runner = RUNNERS[name]
    assert bool(runner.needs) == bool(runner.install.startswith("pip install"))
    if not runner.absent():
        module, _, function = runner.function.partition(":")
        assert callable(getattr(importlib.import_module(module), function))


def positions(name, workload=SMALL, turns=3):
    if RUNNERS[name].absent():
        pytest.skip(RUNNERS[name].absent())
    ready, *found = itertools.islice(RUNNERS[name].open(workload), 1 + turns)
    assert ready is None
    return found


@pytest.mark.parametrize("name", ["fused", "torch", "literal"])
def test_who_computes_the_same_finds_the_same_positions(name):
    """From the second frame on: in the first one ours gives a point back as it was asked for."""
    np.testing.assert_allclose(positions(name)[1:], positions("native")[1:], atol=0.02)


@pytest.mark.slow
def test_jax_finds_the_same_positions():
    np.testing.assert_allclose(positions("jax")[1:], positions("native")[1:], atol=0.02)


@pytest.mark.parametrize("name", ["opencv-lk", "opencv-dis"])
def test_opencv_follows_the_picture(name):
    """Which moves by (2, 1) pixels a frame, so that what is in it goes the other way."""
    found = positions(name, Workload(points=20, size=(96, 160)), turns=2)
    moved = np.median(np.subtract(found[1], found[0]), axis=0)
    np.testing.assert_allclose(moved, (-2, -1), atol=0.3)


@pytest.mark.parametrize("name", ["stream", "clip"])
def test_a_turn_of_a_clip_is_the_whole_of_it(name):
    workload = Workload(points=2, size=(64, 64), clip=4)
    (last,) = positions(name, workload, turns=1)
    np.testing.assert_allclose(last, positions("native", Workload(points=2, size=(64, 64)), turns=4)[-1], atol=0.02)


def test_a_workload_is_described_and_comes_back_through_json():
    workload = Workload(points=5, threads=2, size=(96, 160), clip=4, resolution=512)
    assert Workload.from_table(workload.to_table()) == workload
    assert workload.label == "tapir/tiny, 160x96, 5 points, 4 frames, at 512x512, 2 threads"
    assert re.search(r"1 thread$", SMALL.label)
    assert Workload(points=1).label == "tapir/tiny, 1280x720, 1 point, 1 thread"
    xy = workload.xy()
    assert xy.shape == (5, 2) and (xy < (160, 96)).all() and (xy > 0).all()


@pytest.mark.slow
def test_the_plain_export_computes_what_the_model_does(tmp_path):
    torch = import_or_skip("torch", "export-onnx")
    ort = import_or_skip("onnxruntime")
    import_or_skip("onnxscript", "export-onnx")
    from benchmarks.plain_onnx import step_inputs, write_plain
    from tests.benchmarks.test_literal import SMALL as CONFIG
    from training.models.tapir.torch import Tapir

    torch.manual_seed(2)
    model = Tapir(CONFIG).eval()
    frame = torch.rand(1, 1, 32, 48, 3) * 2 - 1
    queries = torch.rand(1, 7, 3) * torch.tensor([0.0, 32, 48])
    with torch.no_grad():
        state = model.init(frame, queries)
        expected, _ = model.step(frame, state)
        write_plain(model, (32, 48), tmp_path)
        inputs = {name: tensor.numpy() for name, tensor in step_inputs(model, (32, 48), 7).items()}
    init, step = (ort.InferenceSession(tmp_path / f"{name}.onnx") for name in ("init", "step"))
    xy = queries[0, :, 1:].flip(-1).contiguous().numpy()
    inputs["frame"] = frame[0].numpy()
    (inputs["features"],) = init.run(["features"], {"frame": inputs["frame"], "xy": xy})
    (found,) = step.run(["xy"], inputs)
    np.testing.assert_allclose(found, expected["tracks"][0, :, 0], atol=1e-3)
