import itertools
import tracemalloc

import numpy as np
import pytest

from tapsdk.errors import FramesError, TapsdkError
from tapsdk.video import FrameSource, open_frames


def random_video(frames=3, height=5, width=7):
    return np.random.default_rng(0).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


class Tensor:
    """Like a torch tensor or a JAX array: known to numpy only through __array__."""

    def __init__(self, array, error=None):
        self.array, self.error = array, error

    def __array__(self, dtype=None, copy=None):
        if self.error:
            raise self.error
        return self.array if dtype is None else self.array.astype(dtype)


# What is accepted


@pytest.mark.parametrize("shape", [(3, 5, 7), (1, 5, 7), (2, 1, 1), (2, 9, 2)])
@pytest.mark.parametrize("wrap", [np.asarray, Tensor, list, iter], ids=["array", "tensor", "list", "iterator"])
def test_frames_come_out_as_they_went_in(shape, wrap):
    video = random_video(*shape)
    source = open_frames(wrap(video))
    assert source.size == shape[1:]
    frames = list(source)
    np.testing.assert_array_equal(frames, video)
    for frame in frames:
        assert frame.dtype == np.uint8
        assert frame.flags.c_contiguous


@pytest.mark.parametrize("wrap, known", [(np.asarray, True), (Tensor, True), (list, True), (iter, False)])
def test_the_number_of_frames_is_known_where_the_origin_knows_it(wrap, known):
    source = open_frames(wrap(random_video(frames=3)))
    assert source.num_frames == (3 if known else None)
    assert source.fps is None


@pytest.mark.parametrize("dtype, exact", [(np.float16, False), (np.float32, True), (np.float64, True)])
def test_floats_in_0_to_1_become_the_nearest_byte(dtype, exact):
    video = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    (frame,) = open_frames((video / 255).astype(dtype))
    assert np.abs(frame.astype(int) - video[0]).max() <= (0 if exact else 1)


def test_floats_may_ring_a_little():
    (frame,) = open_frames(np.float32([[[[-0.0009, 0.5, 1.0009]]]]))
    np.testing.assert_array_equal(frame, [[[0, 128, 255]]])


@pytest.mark.parametrize("view", [lambda v: v[:, ::-1, ::2], lambda v: v[..., ::-1], np.asfortranarray])
def test_strided_views_come_out_contiguous(view):
    video = view(random_video())
    frames = list(open_frames(video))
    np.testing.assert_array_equal(frames, video)
    assert all(frame.flags.c_contiguous for frame in frames)


class Sized:
    def __init__(self, length, frames):
        self.length, self.frames = length, frames

    def __len__(self):
        return self.length

    def __iter__(self):
        return iter(self.frames)


@pytest.mark.parametrize(
    "wrap, exact", [(np.asarray, True), (list, True), (lambda v: Sized(99, v), False), (iter, False)]
)
def test_only_what_cannot_be_wrong_bounds_queries(wrap, exact):
    source = open_frames(wrap(random_video(frames=3)))
    assert source.known_frames == (3 if exact else None)
    assert source.exact == exact
    assert source.damaged == 0


@pytest.mark.parametrize(
    "wrap, once", [(np.asarray, False), (list, False), (iter, True), (lambda v: (f for f in v), True)]
)
def test_what_can_be_read_only_once_says_so(wrap, once):
    assert open_frames(wrap(random_video())).read_once == once


@pytest.mark.parametrize("top, warned", [(1, True), (0, False), (2, False), (255, False)])
def test_masks_are_told_from_pictures(top, warned, caplog):
    frames = np.zeros((3, 4, 4, 3), np.uint8)
    frames[:, 1:3] = top
    list(open_frames(frames))
    assert [record.levelname for record in caplog.records] == ["WARNING"] * warned
    assert ("holds only 0 and 1" in caplog.text) == warned


def test_a_source_passes_through():
    source = open_frames(random_video())
    assert open_frames(source) is source


# Rate and times


def source_with(times, fps=None):
    """A source of as many frames as there are times, read to its end."""
    source = FrameSource(iter(random_video(len(times))), fps=fps, times=times)
    assert len(list(source)) == len(times)
    return source


def test_times_are_those_of_the_frames_that_were_read():
    times = []

    def frames():
        for t, frame in enumerate(random_video(3)):
            times.append(t / 10)
            yield frame

    source = FrameSource(frames(), times=times)
    assert source.times is None
    next(source)
    next(source)
    np.testing.assert_array_equal(source.times, [0, 0.1])


@pytest.mark.parametrize("times", [[0, 1, 1], [0, 2, 1], [0, None, 2], [0, 1, float("nan")], [None] * 3], ids=str)
def test_times_that_are_missing_or_do_not_grow_are_none_and_that_is_said_once(caplog, times):
    source = source_with(times, fps=25)
    assert source.times is None
    assert source.times is None
    assert source.mean_fps == 25
    assert [record.getMessage() for record in caplog.records] == [
        "the times of the frames are missing or do not grow; their rate, fps, stands for them"
    ]


def test_a_source_without_times_says_nothing(caplog):
    source = open_frames(random_video())
    assert (source.times, source.fps, source.mean_fps, source.pixel_aspect) == (None, None, None, None)
    assert not caplog.records


@pytest.mark.parametrize(
    "times, declared, mean",
    [
        ([0, 0.033, 0.067, 0.1], 29.97, 29.97),  # times that a file rounded
        ([0, 3600, 7200], 25, 1 / 3600),
        ([0, 0.04, 0.08, 0.28, 0.48], 25, 4 / 0.48),
        ([5, 5.5], None, 2),
        ([5], 25, 25),
    ],
    ids=str,
)
def test_the_mean_rate_is_the_declared_one_unless_times_contradict_it(times, declared, mean):
    assert source_with(times, declared).mean_fps == pytest.approx(mean)


def test_a_given_rate_takes_the_place_of_rate_and_times():
    source = open_frames(source_with([0, 3600, 7200], fps=25), fps=50)
    assert (source.fps, source.mean_fps) == (50, 50)
    np.testing.assert_allclose(source.times, [0, 0.02, 0.04])


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf"), "25", [25]])
def test_a_rate_that_is_none(fps):
    with pytest.raises(FramesError, match="fps must be a positive number"):
        open_frames(random_video(), fps=fps)


# Laziness and memory


def counted(pulled, frame):
    for i in itertools.count():
        pulled.append(i)
        yield frame


def test_a_generator_is_pulled_one_frame_at_a_time():
    pulled = []
    source = open_frames(counted(pulled, np.zeros((4, 6, 3), np.uint8)))
    assert pulled == []
    assert source.size == (4, 6)
    assert source.size == (4, 6)
    assert pulled == [0]
    next(source)
    assert pulled == [0]
    next(source)
    assert pulled == [0, 1]


def test_the_frame_read_for_the_size_is_not_lost():
    video = random_video()
    source = open_frames(iter(video))
    assert source.size == video.shape[1:3]
    np.testing.assert_array_equal(list(source), video)


def test_a_generator_runs_in_bounded_memory():
    shape = (256, 256, 3)
    frames = (np.full(shape, i % 256, dtype=np.uint8) for i in range(100))
    tracemalloc.start()
    try:
        for _ in open_frames(frames):
            pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5 * np.prod(shape)


def test_closing_leaves_a_generator_of_the_caller_alone():
    pulled = []
    frames = counted(pulled, np.zeros((4, 6, 3), np.uint8))
    with open_frames(frames) as source:
        next(source)
    assert list(source) == []
    next(frames)
    assert pulled == [0, 1]


def test_an_error_inside_the_generator_passes_through():
    def frames():
        yield np.zeros((4, 6, 3), np.uint8)
        raise RuntimeError("camera unplugged")

    source = open_frames(frames())
    next(source)
    with pytest.raises(RuntimeError, match="camera unplugged"):
        next(source)


# What is refused

IMAGE = np.zeros((5, 7, 3), np.uint8)

BAD = {
    "a single frame": (IMAGE, r"frames\[None\]"),
    "channels first": (np.zeros((2, 3, 5, 7), np.uint8), r"transpose\(0, 2, 3, 1\)"),
    "grey": (
        np.zeros((2, 5, 7), np.uint8),
        r"\[T, H, W, 3\], got \[2, 5, 7\]; repeat the grey channel: np.repeat\(frames\[\.\.\., None\]",
    ),
    "with alpha": (
        np.zeros((2, 5, 7, 4), np.uint8),
        r"got \[2, 5, 7, 4\]; leave the alpha channel out: frames\[\.\.\., :3\]",
    ),
    "a batch": (np.zeros((1, 2, 5, 7, 3), np.uint8), r"got \[1, 2, 5, 7, 3\]; .*frames\[0\]"),
    "ints": (np.zeros((2, 5, 7, 3), np.int64), "uint8.*float.*int64; write frames.astype"),
    "bools": (np.zeros((2, 5, 7, 3), bool), "uint8.*float.*bool; write frames"),
    "bytes as floats": (np.full((2, 5, 7, 3), 255.0), r"frame 0 spans \[255, 255\].*255"),
    "model input": (np.linspace(-1, 1, 210).reshape(2, 5, 7, 3), r"frame 0 spans \[-1, "),
    "NaN": (np.full((2, 5, 7, 3), np.nan), "frame 0 holds NaN or infinity"),
    "no frames": (np.zeros((0, 5, 7, 3), np.uint8), "no frames"),
    "no pixels": (np.zeros((2, 0, 7, 3), np.uint8), r"frame 0.*\[0, 7, 3\]"),
    "an empty list": ([], "no frames"),
    "an empty generator": (iter(()), "no frames"),
    "a number": (5, "got int"),
    "None": (None, "got NoneType"),
    "raw bytes": (b"\x00\x01", "2 bytes: not a video"),
    "no bytes": (b"", "bytes, and empty"),
    "a dict": ({"frames": IMAGE}, "a dict with 'frames' in it"),
    "a set": ({1, 2}, "a set, which has no order"),
    "an object": (object(), "got object: pass an array"),
    "a list of objects": ([object()], "frame 0 is object <object.*which is no frame: pass an array"),
    "a nested list of paths": ([["a.png"]], "frame 0 is an array of <U5, which is no frame"),
    "a list with a number": ([IMAGE, 3], "frame 1 is int 3, which is no frame"),
    "a grey frame": ([IMAGE[..., 0]], r"got \[5, 7\]; repeat the grey channel: np.repeat\(frame"),
    "frames with one channel": (np.zeros((2, 5, 7, 1), np.uint8), r"; repeat the grey channel: np.repeat\(frames, 3"),
    "a frame with alpha": ([np.zeros((5, 7, 4), np.uint8)], r"leave the alpha channel out: frame\[\.\.\., :3\]"),
    "a frame with channels first": ([np.zeros((3, 5, 7), np.uint8)], r"channels last: frame.transpose\(1, 2, 0\)"),
    "one frame with channels first": (np.zeros((3, 5, 7), np.uint8), r"transpose\(1, 2, 0\)\[None"),
    "a batch of two": (np.zeros((2, 2, 5, 7, 3), np.uint8), "a batch of 2 videos"),
    "12 bits": (np.full((2, 5, 7, 3), 4000, np.uint16), "uint16; divide by 4095"),
    "16 bits": (np.full((2, 5, 7, 3), 40000, np.uint16), "uint16; divide by 65535"),
    "a list of numbers": ([1, 2, 3], r"frame 0.*\[H, W, 3\]"),
    "ragged rows": ([[[1, 2, 3], [1, 2]]], "frame 0 cannot be read as a numpy array"),
    "a tensor elsewhere": (Tensor(None, TypeError("use .cpu() first")), r"numpy array: use .cpu\(\) first"),
    "a larger frame": (
        [IMAGE, IMAGE, np.zeros((5, 8, 3), np.uint8)],
        "frame 2 is 8 x 5 pixels.*7 x 5 pixels",
    ),
    "another type": ([IMAGE, IMAGE.astype(np.float32)], "frame 1 is float32.*uint8"),
    "late NaN": ([np.zeros((5, 7, 3)), np.full((5, 7, 3), np.nan)], "frame 1 holds NaN or infinity"),
}


@pytest.mark.parametrize("frames, message", BAD.values(), ids=BAD)
def test_bad_frames_are_named(frames, message):
    with pytest.raises(FramesError, match=message) as caught:
        list(open_frames(frames))
    assert isinstance(caught.value, TapsdkError)
    assert isinstance(caught.value, ValueError)


def test_good_frames_before_a_bad_one_are_delivered():
    source = open_frames(iter([IMAGE, IMAGE, IMAGE[:4]]))
    next(source)
    next(source)
    with pytest.raises(FramesError, match="frame 2"):
        next(source)


def test_an_empty_video_has_no_size():
    with pytest.raises(FramesError, match="no frames"):
        _ = open_frames(iter(())).size


def test_a_frame_that_is_refused_has_no_time():
    images = [np.zeros((4, 5, 3), np.uint8), np.zeros((4, 6, 3), np.uint8)]
    source = FrameSource(iter(images), times=[0.0, 0.04])
    next(source)
    with pytest.raises(FramesError, match="frame 1 is 6 x 4 pixels"):
        next(source)
    np.testing.assert_array_equal(source.times, [0])
