"""Arrays of many frames come back as they were, from memory and from files."""

import tempfile
from contextlib import closing

import numpy as np
import pytest

from tapsdk.errors import SaveError
from tapsdk.system.spool import Spool
from tests.support import needs_full_device

WHOLE, NOTHING = 1 << 20, 0
FRAME_BYTES = 4 * 4 * 6 * 3 + 8


def frames(count=4):
    rng = np.random.default_rng(0)
    return [{"high": rng.normal(size=(1, 4, 6, 3)).astype(np.float32), "low": np.array([[t]])} for t in range(count)]


@pytest.mark.parametrize("memory", [NOTHING, WHOLE, FRAME_BYTES, 2 * FRAME_BYTES])
def test_frames_come_back_in_any_order(memory):
    with closing(Spool("the frames", memory)) as spool:
        for arrays in frames():
            spool.append(arrays)
        assert len(spool) == 4
        for t in (2, 0, 3, 1):
            assert spool[t].keys() == frames()[t].keys()
            for name, array in spool[t].items():
                assert array.dtype == frames()[t][name].dtype
                np.testing.assert_array_equal(array, frames()[t][name])


@pytest.mark.parametrize("memory, files", [(NOTHING, 2), (WHOLE, 0), (4 * FRAME_BYTES, 0), (4 * FRAME_BYTES - 1, 2)])
def test_files_are_only_opened_when_memory_does_not_do(memory, files, monkeypatch):
    opened = []
    original = tempfile.TemporaryFile
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: opened.append(original()) or opened[-1])
    with closing(Spool("the frames", memory)) as spool:
        for arrays in frames():
            spool.append(arrays)
    assert len(opened) == files
    assert all(file.closed for file in opened)


def test_arrays_need_not_lie_in_one_piece():
    array = np.arange(24.0).reshape(4, 6)[:, ::2]
    with closing(Spool("the frames")) as spool:
        spool.append({"a": array})
        np.testing.assert_array_equal(spool[0]["a"], array)


@needs_full_device
def test_a_full_disk_is_an_error_with_a_way_out(monkeypatch):
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: open("/dev/full", "wb"))  # noqa: SIM115
    with (
        closing(Spool("the features of frames")) as spool,
        pytest.raises(SaveError, match=r"could not keep the features of frames in .*: No space left .* TMPDIR"),
    ):
        spool.append({"low": np.zeros((1, 8, 8, 16), np.float32)})


@needs_full_device
@pytest.mark.parametrize("memory", [NOTHING, 2 * FRAME_BYTES])
def test_after_a_full_disk_all_frames_can_be_read(monkeypatch, memory):
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: open("/dev/full", "wb"))  # noqa: SIM115
    with closing(Spool("the frames", memory)) as spool:
        with pytest.raises(SaveError):
            for arrays in frames():
                spool.append(arrays)
        assert len(spool) == 1 + memory // FRAME_BYTES
        for t in range(len(spool)):
            np.testing.assert_array_equal(spool[t]["high"], frames()[t]["high"])
