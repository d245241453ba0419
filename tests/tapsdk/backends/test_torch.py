"""PyTorch as an engine: what only it does."""

import numpy as np
import pytest

import tapkernels
from tapsdk import Tracker, load, track
from tapsdk.artifact import open_artifact
from tapsdk.backends import Options, Place, open_backend
from tapsdk.errors import BackendError
from tapsdk.runtime.model import open_model
from tests.support import EXACT, SMALL, import_or_skip, known_model, random_points

torch = import_or_skip("torch")


@pytest.mark.parametrize("device", ["cuda:99", "abacus"])
def test_a_device_that_is_not_there(monkeypatch, device):
    monkeypatch.setenv("TAPSDK_TORCH_DEVICE", device)
    with pytest.raises(BackendError, match=f"no device '{device}' here: .*TAPSDK_TORCH_DEVICE asks for '{device}'"):
        open_backend("torch")


def test_the_device_can_be_named(monkeypatch):
    monkeypatch.setenv("TAPSDK_TORCH_DEVICE", "cpu")
    assert open_backend("torch").describe() == f"torch {torch.__version__} (cpu)"


@pytest.mark.skipif(torch.cuda.is_available() or torch.backends.mps.is_available(), reason="has an accelerator")
def test_without_an_accelerator_it_is_the_processor():
    assert open_backend("torch").describe().endswith("(cpu)")


@pytest.mark.parametrize(
    "device, needs", [("cuda:99", "it needs an NVIDIA GPU"), ("abacus", "it knows cpu, cuda, mps")]
)
def test_an_error_says_what_is_there_and_what_is_missing(device, needs):
    with pytest.raises(
        BackendError, match=rf"torch has no device '{device}' here: .+ \(PyTorch {torch.__version__[:4]}.*{needs}"
    ):
        open_backend("torch", Options(device=device))


# Frames that go to the device as they are


@pytest.fixture
def engine():
    return open_backend("torch", Options(device="cpu"))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize(
    "size, to", [((48, 80), (64, 96)), ((97, 131), (64, 96)), ((300, 30), (64, 96)), ((1, 1), (8, 8))]
)
def test_frames_are_resized_there_as_they_are_here(engine, dtype, size, to):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    image = image if dtype == np.uint8 else (image / 255).astype(np.float32)
    found = engine.resized(image, to, (-1.0, 1.0))
    assert (found.dtype, tuple(found.shape)) == (torch.float32, (1, *to, 3))
    np.testing.assert_allclose(found[0], tapkernels.resize_normalize(image, *to), atol=2e-6)
    np.testing.assert_allclose(engine.resized(image, to, (0.0, 1.0)), (found + 1) / 2, atol=2e-6)


def test_frames_may_lie_anyhow_in_memory_that_must_not_be_written_to(engine):
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)[::-1, ::2, ::-1]
    image.flags.writeable = False
    expected = tapkernels.resize_normalize(image, 16, 24)
    np.testing.assert_allclose(engine.resized(image, (16, 24), (-1.0, 1.0))[0], expected, atol=2e-6)


def test_on_the_processor_the_kernel_is_faster(engine):
    assert engine.place == Place(on_processor=True, few_shapes=False, resize=None)
    assert engine.record is None


# All that a GPU does, on the processor: recordings are made by a stand-in for CUDA graphs


def recorded(work, inputs):
    outputs = [each.clone() for each in work(*inputs)]
    recorded.count += 1

    def replay():
        for own, found in zip(outputs, work(*inputs), strict=True):
            own.copy_(found)

    return replay, outputs


@pytest.fixture
def like_a_gpu(engine):
    recorded.count = 0
    engine.place = Place(on_processor=False, few_shapes=True, resize=engine.resized)
    engine.record = recorded
    return engine


@pytest.fixture(scope="module")
def exported_torch(small_config, small_model, tmp_path_factory):
    from export.pipeline import Options as ExportOptions
    from export.pipeline import export

    directory = tmp_path_factory.mktemp("artifacts") / "small-torch"
    with known_model(SMALL, small_config):
        export(SMALL, "torch", directory, ExportOptions(small_model))
    return directory


@pytest.mark.parametrize("points", [1, 5, 17])
def test_tracks_are_those_of_the_processor(like_a_gpu, exported_torch, video, points):
    xy = random_points(points, video)
    expected = track(video, xy, load(exported_torch, backend="torch:fused", device="cpu"))
    model = open_model(open_artifact(exported_torch), like_a_gpu, "fused")
    found = track(video, xy, model)
    assert recorded.count == 1  # of `step`; the others run once
    np.testing.assert_allclose(found.xy, expected.xy, atol=EXACT)
    np.testing.assert_array_equal(found.visible, expected.visible)


def test_points_that_join_and_leave_share_a_recording(like_a_gpu, exported_torch, video):
    model = open_model(open_artifact(exported_torch), like_a_gpu, "fused")
    tracker, alone = Tracker(model=model), Tracker(exported_torch, backend="torch:fused", device="cpu")
    for t, image in enumerate(np.concatenate([video, video])):
        for each in (tracker, alone):
            each.add(random_points(1 + t % 3, video, seed=t))
        found, expected = tracker.step(image), alone.step(image)
        np.testing.assert_allclose(found.xy, expected.xy, atol=EXACT)
        if t % 4 == 3:
            for each in (tracker, alone):
                each.remove(each.ids[:3])
    assert recorded.count == 3  # of each stage


def test_streams_of_a_model_do_not_write_into_each_others_state(like_a_gpu, exported_torch, video):
    model = open_model(open_artifact(exported_torch), like_a_gpu, "fused")
    points = [random_points(4, video, seed) for seed in range(2)]
    alone = [track(video, each, load(exported_torch, backend="torch:fused", device="cpu")).xy for each in points]
    trackers = [Tracker(model=model) for _ in points]
    for tracker, each in zip(trackers, points, strict=True):
        tracker.add(each)
    together = [[tracker.step(image).xy for tracker in trackers] for image in video]
    for i, expected in enumerate(alone):
        np.testing.assert_allclose(np.concatenate([xy[i] for xy in together], 1)[:, 1:], expected[:, 1:], atol=EXACT)


def test_queries_on_later_frames_are_tracked_backwards(like_a_gpu, exported_torch, video):
    points = [[3, 20, 20], [5, 60, 30]]
    model = open_model(open_artifact(exported_torch), like_a_gpu, "fused")
    expected = track(video, points, load(exported_torch, backend="torch:fused", device="cpu"))
    np.testing.assert_allclose(track(video, points, model).xy, expected.xy, atol=EXACT)


def test_kernels_between_stages_are_not_for_a_gpu(like_a_gpu, exported_torch):
    with pytest.raises(BackendError, match=r"the native plan computes on the processor, .* use torch:fused"):
        open_model(open_artifact(exported_torch), like_a_gpu, "native")
    assert load(exported_torch, backend=like_a_gpu).plan.name == "fused"


def test_a_device_without_room_is_one_of_our_errors(engine, monkeypatch):
    def full(self, device):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(torch.Tensor, "to", full)
    with pytest.raises(BackendError, match=r"torch failed: CUDA out of memory.*track fewer points at once"):
        engine.keep(np.zeros(3, np.float32))
