"""DeepMind's numbers, in both frameworks."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.golden import official
from tests.training.models.trajan.golden import (
    LATENTS,
    assert_golden,
    golden_inputs,
    golden_parameters,
    golden_weights,
    load_golden,
)
from training.checkpoints import CheckpointError
from training.checkpoints.convert import convert
from training.models import load

SMALL = load_golden("trajan_jax_small")
DECODED = [
    ("latents", "", True, False),
    ("decode_latents", "decode_", True, False),
    ("latents", "plain_", False, False),
    ("decode_latents", "corner_", True, True),
]
"""Latents, what the outputs' names begin with, whether there is dither, and whether queries are exact."""


@pytest.fixture(
    scope="module",
    params=["torch", pytest.param("jax", marks=pytest.mark.slow)],  # it compiles
)
def published(request: pytest.FixtureRequest) -> Iterator[SimpleNamespace]:
    """model: with the goldens' weights; quietly: a context in which nothing is recorded for gradients."""
    framework = pytest.importorskip(request.param)
    model = load("trajan/base", golden_weights(int(SMALL["seed"])), request.param)
    yield SimpleNamespace(model=model, quietly=getattr(framework, "inference_mode", nullcontext))


def test_latents_are_the_published_ones(published: SimpleNamespace) -> None:
    *tracks, _ = golden_inputs(SMALL)
    with published.quietly():
        found = np.asarray(published.model.encode(*tracks))
    np.testing.assert_allclose(found[0], SMALL["latents"], rtol=0, atol=LATENTS)


def test_tracks_padded_as_published_give_the_same_latents(published: SimpleNamespace) -> None:
    tracks, visible, frames, _ = golden_inputs(SMALL)
    missing = 150 - int(frames[0])
    tracks = np.pad(tracks, ((0, 0), (0, 0), (0, missing), (0, 0)))
    visible = np.pad(visible.astype(np.float32), ((0, 0), (0, 0), (0, missing)))
    with published.quietly():
        found = np.asarray(published.model.encode(tracks, visible, frames))
    np.testing.assert_allclose(found[0], SMALL["latents"], rtol=0, atol=LATENTS)


@pytest.mark.parametrize(("latents", "outputs", "dither", "exact"), DECODED)
def test_tracks_are_the_published_ones(
    published: SimpleNamespace, latents: str, outputs: str, dither: bool, exact: bool
) -> None:
    queries = SMALL["corner_queries_txy"][None] if exact else golden_inputs(SMALL)[-1]
    with published.quietly():
        found = published.model.decode(SMALL[latents][None], queries, dither)
    assert_golden(found, SMALL, outputs, exact)


@pytest.mark.slow
def test_as_many_tracks_as_published() -> None:
    """The 2048 tracks of the notebook, of which eight are looked at; in PyTorch, as XLA does not optimise here."""
    torch = pytest.importorskip("torch")
    arrays = load_golden("trajan_jax_published")
    model = load("trajan/base", golden_weights(int(arrays["seed"])))
    tracks, visible, frames, queries = golden_inputs(arrays)
    with torch.inference_mode():
        latents = model.encode(tracks, visible, frames)
        np.testing.assert_allclose(np.asarray(latents)[0], arrays["latents"], rtol=0, atol=LATENTS)
        # From the published latents: of a few thousand, one or two round the other way.
        outputs = model.decode(arrays["latents"][None], queries[:, : len(arrays["tracks"])])
    assert_golden(outputs, arrays, "", exact=False)


@pytest.mark.slow
def test_the_official_file_is_converted(tmp_path: Path) -> None:
    """With the token that the published model declares and does not use; a file that lacks a parameter is refused."""
    parameters = golden_parameters(0) | {"input_readout_token": np.zeros((1, 1, 256), np.float32)}
    path = official.write(tmp_path / "track_autoencoder_ckpt.npz", parameters)
    canonical = convert(path, "trajan/base")
    expected = golden_weights(0)
    assert canonical.weights.keys() == expected.keys()
    assert all(np.array_equal(canonical.weights[name], array) for name, array in expected.items())
    path.unlink()
    del parameters["compressor/bias"]
    official.write(path, parameters)
    with pytest.raises(CheckpointError, match=r"1 missing \(compressor/bias\)"):
        convert(path, "trajan/base")
    path.unlink()
