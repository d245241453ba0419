"""The machine that runs pickles; what it refuses is tested where checkpoints are read, in checkpoints/test_read_npy."""

import io
import os
import pickle

import numpy as np
import pytest

from training.checkpoints.pickles import DamagedPickleError, ForbiddenPickleError, PickledArray, load_pickle


def load(content):
    return load_pickle(io.BytesIO(content))


def test_plain_objects_come_as_they_are():
    content = {"a": [1, 2.5, "text", b"bytes", None, True, (1,), {"deeper": {}}]}
    assert load(pickle.dumps(content)) == content


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.array([True, False]),
        np.arange(3, dtype=">f8"),
        np.array([b"one", b"three"]),
        np.array(2.5),
        np.float64(2.5),
        np.zeros((0, 4), np.uint8),
    ],
    ids=str,
)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_come_whole_whatever_the_protocol(array, protocol):
    found = load(pickle.dumps(array, protocol)).to_numpy()
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_an_array_of_objects_is_a_list():
    found = load(pickle.dumps(np.array([b"one", {"two": 2}], object)))
    assert isinstance(found, PickledArray)
    assert found.to_list() == [b"one", {"two": 2}]
    with pytest.raises(ValueError):
        found.to_numpy()


def test_an_array_of_numbers_is_no_list():
    assert load(pickle.dumps(np.zeros(2))).to_list() is None


def test_an_array_without_content_is_an_error_and_no_crash():
    """`_reconstruct` alone, and never the state that fills it."""
    bare = load(b"cnumpy.core.multiarray\n_reconstruct\n(NNNtR.")
    assert bare.to_list() is None
    with pytest.raises(ValueError):
        bare.to_numpy()


def test_a_function_is_named_and_not_called(tmp_path):
    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "victim"),)

    with pytest.raises(ForbiddenPickleError, match="mkdir"):
        load(pickle.dumps([Hostile()]))
    assert not (tmp_path / "victim").exists()


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps(np.zeros(9))[:-20]])
def test_what_is_no_pickle_or_cut_short(content):
    with pytest.raises(DamagedPickleError):
        load(content)
